/// The pages in Markdown: links, tables, paths and the length of the README.
module Ldr.Core.Tests.PageTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open Ldr.TestKit.Repository

/// Folders that a build or a run makes.
let private made =
    set
        [
            ".git"
            "bin"
            "obj"
            ".build"
            ".paket"
            "paket-files"
            "packages"
            "node_modules"
            "runs"
        ]

let rec private filesBelow (folder: string) : string list =
    [
        yield! Directory.EnumerateFiles folder
        for sub in Directory.EnumerateDirectories folder do
            if not (made.Contains(string (Path.GetFileName sub))) then
                yield! filesBelow sub
    ]

let private nameOf (file: string) =
    Path.GetRelativePath(root, file).Replace('\\', '/')

let private pages =
    filesBelow root
    |> List.filter _.EndsWith(".md")
    |> List.sort
    |> List.map (fun file -> nameOf file, File.ReadAllLines file)

/// Files in which people write words: everything but scans, models, pictures and long results.
let private written =
    let kinds =
        set
            [
                ".md"
                ".fs"
                ".fsx"
                ".cs"
                ".py"
                ".sh"
                ".json"
                ".props"
                ".targets"
                ".csproj"
                ".fsproj"
                ""
            ]

    filesBelow root
    |> List.filter (fun file ->
        kinds.Contains(string (Path.GetExtension file))
        && FileInfo(file).Length < 1_000_000L)

let private isFence (line: string) = line.TrimStart().StartsWith "```"

/// The lines of a page that are not code, with their numbers.
let private prose (lines: string[]) : (int * string) list =
    lines
    |> Array.indexed
    |> Array.mapFold
        (fun inside (i, line) ->
            let fence = isFence line
            (i + 1, line, inside || fence), (if fence then not inside else inside))
        false
    |> fst
    |> Array.choose (fun (number, line, code) -> if code then None else Some(number, line))
    |> List.ofArray

/// The anchor that a heading gets on a page.
let private anchor (heading: string) =
    heading.TrimStart('#').Trim().ToLowerInvariant()
    |> Seq.choose (fun c ->
        if Char.IsLetterOrDigit c || c = '-' || c = '_' then Some c
        elif c = ' ' then Some '-'
        else None)
    |> Seq.toArray
    |> String

let private anchors (page: string) =
    File.ReadAllLines page
    |> prose
    |> List.map snd
    |> List.filter _.StartsWith('#')
    |> List.map anchor
    |> set

/// What is wrong with a link of a page, if anything.
let private wrongLink (page: string) (target: string) : string option =
    let path, place =
        match target.Split '#' with
        | [| path; place |] -> path, Some place
        | _ -> target, None

    let file =
        if path = "" then
            Path.Combine(root, page)
        else
            Path.GetFullPath(Path.Combine(root, string (Path.GetDirectoryName page), path))

    if target.Contains "://" || target.StartsWith "mailto:" then
        None
    elif not (file.StartsWith root) then
        Some "leads out of the repository"
    elif not (File.Exists file || Directory.Exists file) then
        Some "is not there"
    else
        match place with
        | Some place when file.EndsWith ".md" && not ((anchors file).Contains place) ->
            Some "has no such heading"
        | _ -> None

/// Cells of a row; a bar that is escaped does not part them.
let private cells (row: string) =
    Regex.Matches(row.Trim().Trim('|'), @"(?<!\\)\|").Count + 1

let private isRow (line: string) = line.TrimStart().StartsWith '|'

let private isDelimiter (line: string) =
    Regex.IsMatch(line.Trim(), @"^\|(\s*:?-+:?\s*\|)+$")

/// What is wrong with the tables of a page.
let private wrongTables (lines: string[]) : string list =
    let after = prose lines |> Map.ofList

    let line number =
        after |> Map.tryFind number |> Option.defaultValue ""

    [
        for number, head in prose lines do
            if isRow head && not (isRow (line (number - 1))) then
                if not (isDelimiter (line (number + 1))) then
                    $"line {number}: no delimiter row follows the head of this table"
                elif cells (line (number + 1)) <> cells head then
                    $"line {number}: {cells head} columns, its delimiter row has {cells (line (number + 1))}"
    ]

