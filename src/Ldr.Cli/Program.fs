module Ldr.Cli.Program

open System
open System.Runtime.InteropServices
open Argu
open Ldr
open Ldr.Cli.Verbs
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

/// The verbs.
type Arguments =
    | [<CliPrefix(CliPrefix.None)>] Train of ParseResults<Train.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Teach of ParseResults<Teach.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Register of ParseResults<RegisterArguments.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Cohort of ParseResults<CohortArguments.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Bids of ParseResults<Bids.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Template of ParseResults<Template.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Segment of ParseResults<Segment.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Evaluate of ParseResults<EvaluateArguments.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Apply of ParseResults<Apply.Arguments>
    | [<CliPrefix(CliPrefix.None); CustomCommandLine "apply-points">] ApplyPoints of
        ParseResults<ApplyPoints.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Invert of ParseResults<TransformArguments>
    | [<CliPrefix(CliPrefix.None)>] Compose of ParseResults<TransformArguments>
    | [<CliPrefix(CliPrefix.None)>] Convert of ParseResults<TransformArguments>
    | [<CliPrefix(CliPrefix.None)>] Jacobian of ParseResults<TransformArguments>
    | [<CliPrefix(CliPrefix.None)>] Overlap of ParseResults<Overlap.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Inspect of ParseResults<Inspect.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Ship of ParseResults<Ship.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Doctor of ParseResults<Doctor.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Validate of ParseResults<Validate.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Benchmark of ParseResults<Benchmark.Arguments>
    | [<CliPrefix(CliPrefix.None)>] App of ParseResults<App.Arguments>
    | [<CliPrefix(CliPrefix.None); CustomCommandLine "setup-training">] SetupTraining of
        ParseResults<SetupTraining.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Completions of ParseResults<Completions.Arguments>

    interface IArgParserTemplate with
        member this.Usage =
            (match this with
             | Train _ -> Train.help
             | Teach _ -> Teach.help
             | Register _ -> RegisterArguments.help
             | Cohort _ -> CohortArguments.help
             | Bids _ -> Bids.help
             | Template _ -> Template.help
             | Segment _ -> Segment.help
             | Evaluate _ -> EvaluateArguments.help
             | Apply _ -> Apply.help
             | ApplyPoints _ -> ApplyPoints.help
             | Invert _ -> Invert.help
             | Compose _ -> Compose.help
             | Convert _ -> Convert.help
             | Jacobian _ -> Jacobian.help
             | Overlap _ -> Overlap.help
             | Inspect _ -> Inspect.help
             | Ship _ -> Ship.help
             | Doctor _ -> Doctor.help
             | Validate _ -> Validate.help
             | Benchmark _ -> Benchmark.help
             | App _ -> App.help
             | SetupTraining _ -> SetupTraining.help
             | Completions _ -> Completions.help)
                .What

/// The text of --help of each verb, beside its options.
let private helps: Map<string, Help> =
    Map.ofList
        [
            "train", Train.help
            "teach", Teach.help
            "register", RegisterArguments.help
            "cohort", CohortArguments.help
            "bids", Bids.help
            "template", Template.help
            "segment", Segment.help
            "evaluate", EvaluateArguments.help
            "apply", Apply.help
            "apply-points", ApplyPoints.help
            "invert", Invert.help
            "compose", Compose.help
            "convert", Convert.help
            "jacobian", Jacobian.help
            "overlap", Overlap.help
            "inspect", Inspect.help
            "ship", Ship.help
            "doctor", Doctor.help
            "validate", Validate.help
            "benchmark", Benchmark.help
            "app", App.help
            "setup-training", SetupTraining.help
            "completions", Completions.help
        ]

/// The verbs by what they are for.
let verbGroups: (string * string list) list =
    [
        "Register", [ "register"; "app"; "cohort"; "bids"; "template"; "segment" ]
        "Use a result",
        [
            "apply"
            "apply-points"
            "invert"
            "compose"
            "convert"
            "jacobian"
            "overlap"
        ]
        "Train", [ "doctor"; "validate"; "train"; "teach"; "evaluate"; "ship"; "setup-training" ]
        "More", [ "inspect"; "benchmark"; "completions" ]
    ]

