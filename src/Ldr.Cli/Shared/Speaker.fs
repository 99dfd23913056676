namespace Ldr.Cli

open Ldr

/// Speaks for a verb: on stderr what goes on, on stdout what came out. Nobody else asks for --json and --verbose.
type Speaker(json: bool, verbose: bool) =
    let progress = Progress.Reporter()

    /// How far the work has come; also beside JSON.
    member _.Progress = progress

    /// What begins; not beside JSON.
    member _.Say(what: string) =
        if not json then
            eprintfn "%s" what

    /// What only --verbose shows.
    member _.Detail(what: string) =
        if verbose then
            eprintfn "%s" what

    /// Prints how a verb ended; the exit code.
    member _.Print(ending: Result<Said, Error>) : int =
        progress.Close()

        match ending with
        | Ok said ->
            for answer in Option.toList said.Answer do
                printfn "%s" (if json then answer.Json.Value else answer.Text)

            for remark in said.Remarks do
                eprintfn "%s" remark

            said.Code
        | Error error ->
            for line in Error.lines error do
                eprintfn "ldr-fs: %s" line

            ExitCode.badInput
