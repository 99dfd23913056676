/// What is said of bad experiments: `bad-experiments.txt` has one for every rule, and the exact lines.
module Ldr.Core.Tests.BadExperimentTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.TestKit

let private quickstart =
    Path.Combine(Repository.root, "experiments", "quickstart.json")

let private golden = Path.Combine(__SOURCE_DIRECTORY__, "bad-experiments.txt")

/// The cases: an assignment (as of `--set`) to the quickstart, or `= ` and a whole file's text; then the lines, indented.
let private cases: (string * string list) list =
    let add cases (line: string) =
        match cases with
        | _ when line.Trim() = "" || line.StartsWith '#' -> cases
        | (bad, said) :: others when line.StartsWith "  " -> (bad, line.Trim() :: said) :: others
        | _ -> (line, []) :: cases

    File.ReadAllLines golden
    |> Seq.fold add []
    |> Seq.map (fun (bad, said) -> bad, List.rev said)
    |> Seq.rev
    |> List.ofSeq

let private read (bad: string) : Result<Experiment, Error> =
    if bad.StartsWith "= " then
        let file = Path.GetTempFileName()

        try
            File.WriteAllText(file, bad.Substring 2)
            Experiment.read file []
        finally
            File.Delete file
    else
        Experiment.read quickstart [ bad ]

/// What is said, without the file's name.
let private said (bad: string) : string list =
    match read bad with
    | Ok _ -> [ "accepted" ]
    | Error error ->
        [
            for line in Error.lines error ->
                if bad.StartsWith "= " then
                    Regex.Replace(line, @"^\S+?: ", "")
                else
                    line.Replace(quickstart + ": ", "").Replace(quickstart, "quickstart.json")
        ]

let tests =
    testList
        "bad experiments"
        [
            for bad, lines in cases do
                test $"{bad.Substring(0, min 100 bad.Length)}" {
                    let found = said bad

                    if found <> lines then
                        failtestf
                            "%s should have:\n%s\n%s"
                            golden
                            bad
                            (found |> List.map (fun line -> "  " + line) |> String.concat "\n")
                }
            test "every key of an experiment is wrong in one of them" {
                let wrong =
                    set
                        [
                            for _, lines in cases do
                                for line in lines do
                                    let place = Regex.Match(line, @"^\$\.(.*?): ").Groups[1].Value
                                    Regex.Replace(place, @"\[\d+\]", "[]")
                        ]

                // `x[]` is an item of the list `x`.
                let tried (key: JsonKey) =
                    wrong.Contains key.Key || wrong.Contains(key.Key + "[]")

                match Experiment.codec.Form.Keys |> List.filter (tried >> not) with
                | [] -> ()
                | keys ->
                    keys
                    |> List.map (fun key -> $"{key.Key} ({key.Type})")
                    |> String.concat "\n"
                    |> failtestf "add a case with a wrong value for each of these to %s:\n%s" golden
            }
        ]
