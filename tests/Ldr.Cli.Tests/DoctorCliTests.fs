/// The command line on data sets: doctor, evaluation of any of them, models by name, files of the wrong kind.
module Ldr.Cli.Tests.DoctorCliTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 16, 18, 16
        Subjects = 6
        Structures = 2
        Deformation = 0.5
        Noise = 0.02
        Seed = 9
    }

/// A data set of six subjects, and a folder of models with one in it.
let private scene (folder: string) =
    let entries =
        [
            for i in 0..5 do
                let image, labels = Anatomy.subject anatomy i
                Nifti.Write(folder </> $"s{i}.nii", image)
                Nifti.Write(folder </> $"l{i}.nii", labels, VoxelType.UInt8)
                $"""{{"image": "s{i}.nii", "label": "l{i}.nii"}}"""
        ]
        |> String.concat ", "

    File.WriteAllText(folder </> "dataset.json", $"""{{"name": "Six", "training": [{entries}]}}""")
    Directory.CreateDirectory(folder </> "models") |> ignore
    writeModel (folder </> "models" </> "small.safetensors")

/// Runs ldr-fs with a folder of models of its own.
let private withModels (folder: string) (arguments: string list) =
    run "env" ($"LDR_MODELS={folder}/models" :: "dotnet" :: program :: arguments)

let private refused (outcome: Outcome) (words: string list) =
    Expect.equal outcome.Code 1 $"exit code; it said: {outcome.Errors}"
    let lines = outcome.Errors.TrimEnd('\n').Split '\n'
    Expect.hasLength lines 1 $"one line: {outcome.Errors}"

    for word in words do
        Expect.stringContains lines[0] word "the line"

let private json (outcome: Outcome) =
    Expect.equal outcome.Code 0 $"exit code; it said: {outcome.Errors}"
    nonNull (JsonNode.Parse outcome.Output)

let private number (node: JsonNode) (key: string) = (nonNull node[key]).GetValue<float>()

