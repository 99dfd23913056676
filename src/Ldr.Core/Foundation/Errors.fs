namespace Ldr

open System
open System.IO
open Ldr.Runtime.Formats

/// One thing that is wrong in a JSON document: where (a path such as `$.data.split.train`), and what would be right.
type JsonProblem = { Path: string; Problem: string }

/// Bad input: what the user can mend. Everything else is an exception.
type Error =
    /// A file that is missing, unreadable, of the wrong kind, or that cannot be written.
    | BadFile of path: string * problem: string * remedy: string
    /// A JSON file, with everything that is wrong in it.
    | BadJson of path: string * problems: JsonProblem list
    /// Anything else that the user gave and that cannot be used.
    | BadInput of message: string

module Error =
    /// Text from files may hold line breaks and terminal codes.
    let private oneLine (text: string) =
        text
        |> String.map (fun c ->
            if Char.IsControl c || c = '\u2028' || c = '\u2029' then
                ' '
            else
                c)

    /// Text from files may be of any length.
    let private cut (most: int) (text: string) =
        if text.Length <= most then
            text
        else
            text.Substring(0, most) + "…"

    let private short = cut 400

    /// One line for each problem: which file or JSON path, what is wrong, what would be right.
    let lines error =
        let most = 20

        match error with
        | BadFile(path, problem, remedy) -> [ $"{path}: {short problem}; {short remedy}" ]
        | BadJson(path, problems) ->
            let shown =
                problems
                |> List.truncate most
                |> List.map (fun p -> $"{path}: {short p.Path}: {short p.Problem}")

            match problems.Length - most with
            | more when more > 0 -> shown @ [ $"{path}: {more} more problems; mend these first" ]
            | _ -> shown
        | BadInput message -> [ message ]
        |> List.map (oneLine >> cut 1500)

    /// Bad input found deep inside a computation, on its way to the border where it becomes an `Error` again.
    exception Raised of Error

    /// Runs what reads or writes files; what is wrong with a file becomes an `Error`, a fault of ours stays an exception.
    let guard (action: unit -> 'a) : Result<'a, Error> =
        try
            Ok(action ())
        with
        | Raised error -> Error error
        | :? InvalidFileException as e -> Error(BadFile(e.Path, e.Problem, e.Remedy))
        | :? UnauthorizedAccessException as e ->
            Error(BadInput(e.Message + "; choose a place that you may read and write"))
        | :? DirectoryNotFoundException
        | :? FileNotFoundException as e -> Error(BadInput(e.Message))
        | :? IOException as e -> Error(BadInput(e.Message))

    /// The same for what has a result of its own.
    let guardResult (action: unit -> Result<'a, Error>) : Result<'a, Error> = guard action |> Result.bind id

    /// Bad input that is found where no result can flow, such as in a step of a training.
    let raiseInput (message: string) : unit = raise (Raised(BadInput message))

    /// The value, or the error as an exception that `guard` turns back.
    let orRaise (result: Result<'a, Error>) : 'a =
        match result with
        | Ok value -> value
        | Error error -> raise (Raised error)

module Results =
    /// A fold that ends at the first error.
    let rec fold
        (add: 'state -> 'a -> Result<'state, 'e>)
        (state: 'state)
        (items: 'a list)
        : Result<'state, 'e> =
        match items with
        | [] -> Ok state
        | item :: rest ->
            match add state item with
            | Ok next -> fold add next rest
            | Error error -> Error error

/// Texts that others wrote.
module internal TextFile =
    /// The text of a file of at most `InputFile.MostText` bytes.
    let read (path: string) : string =
        InputFile.CheckText path
        File.ReadAllText path

    /// The same, by lines.
    let readLines (path: string) : string[] =
        InputFile.CheckText path
        File.ReadAllLines path
