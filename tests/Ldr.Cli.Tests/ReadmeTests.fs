/// The commands and the code of the README and of the guide.
module Ldr.Cli.Tests.ReadmeTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open Ldr.TestKit.Repository
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

/// The README, and every page of the guide.
let private pages =
    [
        "README.md"
        for page in
            Directory.EnumerateFiles(Path.Combine(root, "docs", "guide"), "*.md")
            |> Seq.sort do
            $"docs/guide/{Path.GetFileName page}"
    ]

let private blocks (language: string) (page: string) : string list =
    let text = File.ReadAllText(Path.Combine(root, page))

    [
        for found in Regex.Matches(text, $@"(?ms)^```{language}\n(.*?)^```$") -> found.Groups[1].Value
    ]

/// Why a block of commands is not run, if it says so in its first line.
let private reason (block: string) : string option =
    let first = Regex.Match(block, @"\A# not run: (\S.*)")
    if first.Success then Some first.Groups[1].Value else None

/// A folder that looks like the repository, where what commands write stays apart. `./ldr-fs` is the program of these tests.
let private furnish (folder: string) =
    for name in [ "examples"; "experiments"; "models"; "scripts"; "src"; "global.json" ] do
        Directory.CreateSymbolicLink(folder </> name, Path.Combine(root, name))
        |> ignore

    File.WriteAllText(folder </> "ldr-fs", $"#!/bin/sh\nexec dotnet '{program}' \"$@\"\n")
    Expect.equal (run "chmod" [ "+x"; folder </> "ldr-fs" ]).Code 0 "chmod"

/// A Slurm for the page that submits jobs.
let private slurm (commands: string list) (folder: string) : Slurm.Slurm option =
    if commands |> List.exists _.Contains("--submit slurm") then
        if not (has "snakemake") then
            skiptest "snakemake is not installed"

        Some(Slurm.Slurm.Start folder)
    else
        None

/// Runs the blocks of a page one after the other; a later one may use what an earlier one wrote.
let private runsAsWritten (page: string) (folder: string) =
    let commands = blocks "sh" page |> List.filter (reason >> Option.isNone)
    let data = Path.GetFullPath Repository.data

    for set in [ "Task04_Hippocampus"; "Brain_IXI"; "Templates" ] do
        if commands |> List.exists _.Contains(set) then
            Repository.needData set |> ignore

    furnish folder
    use slurm = slurm commands folder |> Option.toObj

    for block in commands do
        let known =
            match slurm with
            | null -> ""
            | slurm -> $"export SLURM_CONF='{slurm.File}'\n"

        let script =
            $"cd '{folder}' && set -euo pipefail\n{known}"
            + block.Replace("../shared/data", data)

        let outcome = run "bash" [ "-c"; script ]
        Expect.equal outcome.Code 0 $"{page}:\n{block}\n{outcome.Output}\n{outcome.Errors}"

/// The words of code, without what stands in quotes.
let private words (code: string) =
    Regex.Matches(Regex.Replace(code, "\"[^\"\n]*\"", ""), @"[A-Za-z]\w+")
    |> Seq.map _.Value
    |> set

let private example (path: string) =
    File.ReadAllText(Path.Combine(root, "examples", path))

let tests =
    testList
        "readme"
        [
            for page in pages do
                if blocks "sh" page |> List.exists (reason >> Option.isNone) then
                    testInFolder $"the commands of {page} run as they stand" (runsAsWritten page)

            test "the first two commands are the ones that set everything up" {
                let first = (blocks "sh" "README.md").Head.Split '\n'
                Expect.equal first[1] "./ldr-fs train experiments/quickstart.json" "the first"
                Expect.equal first[2] "./test" "the second"
            }

            test "the code of the README and the guide is that of the examples" {
                let script = File.ReadAllText(Path.Combine(root, "scripts", "own-loss.fsx"))

                for code in blocks "fsharp" "README.md" do
                    Expect.stringContains script code "the F# script"

                let program = example "csharp/Program.cs"

                for code in blocks "csharp" "README.md" do
                    Expect.isEmpty (words code - words program) "words that the C# example does not know"

                for code in blocks "csharp" "docs/guide/csharp.md" do
                    Expect.stringContains program code "the C# example"

                for code in blocks "fsharp" "docs/guide/csharp.md" do
                    Expect.stringContains (example "fsharp/Program.fs") code "the F# example"

                for code in blocks "xml" "docs/guide/csharp.md" do
                    Expect.stringContains (example "csharp/Ldr.Example.csproj") (code.Trim()) "the C# project"
            }

            test "no block of the README and the guide escapes the tests" {
                let known = [ "sh"; "json"; "csharp"; "fsharp" ]

                for page in pages do
                    let text = File.ReadAllText(Path.Combine(root, page))

                    for found in Regex.Matches(text, @"(?ms)^```(\w*)\n(.*?)^```") do
                        let language, block = found.Groups[1].Value, found.Groups[2].Value

                        match page, language with
                        | _, language when List.contains language known -> ()
                        | "docs/guide/csharp.md", "xml" -> ()
                        | _ ->
                            Expect.isTrue
                                (Regex.IsMatch(block, @"\A(#|rem|//) not run: \S"))
                                $"{page}: a block of kind '{language}' begins with '# not run: why':\n{block}"
            }

            test "every block of JSON in the guide is read" {
                for page in pages do
                    for block in blocks "json" page do
                        Text.Json.JsonDocument.Parse("{" + block + "}").Dispose()
            }
        ]
