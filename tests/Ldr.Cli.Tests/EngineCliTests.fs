/// `--engine`, `benchmark` and the examples as processes.
module Ldr.Cli.Tests.EngineCliTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Formats
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 32, 32, 32
        Subjects = 2
        Structures = 3
        Deformation = 1.5
        Noise = 0.0
        Seed = 8
    }

let private scene (folder: string) =
    for name, index in [ "fixed", 0; "moving", 1 ] do
        Nifti.Write(folder </> $"{name}.nii", fst (Anatomy.subject anatomy index))

    writeModel (folder </> "model.safetensors")

let private register (folder: string) (more: string list) =
    ldr (
        [
            "register"
            "--fixed"
            folder </> "fixed.nii"
            "--moving"
            folder </> "moving.nii"
        ]
        @ [
            "--model"
            folder </> "model.safetensors"
            "--transform"
            folder </> "field.nii"
        ]
        @ [ "--moved"; folder </> "moved.nii"; "--json" ]
        @ more
    )

let private ran (outcome: Outcome) =
    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
    (JsonNode.Parse outcome.Output |> nonNull).AsObject()

/// A model whose network only libtorch runs.
let private writeVtn (path: string) =
    let architecture = Architecture.Single(Stage.Vtn { Levels = 2; Channels = 2 })
    use network = Network.create (Seed.ofInt 1) architecture
    let file = Path.ChangeExtension(path, "ldr")
    writeModel file
    let model = ModelFile.read file |> Error.orRaise

    ModelFile.write
        path
        {
            Network = network
            Card =
                { model.Card with
                    Architecture = architecture
                }
        }

    model.Network.Dispose()

