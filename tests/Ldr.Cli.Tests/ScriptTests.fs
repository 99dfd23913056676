/// The scripts for F# Interactive, and the page that is made of them.
module Ldr.Cli.Tests.ScriptTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.TestKit.Repository
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private scripts = Path.Combine(root, "scripts")
let private shared = "ldr.fsx"

let private all =
    [
        for file in Directory.GetFiles(scripts, "*.fsx") |> Array.sort do
            let name = string (Path.GetFileName file)

            if name <> shared then
                name
    ]

/// Runs a script in a folder that is not the repository; options of F# Interactive come before the script, its own after it.
let private fsiWith
    (options: string list)
    (folder: string)
    (script: string)
    (arguments: string list)
    : Outcome =
    let words =
        [ "dotnet"; "fsi" ] @ options @ [ Path.Combine(scripts, script) ] @ arguments

    let line = words |> List.map (fun word -> $"'{word}'") |> String.concat " "

    let outcome = run "bash" [ "-c"; $"cd '{folder}' && unset LDR_MODELS && {line}" ]

    if
        outcome.Code <> 0
        && Regex.IsMatch(outcome.Errors + outcome.Output, "NU1301|NU1101|NU1100")
    then
        skiptest $"{script}: the package that it needs is not to be had"

    Expect.equal outcome.Code 0 $"{script}: {outcome.Output}\n{outcome.Errors}"

    let warnings =
        Regex.Matches(outcome.Output + outcome.Errors, @"(?m)^.*warning FS\d+.*$")

    Expect.isEmpty [ for found in warnings -> found.Value ] $"{script} has no warnings"
    outcome

let private fsi = fsiWith []

/// The rows of the table that a script prints: name and Dice.
let private rows (outcome: Outcome) =
    [
        for found in Regex.Matches(outcome.Output, @"(?m)^\| (\S+)\s+\|\s+([01]\.\d+) ±") ->
            found.Groups[1].Value, float found.Groups[2].Value
    ]

let private file (folder: string) (name: string) =
    let path = folder </> "runs" </> name
    Expect.isTrue (File.Exists path) $"{name} is there"
    path

/// What each leaves and says.
let private checks: Map<string, string -> Outcome -> unit> =
    Map.ofList
        [
            "quickstart.fsx",
            fun folder outcome ->
                match rows outcome with
                | [ "untouched", before; "student", after ] -> Expect.isGreaterThan after before "it learnt"
                | other -> failtest $"{other}"

                file folder "quickstart/registered.png" |> ignore

            "register.fsx",
            fun folder outcome ->
                for name in [ "hippocampus"; "none" ] do
                    Expect.isTrue (Regex.IsMatch(outcome.Output, $"(?m)^{name}: (Ok|Look|Failed)")) name

                    for ending in [ "-moved.nii.gz"; "-field.nii.gz"; ".html" ] do
                        file folder $"register/{name}{ending}" |> ignore

            "atlas.fsx",
            fun folder outcome ->
                Expect.stringContains outcome.Output "round 2: moved by" "the template"
                Expect.stringContains outcome.Output "label 1: " "volumes"
                file folder "atlas/template/template.nii.gz" |> ignore
                file folder "atlas/labels.nii.gz" |> ignore

            "cohort.fsx",
            fun folder outcome ->
                Expect.stringContains outcome.Output "6 done, 0 skipped" "the pairs"
                file folder "cohort/group.html" |> ignore
                file folder "cohort/s3/moved.nii.gz" |> ignore

            "own-loss.fsx",
            fun folder outcome ->
                match rows outcome with
                | [ "untouched", before; "usual", usual; "edges", edges ] ->
                    Expect.isGreaterThan usual before "the usual loss"
                    Expect.isGreaterThan edges before "the loss of one's own"
                    Expect.notEqual edges usual "which is another"
                | other -> failtest $"{other}"

                file folder "own-loss/models/edges.safetensors" |> ignore

            "own-network.fsx",
            fun folder outcome ->
                let losses =
                    [
                        for found in Regex.Matches(outcome.Output, @"(?m)^step \d+: ([\d.]+)$") ->
                            float found.Groups[1].Value
                    ]

                Expect.hasLength losses 6 "steps"
                Expect.isLessThan (List.last losses) losses.Head "it learnt"

                Expect.isGreaterThan
                    (FileInfo(file folder "own-network/weights.safetensors").Length)
                    10000L
                    "bytes"

            "aldk-by-hand.fsx",
            fun _ outcome ->
                for player in [ "discriminator"; "student" ] do
                    let gradients =
                        [
                            for found in Regex.Matches(outcome.Output, $@"(?m)^{player}: gradient ([^,]+),") ->
                                float found.Groups[1].Value
                        ]

                    Expect.hasLength gradients 3 player
                    Expect.all gradients (fun g -> g > 0.0 && Double.IsFinite g) $"{player} has a gradient"

                Expect.stringContains outcome.Output "student_penalty" "the penalty in the student's loss"

            "sweep.fsx",
            fun _ outcome ->
                let students =
                    [ 30, 10; 30, 100; 80, 10; 80, 100 ]
                    |> List.map (fun (gamma, lambda) -> $"gamma-{gamma}-lambda-{lambda}")

                Expect.equal
                    (rows outcome |> List.map fst)
                    ("untouched" :: "teacher" :: students)
                    "a row for each"

            "landscape.fsx",
            fun folder _ ->
                let page = File.ReadAllText(file folder "landscape/landscape.html")

                for word in [ "loss"; "similarity"; "Jacobian"; "histogram" ] do
                    Expect.stringContains page word "the page"
        ]

