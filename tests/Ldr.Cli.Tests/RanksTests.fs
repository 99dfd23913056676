/// One training by several processes that Open MPI starts.
module Ldr.Cli.Tests.RanksTests

open System
open System.Diagnostics
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.CliTests

/// Steps of four batches: teacher, student, student with a discriminator.
let private command (run: string) =
    tiny run
    @ [
        for training in [ "teacher"; "student-reconstruction"; "student-feature-gap" ] do
            "--set"
            $"train.{training}.batch=1"
            "--set"
            $"train.{training}.accumulate=4"
    ]

/// What starts so many ranks, also as root and on few cores.
let private launch (ranks: int) =
    [
        "--allow-run-as-root"
        "--oversubscribe"
        "--bind-to"
        "none"
        "-n"
        string ranks
        "dotnet"
        program
    ]

let private needMpi () =
    if not (has "mpirun") then
        skiptest "Open MPI's mpirun is not installed"

let private ranks (count: int) (arguments: string list) =
    needMpi ()
    run "mpirun" (launch count @ arguments)

let private weights (model: string) =
    (Safetensors.Read model).Tensors
    |> Seq.map (fun t -> t.Name, t.Bytes)
    |> List.ofSeq

/// The numbers that the trainings reported.
let private metrics (run: string) =
    File.ReadAllLines(run </> "metrics.jsonl")
    |> Array.map (fun line ->
        let node = (nonNull (Text.Json.Nodes.JsonNode.Parse line)).AsObject()
        node.Remove "steps_per_second" |> ignore
        node.ToJsonString())

let private same (one: string) (other: string) (what: string) =
    for model in Directory.GetFiles(one </> "models") do
        let name = string (Path.GetFileName model)
        Expect.equal (weights (other </> "models" </> name)) (weights model) $"{what}: weights of {name}"

    Expect.equal (metrics other) (metrics one) $"{what}: metrics"

let tests =
    testList
        "ranks"
        [
            testInFolder "1, 2 and 4 ranks end with the same weights, bit by bit" (fun folder ->
                let alone = folder </> "alone"
                needMpi ()
                let outcome = ldr (command alone @ steps 2)
                Expect.equal outcome.Code 0 outcome.Errors

                for count in [ 2; 4 ] do
                    let together = folder </> string count
                    let outcome = ranks count (command together @ steps 2)
                    Expect.equal outcome.Code 0 outcome.Errors
                    same alone together $"{count} ranks"

                    Expect.equal
                        (outcome.Output.Split("| untouched").Length - 1)
                        1
                        "one of them prints the table")

            testInFolder
                "a rank that dies ends all within 10 s; another number of ranks goes on"
                (fun folder ->
                    let whole, broken = folder </> "whole", folder </> "broken"

                    let command run =
                        command run @ steps 12 @ [ "--only"; "teacher" ]

                    needMpi ()
                    let outcome = ldr (command whole)
                    Expect.equal outcome.Code 0 outcome.Errors
                    use running = start "mpirun" (launch 4 @ command broken)
                    running.OutputDataReceived.Add ignore
                    running.ErrorDataReceived.Add ignore
                    running.BeginOutputReadLine()
                    running.BeginErrorReadLine()
                    let clock = Stopwatch.StartNew()

                    while not (File.Exists(broken </> "checkpoints" </> "index.json"))
                          && clock.Elapsed.TotalSeconds < 90.0 do
                        Threading.Thread.Sleep 20

                    let last =
                        (run "pgrep" [ "-P"; string running.Id ])
                            .Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                        |> Array.last

                    let died = Stopwatch.StartNew()
                    run "kill" [ "-KILL"; last ] |> ignore
                    running.WaitForExit()
                    Expect.isLessThan died.Elapsed.TotalSeconds 10.0 "seconds until all have ended"
                    Expect.notEqual running.ExitCode 0 "exit code"
                    let outcome = ranks 2 (command broken @ [ "--resume" ])
                    Expect.equal outcome.Code 0 outcome.Errors
                    same whole broken "resumed")

            testInFolder "what ranks cannot share is said once, and nothing is left" (fun folder ->
                let there = folder </> "run"
                let outcome = ranks 3 (command there @ steps 2)
                Expect.equal outcome.Code 1 outcome.Errors

                let lines = outcome.Errors.Split '\n' |> Array.filter _.StartsWith("ldr-fs: ")

                Expect.equal lines.Length 1 outcome.Errors
                Expect.stringContains lines[0] "3 ranks cannot share its steps of 4 pairs" "the line")

            testInFolder "processes of another MPI are refused" (fun folder ->
                let there = folder </> "run"

                let outcome =
                    run "env" ([ "PMI_SIZE=4"; "dotnet"; program ] @ command there @ steps 2)

                Expect.equal outcome.Code 1 outcome.Errors
                Expect.stringContains outcome.Errors "started, and not by Open MPI" "the line"
                Expect.isFalse (Directory.Exists there) "nothing is left")
        ]