let private reject (wrong: string list) =
    if not wrong.IsEmpty then
        failtest (String.concat "\n" wrong)

let tests =
    testList
        "pages"
        [
            test "every relative link leads to a file, and to a heading that it has" {
                reject
                    [
                        for page, lines in pages do
                            for number, line in prose lines do
                                for link in Regex.Matches(line, @"\]\(([^)\s]+)\)") do
                                    let target = link.Groups[1].Value

                                    match wrongLink page target with
                                    | Some fault -> $"{page}, line {number}: {target} {fault}"
                                    | None -> ()
                    ]
            }

            test "every table has a delimiter row with as many columns as its head" {
                reject
                    [
                        for page, lines in pages do
                            for fault in wrongTables lines -> $"{page}, {fault}"
                    ]
            }

            test "every path on the map for contributors is there" {
                let map = File.ReadAllText(Path.Combine(root, "docs", "ARCHITECTURE.md"))

                let paths =
                    [
                        for found in Regex.Matches(map, "`([^`\n]*/[^`\n]*)`") -> found.Groups[1].Value
                    ]

                Expect.isGreaterThan paths.Length 30 "paths"

                reject
                    [
                        for path in paths do
                            let file = Path.Combine(root, path)

                            if not (File.Exists file || Directory.Exists file) then
                                $"docs/ARCHITECTURE.md: {path} is not there"
                    ]
            }

            test "the README has at most 120 lines of at most 100 characters" {
                let lines = File.ReadAllLines(Path.Combine(root, "README.md"))
                Expect.isLessThanOrEqual lines.Length 120 "lines"

                reject
                    [
                        for i, line in Array.indexed lines do
                            if line.Length > 100 then
                                $"README.md, line {i + 1}: {line.Length} characters"
                    ]
            }

            test "the README and the guide name each other" {
                let index = File.ReadAllText(Path.Combine(root, "docs", "README.md"))
                let readme = File.ReadAllText(Path.Combine(root, "README.md"))

                for page in Directory.EnumerateFiles(Path.Combine(root, "docs", "guide"), "*.md") do
                    let name = string (Path.GetFileName page)
                    Expect.stringContains index $"(guide/{name})" "docs/README.md"
                    Expect.stringContains readme $"(docs/guide/{name})" "README.md"
            }

            test "nothing points at a page that is not in the repository" {
                // Split, so that this file does not say them itself.
                let foreign =
                    Regex(
                        "desi"
                        + "gn §|"
                        + @"\b(design|style)\.m"
                        + @"d\b|(?<![\w/])\.\./sha"
                        + @"red(?!/data\b)"
                    )

                reject
                    [
                        for file in written do
                            for i, line in Array.indexed (File.ReadAllLines file) do
                                let found = foreign.Match line

                                if found.Success then
                                    $"{nameOf file}, line {i + 1}: {found.Value}"
                    ]
            }

            test "what is wrong with links and tables is told" {
                for target, fault in
                    [
                        "nowhere.md", "is not there"
                        "../../..", "leads out"
                        "README.md#nothing", "no such heading"
                    ] do
                    Expect.stringContains
                        (wrongLink "README.md" target |> Option.defaultValue "")
                        fault
                        target

                Expect.isNone (wrongLink "README.md" "docs/README.md#lab") "a good link"
                Expect.isEmpty (wrongTables [| "| a | b |"; "|---|--:|"; "| 1 | 2 |" |]) "a good table"
                Expect.isEmpty (wrongTables [| "```"; "| a | b |"; "```" |]) "code"
                Expect.hasLength (wrongTables [| "| a | b |"; "| 1 | 2 |" |]) 1 "no delimiter row"
                Expect.hasLength (wrongTables [| "| a | b |"; "|---|"; "| 1 | 2 |" |]) 1 "too few columns"
            }
        ]