let tests =
    testList
        "engine"
        [
            testInFolder "both engines register alike, on any number of threads" (fun folder ->
                scene folder

                let fields =
                    [
                        for more in
                            [
                                []
                                [ "--threads"; "1" ]
                                [ "--engine"; "managed"; "--threads"; "3" ]
                                [ "--engine"; "torch" ]
                            ] do
                            let node = register folder more |> ran
                            Expect.isTrue (node.ContainsKey "peak_mb") "peak_mb"
                            (Nifti.ReadField(folder </> "field.nii")).Vectors
                    ]

                Expect.equal fields[1] fields[0] "one thread"
                Expect.equal fields[2] fields[0] "three threads"

                let difference =
                    Array.map2 (fun a b -> abs (a - b)) fields[0] fields[3] |> Array.max

                Expect.isLessThan difference 1e-3f "libtorch")

            testInFolder
                "a network that the engine does not run: libtorch, or one line if the engine was asked for"
                (fun folder ->
                    scene folder
                    writeVtn (folder </> "model.safetensors")
                    let quiet = register folder []
                    ran quiet |> ignore
                    Expect.isFalse (quiet.Errors.Contains "managed engine") "no note"
                    let said = register folder [ "--verbose" ]
                    ran said |> ignore
                    Expect.stringContains said.Errors "does not run vtn" "a note"
                    let refused = register folder [ "--engine"; "managed" ]
                    Expect.equal refused.Code 1 "bad input"
                    Expect.stringContains refused.Errors "\"vtn\"" "the kind"
                    Expect.equal (refused.Errors.Trim().Split('\n').Length) 1 "one line")

            testCase "the managed engine and a GPU contradict each other" (fun () ->
                let outcome =
                    ldr
                        [
                            yield!
                                [
                                    "register"
                                    "--fixed"
                                    "a"
                                    "--moving"
                                    "b"
                                    "--model"
                                    "c"
                                    "--moved"
                                    "d"
                                ]
                            yield! [ "--engine"; "managed"; "--device"; "cuda" ]
                        ]

                Expect.equal outcome.Code 2 "wrong usage")

            testCase "benchmark has the keys of --json, and its numbers fit together" (fun () ->
                let outcome =
                    ldr
                        [
                            "benchmark"
                            "--size"
                            "32"
                            "--rounds"
                            "3"
                            "--against"
                            "torch"
                            "--threads"
                            "2"
                            "--json"
                        ]

                Expect.equal outcome.Code 0 outcome.Errors
                let node = (JsonNode.Parse outcome.Output |> nonNull).AsObject()
                let value (key: string) = (nonNull node[key]).GetValue<float>()

                for key in
                    [
                        "engine_ms"
                        "torch_ms"
                        "ratio"
                        "network_gflops"
                        "gemm_gflops"
                        "peak_mb"
                        "process_ms"
                        "engine_warp_ms"
                        "torch_warp_ms"
                    ] do
                    Expect.isGreaterThan (value key) 0.0 key

                Expect.equal (value "size") 32.0 "size"
                Expect.equal (value "threads") 2.0 "threads"
                Expect.floatClose Accuracy.low (value "ratio") (value "torch_ms" / value "engine_ms") "ratio"
                Expect.isLessThan (value "max_field_difference") 1e-3 "field"
                Expect.isLessThan (value "max_moved_difference") 1e-4 "moved")

            testCase "benchmark without libtorch, of another network and size" (fun () ->
                let outcome =
                    ldr
                        [
                            "benchmark"
                            "--size"
                            "16x24x32"
                            "--rounds"
                            "1"
                            "--network"
                            "ldr-half"
                            "--json"
                        ]

                Expect.equal outcome.Code 0 outcome.Errors
                let node = (JsonNode.Parse outcome.Output |> nonNull).AsObject()
                Expect.isNull node["torch_ms"] "libtorch was not measured"
                Expect.equal ((nonNull node["size"]).ToJsonString()) "[16,24,32]" "size"

                for idle, line in
                    [
                        [ "--experiment"; "e.json" ], "--experiment belongs to --training"
                        [ "--set"; "seed=1" ], "--set belongs to --training"
                        [ "--training"; "teacher"; "--size"; "64" ], "--size does not go with --training"
                    ] do
                    let refused = ldr ("benchmark" :: idle)
                    Expect.equal refused.Code 2 refused.Errors
                    Expect.stringContains refused.Errors line "the line"

                let wrong = ldr [ "benchmark"; "--size"; "4" ]
                Expect.equal wrong.Code 2 "too small")

            testCase "benchmark times the steps of a training by both engines" (fun () ->
                let training name more =
                    ldr (
                        [
                            "benchmark"
                            "--training"
                            name
                            "--experiment"
                            Path.Combine(Repository.root, "experiments", "quickstart.json")
                            "--rounds"
                            "2"
                            "--threads"
                            "1"
                        ]
                        @ more
                    )

                let outcome = training "student-feature-gap" [ "--json" ]
                Expect.equal outcome.Code 0 outcome.Errors
                let node = JsonNode.Parse outcome.Output |> nonNull

                let value (node: JsonNode) (key: string) = (nonNull node[key]).GetValue<float>()

                let managed: JsonNode = nonNull node["managed"]
                let torch: JsonNode = nonNull node["torch"]

                Expect.floatClose
                    Accuracy.low
                    (value node "ratio")
                    (value torch "ms" / value managed "ms")
                    "the ratio is of the two medians"

                for part in [ "student"; "teacher"; "discriminator"; "optimiser" ] do
                    Expect.isGreaterThan (value (nonNull managed["parts_ms"]) part) 0.0 part

                let names =
                    [
                        for layer in (nonNull node["layers"]).AsArray() do
                            let layer: JsonNode = nonNull layer
                            (nonNull layer["name"]).GetValue<string>()
                    ]

                for layer in [ "conv1"; "conv4, weights"; "deconv1, back"; "flow" ] do
                    Expect.contains names layer "every layer, forward and back"

                let unknown = training "nobody" []
                Expect.equal unknown.Code 1 "no such training"
                Expect.stringContains unknown.Errors "student-feature-gap" "what there is")

            for language, project, file in
                [
                    "C#", "examples/csharp", "Ldr.Example.dll"
                    "F#", "examples/fsharp", "Ldr.FSharpExample.dll"
                ] do
                testInFolder $"the example in {language} registers as register does" (fun folder ->
                    scene folder
                    let said = register folder [ "--affine"; "auto" ]
                    let program = built project file

                    let outcome =
                        run
                            "dotnet"
                            [
                                program
                                folder </> "fixed.nii"
                                folder </> "moving.nii"
                                folder </> "out"
                                folder </> "model.safetensors"
                            ]

                    let verdict = string ((ran said)["verdict"])
                    Expect.equal outcome.Code said.Code outcome.Errors
                    Expect.stringStarts (outcome.Output.ToLowerInvariant()) verdict "verdict"

                    let field name =
                        (Nifti.ReadField(folder </> name)).Vectors

                    Expect.equal (field "out/field.nii.gz") (field "field.nii") "field"
                    let moved name = (Nifti.Read(folder </> name)).Values
                    Expect.equal (moved "out/moved.nii.gz") (moved "moved.nii") "moved"
                    Expect.isTrue (File.Exists(folder </> "out/report.html")) "report"
                    let usage = run "dotnet" [ program ]
                    Expect.equal usage.Code 2 "without arguments"
                    Expect.stringContains usage.Errors "register FIXED MOVING" "the usage")
        ]
