/// The command line of `evaluate`.
module Ldr.Cli.Verbs.EvaluateArguments

open Argu
open FsToolkit.ErrorHandling
open Ldr.Cli
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

type Arguments =
    | [<ExactlyOnce>] Model of name: string
    | [<ExactlyOnce>] Data of folder: string
    | [<Unique>] Split of part: string
    | [<Unique; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Seed of number: int
    | [<Unique>] Pairs of count: int
    | [<Unique>] Refine of steps: int
    | [<Unique>] Control_Spacing of mm: float
    | [<Unique>] Diffeomorphic
    | [<Unique>] Jacobian_Bounds of least: float * most: float
    | [<Unique>] Inverse
    | [<Unique>] Known_Field
    | [<Unique>] Amplitude of mm: float
    | [<Unique>] Smoothness of mm: float
    | [<Unique>] Noise of share: float
    | [<Unique>] Noise_Everywhere
    | [<Unique>] Verdict
    | Other of file: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Engine of EngineName
    | [<Unique>] Device of DeviceName
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Model _ ->
                "a model's file, or its name in models/; none for alignment and refinement without a network."
            | Data _ ->
                "a folder with a dataset.json (MSD), a table of pairs (.csv), or an experiment's file, whose data are taken."
            | Split _ ->
                "test, val (or validation), train or all (default: test); the parts are those of the model file, without a model those of the experiment."
            | Output _ -> "write scores.csv, summary.json and report.html into this folder."
            | Seed _ -> "the seed that draws the pairs (default: 1)."
            | Pairs _ -> "how many pairs (default: 200)."
            | Refine _ -> "refine every pair, with so many gradient steps at each level, as register does."
            | Control_Spacing _ ->
                "distance of the refinement's control points at its finest level, mm (default: by the scan)."
            | Diffeomorphic -> "bring every deformation to one that folds nowhere, as register does."
            | Jacobian_Bounds _ -> Usage.jacobianBoundsHelp
            | Inverse ->
                "register every pair the other way round too, and measure how far the two undo each other."
            | Known_Field ->
                "register scans to themselves, warped by a known field, and tell the error in mm (12 scans at most, drawn by the seed)."
            | Amplitude _ -> "mean length of the known field, mm (default: 2 voxels)."
            | Smoothness _ ->
                "deviation of the Gaussian that smooths the known field, mm (default: 8 voxels)."
            | Noise _ -> "deviation of the noise in the warped scan, as a share of its range (default: 0.02)."
            | Verdict ->
                "try the verdict instead, on the pairs, on scans and themselves, and on pairs made wrong on purpose."
            | Other _ -> "a scan of something else, which --verdict tries too (may be repeated)."
            | Noise_Everywhere -> "noise in the dark surround of the content too."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Engine _ -> Engine.usage
            | Device _ -> "where to compute."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

/// What is scored, on what.
/// The text of --help beside the options.
let help: Help =
    {
        What = "Score a model, or registration without one, on pairs of a data set."
        More =
            "Data: a data set's folder or description, or a table of pairs (.csv). Scores of each pair go to --output."
        Groups =
            [
                "Inputs", [ "--model"; "--data"; "--split"; "--pairs"; "--seed" ]
                "Outputs", [ "--output"; "--verdict"; "--other" ]
                "Registration", [ "--refine"; "--control-spacing"; "--diffeomorphic"; "--jacobian-bounds" ]
                "More measures",
                [
                    "--inverse"
                    "--known-field"
                    "--amplitude"
                    "--smoothness"
                    "--noise"
                    "--noise-everywhere"
                ]
            ]
        Examples =
            [
                "ldr-fs evaluate --model hippocampus --data Task04_Hippocampus --pairs 50 --output scores"
            ]
    }

type EvaluateOptions =
    {
        /// Nothing: alignment and refinement without a network.
        Model: string option
        Data: string
        /// `test`, `val`, `train` or `all`.
        Split: string
        Output: string option
        Seed: int
        Pairs: int
        /// Gradient steps of a refinement after the model.
        Refine: int option
        ControlSpacingMm: float option
        /// Bounds on changes of volume of a field that is brought to one without folds.
        Diffeomorphic: JacobianBounds option
        /// Whether every pair is registered the other way round too.
        Inverse: bool
        /// Scans that are registered to themselves, warped by a known field.
        KnownField: KnownFieldOptions option
        /// The verdict is tried, with these scans of something else.
        Verdict: string list option
        Engine: EngineChoice
    }

let common (r: ParseResults<Arguments>) : CommonOptions =
    {
        Threads = r.TryGetResult Threads
        Cuda = (r.TryGetResult Device = Some Cuda)
        Json = r.Contains Json
        Verbose = r.Contains Verbose
    }

let private split (name: string) : Result<string, string> =
    match name with
    | "validation" -> Ok "val"
    | "training" -> Ok "train"
    | "test"
    | "val"
    | "train"
    | "all" -> Ok name
    | other -> Error $"--split {other}: give test, val, train or all"

let private knownField (r: ParseResults<Arguments>) amplitude smoothness (noise: float) : KnownFieldOptions =
    KnownFieldOptions(
        AmplitudeMm = Option.toNullable amplitude,
        SmoothnessMm = Option.toNullable smoothness,
        Noise = noise,
        NoiseEverywhere = r.Contains Noise_Everywhere,
        Seed = r.GetResult(Seed, 1)
    )

/// Whether an option of the known field was given.
let private hasKnownFieldOptions (r: ParseResults<Arguments>) =
    r.Contains Amplitude
    || r.Contains Smoothness
    || r.Contains Noise
    || r.Contains Noise_Everywhere

let options (r: ParseResults<Arguments>) : Result<EvaluateOptions, string> =
    result {
        let! model = Usage.need "--model" (r.TryGetResult Model)
        let! data = Usage.need "--data" (r.TryGetResult Data)

        let! engine =
            Engine.parse (model <> "none") (r.TryGetResult Engine) (r.TryGetResult Device)

        let! amplitude = Usage.millimetres "--amplitude" (r.TryGetResult Amplitude)
        let! smoothness = Usage.millimetres "--smoothness" (r.TryGetResult Smoothness)

        let! controlSpacing =
            Usage.millimetres "--control-spacing" (r.TryGetResult Control_Spacing)

        let! split = split (r.GetResult(Split, "test"))
        let pairs = r.GetResult(Pairs, 200)

        do!
            Usage.refuseIf
                (pairs < 1 || pairs > 1_000_000)
                "--pairs: give a whole number above 0, up to 1000000"

        let! refine = Usage.steps (r.TryGetResult Refine)

        let! diffeomorphic =
            Usage.diffeomorphic (r.Contains Diffeomorphic) (r.TryGetResult Jacobian_Bounds)

        do!
            Usage.refuseIf
                (hasKnownFieldOptions r && not (r.Contains Known_Field))
                "--amplitude, --smoothness, --noise and --noise-everywhere are of --known-field; add it"

        do! Usage.refuseIf (r.Contains Other && not (r.Contains Verdict)) "--other is of --verdict; add it"

        let noise = r.GetResult(Noise, KnownFieldOptions().Noise)

        do! Usage.refuseIf (not (noise >= 0.0 && noise <= 1.0)) "--noise: give a share, a number from 0 to 1"

        return
            {
                Model = if model = "none" then None else Some model
                Data = data
                Split = split
                Output = r.TryGetResult Output
                Seed = r.GetResult(Seed, 1)
                Pairs = pairs
                Refine = refine
                ControlSpacingMm = controlSpacing
                Diffeomorphic = diffeomorphic
                Inverse = r.Contains Inverse
                KnownField =
                    if r.Contains Known_Field then
                        Some(knownField r amplitude smoothness noise)
                    else
                        None
                Verdict =
                    if r.Contains Verdict then
                        Some(r.GetResults Other)
                    else
                        None
                Engine = engine
            }
    }
