/// The command line of `register`.
module Ldr.Cli.Verbs.RegisterArguments

open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration

type Arguments =
    | [<ExactlyOnce>] Fixed of file: string
    | [<ExactlyOnce>] Moving of file: string
    | [<ExactlyOnce>] Model of name: string
    | [<Unique>] Moved of file: string
    | [<Unique>] Transform of file: string
    | [<Unique>] Labels of file: string
    | [<Unique>] Moved_Labels of file: string
    | [<Unique>] Fixed_Labels of file: string
    | [<Unique>] Inverse_Transform of file: string
    | [<Unique>] Affine of choice: string
    | [<Unique>] Init of file: string
    | [<Unique>] Refine of steps: int
    | [<Unique>] Budget of seconds: float
    | [<Unique>] Control_Spacing of mm: float
    | [<Unique>] Log_Jacobian of weight: float
    | [<Unique>] Diffeomorphic
    | [<Unique>] Jacobian_Bounds of least: float * most: float
    | [<Unique>] Fixed_Mask of file: string
    | [<Unique>] Moving_Mask of file: string
    | [<Unique>] Volume of index: int
    | [<Unique; AltCommandLine("-o")>] Output_Prefix of prefix: string
    | [<Unique>] Report of file: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Engine of EngineName
    | [<Unique>] Device of DeviceName
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Fixed _ -> "the scan whose grid the result has (NIfTI, MetaImage or NRRD)."
            | Moving _ -> "the scan that is deformed onto it; of any size, spacing and orientation."
            | Model _ ->
                "a model's file, or its name in models/; none for alignment and refinement without a network."
            | Moved _ -> "write the moved scan here (.nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr)."
            | Transform _ ->
                "write the whole transform here: as a displacement field (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr; mm, LPS: ITK, ANTs, plastimatch and elastix read it) or as ITK's list of an affine map and a field (.h5); after --model none --refine 0 also as an affine map (.txt, .tfm, .mat)."
            | Inverse_Transform _ ->
                "write its inverse here, from the moving to the fixed scan, on the moving scan's grid."
            | Labels _ -> "a label map of the moving scan; --report draws its outlines."
            | Moved_Labels _ -> "write the moved label map here."
            | Fixed_Labels _ ->
                "a label map of the fixed scan: with --labels, tells how well the structures agree before and after, and how their volumes change."
            | Affine _ ->
                "how the scans are laid over each other first: none (world positions), centres, rigid or full (optimised: 6 or 12 numbers), auto (optimised, kept where it helps), or a FILE with an affine map. Without this option: as the model was trained (by centres when the scans hardly overlap); auto with --model none."
            | Init _ ->
                "a transform to start from (any format of ldr-fs convert). An affine map is where the optimisation of --affine starts, or the alignment itself; a displacement field needs --model none."
            | Refine _ ->
                "refine the deformation for this pair, with so many gradient steps at each level; 0 with --model none: alignment alone."
            | Control_Spacing _ ->
                "distance of the refinement's control points at its finest level, mm (default: an eighth of what the fixed scan shows, up to 8 mm)."
            | Log_Jacobian _ ->
                "weight of a penalty on changes of volume in the refinement, such as 0.02 (default: 0)."
            | Budget _ -> "refine, and begin no step after so many seconds."
            | Diffeomorphic ->
                "bring the deformation that was found to one that folds nowhere and has an inverse: the flow of a stationary velocity, fitted to it and integrated by scaling and squaring."
            | Jacobian_Bounds _ -> Usage.jacobianBoundsHelp
            | Fixed_Mask _ -> "where the fixed scan counts in alignment and refinement (above 0)."
            | Moving_Mask _ ->
                "where the moving scan counts (above 0): for its intensities and its centre, and, without --fixed-mask, in the refinement."
            | Volume _ -> "which volume of the files that hold several, from 0."
            | Output_Prefix _ ->
                "write what antsRegistration writes, under its names: PREFIX0GenericAffine.mat, PREFIX1Warp.nii.gz, PREFIX1InverseWarp.nii.gz and PREFIXWarped.nii.gz. antsApplyTransforms takes them. After an alignment alone there is no warp."
            | Report _ ->
                "write a page with pictures and numbers here (.html); it opens in a browser, offline."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Engine _ -> Engine.usage
            | Device _ -> "where to compute."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

