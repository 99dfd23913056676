/// `cohort` and `bids` as programs: exit codes, kills, shards, names of files, the page in a browser.
module Ldr.Cli.Tests.CohortCliTests

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.Browser

let private anatomy (size: int * int * int) =
    {
        Size = size
        Subjects = 1
        Structures = 3
        Deformation = 1.0
        Noise = 0.01
        Seed = 8
    }

/// A folder of eight scans, and a template beside it that they resemble: their verdicts are good.
let private scene (size: int * int * int) (folder: string) =
    Directory.CreateDirectory(folder </> "scans") |> ignore
    let template, _ = Anatomy.subject (anatomy size) 0
    template.Write(folder </> "template.nii.gz")
    let random = Random 1

    for i in 1..8 do
        let values =
            template.Values
            |> Array.map (fun v -> v + 0.02f * float32 (random.NextDouble()))

        Volume(template.Grid, values).Write(folder </> $"scans/s{i}.nii.gz")

/// Registers a folder's scans to its template.
let cohortWith (steps: int) (folder: string) (output: string) =
    [
        "cohort"
        folder </> "scans"
        "--template"
        folder </> "template.nii.gz"
        "--output"
        folder </> output
        "--affine"
        "none"
        "--refine"
        string steps
    ]

let private cohort = cohortWith 1

/// Every file of a cohort but its page, which names the command and its own folder.
let private contents (output: string) =
    Ldr.TestKit.Helpers.contents output |> Map.remove "group.html"

let private answer (outcome: Outcome) =
    (nonNull (JsonNode.Parse outcome.Output)).AsObject()

let private number (node: JsonObject) (key: string) = node[key].GetValue<int>()