let private page =
    File.ReadAllText(Path.Combine(root, "docs", "guide", "scripting.md"))

let private blocks =
    [
        for found in Regex.Matches(page, @"(?ms)^```fsharp\n(.*?)^```$") -> found.Groups[1].Value
    ]

let tests =
    testList
        "scripts"
        [
            for name in all do
                testInFolder $"{name} runs from another folder, in less than a minute" (fun folder ->
                    let outcome = fsi folder name []
                    Expect.isLessThan outcome.ProcessorSeconds 60.0 "seconds of the processor"

                    match checks |> Map.tryFind name with
                    | Some check -> check folder outcome
                    | None -> failtest $"say in tests/…/ScriptTests.fs what {name} leaves")

            testInFolder "register.fsx takes two scans" (fun folder ->
                let scan index =
                    let path = folder </> $"{index}.nii.gz"
                    ImageFile.Write(path, fst (Anatomy.subject Anatomy.standard index))
                    path

                let given = fsi folder "register.fsx" [ scan 0; scan 1 ]
                Expect.isTrue (Regex.IsMatch(given.Output, "(?m)^none: ")) "registered")

            testInFolder "the notebook's scripts fit the program" (fun folder ->
                let notebook = Path.Combine(root, "docs", "lab", "experiments")

                let found = Directory.GetFiles(notebook, "*.fsx")
                Expect.isNonEmpty found "scripts"

                // F# Interactive must look behind #load.
                let wrong = folder </> "wrong.fsx"

                File.WriteAllText(
                    wrong,
                    $"#load \"{Path.Combine(scripts, shared)}\"\nlet network: Ldr.Network = 1\n"
                )

                let refused = run "dotnet" [ "fsi"; "--typecheck-only"; wrong ]
                Expect.notEqual refused.Code 0 "a wrong type is found"

                for script in found do
                    fsiWith [ "--typecheck-only" ] folder script [] |> ignore)

            testInFolder "values are shown in words" (fun folder ->
                let script = folder </> "shown.fsx"

                File.WriteAllText(
                    script,
                    $"#load \"{Path.Combine(scripts, shared)}\"\n"
                    + "open Ldr\n"
                    + "let scan = fst (Anatomy.subject Anatomy.standard 0)\n"
                    + "let network = Network.create (Seed.ofInt 1) (Architecture.Single(Stage.Ldr StudentWidths.published))\n"
                    + "let registrar = new Ldr.Runtime.Registration.Registrar()\n"
                    + "let result = registrar.Register(scan, fst (Anatomy.subject Anatomy.standard 1))\n"
                    + "let field = result.Field;;\n"
                )

                // What is typed is shown.
                let shown = run "bash" [ "-c"; $"cd '{folder}' && dotnet fsi --nologo < shown.fsx" ]

                for words in [ "32×40×32"; "2,731,248 parameters"; "mm long on average"; "similarity" ] do
                    Expect.stringContains shown.Output words "shown")

            test "each script is short" {
                for name in all do
                    let lines = File.ReadAllLines(Path.Combine(scripts, name)).Length
                    Expect.isLessThan lines 40 name
            }

            test "the page on scripting has every script as it is, and no other code" {
                for name in all do
                    let text = File.ReadAllText(Path.Combine(scripts, name))
                    Expect.isTrue (List.contains text blocks) $"docs/guide/scripting.md has {name} as it is"

                Expect.hasLength blocks all.Length "blocks"
            }
        ]
