/// `template` and `segment` as programs: kills, keys of JSON, files, exit codes.
module Ldr.Cli.Tests.AtlasCliTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 24, 26, 22
        Subjects = 6
        Structures = 3
        Deformation = 1.5
        Noise = 0.01
        Seed = 8
    }

/// A table of labelled scans; the first one is left out.
let private scene (folder: string) =
    for i in 0..5 do
        let scan, labels = Anatomy.subject anatomy i
        scan.Write(folder </> $"s{i}.nii.gz")
        labels.Write(folder </> $"l{i}.nii.gz")

    [ for i in 1..5 -> $"s{i}.nii.gz,l{i}.nii.gz" ]
    |> fun rows -> File.WriteAllLines(folder </> "atlases.csv", "scan,labels" :: rows)

let private answer (outcome: Outcome) =
    (nonNull (JsonNode.Parse outcome.Output)).AsObject()

let private template (folder: string) (output: string) =
    [
        "template"
        folder </> "atlases.csv"
        "--rounds"
        "1"
        "--output"
        folder </> output
    ]

let private segment (folder: string) (target: string) (output: string) =
    [
        "segment"
        "--atlases"
        folder </> "atlases.csv"
        "--target"
        folder </> target
        "--fusion"
        "majority"
        "--output"
        folder </> output
    ]

let private counts (keys: string list) (outcome: Outcome) =
    let said = answer outcome
    [ for key in keys -> int (string said[key]) ]

/// Every file of a template but what a kill may leave beside it.
let private contents (output: string) : Map<string, string> =
    Directory.GetFiles(output, "*", SearchOption.AllDirectories)
    |> Array.map (fun file -> Path.GetRelativePath(output, file), file)
    |> Array.filter (fun (name, _) ->
        [ ".nii.gz"; ".json"; ".html"; ".txt" ]
        |> List.exists (fun ending -> name.EndsWith ending)
        && not ((nonNull (Path.GetFileName name)).StartsWith '.'))
    |> Array.map (fun (name, file) ->
        name, Convert.ToHexString(Security.Cryptography.SHA256.HashData(File.ReadAllBytes file)))
    |> Map.ofArray

