/// What a training leaves when it is killed, when the disk is full, and when another one wants its folder.
module Ldr.Cli.Tests.SurvivalTests

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.CliTests

/// Starts ldr-fs; what it says goes nowhere.
let private begin' (arguments: string list) =
    let running = start "dotnet" (program :: arguments)
    running.OutputDataReceived.Add ignore
    running.ErrorDataReceived.Add ignore
    running.BeginOutputReadLine()
    running.BeginErrorReadLine()
    running

/// Waits until a file is there, or the process has ended.
let private awaitFile (running: Process) (file: string) =
    let clock = Stopwatch.StartNew()

    while not (File.Exists file)
          && not running.HasExited
          && clock.Elapsed.TotalSeconds < 60.0 do
        Threading.Thread.Sleep 20

    Expect.isTrue (File.Exists file) $"{file} appears"

/// A training of one network, its checkpoints, of 21 MB, after every third step.
let private command (run: string) =
    small run
    @ steps 60
    @ [ "--only"; "teacher"; "--set"; "train.teacher.checkpoint_every=3" ]
    @ [ "--set"; "train.teacher.validate_every=20" ]

/// The lines of `metrics.jsonl` without times; each must be whole.
let private metrics (run: string) =
    File.ReadAllLines(run </> "metrics.jsonl")
    |> Array.map (fun line ->
        let node = (nonNull (JsonNode.Parse line)).AsObject()
        node.Remove "steps_per_second" |> ignore
        node.ToJsonString())

let private weights (run: string) =
    (Safetensors.Read(run </> "model.safetensors")).Tensors
    |> Seq.map (fun t -> t.Name, t.Bytes)
    |> List.ofSeq

let private checkpoints (run: string) =
    Directory.GetFiles(run </> "checkpoints")
    |> Array.map (Path.GetFileName >> string)
    |> Array.sort

/// Does something on a disk of its own of so many bytes, as tmpfs writes them; it is told the disk's folder, and how to
/// change the size.
let private onSmallDisk (folder: string) (size: string) (action: string -> (string -> Outcome) -> unit) =
    let disk = folder </> "disk"
    Directory.CreateDirectory disk |> ignore

    let mount options =
        run "mount" [ "-t"; "tmpfs"; "-o"; options; "tmpfs"; disk ]

    if not (has "mount") || (mount $"size={size}").Code <> 0 then
        skiptest "a small disk can only be mounted as root, on Linux"

    try
        action disk (fun larger -> mount $"remount,size={larger}")
    finally
        run "umount" [ "-l"; disk ] |> ignore

