/// The tables of docs/reference/experiments.md say what the codec of an experiment takes.
module Ldr.Core.Tests.KeyTableTests

open System.IO
open Expecto
open Ldr
open Ldr.TestKit.Repository

/// What a row says before its meaning, as Markdown.
let private start (key: JsonKey) =
    let cases =
        match key.Cases with
        | [] -> ""
        | words -> " (" + String.concat ", " words + ")"

    let fallback =
        match key.Default with
        | "required"
        | "none" -> key.Default
        | text when text.StartsWith '`' -> text
        | json -> $"`{json}`"

    $"| `{key.Key}`{cases} | {key.Type} | {fallback} |"

/// What is wrong with a page's rows: one line for each.
let private differences (wanted: string list) (page: string list) : string list =
    let rows = page |> List.filter _.StartsWith("| `")

    let starts (row: string) =
        wanted
        |> List.tryFind (fun w -> row.StartsWith(w, System.StringComparison.Ordinal))

    let said = rows |> List.choose starts

    [
        for before, row in List.pairwise ("the head" :: wanted) do
            match rows |> List.filter _.StartsWith(row, System.StringComparison.Ordinal) with
            | [] -> $"add this row after {before}, with its meaning:\n{row} … |"
            | [ only ] when only.Substring(row.Length).Trim([| ' '; '|' |]) = "" ->
                $"say in words what this means:\n{row} … |"
            | [ _ ] -> ()
            | _ -> $"keep one of the rows {row}"
        for row in rows do
            if (starts row).IsNone then
                $"the codec knows nothing of this row (was it changed?): remove it:\n{row}"
        if
            said.Length = wanted.Length
            && Set.ofList said = Set.ofList wanted
            && said <> wanted
        then
            "the rows are in another order than the codec's keys"
    ]

let private wanted = Experiment.codec.Form.Keys |> List.map start

let tests =
    testList
        "key table"
        [
            test
                "docs/reference/experiments.md has every key of an experiment with its type, default and meaning" {
                let file = Path.Combine(root, "docs", "reference", "experiments.md")
                let found = differences wanted (File.ReadAllLines file |> List.ofArray)

                if not found.IsEmpty then
                    failtestf "%s: %s" file (String.concat "\n" found)
            }
            test "a row that is missing, wrong, empty, surplus or twice there is named" {
                let full = wanted |> List.map (fun row -> row + " words |")
                Expect.isEmpty (differences wanted full) "a good page"
                let other = "| `train[].stesp` | a number | none | words |"

                for page, word in
                    [
                        full.Tail, wanted.Head
                        full @ [ other ], other
                        (wanted.Head + "  |") :: full.Tail, "in words"
                        full @ [ full.Head ], "keep one"
                        full.Tail @ [ full.Head ], "order"
                        (full |> List.map _.Replace("| 500 |", "| 501 |").Replace("`500`", "`501`")), "`501`"
                    ] do
                    match differences wanted page with
                    | [] -> failtestf "passed: %s" word
                    | lines -> Expect.stringContains (String.concat "\n" lines) word "what is said"
            }
            test "keys of lists, unions and nested objects are told with their places" {
                for key, cases, fallback in
                    [
                        "name", [], "required"
                        "train[].batch", [], "2"
                        "train[].distillation.discriminator.widths[]", [], ""
                        "train[].architecture.levels", [ "vtn" ], "6"
                        "train[].architecture.encoder",
                        [ "ldr"; "ldr-slim"; "ldr-half"; "ldr-velocity" ],
                        "[16,32,64,128]"
                        "data.source.noise", [ "synthetic" ], "0.03"
                        "train[].distillation.schedule[].cycle", [], "required"
                    ] do
                    let found =
                        Experiment.codec.Form.Keys
                        |> List.filter (fun k -> k.Key = key && k.Cases = cases)
                        |> List.map _.Default

                    Expect.equal found (if fallback = "" then [] else [ fallback ]) key
            }
        ]