let tests =
    testList
        "atlas"
        [
            testInFolder
                "killed at random moments, a template ends with the files of an unbroken one"
                (fun folder ->
                    scene folder
                    let whole = ldr (template folder "whole" @ [ "--json" ])
                    Expect.equal whole.Code 0 whole.Errors
                    let said = answer whole

                    for key in [ "scans"; "rounds"; "template"; "last_mean_deformation_mm"; "sharpness" ] do
                        Expect.isTrue (said.ContainsKey key) key

                    let random = Random 5

                    for _ in 1..5 do
                        use running = start "dotnet" (program :: template folder "broken")
                        running.StandardOutput.ReadToEndAsync() |> ignore
                        running.StandardError.ReadToEndAsync() |> ignore
                        running.WaitForExit(random.Next(300, 1200)) |> ignore
                        running.Kill()
                        running.WaitForExit()

                    let ended = ldr (template folder "broken")
                    Expect.equal ended.Code 0 ended.Errors
                    let one, other = contents (folder </> "whole"), contents (folder </> "broken")
                    Expect.equal (List.ofSeq other.Keys) (List.ofSeq one.Keys) "names of files"

                    for KeyValue(name, content) in one do
                        Expect.equal other[name] content name)

            testInFolder "a scan is labelled, and its structures are measured" (fun folder ->
                scene folder
                let file = (</>) folder

                let outcome =
                    ldr
                        [
                            "segment"
                            "--atlases"
                            file "atlases.csv"
                            "--target"
                            file "s0.nii.gz"
                            "--nearest"
                            "3"
                            "--output"
                            file "labels.nii.gz"
                            "--volumes"
                            file "volumes.csv"
                            "--disagreement"
                            file "disagreement.nii.gz"
                            "--probabilities"
                            file "probabilities"
                            "--json"
                        ]

                Expect.equal outcome.Code 0 outcome.Errors
                let said = answer outcome
                Expect.equal (said["atlases"].AsArray().Count) 3 "the nearest"

                let labels, truth =
                    ImageFile.Read(file "labels.nii.gz"), ImageFile.Read(file "l0.nii.gz")

                let known = Overlap.Labels truth
                let dice = Overlap.Measure(labels, truth, known) |> Seq.averageBy _.Dice
                Expect.isGreaterThan dice 0.6 "like its own labels"
                let lines = File.ReadAllLines(file "volumes.csv")

                Expect.equal
                    lines[0]
                    "label,voxels,volume_mm3,expected_volume_mm3,mean_probability"
                    "columns"

                Expect.equal lines.Length (1 + known.Count) "a line for each label"
                Expect.isTrue (File.Exists(file "probabilities" </> "label-1.nii.gz")) "a map for each label")

            testInFolder
                "many scans are labelled as one is; a bad one stops no other, and what is done is skipped"
                (fun folder ->
                    scene folder
                    let file = (</>) folder
                    File.WriteAllText(file "bad.nii.gz", "no scan")

                    File.WriteAllLines(
                        file "targets.csv",
                        [ "scan,id"; "bad.nii.gz,bad"; "s0.nii.gz,new"; "s1.nii.gz,known" ]
                    )

                    let segment target output more =
                        ldr (segment folder target output @ more)

                    let counts = counts [ "scans"; "done"; "skipped"; "unusable" ]

                    let first = segment "targets.csv" "all" [ "--json" ]
                    Expect.equal first.Code 1 "one cannot be used"
                    Expect.equal (counts first) [ 3; 2; 0; 1 ] "the others are done"
                    Expect.stringContains first.Errors "bad.nii.gz: " "what is wrong"
                    Expect.isTrue (File.Exists(file "all/bad/problem.json")) "it is noted"

                    let single = segment "s0.nii.gz" "single.nii.gz" []
                    Expect.equal single.Code 0 single.Errors

                    Expect.equal
                        (File.ReadAllBytes(file "all/new/labels.nii.gz"))
                        (File.ReadAllBytes(file "single.nii.gz"))
                        "the same labels"

                    let atlases =
                        (nonNull (JsonNode.Parse(File.ReadAllText(file "all/known/result.json"))))["atlases"]

                    let used = [ for name in atlases.AsArray() -> string name ]
                    Expect.isGreaterThan used.Length 1 "several atlases"
                    Expect.isFalse (List.contains "s1" used) "a scan is not its own atlas"

                    let rows = File.ReadAllLines(file "all/volumes.csv")
                    Expect.stringStarts rows[0] "scan,label,voxels,volume_mm3" "columns"

                    Expect.equal
                        (rows[1..] |> Array.countBy (fun row -> row.Split(',')[0]))
                        [| "new", 3; "known", 3 |]
                        "a line for each structure of each scan"

                    File.Copy(file "s2.nii.gz", file "bad.nii.gz", true)
                    let second = segment "targets.csv" "all" [ "--json" ]
                    Expect.equal second.Code 0 second.Errors
                    Expect.equal (counts second) [ 3; 1; 2; 0 ] "only the mended one"
                    let other = segment "targets.csv" "all" [ "--json"; "--nearest"; "2" ]
                    Expect.equal (counts other) [ 3; 3; 0; 0 ] "other options: anew"
                    let refused = segment "targets.csv" "all" [ "--volumes"; file "v.csv" ]
                    Expect.equal refused.Code 2 refused.Errors)

            testInFolder
                "of many scans, one that no atlas fits fails: the exit code tells it, also when nothing is left to do"
                (fun folder ->
                    scene folder
                    let grid = ImageFile.ReadGrid(folder </> "s0.nii.gz")
                    (randomVolume (Random 1) grid).Write(folder </> "noise.nii.gz")
                    File.WriteAllLines(folder </> "targets.csv", [ "scan"; "noise.nii.gz"; "s0.nii.gz" ])
                    let one = segment folder
                    let all = one "targets.csv" "all" @ [ "--json" ]
                    let counts = counts [ "done"; "skipped"; "failed"; "unusable" ]
                    let first = ldr all
                    Expect.equal first.Code 3 first.Errors
                    Expect.equal (counts first) [ 2; 0; 1; 0 ] "it has labels all the same"
                    Expect.stringContains first.Errors "failed: noise" "it is named"
                    let second = ldr all
                    Expect.equal second.Code 3 second.Errors
                    Expect.equal (counts second) [ 0; 2; 1; 0 ] "what was done before counts"
                    let single = ldr (one "noise.nii.gz" "one.nii.gz")
                    Expect.equal single.Code 3 "as for one scan")

            testInFolder
                "Ctrl-C ends the labelling of many scans with 130 and no half file; it goes on to the same labels"
                (fun folder ->
                    if ignoresInterrupts () then
                        skiptest "this process ignores SIGINT"

                    scene folder

                    File.WriteAllLines(
                        folder </> "targets.csv",
                        "scan,id" :: [ for i in 1..8 -> $"s0.nii.gz,t{i}" ]
                    )

                    let segment output =
                        segment folder "targets.csv" output @ [ "--nearest"; "2" ]

                    let outcome =
                        interrupt "INT" (segment "broken" @ [ "--threads"; "1" ]) "1 of 8 scans"

                    Expect.equal outcome.Code 130 outcome.Errors
                    Expect.stringContains outcome.Errors "the same command goes on" "what to do"

                    let left =
                        Directory.GetFiles(folder </> "broken", "*", SearchOption.AllDirectories)
                        |> Array.filter (fun file -> file.EndsWith ".tmp" || file.EndsWith ".claim")

                    Expect.isEmpty left "nothing half"
                    let ended = ldr (segment "broken" @ [ "--json" ])
                    Expect.equal ended.Code 0 ended.Errors
                    let finished = counts [ "done"; "skipped" ] ended
                    Expect.equal (List.sum finished) 8 "all"
                    Expect.isTrue (finished |> List.forall (fun n -> n >= 1)) "some of them before"
                    let whole = ldr (segment "whole")
                    Expect.equal whole.Code 0 whole.Errors

                    same
                        (Ldr.TestKit.Helpers.contents (folder </> "whole"))
                        (Ldr.TestKit.Helpers.contents (folder </> "broken")))
        ]