let tests =
    testList
        "survival"
        [
            testInFolder "killed at 20 random moments, a training ends as an unbroken one" (fun folder ->
                let whole, broken = folder </> "whole", folder </> "broken"
                let unbroken = ldr (command whole)
                Expect.equal unbroken.Code 0 unbroken.Errors
                let random = Random 1
                let mutable midway = 0

                for kill in 1..20 do
                    use running = begin' (command broken @ [ "--resume" ])

                    // However slow the machine is, all but the first have a checkpoint to go on from.
                    if kill = 2 then
                        awaitFile running (broken </> "checkpoints" </> "index.json")

                    // From before the first file is read to after the last step.
                    running.WaitForExit(random.Next(300, 2500)) |> ignore
                    running.Kill()
                    running.WaitForExit()

                    if
                        Directory.Exists(broken </> "checkpoints")
                        && not (File.Exists(broken </> "models" </> "teacher.safetensors"))
                    then
                        midway <- midway + 1

                Expect.isGreaterThan midway 2 "kills between the first checkpoint and the model"
                let ended = ldr (command broken @ [ "--resume" ])
                Expect.equal ended.Code 0 ended.Errors
                Expect.equal (weights broken) (weights whole) "final weights"
                Expect.equal (metrics broken) (metrics whole) "metrics"
                Expect.equal (checkpoints broken) (checkpoints whole) "no file is left over")

            testInFolder
                "a training belongs to one process, until that ends, however it ends; then another one goes on"
                (fun folder ->
                    let run = folder </> "run"
                    let arguments = tiny run @ steps 4000 @ [ "--only"; "teacher" ]
                    use first = begin' arguments
                    awaitFile first (run </> "checkpoints" </> "index.json")
                    let refused = ldr arguments
                    Expect.equal refused.Code 1 "exit code"
                    Expect.stringContains refused.Errors "holds a run already" "without --resume"
                    use second = start "dotnet" (program :: arguments @ [ "--resume" ])
                    second.StandardOutput.ReadToEndAsync() |> ignore

                    let awaitLine (text: string) =
                        let mutable line = second.StandardError.ReadLine()

                        while not (isNull line || line.Contains text) do
                            line <- second.StandardError.ReadLine()

                        Expect.isNotNull line text

                    awaitLine "Other processes have what is left: teacher"
                    Expect.isFalse first.HasExited "the first goes on"
                    first.Kill()
                    first.WaitForExit()
                    awaitLine "from step"
                    Ldr.TestKit.Process.run "kill" [ "-TERM"; string second.Id ] |> ignore
                    second.StandardError.ReadToEnd() |> ignore
                    second.WaitForExit()
                    Expect.equal second.ExitCode 130 "stopped"
                    Expect.isFalse (Directory.Exists(run </> ".claims")) "no claim is left")

            testInFolder
                "a full disk keeps the last good checkpoint, and the training goes on from it"
                (fun folder ->
                    // Three checkpoints are there while the third is written.
                    onSmallDisk folder "50M" (fun disk resize ->
                        let there = disk </> "run"
                        let full = ldr (command there)
                        Expect.equal full.Code 1 full.Errors
                        Expect.stringContains full.Errors "free space" "the line"
                        Expect.stringContains full.Errors $"{there} may take up to" "and a warning before"

                        Expect.equal
                            (checkpoints there)
                            [| "index.json"; "teacher-3.safetensors"; "teacher-6.safetensors" |]
                            "two whole checkpoints, and no part of a third"

                        Expect.equal (resize "500M").Code 0 "a larger disk"
                        let ended = ldr (command there @ [ "--resume" ])
                        Expect.equal ended.Code 0 ended.Errors
                        Expect.isFalse (ended.Errors.Contains "may take up to") "there is room"
                        Expect.stringContains ended.Errors "from step 6" "where it went on"
                        let whole = folder </> "whole"
                        let unbroken = ldr (command whole)
                        Expect.equal unbroken.Code 0 unbroken.Errors
                        Expect.equal (weights there) (weights whole) "final weights"
                        Expect.equal (metrics there) (metrics whole) "metrics"))

            testInFolder
                "a full disk keeps a store's whole fields, and teaching goes on from them"
                (fun folder ->
                    onSmallDisk folder "1M" (fun disk resize ->
                        let store = disk </> "store"

                        let command =
                            ("teach" :: List.tail (tiny store))
                            @ [
                                "--training"
                                "student-feature-gap"
                                "--set"
                                "train.student-feature-gap.distillation.teacher=optimisation"
                                "--set"
                                "train.student-feature-gap.pairs=12"
                            ]

                        let fields () =
                            Directory.GetFiles(store, "*.safetensors")
                            |> Array.map (fun file -> Path.GetFileName file, File.ReadAllBytes file)
                            |> Map.ofArray

                        // A field has 196 kB.
                        let full = ldr command
                        Expect.equal full.Code 1 full.Errors
                        Expect.stringContains full.Errors $"{store} may take up to" "a warning before"
                        Expect.stringContains full.Errors "free space" "the line"
                        let before = fields ()
                        Expect.equal before.Count 5 "whole fields"
                        Expect.equal (resize "50M").Code 0 "a larger disk"
                        let ended = ldr command
                        Expect.equal ended.Code 0 ended.Errors
                        Expect.isFalse (ended.Errors.Contains "may take up to") "there is room"
                        let after = fields ()
                        Expect.equal after.Count 12 "all fields"

                        for KeyValue(name, bytes) in before do
                            Expect.equal after[name] bytes name))
        ]