let private parser =
    lazy ArgumentParser.Create<Arguments>(programName = "ldr-fs", checkStructure = false)

let private verbs () =
    parser.Value.GetArgumentCases()
    |> List.filter (fun case -> case.ArgumentType = ArgumentType.SubCommand)
    |> List.map _.Name.Value

/// Verbs of many pairs, which take options of `register` beside their own.
let private isOfPairs (verb: string) = List.contains verb [ "cohort"; "bids" ]

/// A verb's own options.
let private ownCases (verb: string) : ArgumentCaseInfo list =
    List.zip (verbs ()) (parser.Value.GetSubCommandParsers())
    |> List.find (fun (name, _) -> name = verb)
    |> snd
    |> _.GetArgumentCases()

/// Options of `register` that a verb takes.
let private sharedCases (verb: string) : ArgumentCaseInfo list =
    if isOfPairs verb then RegisterShared.cases.Value else []

let private casesOf (verb: string) = ownCases verb @ sharedCases verb

/// The text of a verb's --help.
let helpOf (verb: string) : string =
    let help = helps[verb]

    let groups =
        if isOfPairs verb then
            help.Groups
            @ (RegisterArguments.help.Groups
               |> List.map (fun (title, names) -> $"{title}, as register", names))
        else
            help.Groups

    Help.text verb { help with Groups = groups } (ownCases verb) (sharedCases verb)

let private spellings () : Completions.Spelling list =
    [
        for verb in verbs () do
            {
                Completions.Verb = verb
                Completions.What = helps[verb].What
                Completions.Options =
                    [
                        for case in casesOf verb do
                            if not case.IsMainCommand then
                                case.Name.Value, case.Description.Value
                    ]
            }
    ]

/// A verb's options, parsed.
/// `shared` are the options of `register` that were given to another verb.
let private callOf (shared: string list) (arguments: Arguments) : Result<Call, string> =
    match arguments with
    | Train r -> Train.parse r
    | Teach r -> Teach.parse r
    | Register r -> Register.parse r
    | Cohort r -> Cohort.parse r (RegisterShared.parse shared)
    | Bids r -> Bids.parse r (RegisterShared.parse shared)
    | Template r -> Template.parse r
    | Segment r -> Segment.parse r
    | Evaluate r -> Evaluate.parse r
    | Apply r -> Apply.parse r
    | ApplyPoints r -> ApplyPoints.parse r
    | Invert r -> Invert.parse r
    | Compose r -> Compose.parse r
    | Convert r -> Convert.parse r
    | Jacobian r -> Jacobian.parse r
    | Overlap r -> Overlap.parse r
    | Inspect r -> Inspect.parse r
    | Ship r -> Ship.parse r
    | Doctor r -> Doctor.parse r
    | Validate r -> Validate.parse r
    | Benchmark r -> Benchmark.parse r
    | App r -> App.parse r
    | SetupTraining r -> SetupTraining.parse r
    | Completions r -> Completions.parse r (spellings ())

/// Why there is nothing to carry out.
type private Refusal =
    /// A text that was asked for.
    | Asked of string
    /// What is wrong with the command line.
    | WrongUsage of string

let private firstLine (text: string) =
    let text = text.Replace("\r", "")
    let text = if text.StartsWith "ERROR: " then text.Substring 7 else text
    text.Split('\n')[0]

