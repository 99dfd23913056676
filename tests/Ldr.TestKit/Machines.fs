/// Machines with narrower vectors than this one: the same tests in a process of their own.
module Ldr.TestKit.Machines

open System
open System.Diagnostics
open Expecto

/// Lanes of float32 that such a process is to find.
[<Literal>]
let private LanesVariable = "LDR_EXPECTED_LANES"

/// How many lanes this process is to find, where it plays another machine.
let expectedLanes () : int option =
    Environment.GetEnvironmentVariable LanesVariable
    |> Option.ofObj
    |> Option.map int

let private run (program: string) (lanes: int) (switches: string list) (filter: string) =
    let info =
        ProcessStartInfo(
            "dotnet",
            [ program; "--filter"; filter ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for switch in switches do
        info.Environment[switch] <- "0"

    info.Environment[LanesVariable] <- string lanes
    use running = Process.Start info |> nonNull
    let errors = running.StandardError.ReadToEndAsync()
    let output = running.StandardOutput.ReadToEnd()
    running.WaitForExit()
    let report = output + errors.Result
    Expect.equal running.ExitCode 0 $"{filter}: {report}"
    Expect.isFalse (output.Contains "\n0 passed") $"{filter}: something was tested"

/// The tests of a program with these names, on machines with AVX2, with SSE, and without vectors; `ownLanes` are this machine's.
let narrower (program: string) (ownLanes: int) (filters: string list) : Test =
    testList
        "on a machine"
        [
            for name, lanes, switches in
                [
                    "with AVX2", 8, [ "DOTNET_EnableAVX512"; "DOTNET_EnableAVX512F" ]
                    "with SSE", 4, [ "DOTNET_EnableAVX2"; "DOTNET_EnableAVX" ]
                    "without vectors", 1, [ "DOTNET_EnableHWIntrinsic" ]
                ] do
                testCase name (fun () ->
                    if (expectedLanes ()).IsSome then
                        Tests.skiptest "this is such a run"

                    if ownLanes < lanes then
                        Tests.skiptest "this machine has less"

                    filters |> List.iter (run program lanes switches))
        ]