/// The text of --help beside the options.
let help: Help =
    {
        What = "Register one pair of scans: the moving one is laid onto the fixed one."
        More =
            "The verdict (ok, look, failed) tells whether the result can be trusted; failed has exit code 3."
        Groups =
            [
                "Inputs",
                [
                    "--fixed"
                    "--moving"
                    "--fixed-mask"
                    "--moving-mask"
                    "--labels"
                    "--fixed-labels"
                    "--volume"
                ]
                "Outputs",
                [
                    "--moved"
                    "--transform"
                    "--inverse-transform"
                    "--moved-labels"
                    "--output-prefix"
                    "--report"
                ]
                "Alignment", [ "--affine"; "--init" ]
                "Deformation",
                [
                    "--model"
                    "--refine"
                    "--budget"
                    "--control-spacing"
                    "--log-jacobian"
                    "--diffeomorphic"
                    "--jacobian-bounds"
                ]
            ]
        Examples =
            [
                "ldr-fs register --model none --fixed A.nii.gz --moving B.nii.gz --moved moved.nii.gz --report report.html"
            ]
    }

/// How the scans are laid over each other first.
type AffineRequest =
    /// As named; nothing means as the model was trained.
    | Header of Alignment option
    | Optimise of AffineFreedom
    | KeepWhereItHelps
    | FromFile of string

/// What is done with a pair: of one, or of a whole cohort.
type Treatment =
    {
        /// Nothing for a registration without a network.
        Model: string option
        Affine: AffineRequest
        Init: string option
        /// Gradient steps at each level.
        Refine: int option
        BudgetSeconds: float option
        /// Between the control points of the refinement, mm.
        ControlSpacingMm: float option
        /// The weight of the refinement's penalty on changes of volume.
        LogJacobian: float option
        /// Bring the deformation to one without folds, with these bounds of its Jacobian determinants.
        Diffeomorphic: JacobianBounds option
        Volume: int option
        Engine: EngineChoice
    }

/// One pair to register: the files that are read and written.
type RegisterOptions =
    {
        Fixed: string
        Moving: string
        Treatment: Treatment
        Moved: string option
        Transform: string option
        InverseTransform: string option
        /// The moving scan's label map.
        Labels: string option
        /// Where the moved label map goes.
        MovedLabels: string option
        /// The fixed scan's label map, to compare with.
        FixedLabels: string option
        FixedMask: string option
        MovingMask: string option
        /// How the names of ANTs' files begin.
        OutputPrefix: string option
        /// The page that shows the result.
        Report: string option
    }

    /// Whether nothing but an affine map comes out.
    member this.IsAlignmentOnly =
        this.Treatment.Model.IsNone
        && this.Treatment.Refine = Some 0
        && this.Treatment.Diffeomorphic.IsNone

    member private this.Prefixed(name: string) : string option =
        this.OutputPrefix |> Option.map (fun prefix -> prefix + name)

    /// Names of ANTs' files.
    member this.PrefixedAffine = this.Prefixed "0GenericAffine.mat"

    member this.PrefixedMoved = this.Prefixed "Warped.nii.gz"

    /// The deformation and its inverse.
    member this.PrefixedWarps: (string * string) option =
        if this.IsAlignmentOnly then
            None
        else
            Option.map2
                (fun warp inverse -> warp, inverse)
                (this.Prefixed "1Warp.nii.gz")
                (this.Prefixed "1InverseWarp.nii.gz")

let common (r: ParseResults<Arguments>) : CommonOptions =
    {
        Threads = r.TryGetResult Threads
        Cuda = (r.TryGetResult Device = Some Cuda)
        Json = r.Contains Json
        Verbose = r.Contains Verbose
    }

/// What `register` starts from: a word, or a map's file.
let private affine (hasNetwork: bool) (choice: string option) : Result<AffineRequest, string> =
    let words =
        [
            "none", Header(Some Alignment.World)
            "centres", Header(Some Alignment.Centres)
            "rigid", Optimise AffineFreedom.Rigid
            "full", Optimise AffineFreedom.Full
            "auto", KeepWhereItHelps
        ]

    match choice with
    | None when hasNetwork -> Ok(Header None)
    | None -> Ok KeepWhereItHelps
    | Some choice ->
        match words |> List.tryFind (fun (word, _) -> word = choice) with
        | Some(_, start) -> Ok start
        // The name of a file, there or not, has an ending or a folder.
        | None when not (Path.HasExtension choice || choice.Contains '/' || File.Exists choice) ->
            Error
                $"--affine {choice}: neither a word that is known nor a map's file; {Suggestion.among (List.map fst words) choice}"
        | None -> Ok(FromFile choice)