let tests =
    testList
        "doctor"
        [
            testInFolder "a good data set is exit code 0, a spoilt one 1, as text and as JSON" (fun folder ->
                scene folder
                let good = ldr [ "doctor"; folder ]
                Expect.equal good.Code 0 good.Errors
                Expect.stringContains good.Output "Nothing would spoil a training" "the last line"
                File.Delete(folder </> "s3.nii")
                let spoilt = ldr [ "doctor"; folder; "--json" ]
                Expect.equal spoilt.Code 1 "exit code"
                let found = nonNull (JsonNode.Parse spoilt.Output)
                Expect.equal (number found "spoils") 1.0 "one finding"
                Expect.stringContains spoilt.Output "missing-file" "which one")

            testInFolder
                "any folder with a dataset.json is evaluated, its pairs drawn by the seed"
                (fun folder ->
                    scene folder

                    let evaluate seed more =
                        withModels
                            folder
                            ([ "evaluate"; "--model"; "small"; "--data"; folder; "--split"; "all"; "--json" ]
                             @ [
                                 "--seed"
                                 string (seed: int)
                                 "--pairs"
                                 "3"
                                 "--output"
                                 folder </> $"out{seed}"
                             ]
                             @ more)

                    let first, other = json (evaluate 1 []), json (evaluate 2 [])
                    Expect.equal (number first "pairs") 3.0 "pairs"

                    let pairs seed =
                        File.ReadAllLines(folder </> $"out{seed}" </> "scores.csv")
                        |> Array.map (fun line -> line.Split(',')[0..1])

                    let drawn = pairs 1
                    Expect.notEqual (pairs 2) drawn "another seed, other pairs"
                    json (evaluate 1 []) |> ignore
                    Expect.equal (pairs 1) drawn "the same seed, the same pairs"
                    Expect.isTrue (Double.IsFinite(number other "dice")) "a score")

            testInFolder
                "a table of pairs and a Learn2Reg description are evaluated and examined by themselves"
                (fun folder ->
                    let model = folder </> "m.safetensors"
                    writeModel model

                    for page, file, part, pairs, hasDice in
                        [
                            "csv", "pairs.csv", "test", 2, true
                            "csv", "pairs.csv", "all", 5, true
                            "learn2reg", "Example_dataset.json", "val", 1, false
                        ] do
                        DataPages.make folder (DataPages.blocks page)
                        let data = folder </> file

                        let scored =
                            ldr [ "evaluate"; "--model"; model; "--data"; data; "--split"; part; "--json" ]

                        Expect.equal scored.Code 0 scored.Errors
                        let node = nonNull (JsonNode.Parse scored.Output)
                        Expect.equal (string node["pairs"]) (string pairs) "the pairs of that part"
                        Expect.equal (isNull node["dice"]) (not hasDice) "Dice"
                        Expect.isNotNull node["tre_mm"] "TRE"
                        Expect.isNotNull node["tre_before_mm"] "TRE before"
                        let examined = ldr [ "doctor"; data ]
                        Expect.stringContains examined.Output $"described by {file}" "what it is"

                    let none = ldr [ "evaluate"; "--model"; model; "--data"; folder </> "rcn.csv" ]
                    Expect.equal none.Code 1 none.Errors

                    File.WriteAllText(folder </> "bare.csv", "fixed,moving\nscans/a.nii.gz,scans/b.nii.gz\n")
                    let bare = ldr [ "evaluate"; "--model"; model; "--data"; folder </> "bare.csv" ]
                    Expect.equal bare.Code 1 bare.Errors

                    Expect.stringContains
                        bare.Errors
                        "has no part \"test\"; known: \"all\""
                        "which there are"

                    let bare =
                        ldr
                            [
                                "evaluate"
                                "--model"
                                model
                                "--data"
                                folder </> "bare.csv"
                                "--split"
                                "all"
                            ]

                    Expect.equal bare.Code 1 bare.Errors
                    Expect.stringContains bare.Errors "neither a label map nor landmarks" "what is needed")

            testInFolder "models go by their names; an unknown one lists those that are known" (fun folder ->
                scene folder
                let card = json (withModels folder [ "inspect"; "small"; "--json" ])
                Expect.equal ((nonNull card["kind"]).GetValue<string>()) "model" "the card"

                refused
                    (withModels folder [ "evaluate"; "--model"; "bigger"; "--data"; folder ])
                    [ "bigger"; "no such model"; "\"small\"" ])

            testInFolder "--split validation is --split val" (fun folder ->
                scene folder

                refused
                    (withModels
                        folder
                        [ "evaluate"; "--model"; "small"; "--data"; folder; "--split"; "validation" ])
                    [ "two subjects" ])

            testInFolder "a scan as label map is refused" (fun folder ->
                scene folder

                refused
                    (withModels
                        folder
                        ([ "register"; "--model"; "small"; "--fixed"; folder </> "s0.nii" ]
                         @ [ "--moving"; folder </> "s1.nii"; "--labels"; folder </> "s1.nii" ]
                         @ [ "--moved-labels"; folder </> "o.nii" ]))
                    [ "s1.nii"; "no label map" ]

                File.Copy(folder </> "s1.nii", folder </> "l1.nii", true)

                refused
                    (withModels folder [ "evaluate"; "--model"; "small"; "--data"; folder; "--split"; "all" ])
                    [ "l1.nii"; "no label map" ])

            testInFolder "files of the wrong kind: what they are, and what is wanted" (fun folder ->
                scene folder
                let model = folder </> "models" </> "small.safetensors"
                let scan = folder </> "s0.nii"
                let described = folder </> "dataset.json"

                File.WriteAllBytes(
                    folder </> "p.png",
                    [| 0x89uy; 80uy; 78uy; 71uy; 13uy; 10uy; 26uy; 10uy |]
                )

                let register moving model =
                    [ "register"; "--model"; model; "--fixed"; scan; "--moving"; moving ]
                    @ [ "--moved"; folder </> "o.nii" ]

                for arguments, words in
                    [
                        register described model, [ "dataset.json"; "a JSON text"; "an image is wanted" ]
                        register model model,
                        [ "small.safetensors"; "such as a model"; "an image is wanted" ]
                        register (folder </> "p.png") model, [ "p.png"; "a picture (PNG)" ]
                        register scan scan, [ "s0.nii"; "is a NIfTI image, not a model" ]
                        register scan described, [ "dataset.json"; "not a model" ]
                        [ "validate"; scan ], [ "s0.nii"; "is a NIfTI image, not an experiment" ]
                        [ "train"; model ], [ "small.safetensors"; "not an experiment" ]
                        [ "validate"; described ], [ "dataset.json"; "is a data set's description" ]
                        [ "doctor"; scan ], [ "s0.nii"; "is one file" ]
                        [ "doctor"; folder </> "nowhere" ], [ "nowhere"; "no such folder" ]
                    ] do
                    refused (ldr arguments) words)
        ]
