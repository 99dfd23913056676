namespace Ldr.Cli

open Ldr

/// Options that verbs share.
type CommonOptions =
    {
        Threads: int option
        Cuda: bool
        Json: bool
        Verbose: bool
    }

/// What a verb is carried out with.
[<NoEquality; NoComparison>]
type Context =
    {
        /// All cores unless given.
        Threads: int option
        Cuda: bool
        /// The arguments as they were given.
        CommandLine: string list
        Speaker: Speaker
    }

/// A verb with its options, ready to be carried out.
[<NoEquality; NoComparison>]
type Call =
    {
        Common: CommonOptions
        Run: Context -> Result<Said, Error>
    }

module CommonOptions =
    /// Of a verb that has neither --threads nor --device.
    let plain (json: bool) (verbose: bool) : CommonOptions =
        {
            Threads = None
            Cuda = false
            Json = json
            Verbose = verbose
        }

    /// As arguments, but for --verbose.
    let arguments (common: CommonOptions) : string list =
        [
            match common.Threads with
            | Some count ->
                "--threads"
                string count
            | None -> ()
            if common.Cuda then
                "--device"
                "cuda"
            if common.Json then
                "--json"
        ]

module Call =
    /// Checks the options that verbs share.
    let create (common: CommonOptions) (run: Context -> Result<Said, Error>) : Result<Call, string> =
        match common.Threads with
        | Some n when n < 1 -> Error "--threads: give a whole number above 0"
        | _ -> Ok { Common = common; Run = run }

    /// Carries it out; the exit code.
    let carryOut (commandLine: string list) (call: Call) : int =
        let common = call.Common
        let speaker = Speaker(common.Json, common.Verbose)

        common.Threads
        |> Option.iter (fun count -> Ldr.Runtime.Transforms.Threads.Most <- count)

        call.Run
            {
                Threads = common.Threads
                Cuda = common.Cuda
                CommandLine = commandLine
                Speaker = speaker
            }
        |> speaker.Print
