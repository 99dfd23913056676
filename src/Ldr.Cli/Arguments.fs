module Ldr.Cli.Arguments

open Argu
open Ldr.Cli
open Ldr.Cli.Verbs

type EngineName =
    | Managed
    | Torch

type RegisterArguments =
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
            | Jacobian_Bounds _ ->
                "with --diffeomorphic: the least and the largest factor by which a voxel's volume may change, such as 0.33 3."
            | Fixed_Mask _ -> "where the fixed scan counts in alignment and refinement (above 0)."
            | Moving_Mask _ ->
                "where the moving scan counts (above 0): for its intensities and its centre, and, without --fixed-mask, in the refinement."
            | Volume _ -> "which volume of the files that hold several, from 0."
            | Report _ ->
                "write a page with pictures and numbers here (.html); it opens in a browser, offline."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Engine _ ->
                "what computes: managed (ours; the default for ldr, ldr-half, ldr-velocity, affine-light and cascades of them) or torch (every network)."
            | Device _ -> "where to compute."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type EvaluateArguments =
    | [<ExactlyOnce>] Model of name: string
    | [<ExactlyOnce>] Data of folder: string
    | [<Unique>] Split of part: string
    | [<Unique; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Seed of number: int
    | [<Unique>] Pairs of count: int
    | [<Unique>] Refine of steps: int
    | [<Unique>] Control_Spacing of mm: float
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
            | Engine _ ->
                "what computes: managed (ours; the default for ldr, ldr-half, ldr-velocity, affine-light and cascades of them) or torch (every network)."
            | Device _ -> "where to compute."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type Arguments =
    | [<CliPrefix(CliPrefix.None)>] Train of ParseResults<Train.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Teach of ParseResults<Teach.Arguments>
    | [<CliPrefix(CliPrefix.None)>] Register of ParseResults<RegisterArguments>
    | [<CliPrefix(CliPrefix.None)>] Evaluate of ParseResults<EvaluateArguments>
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

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Train _ -> "run an experiment: teacher, student, distillation."
            | Teach _ -> "write a teacher's fields for every pair that a training will see."
            | Register _ -> "register one pair of scans."
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
