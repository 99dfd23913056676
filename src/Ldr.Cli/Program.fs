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

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Train _ -> "run an experiment: teacher, student, distillation."
            | Teach _ -> "write a teacher's fields for every pair that a training will see."
            | Register _ -> "register one pair of scans."
            | Cohort _ ->
                "register many pairs, each into a folder of its own, and write a page to check them on."
            | Bids _ -> "register the scans of a BIDS folder to a template, as a BIDS app."
            | Template _ -> "make an unbiased average of many scans."
            | Segment _ -> "label a scan by many atlases."
            | Evaluate _ -> "score a model on pairs of a labelled data set."
            | Apply _ -> "move an image or a label map by transforms."
            | ApplyPoints _ -> "move points by transforms."
            | Invert _ -> "write the inverse of a transform."
            | Compose _ -> "write several transforms as one."
            | Convert _ -> "write a transform in another format."
            | Jacobian _ -> "write how much a transform grows or shrinks each voxel; at or below 0 it folds."
            | Overlap _ -> "compare two label maps: Dice, Jaccard, distance of surfaces, volumes."
            | Inspect _ -> "say what a scan, a transform, a model or a run is."
            | Ship _ -> "write a model in half precision, with notes on its card, to pass it on."
            | Doctor _ ->
                "look at every scan of a data set before time is spent: what is there, and what would spoil a training."
            | Validate _ -> "check an experiment before time is spent."
            | Benchmark _ -> "time the engine, and libtorch beside it."
            | App _ -> "open a page in the browser that registers, shows and saves."
            | SetupTraining _ -> "add libtorch to a program that came without it."

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

/// Why there is nothing to carry out.
type private Refusal =
    /// A text that was asked for.
    | Help of string
    /// What is wrong with the command line.
    | WrongUsage of string

let private parser =
    lazy ArgumentParser.Create<Arguments>(programName = "ldr-fs", checkStructure = false)

let private verbs () =
    parser.Value.GetArgumentCases()
    |> List.filter (fun case -> case.ArgumentType = ArgumentType.SubCommand)
    |> List.map _.Name.Value

let private firstLine (text: string) =
    let text = text.Replace("\r", "")
    let text = if text.StartsWith "ERROR: " then text.Substring 7 else text
    text.Split('\n')[0]

/// Verbs of many pairs, which take options of `register` beside their own.
let private isOfPairs (arguments: string[]) =
    List.contains arguments[0] [ "cohort"; "bids" ]

/// The help, or what Argu finds wrong.
let private refusal (arguments: string[]) (error: ArguParseException) =
    if error.ErrorCode = ErrorCode.HelpText && isOfPairs arguments then
        Help $"{error.Message.TrimEnd()}\n\n{RegisterShared.usage ()}"
    elif error.ErrorCode = ErrorCode.HelpText then
        Help error.Message
    else
        let verb =
            if arguments[0].StartsWith '-' then
                ""
            else
                arguments[0] + " "

        WrongUsage $"{firstLine error.Message}; see ldr-fs {verb}--help"

let private parseVerb (arguments: string[]) : Result<Call, Refusal> =
    try
        let own, shared =
            if isOfPairs arguments then
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
    | None -> Error(Help(parser.Value.PrintUsage()))
    | Some "--version" when arguments.Length = 1 ->
        Error(Help Version.text)
    | Some verb when not (verb.StartsWith '-' || List.contains verb (verbs ())) ->
        Error(WrongUsage $"'{verb}' is no verb; {Suggestion.among (verbs ()) verb}; see ldr-fs --help")
    | Some _ -> parseVerb arguments

let private carryOut (arguments: string[]) : int =
    match parse arguments with
    | Ok call -> Call.carryOut (List.ofArray arguments) call
    | Error(Help text) ->
        printfn "%s" (text.TrimEnd())
        ExitCode.ok
    | Error(WrongUsage text) ->
        eprintfn "ldr-fs: %s" text
        ExitCode.badUsage

[<EntryPoint>]
let main arguments =
    StandardStreams.guard ()

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