/// Runs ldr-fs with variables of the environment: its exit code and what it tells.
let private ldrWith (variables: (string * string) list) (arguments: string list) : int * string =
    let info =
        ProcessStartInfo(
            "dotnet",
            program :: arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for name, value in variables do
        info.Environment[name] <- value

    use running = Process.Start info |> nonNull
    running.StandardOutput.ReadToEndAsync() |> ignore
    let told = running.StandardError.ReadToEndAsync()
    running.WaitForExit()
    running.ExitCode, told.Result

/// A folder of so many results that differ a little, three of them outliers.
let private writeResults (output: string) (count: int) =
    let random = Random 4

    for i in 0 .. count - 1 do
        let pair = output </> $"sub-{i:D4}"
        Directory.CreateDirectory pair |> ignore

        let detail =
            if i % 2000 = 1234 then
                0.3
            else
                0.8 + 0.02 * random.NextDouble()

        let more =
            Ldr.Runtime.Registration.Quality.QualityNumbers.Keys
            |> Seq.filter (fun key -> key <> "detail_after")
            |> Seq.map (fun key -> $"\"{key}\": {random.NextDouble():F6}")
            |> String.concat ", "

        File.WriteAllText(
            pair </> "result.json",
            $"""{{"id": "sub-{i:D4}", "verdict": "ok", "reasons": [], "picture": "picture.png", "detail_after": {detail:F6}, {more}}}"""
        )

let private descriptorFile =
    Path.Combine(Repository.root, "docs", "reference", "bids.boutiques.json")

let tests =
    testList
        "cohort"
        [
            testInFolder
                "killed at random moments, a cohort ends with the files of an unbroken one"
                (fun folder ->
                    scene (40, 44, 36) folder
                    let whole = ldr (cohort folder "whole")
                    Expect.equal whole.Code 0 whole.Errors
                    let random = Random 2
                    let mutable midway = 0

                    for _ in 1..8 do
                        use running = start "dotnet" (program :: cohort folder "broken")
                        running.StandardOutput.ReadToEndAsync() |> ignore
                        running.StandardError.ReadToEndAsync() |> ignore
                        running.WaitForExit(random.Next(250, 900)) |> ignore
                        running.Kill()
                        running.WaitForExit()

                        if
                            Directory.Exists(folder </> "broken")
                            && not (File.Exists(folder </> "broken" </> "group.html"))
                        then
                            midway <- midway + 1

                    Expect.isGreaterThan midway 1 "kills in between"
                    let ended = ldr (cohort folder "broken" @ [ "--json" ])
                    Expect.equal ended.Code 0 ended.Errors
                    Expect.equal (number (answer ended) "pairs") 8 "pairs"
                    same (contents (folder </> "whole")) (contents (folder </> "broken")))

            testInFolder "the exit code tells how a cohort is, also of what was done before" (fun folder ->
                scene (16, 18, 14) folder
                let first = ldr (cohort folder "out" @ [ "--json" ])
                Expect.equal first.Code 0 first.Errors
                Expect.equal (number (answer first) "done") 8 "done"

                let noise =
                    randomVolume (Random 1) (ImageFile.ReadGrid(folder </> "template.nii.gz"))

                noise.Write(folder </> "scans" </> "noise.nii.gz")
                let second = ldr (cohort folder "out" @ [ "--json" ])
                Expect.equal second.Code 3 "a verdict is failed"
                Expect.equal (number (answer second) "skipped") 8 "skipped"
                Expect.equal (ldr (cohort folder "out")).Code 3 "still, where nothing is left to do"
                File.WriteAllText(folder </> "scans" </> "text.nii.gz", "no scan")
                let third = ldr (cohort folder "out" @ [ "--json" ])
                Expect.equal third.Code 1 "an input cannot be used"

                Expect.equal
                    (number (answer third) "failed", number (answer third) "unusable")
                    (1, 1)
                    "both are counted"

                Expect.stringContains third.Errors "text.nii.gz" "and named"
                let group = ldr [ "cohort"; "--level"; "group"; "--output"; folder </> "out" ]
                Expect.equal group.Code 1 "the page's making tells the same"
                Expect.equal (File.ReadAllLines(folder </> "out" </> "group.tsv")).Length 11 "a row a pair")

            testInFolder "Ctrl-C ends a cohort with 130 and no half file" (fun folder ->
                if ignoresInterrupts () then
                    skiptest "this process ignores SIGINT"

                scene (64, 64, 64) folder

                let outcome =
                    interrupt "INT" (cohortWith 60 folder "out" @ [ "--threads"; "1" ]) "1 of 8 pairs"

                Expect.equal outcome.Code 130 outcome.Errors

                let left =
                    Directory.GetFiles(folder </> "out", "*", SearchOption.AllDirectories)
                    |> Array.filter (fun file -> file.EndsWith ".tmp" || file.EndsWith ".claim")

                Expect.isEmpty left "nothing half")

            testInFolder "tasks of a Slurm job array share a cohort" (fun folder ->
                scene (16, 18, 14) folder

                for task in [ 3; 5 ] do
                    let code, told =
                        ldrWith
                            [
                                "SLURM_ARRAY_TASK_ID", string task
                                "SLURM_ARRAY_TASK_MIN", "3"
                                "SLURM_ARRAY_TASK_MAX", "5"
                                "SLURM_ARRAY_TASK_STEP", "2"
                            ]
                            (cohort folder "parts")

                    Expect.equal code 0 told

                    Expect.hasLength
                        (Directory.GetDirectories(folder </> "parts"))
                        (if task = 3 then 4 else 8)
                        $"pairs after task {task}"

                let whole = ldr (cohort folder "whole")
                Expect.equal whole.Code 0 whole.Errors
                same (contents (folder </> "whole")) (contents (folder </> "parts")))

            testInFolder "a BIDS folder becomes derivatives" (fun folder ->
                scene (16, 18, 14) folder
                let anat = folder </> "bids" </> "sub-01" </> "ses-a" </> "anat"
                Directory.CreateDirectory anat |> ignore
                File.Copy(folder </> "scans" </> "s1.nii.gz", anat </> "sub-01_ses-a_T1w.nii.gz")
                File.WriteAllText(folder </> "bids" </> "dataset_description.json", """{"Name": "x"}""")

                let bids level =
                    [ "bids"; folder </> "bids"; folder </> "out"; level ]

                let made =
                    ldr (
                        bids "participant"
                        @ [ "--participant_label"; "01"; "--template"; folder </> "template.nii.gz" ]
                        @ [ "--template-name"; "mine"; "--refine"; "0"; "--affine"; "none" ]
                    )

                Expect.equal made.Code 0 made.Errors
                let there = folder </> "out" </> "sub-01" </> "ses-a" </> "anat"

                Expect.equal
                    (Directory.GetFiles there |> Array.map Path.GetFileName |> Set.ofArray)
                    (set
                        [
                            "sub-01_ses-a_space-mine_desc-registered_T1w.nii.gz"
                            "sub-01_ses-a_from-T1w_to-mine_mode-image_xfm.h5"
                            "sub-01_ses-a_from-mine_to-T1w_mode-image_xfm.h5"
                            "sub-01_ses-a_space-mine_desc-registration_picture.png"
                            "sub-01_ses-a_space-mine_desc-registration_result.json"
                        ])
                    "names"

                let description =
                    (nonNull (
                        JsonNode.Parse(File.ReadAllText(folder </> "out" </> "dataset_description.json"))
                    ))

                Expect.equal (string description["DatasetType"]) "derivative" "description"
                let group = ldr (bids "group" @ [ "--json" ])
                Expect.equal (number (answer group) "pairs") 1 "the group's page"

                let nobody =
                    ldr (bids "participant" @ [ "--participant-label"; "09"; "--template"; "t.nii" ])

                Expect.equal nobody.Code 1 "exit code"

                Expect.stringContains
                    nobody.Errors
                    "holds no scan of sub-09"
                    "a participant that is not there")

            testInFolder "the descriptor for Boutiques is that of the program's options" (fun _ ->
                let printed = ldr [ "bids"; "--boutiques" ]

                if Environment.GetEnvironmentVariable "LDR_GOLDEN" = "write" then
                    File.WriteAllText(descriptorFile, printed.Output)

                Expect.equal
                    printed.Output
                    (File.ReadAllText descriptorFile)
                    "docs/reference/bids.boutiques.json"

                let node = (nonNull (JsonNode.Parse printed.Output))
                let line = string node["command-line"]

                for input in node["inputs"].AsArray() do
                    Expect.stringContains line (string input["value-key"]) "each value has its place"

                let ofName name =
                    node["inputs"].AsArray() |> Seq.find (fun input -> string input["id"] = name)

                Expect.equal (string ((ofName "out_dir")["optional"])) "false" "what must be given"

                Expect.equal
                    (string ((ofName "refine")["integer"]))
                    "true"
                    "options of register are there, typed")

            testInFolder "5,000 pairs open within two seconds, sort, and ask no server" (fun folder ->
                writeResults folder 5000
                let made = ldr [ "cohort"; "--level"; "group"; "--output"; folder ]
                Expect.equal made.Code 0 made.Errors
                use browser = Browser.Start()
                browser.Open(Uri(folder </> "group.html").AbsoluteUri)
                browser.Wait "document.querySelectorAll('.pair').length > 0"

                let opened =
                    browser.Evaluate
                        "String(performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart)"

                Expect.isLessThan (float opened) 2000.0 "milliseconds"

                let shown selector =
                    browser.Evaluate $"document.querySelector('{selector}').textContent"

                Expect.equal (shown ".pair .id") "sub-1234" "an outlier is first"
                Expect.stringContains (shown ".pair .reason") "Detail 0.300" "and says why"
                Expect.equal (shown "#shown") "5000 of 5000 pairs" "all are there"

                browser.Evaluate
                    "(() => { const f = document.getElementById('find'); f.value = 'sub-49'; f.dispatchEvent(new Event('input')); return ''; })()"
                |> ignore

                Expect.equal (shown "#shown") "100 of 5000 pairs" "the filter"

                browser.Evaluate
                    "(() => { const f = document.getElementById('find'); f.value = ''; f.dispatchEvent(new Event('input')); const s = document.getElementById('sort'); s.value = '-2'; s.dispatchEvent(new Event('change')); return ''; })()"
                |> ignore

                Expect.equal (shown ".pair .id") "sub-0000" "by name"

                for address in browser.Requests do
                    Expect.isTrue (address.StartsWith "file://") address)
        ]
