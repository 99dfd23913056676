/// The pages in Markdown: links, tables, paths, the length of the README and of sentences.
/// LDR_WORDS=1 prints how long the sentences of every page are.
module Ldr.Core.Tests.PageTests

open System
open System.IO
open System.Text.Json
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
    let inner = Regex.Replace(row.Trim(), @"^\||(?<!\\)\|$", "")
    Regex.Matches(inner, @"(?<!\\)\|").Count + 1

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
                else
                    let rows =
                        Seq.initInfinite (fun i -> number + 1 + i) |> Seq.takeWhile (line >> isRow)

                    for row in rows do
                        if cells (line row) <> cells head then
                            $"line {row}: {cells (line row)} cells below a head of {cells head}"
    ]

/// Sentences of a page without code, tables and headings; what stands for code counts as a word, and so does a link's text.
let private sentences (lines: string[]) : string list =
    let isBreak (line: string) =
        line.Trim() = "" || line.StartsWith '#' || isRow line || line.StartsWith "<!--"

    let item = Regex @"^\s*([-*]|\d+\.)\s+"

    // A paragraph, or an item of a list, in one line each.
    let add (paragraphs: string list) (line: string) =
        match paragraphs with
        | _ when isBreak line -> "" :: paragraphs
        | last :: rest when last <> "" && not (item.IsMatch line) -> $"{last} {line.Trim()}" :: rest
        | _ -> item.Replace(line, "").Trim() :: paragraphs

    let plain (paragraph: string) =
        Regex.Replace(paragraph, "`[^`]*`", "CODE")
        |> fun text -> Regex.Replace(text, @"!\[[^\]]*\]\([^)]*\)", "")
        |> fun text -> Regex.Replace(text, @"\[([^\]]*)\]\([^)]*\)", "$1")

    // Code between paragraphs parts them, as an empty line does.
    let known = prose lines |> Map.ofList

    [
        for i in 1 .. lines.Length -> known |> Map.tryFind i |> Option.defaultValue ""
    ]
    |> List.fold add []
    |> List.rev
    |> List.filter (fun paragraph -> paragraph <> "")
    |> List.collect (fun paragraph ->
        Regex.Split(plain paragraph, @"(?<=[.!?])[*_)""]*\s+(?=[^a-z])") |> List.ofArray)

let private words (sentence: string) =
    Regex.Matches(sentence, @"[\p{L}\d][\p{L}\d'’.,/-]*").Count

/// Sentences, words a sentence, words of the longest one.
let private lengths (lines: string[]) =
    match sentences lines |> List.map words |> List.filter (fun count -> count > 0) with
    | [] -> 0, 0.0, 0
    | counts -> counts.Length, List.averageBy float counts, List.max counts

/// Whose sentences are short: the notebook may say what it likes.
let private isShort (page: string) =
    page = "README.md"
    || page.StartsWith "docs/guide/"
    || page.StartsWith "docs/reference/"

/// Words a sentence, on average over a page.
let private mostWords = 15.0

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

            test "every row of a table has as many cells as its head, and a delimiter row follows that" {
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

            test
                "the API reference can be made: its tool is pinned, its projects are there, its pages load nothing" {
                let read (path: string) =
                    File.ReadAllText(Path.Combine(root, path))

                use manifest = JsonDocument.Parse(read ".config/dotnet-tools.json")
                let tool = manifest.RootElement.GetProperty("tools").GetProperty("fsdocs-tool")
                Expect.isTrue (Version.TryParse(tool.GetProperty("version").GetString()) |> fst) "a version"

                let projects =
                    Regex.Match(read "build/docs", "for name in ([^;]+);").Groups[1].Value.Split ' '

                for project in projects do
                    let found =
                        Directory.GetFiles(Path.Combine(root, "src", project), $"{project}.*proj")

                    Expect.hasLength found 1 project

                Expect.stringContains
                    (read "build/api/index.md")
                    projects[0]
                    "the first page names the libraries"

                Expect.isFalse ((read "build/api/_template.html").Contains "//") "nothing from elsewhere"
                Expect.contains (File.ReadAllLines(Path.Combine(root, ".gitignore"))) ".build/" "its folder"
            }

            test "sentences are short: 15 words on average in the README and each page of guide and reference" {
                let all =
                    [
                        for page, lines in pages do
                            if not (page.Contains "/golden/") then
                                let count, average, longest = lengths lines
                                page, count, average, longest
                    ]

                if Environment.GetEnvironmentVariable "LDR_WORDS" = "1" then
                    for page, count, average, longest in all do
                        eprintfn $"{average, 5:F1} words, longest {longest, 3}, {count, 3} sentences: {page}"

                reject
                    [
                        for page, _, average, _ in all do
                            if isShort page && average > mostWords then
                                $"{page}: {average:F1} words a sentence, more than {mostWords}"
                    ]
            }

            test "words are counted without code, tables and headings" {
                let page =
                    [|
                        "# A heading"
                        "One two three. Four `a b c` five:"
                        "```sh"
                        "not counted"
                        "```"
                        "- six [seven eight](a/b.md)"
                        "- nine"
                        "| a | b |"
                    |]

                Expect.equal
                    (sentences page)
                    [ "One two three."; "Four CODE five:"; "six seven eight"; "nine" ]
                    "sentences"

                Expect.equal (lengths page) (4, 2.5, 3) "words"
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
                Expect.hasLength (wrongTables [| "| a | b |"; "|---|---|"; "| 1 |" |]) 1 "a short row"

                Expect.isEmpty
                    (wrongTables [| "| a | b |"; "|---|---|"; "| `x\|y` | |" |])
                    "a bar, an empty cell"
            }
        ]
