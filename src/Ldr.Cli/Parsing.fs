/// From the command line to a `Request`.
module Ldr.Cli.Parsing

open System.IO
open Argu
open Ldr
open Ldr.Runtime
open Ldr.Cli
open Ldr.Cli.Verbs
open Ldr.Cli.Arguments

/// What cannot be parsed: the text for stderr, or the help that was asked for.
type Refusal =
    | Help of string
    | Usage of string

let private parser =
    lazy ArgumentParser.Create<Arguments>(programName = "ldr-fs", checkStructure = false)

let private request
    (results: ParseResults<'a>)
    (threads: int option)
    (device: DeviceName option)
    json
    verbose
    command
    =
    match threads with
    | Some n when n < 1 -> Error(Usage "--threads: give a whole number above 0")
    | _ ->
        Ok
            {
                Command = command
                Threads = threads
                Cuda = (device = Some Cuda)
                Json = json
                Verbose = verbose
                CommandLine = []
            }

/// Argu does not enforce `ExactlyOnce` inside a subcommand.
let private need (name: string) (value: 'v option) =
    match value with
    | Some v -> Ok v
    | Option.None -> Error(Usage $"{name} is missing")

/// The engine that was asked for; libtorch alone computes on a GPU.
let private engine (name: EngineName option) (device: DeviceName option) =
    match name, device with
    | Some EngineName.Managed, Some Cuda ->
        Error(Usage "--engine managed computes on the CPU; leave --device cuda out")
    | Some EngineName.Managed, _ -> Ok ManagedEngine
    | Some EngineName.Torch, _
    | Option.None, Some Cuda -> Ok TorchEngine
    | Option.None, _ -> Ok Automatic

/// What `register` starts from: a word, or a map's file.
let private affineStart (hasNetwork: bool) (choice: string option) : Result<AffineRequest, Refusal> =
    let words =
        [
            "none", Header(Some Alignment.World)
            "centres", Header(Some Alignment.Centres)
            "rigid", Optimise AffineFreedom.Rigid
            "full", Optimise AffineFreedom.Full
            "auto", KeepWhereItHelps
        ]

    match choice with
    | Option.None when hasNetwork -> Ok(Header Option.None)
    | Option.None -> Ok KeepWhereItHelps
    | Some choice ->
        match words |> List.tryFind (fun (word, _) -> word = choice) with
        | Some(_, start) -> Ok start
        // The name of a file, there or not, has an ending or a folder.
        | Option.None when not (Path.HasExtension choice || choice.Contains '/' || File.Exists choice) ->
            Error(
                Usage
                    $"--affine {choice}: neither a word that is known nor a map's file; {Codec.suggestion (List.map fst words) choice}"
            )
        | Option.None -> Ok(FromFile choice)

/// A length that was given in mm.
let private millimetres (name: string) (value: float option) =
    match value with
    | Some mm when not (mm > 0.0 && mm <= 1000.0) ->
        Error(Usage $"{name}: give mm, a number above 0, up to 1000")
    | _ -> Ok value

let private register (r: ParseResults<RegisterArguments>) =
    match
        need "--fixed" (r.TryGetResult Fixed),
        need "--moving" (r.TryGetResult Moving),
        need "--model" (r.TryGetResult RegisterArguments.Model)
    with
    | Error e, _, _
    | _, Error e, _
    | _, _, Error e -> Error e
    | Ok fixedFile, Ok moving, Ok model ->
        let moved = r.TryGetResult Moved
        let transform = r.TryGetResult Transform

        let labels =
            match r.TryGetResult Labels, r.TryGetResult Moved_Labels with
            | Some from, into when into.IsSome || r.Contains Report || r.Contains Fixed_Labels ->
                Ok(Some(from, into))
            | Option.None, Option.None when r.Contains Fixed_Labels ->
                Error(Usage "--fixed-labels is compared with the moving scan's labels; give them to --labels")
            | Option.None, Option.None -> Ok Option.None
            | _ ->
                Error(
                    Usage
                        "--labels and --moved-labels go together (or --labels and --report, or --labels and --fixed-labels)"
                )

        let inverse = r.TryGetResult Inverse_Transform
        let report = r.TryGetResult Report
        let network = if model = "none" then Option.None else Some model
        let refine, budget = r.TryGetResult RegisterArguments.Refine, r.TryGetResult Budget

        let logJacobian = r.TryGetResult Log_Jacobian
        let bounds = r.TryGetResult Jacobian_Bounds

        match
            labels,
            affineStart network.IsSome (r.TryGetResult Affine),
            engine (r.TryGetResult RegisterArguments.Engine) (r.TryGetResult RegisterArguments.Device),
            millimetres "--control-spacing" (r.TryGetResult RegisterArguments.Control_Spacing)
        with
        | Error e, _, _, _
        | _, Error e, _, _
        | _, _, Error e, _
        | _, _, _, Error e -> Error e
        | Ok labels, Ok affine, Ok engine, Ok controlSpacing ->
            if
                moved.IsNone
                && transform.IsNone
                && labels.IsNone
                && inverse.IsNone
                && report.IsNone
            then
                Error(
                    Usage
                        "nothing to write: give --moved, --transform, --report, or --labels with --moved-labels"
                )
            elif affine = Header(Some Alignment.Centres) && r.Contains Init then
                Error(Usage "--init and --affine centres: both say where to start; give one of them")
            elif refine |> Option.exists (fun n -> n < 0) then
                Error(Usage "--refine: give a whole number, 0 or more")
            elif bounds.IsSome && not (r.Contains Diffeomorphic) then
                Error(Usage "--jacobian-bounds is of --diffeomorphic; add it")
            elif
                bounds
                |> Option.exists (fun (least, most) ->
                    not (least >= DiffeomorphicFit.LeastDeterminant && least < 1.0 && most > 1.0))
            then
                Error(
                    Usage
                        $"--jacobian-bounds: give a factor from {DiffeomorphicFit.LeastDeterminant} to below 1, and one above 1"
                )
            elif logJacobian |> Option.exists (fun w -> not (w >= 0.0 && w <= 1000.0)) then
                Error(Usage "--log-jacobian: give a weight, a number from 0 to 1000")
            elif budget |> Option.exists (fun s -> not (s > 0.0 && s < 1e6)) then
                Error(Usage "--budget: give seconds, a number above 0")
            else
                Command.Register
                    {
                        Fixed = fixedFile
                        Moving = moving
                        Model = network
                        Moved = moved
                        Transform = transform
                        InverseTransform = inverse
                        Labels = labels
                        FixedLabels = r.TryGetResult Fixed_Labels
                        Affine = affine
                        Init = r.TryGetResult Init
                        Refine = refine
                        BudgetSeconds = budget
                        ControlSpacingMm = controlSpacing
                        LogJacobian = logJacobian
                        Diffeomorphic =
                            if r.Contains Diffeomorphic then
                                Some(Option.defaultValue (DiffeomorphicFit.LeastDeterminant, infinity) bounds)
                            else
                                Option.None
                        FixedMask = r.TryGetResult Fixed_Mask
                        MovingMask = r.TryGetResult Moving_Mask
                        Volume = r.TryGetResult RegisterArguments.Volume
                        Report = report
                        Engine = engine
                    }
                |> request
                    r
                    (r.TryGetResult RegisterArguments.Threads)
                    (r.TryGetResult RegisterArguments.Device)
                    (r.Contains RegisterArguments.Json)
                    (r.Contains RegisterArguments.Verbose)

let private evaluate (r: ParseResults<EvaluateArguments>) =
    let lengths =
        [
            "--amplitude", r.TryGetResult Amplitude
            "--smoothness", r.TryGetResult Smoothness
            "--control-spacing", r.TryGetResult EvaluateArguments.Control_Spacing
        ]
        |> List.tryPick (fun (name, value) ->
            match millimetres name value with
            | Error e -> Some e
            | Ok _ -> Option.None)

    match
        need "--model" (r.TryGetResult EvaluateArguments.Model),
        need "--data" (r.TryGetResult Data),
        engine (r.TryGetResult EvaluateArguments.Engine) (r.TryGetResult EvaluateArguments.Device),
        lengths
    with
    | Error e, _, _, _
    | _, Error e, _, _
    | _, _, Error e, _
    | _, _, _, Some e -> Error e
    | Ok model, Ok data, Ok engine, Option.None ->
        let split =
            match r.GetResult(EvaluateArguments.Split, "test") with
            | "validation" -> "val"
            | "training" -> "train"
            | part -> part

        let pairs = r.GetResult(Pairs, 200)
        let refine = r.TryGetResult EvaluateArguments.Refine
        let amplitude, smoothness = r.TryGetResult Amplitude, r.TryGetResult Smoothness
        let noise = r.GetResult(Noise, KnownFieldOptions().Noise)

        let ofKnown =
            amplitude.IsSome
            || smoothness.IsSome
            || r.Contains Noise
            || r.Contains Noise_Everywhere

        if not (List.contains split [ "test"; "val"; "train"; "all" ]) then
            Error(Usage $"--split {split}: give test, val, train or all")
        elif pairs < 1 then
            Error(Usage "--pairs: give a whole number above 0")
        elif refine |> Option.exists (fun n -> n < 0) then
            Error(Usage "--refine: give a whole number, 0 or more")
        elif ofKnown && not (r.Contains Known_Field) then
            Error(
                Usage "--amplitude, --smoothness, --noise and --noise-everywhere are of --known-field; add it"
            )
        elif r.Contains Other && not (r.Contains EvaluateArguments.Verdict) then
            Error(Usage "--other is of --verdict; add it")
        elif not (noise >= 0.0 && noise <= 1.0) then
            Error(Usage "--noise: give a share, a number from 0 to 1")
        else
            let seed = r.GetResult(EvaluateArguments.Seed, 1)

            Command.Evaluate
                {
                    Model = if model = "none" then Option.None else Some model
                    Data = data
                    Split = split
                    Output = r.TryGetResult EvaluateArguments.Output
                    Seed = seed
                    Pairs = pairs
                    Refine = refine
                    ControlSpacingMm = r.TryGetResult EvaluateArguments.Control_Spacing
                    Inverse = r.Contains Inverse
                    Verdict =
                        if r.Contains EvaluateArguments.Verdict then
                            Some(r.GetResults Other)
                        else
                            Option.None
                    KnownField =
                        if r.Contains Known_Field then
                            Some(
                                KnownFieldOptions(
                                    AmplitudeMm = Option.toNullable amplitude,
                                    SmoothnessMm = Option.toNullable smoothness,
                                    Noise = noise,
                                    NoiseEverywhere = r.Contains Noise_Everywhere,
                                    Seed = seed
                                )
                            )
                        else
                            Option.None
                    Engine = engine
                }
            |> request
                r
                (r.TryGetResult EvaluateArguments.Threads)
                (r.TryGetResult EvaluateArguments.Device)
                (r.Contains EvaluateArguments.Json)
                (r.Contains EvaluateArguments.Verbose)

/// A verb that parses itself.
let private called (call: Result<Call, string>) =
    match call with
    | Error line -> Error(Usage line)
    | Ok call ->
        Ok
            {
                Command = Command.Call call
                Threads = Option.None
                Cuda = false
                Json = false
                Verbose = false
                CommandLine = []
            }

let private verbs =
    lazy
        (parser.Value.GetArgumentCases()
         |> List.filter (fun case -> case.ArgumentType = ArgumentType.SubCommand)
         |> List.map _.Name.Value)

let private firstLine (text: string) =
    let text = text.Replace("\r", "")
    let text = if text.StartsWith "ERROR: " then text.Substring 7 else text
    text.Split('\n')[0]

/// Parses a command line.
let parse (arguments: string[]) : Result<Request, Refusal> =
    if arguments.Length = 0 then
        Error(Help(parser.Value.PrintUsage()))
    elif arguments = [| "--version" |] then
        Error(Help(string (System.Reflection.Assembly.GetExecutingAssembly().GetName().Version)))
    elif not (arguments[0].StartsWith '-' || List.contains arguments[0] verbs.Value) then
        Error(
            Usage
                $"'{arguments[0]}' is no verb; {Ldr.Codec.suggestion verbs.Value arguments[0]}; see ldr-fs --help"
        )
    else
        try
            match parser.Value.ParseCommandLine(arguments).GetSubCommand() with
            | Arguments.Train r -> Train.parse r |> called
            | Arguments.Teach r -> Teach.parse r |> called
            | Arguments.Register r -> register r
            | Arguments.Evaluate r -> evaluate r
            | Arguments.Apply r -> Apply.parse r |> called
            | Arguments.ApplyPoints r -> ApplyPoints.parse r |> called
            | Arguments.Invert r -> Invert.parse r |> called
            | Arguments.Compose r -> Compose.parse r |> called
            | Arguments.Convert r -> Convert.parse r |> called
            | Arguments.Jacobian r -> Jacobian.parse r |> called
            | Arguments.Overlap r -> Overlap.parse r |> called
            | Arguments.Inspect r -> Inspect.parse r |> called
            | Arguments.Ship r -> Ship.parse r |> called
            | Arguments.Doctor r -> Doctor.parse r |> called
            | Arguments.Validate r -> Validate.parse r |> called
            | Arguments.Benchmark r -> Benchmark.parse r |> called
        with :? ArguParseException as e ->
            if e.ErrorCode = ErrorCode.HelpText then
                Error(Help e.Message)
            else
                let verb =
                    if arguments[0].StartsWith '-' then
                        ""
                    else
                        arguments[0] + " "

                Error(Usage $"{firstLine e.Message}; see ldr-fs {verb}--help")
