namespace Ldr.Cli

open System
open Argu
open FSharp.Reflection

/// What --help says of a verb beside its options.
type Help =
    {
        /// What it does: one line, also in the list of verbs.
        What: string
        /// What comes of it: one line more.
        More: string
        /// Headings with the options below them. Options that are not named come last.
        Groups: (string * string list) list
        /// Command lines.
        Examples: string list
    }

/// The texts of --help, made of what Argu knows of a verb's options.
module Help =
    let private width = 98
    let private column = 26

    /// Those that most verbs have.
    let private running = [ "--threads"; "--engine"; "--device"; "--json"; "--verbose" ]

    /// Words in lines of at most so many letters.
    let private wrapped (most: int) (text: string) : string list =
        let add (lines: string list) (word: string) =
            match lines with
            | line :: rest when line.Length + 1 + word.Length <= most -> $"{line} {word}" :: rest
            | _ -> word :: lines

        text.Split(' ', StringSplitOptions.RemoveEmptyEntries)
        |> Array.fold add []
        |> List.rev

    /// What stands for a value: FILE, or the words that there are.
    /// The word that stands for a case of a union on the command line.
    let private word (case: UnionCaseInfo) : string =
        case.GetCustomAttributes typeof<CustomCommandLineAttribute>
        |> Array.tryHead
        |> Option.map (fun own -> (own :?> CustomCommandLineAttribute).Name)
        |> Option.defaultValue (case.Name.ToLowerInvariant())

    let private placeholder (field: Reflection.PropertyInfo) : string =
        let kind = field.PropertyType

        if kind.IsGenericType && kind.GetGenericTypeDefinition() = typedefof<_ list> then
            $"{field.Name.ToUpperInvariant()} ..."
        elif FSharpType.IsUnion kind then
            FSharpType.GetUnionCases kind |> Array.map word |> String.concat "|"
        else
            field.Name.ToUpperInvariant()

    let private values (case: ArgumentCaseInfo) : string =
        case.UnionCaseInfo.GetFields() |> Array.map placeholder |> String.concat " "

    let private heading (case: ArgumentCaseInfo) : string =
        if case.IsMainCommand then
            values case
        else
            $"""{String.concat ", " case.CommandLineNames.Value} {values case}""".TrimEnd()

    let private entry (head: string) (description: string) : string list =
        let gap = String(' ', column)
        let lines = wrapped (width - column) description
        let head = $"  {head}"

        match lines with
        | first :: rest when head.Length <= column - 2 ->
            (head.PadRight column + first) :: (rest |> List.map (fun line -> gap + line))
        | lines -> head :: (lines |> List.map (fun line -> gap + line))

    let private isNamed (names: string list) (case: ArgumentCaseInfo) =
        case.CommandLineNames.Value
        |> List.exists (fun name -> List.contains name names)

    let private usage (verb: string) (cases: ArgumentCaseInfo list) : string list =
        let words =
            [
                for case in cases do
                    if case.IsMainCommand && case.IsMandatory.Value then
                        values case
                    elif case.IsMainCommand then
                        $"[{values case}]"
                    elif case.IsMandatory.Value then
                        $"{case.Name.Value} {values case}"
            ]

        wrapped (width - 4) (String.concat " " ([ "ldr-fs"; verb ] @ words @ [ "[options]" ]))
        |> List.mapi (fun i line -> (if i = 0 then "  " else "      ") + line)

    /// The text of a verb's --help: its own options, and those that it takes over from another verb.
    let text
        (verb: string)
        (help: Help)
        (own: ArgumentCaseInfo list)
        (others: ArgumentCaseInfo list)
        : string =
        let arguments, options = own @ others |> List.partition _.IsMainCommand

        let groups = [ yield! help.Groups; "Options", []; "Running", running ]

        let named = groups |> List.collect snd

        let section (title: string) (entries: string list list) =
            if entries.IsEmpty then
                []
            else
                [ ""; $"{title}:"; yield! List.concat entries ]

        let entryOf (case: ArgumentCaseInfo) =
            entry (heading case) case.Description.Value

        [
            help.What
            help.More
            ""
            yield! usage verb own
            yield! section "Arguments" (arguments |> List.map entryOf)
            for title, names in groups do
                let below =
                    match names with
                    | [] -> options |> List.filter (isNamed named >> not)
                    | names ->
                        // In the order of the group.
                        names
                        |> List.collect (fun name -> options |> List.filter (isNamed [ name ]))
                        |> List.distinctBy _.Name.Value

                yield!
                    section
                        title
                        [
                            yield! below |> List.map entryOf
                            if title = "Running" then
                                entry "--help" "show this text."
                        ]
            ""
            if help.Examples.Length = 1 then "Example:" else "Examples:"
            for example in help.Examples do
                $"  {example}"
        ]
        |> String.concat "\n"

    /// What ldr-fs says without arguments: tasks, not verbs.
    let front =
        """Deformable registration of 3-D medical images on an ordinary CPU.

Register two scans, and look at the result:
  ldr-fs register --model none --fixed A.nii.gz --moving B.nii.gz --moved moved.nii.gz --report report.html
The same in a browser:
  ldr-fs app
Register a whole study, and find what went wrong:
  ldr-fs cohort SCANS --template T.nii.gz --output study
Average many scans to a template:
  ldr-fs template SCANS --output template
Train a small network that registers in a second:
  ldr-fs train experiments/quickstart.json

ldr-fs --help lists all verbs; ldr-fs VERB --help shows what one of them takes."""

    /// The list of all verbs, by what they are for.
    let verbs (groups: (string * string list) list) (what: string -> string) : string =
        [
            "  ldr-fs VERB [options]"
            for title, names in groups do
                ""
                $"{title}:"

                for name in names do
                    yield! entry name (what name)
            ""
            "ldr-fs VERB --help shows what one of them takes. ldr-fs --version tells the version."
        ]
        |> String.concat "\n"