/// Label maps are read where something is made of them.
let private checkLabels (r: ParseResults<Arguments>) : Result<unit, string> =
    let isUsed = r.Contains Moved_Labels || r.Contains Report || r.Contains Fixed_Labels

    match r.Contains Labels, r.Contains Moved_Labels with
    | true, _ when isUsed -> Ok()
    | false, false when r.Contains Fixed_Labels ->
        Error "--fixed-labels is compared with the moving scan's labels; give them to --labels"
    | false, false -> Ok()
    | _ ->
        Error
            "--labels and --moved-labels go together (or --labels and --report, or --labels and --fixed-labels)"

let private writesSomething (r: ParseResults<Arguments>) =
    r.Contains Moved
    || r.Contains Transform
    || r.Contains Inverse_Transform
    || r.Contains Labels
    || r.Contains Output_Prefix
    || r.Contains Report

let private within (isGood: float -> bool) (problem: string) (value: float option) =
    match value with
    | Some number when not (isGood number) -> Error problem
    | _ -> Ok value

/// What is done with a pair; `model` where none is named.
let treatment (model: string option) (r: ParseResults<Arguments>) : Result<Treatment, string> =
    result {
        let! model = Usage.need "--model" (r.TryGetResult Model |> Option.orElse model)
        let! affine = affine (model <> "none") (r.TryGetResult Affine)

        let! engine =
            Engine.parse (model <> "none") (r.TryGetResult Engine) (r.TryGetResult Device)

        let! controlSpacing =
            Usage.millimetres "--control-spacing" (r.TryGetResult Control_Spacing)

        do!
            Usage.refuseIf
                (affine = Header(Some Alignment.Centres) && r.Contains Init)
                "--init and --affine centres: both say where to start; give one of them"

        let! refine = Usage.steps (r.TryGetResult Refine)

        let! diffeomorphic =
            Usage.diffeomorphic (r.Contains Diffeomorphic) (r.TryGetResult Jacobian_Bounds)

        let! logJacobian =
            r.TryGetResult Log_Jacobian
            |> within
                (fun w -> w >= 0.0 && w <= 1000.0)
                "--log-jacobian: give a weight, a number from 0 to 1000"

        let! budget =
            r.TryGetResult Budget
            |> within (fun s -> s > 0.0 && s < 1e6) "--budget: give seconds, a number above 0"

        return
            {
                Model = if model = "none" then None else Some model
                Affine = affine
                Init = r.TryGetResult Init
                Refine = refine
                BudgetSeconds = budget
                ControlSpacingMm = controlSpacing
                LogJacobian = logJacobian
                Diffeomorphic = diffeomorphic
                Volume = r.TryGetResult Volume
                Engine = engine
            }
    }

let options (r: ParseResults<Arguments>) : Result<RegisterOptions, string> =
    result {
        let! fixedFile = Usage.need "--fixed" (r.TryGetResult Fixed)
        let! moving = Usage.need "--moving" (r.TryGetResult Moving)
        do! Usage.need "--model" (r.TryGetResult Model) |> Result.ignore
        do! checkLabels r
        let! treatment = treatment None r

        do!
            Usage.refuseIf
                (not (writesSomething r))
                "nothing to write: give --moved, --transform, --output-prefix, --report, or --labels with --moved-labels"

        return
            {
                Fixed = fixedFile
                Moving = moving
                Treatment = treatment
                Moved = r.TryGetResult Moved
                Transform = r.TryGetResult Transform
                InverseTransform = r.TryGetResult Inverse_Transform
                Labels = r.TryGetResult Labels
                MovedLabels = r.TryGetResult Moved_Labels
                FixedLabels = r.TryGetResult Fixed_Labels
                FixedMask = r.TryGetResult Fixed_Mask
                MovingMask = r.TryGetResult Moving_Mask
                OutputPrefix = r.TryGetResult Output_Prefix
                Report = r.TryGetResult Report
            }
    }
