/// Runs programs as processes.
module Ldr.Tests.Cli.Process

open System
open System.Diagnostics
open System.IO
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry

type Outcome =
    {
        Code: int
        Output: string
        Errors: string
        /// From start to end.
        Seconds: float
        /// Of the processor: other programs beside it do not count. Looked at every 20 ms.
        ProcessorSeconds: float
    }

/// Starts a program, whose output is to be read.
let start (program: string) (arguments: string seq) =
    let info =
        ProcessStartInfo(program, arguments, RedirectStandardOutput = true, RedirectStandardError = true)

    Process.Start info |> nonNull

/// Waits for the end of a program; the processor's seconds that it took.
let private waitFor (running: Process) =
    let mutable taken = TimeSpan.Zero

    while not (running.WaitForExit 20) do
        try
            taken <- running.TotalProcessorTime
        with
        | :? InvalidOperationException
        | :? System.ComponentModel.Win32Exception ->
            // It ended a moment ago.
            ()

    running.WaitForExit()
    taken.TotalSeconds

/// Runs a program to its end.
let run (program: string) (arguments: string seq) : Outcome =
    let clock = Stopwatch.StartNew()
    use running = start program arguments
    let output = running.StandardOutput.ReadToEndAsync()
    let errors = running.StandardError.ReadToEndAsync()
    let processor = waitFor running

    {
        Code = running.ExitCode
        Output = output.Result
        Errors = errors.Result
        Seconds = clock.Elapsed.TotalSeconds
        ProcessorSeconds = processor
    }

/// The program that the tests run.
let program = Path.Combine(AppContext.BaseDirectory, "ldr-fs.dll")

/// Runs ldr-fs.
let ldr (arguments: string list) = run "dotnet" (program :: arguments)

/// Starts ldr-fs, waits until it said something on stderr, sends a signal (INT, TERM), waits for its end.
let interrupt (signal: string) (arguments: string list) (said: string) : Outcome =
    let clock = Stopwatch.StartNew()
    use running = start "dotnet" (program :: arguments)
    let output = running.StandardOutput.ReadToEndAsync()
    let errors = Text.StringBuilder()
    let mutable waiting = true

    while waiting do
        match running.StandardError.ReadLine() with
        | null -> waiting <- false
        | line ->
            errors.AppendLine line |> ignore

            if line.Contains said then
                (run "kill" [ "-" + signal; string running.Id ]) |> ignore
                waiting <- false

    errors.Append(running.StandardError.ReadToEnd()) |> ignore
    let processor = waitFor running

    {
        Code = running.ExitCode
        Output = output.Result
        Errors = errors.ToString()
        Seconds = clock.Elapsed.TotalSeconds
        ProcessorSeconds = processor
    }

/// Whether a program is installed.
let has (program: string) =
    (Environment.GetEnvironmentVariable "PATH" |> string).Split Path.PathSeparator
    |> Array.exists (fun folder -> File.Exists(Path.Combine(folder, program)))

/// A small model with random weights whose fields are about a voxel long; nothing is learnt.
let writeModel (path: string) =
    let architecture =
        Architecture.Single(
            Stage.LdrHalf
                {
                    Encoder = [ 4; 4; 8; 8 ]
                    Decoder = [ 8; 4; 4 ]
                }
        )

    use network = Network.create (Seed.ofInt 1) architecture
    use _ = torch.no_grad ()

    for struct (name, parameter) in network.named_parameters () do
        if name.Contains "flow" && name.EndsWith "weight" then
            parameter.normal_ (0.0, 0.4, generator = new torch.Generator(5UL)) |> ignore

    ModelFile.write
        path
        {
            Network = network
            Card =
                { ModelCard.untrained architecture with
                    Size = 32, 32, 32
                    Alignment = Alignment.Centres
                }
        }