/// The help, or what Argu finds wrong.
let private refusal (arguments: string[]) (error: ArguParseException) =
    if error.ErrorCode = ErrorCode.HelpText && arguments[0].StartsWith '-' then
        Asked(Help.verbs verbGroups (fun verb -> helps[verb].What))
    elif error.ErrorCode = ErrorCode.HelpText then
        Asked(helpOf arguments[0])
    else
        let verb =
            if arguments[0].StartsWith '-' then
                ""
            else
                arguments[0] + " "

        let problem = firstLine error.Message

        let suggestion =
            match problem.Split '\'' with
            | [| "unrecognized argument: "; option; _ |] when
                option.StartsWith "--" && not (arguments[0].StartsWith '-')
                ->
                let known = casesOf arguments[0] |> List.collect _.CommandLineNames.Value

                match Suggestion.among known option with
                | near when near.StartsWith "did you mean" -> $"; {near}"
                | _ -> ""
            | _ -> ""

        WrongUsage $"{problem.TrimEnd '.'}{suggestion}; see ldr-fs {verb}--help"

let private parseVerb (arguments: string[]) : Result<Call, Refusal> =
    try
        let own, shared =
            if isOfPairs arguments[0] then
                RegisterShared.split (List.ofArray arguments)
            else
                List.ofArray arguments, []

        parser.Value.ParseCommandLine(Array.ofList own).GetSubCommand()
        |> callOf shared
        |> Result.mapError WrongUsage
    with :? ArguParseException as error ->
        Error(refusal arguments error)

/// An argument without a letter, as a shell makes of a variable that is not set; no option takes one.
let private tryEmpty (arguments: string[]) : string option =
    arguments
    |> Array.tryFindIndex String.IsNullOrWhiteSpace
    |> Option.map (fun index ->
        match arguments |> Array.take index |> Array.tryFindBack _.StartsWith('-') with
        | Some option -> $"{option}: its value is empty; give it one, or leave the option out"
        | None -> "an argument is empty; leave it out, or give it its text")

let private parse (arguments: string[]) : Result<Call, Refusal> =
    match Array.tryHead arguments with
    | _ when (tryEmpty arguments).IsSome -> Error(WrongUsage (tryEmpty arguments).Value)
    | None -> Error(Asked Help.front)
    | Some "--version" when arguments.Length = 1 -> Error(Asked Version.text)
    | Some verb when not (verb.StartsWith '-' || List.contains verb (verbs ())) ->
        Error(WrongUsage $"'{verb}' is no verb; {Suggestion.among (verbs ()) verb}; see ldr-fs --help")
    | Some _ -> parseVerb arguments

let private carryOut (arguments: string[]) : int =
    match parse arguments with
    | Ok call -> Call.carryOut (List.ofArray arguments) call
    | Error(Asked text) ->
        printfn "%s" (text.TrimEnd())
        ExitCode.ok
    | Error(WrongUsage text) ->
        eprintfn "ldr-fs: %s" text
        ExitCode.badUsage

[<EntryPoint>]
let main arguments =
    StandardStreams.guard ()

    if Array.tryHead arguments = Some "app" && not (Array.contains "--help" arguments) then
        App.prepare ()

    // Whatever is being written when a signal ends the program goes with it.
    let onSignal (_: PosixSignalContext) =
        if not Stopping.IsActive then
            AtomicFile.RemoveUnfinished()

    use _ = PosixSignalRegistration.Create(PosixSignal.SIGINT, onSignal)
    use _ = PosixSignalRegistration.Create(PosixSignal.SIGHUP, onSignal)
    // From .NET 10 on SIGTERM ends a program without its ProcessExit.
    use _ = PosixSignalRegistration.Create(PosixSignal.SIGTERM, onSignal)
    use _ = PosixSignalRegistration.Create(PosixSignal.SIGQUIT, onSignal)

    try
        carryOut arguments
    with
    | :? InvalidFileException as e ->
        eprintfn "ldr-fs: %s" e.Message
        ExitCode.badInput
    | e ->
        if Array.contains "--verbose" arguments then
            eprintfn "ldr-fs: a fault of ours: %O" e
        else
            eprintfn
                "ldr-fs: a fault of ours: %s (--verbose shows where); please report it"
                (e.Message.Split('\n')[0])

        ExitCode.fault
