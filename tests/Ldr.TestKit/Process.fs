/// Runs programs as processes.
module Ldr.TestKit.Process

open System
open System.Diagnostics
open System.IO

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

/// A program of the repository: its project's folder, its file; of the configuration and framework of the tests.
let built (project: string) (file: string) =
    let framework =
        DirectoryInfo(AppContext.BaseDirectory.TrimEnd Path.DirectorySeparatorChar)

    let configuration = (nonNull framework.Parent).Name
    Path.Combine(Repository.root, project, "bin", configuration, framework.Name, file)

/// The program that the tests run, in its own output folder: its libraries are compiled beforehand, as for users.
let program = built "src/Ldr.Cli" "ldr-fs.dll"

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

/// Whether this process, and so its children, ignore a signal, as programs do that a script started in the background (SIGINT)
/// or under `nohup` (SIGHUP).
let ignores (signal: int) =
    let status = "/proc/self/status"

    File.Exists status
    && File.ReadLines status
       |> Seq.tryFind _.StartsWith("SigIgn:")
       |> Option.exists (fun line ->
           Convert.ToUInt64(line.Substring(7).Trim(), 16) &&& (1UL <<< (signal - 1)) <> 0UL)

/// The same for SIGINT.
let ignoresInterrupts () = ignores 2

/// Whether a program is installed.
let has (program: string) =
    (Environment.GetEnvironmentVariable "PATH" |> string).Split Path.PathSeparator
    |> Array.exists (fun folder -> File.Exists(Path.Combine(folder, program)))
