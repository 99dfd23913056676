namespace Ldr.Cli

open Ldr

/// What is printed for people.
module Plain =
    /// Characters that turn the direction of text, so that it reads as something else.
    let private turns (c: char) =
        (c >= '\u202A' && c <= '\u202E') || (c >= '\u2066' && c <= '\u2069')

    /// Texts from files may hold terminal codes: only line ends and tabs pass.
    let text (text: string) : string =
        text
        |> String.map (fun c ->
            if (System.Char.IsControl c && c <> '\n' && c <> '\t') || turns c then
                ' '
            else
                c)

/// Speaks for a verb: on stderr what goes on, on stdout what came out. Nobody else asks for --json and --verbose.
type Speaker(json: bool, verbose: bool) =
    let progress = Progress.Reporter()

    /// How far the work has come; also beside JSON.
    member _.Progress = progress

    /// What begins; not beside JSON.
    member _.Say(what: string) =
        if not json then
            eprintfn "%s" (Plain.text what)

    /// What somebody should know before the work ends; also beside JSON.
    member _.Warn(what: string) =
        progress.Line $"warning: {Plain.text what}"

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
                printfn "%s" (if json then answer.Json.Value else Plain.text answer.Text)

            for remark in said.Remarks do
                eprintfn "%s" (Plain.text remark)

            said.Code
        | Error error ->
            for line in Error.lines error do
                eprintfn "ldr-fs: %s" line

            ExitCode.badInput
