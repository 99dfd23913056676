/// The command line of the verbs that work on transforms.
module Ldr.Cli.TransformArguments

open Argu

type InterpolationName =
    | Linear
    | Cubic
    | Nearest
    | Label

type FrameName =
    | Ras
    | Lps
    | Voxel

type DirectionName =
    | [<CustomCommandLine "fixed-to-moving">] FixedToMoving
    | [<CustomCommandLine "moving-to-fixed">] MovingToFixed

type LayoutName =
    | Itk
    | Learn2reg

let private transformHelp =
    "a transform: displacement field (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr), affine map (.txt, .tfm, .mat, .lta) or list (.h5); [FILE,inverse] for its inverse. Given several times, the first one named acts on the moving image first (a point of the fixed image goes through the last one first)."

type ApplyArguments =
    | [<AltCommandLine("-t")>] Transform of file: string
    | [<ExactlyOnce>] Moving of file: string
    | [<ExactlyOnce>] Reference of file: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of file: string
    | [<Unique>] Interpolation of InterpolationName
    | [<Unique>] Outside of value: float
    | [<Unique>] Volume of index: int
    | [<Unique>] Threads of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Transform _ -> transformHelp
            | Moving _ -> "the image or label map to move."
            | Reference _ -> "an image whose grid the result has, usually the fixed scan."
            | Output _ -> "write the moved image here (.nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr)."
            | Interpolation _ ->
                "linear (default), cubic (B-spline), nearest, or label (each label votes with its linear weight; no value is invented)."
            | Outside _ ->
                "the value where the moving image has none (default: that of its nearest border voxel)."
            | Volume _ -> "which volume of a moving image that holds several, from 0."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type ApplyPointsArguments =
    | [<AltCommandLine("-t")>] Transform of file: string
    | [<ExactlyOnce>] Points of file: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of file: string
    | [<Unique>] Direction of DirectionName
    | [<Unique>] Frame of FrameName
    | [<Unique>] Fixed of file: string
    | [<Unique>] Moving of file: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Transform _ -> transformHelp
            | Points _ ->
                "points as CSV whose header says what they count (such as x_ras,y_ras,z_ras, x_lps,... or x_voxel,...), or Slicer's .mrk.json or .fcsv."
            | Output _ -> "write the moved points here, in the same format and frame."
            | Direction _ ->
                "fixed-to-moving (default): the points were marked on the fixed image, and come out where they are in the moving image. moving-to-fixed: the points were marked on the moving image, and come out where they lie in the moved image, on the fixed one. (Points go the other way than images.)"
            | Frame _ -> "what the numbers of a CSV count, when its header does not say it."
            | Fixed _ -> "the fixed scan: needed for points in voxels."
            | Moving _ -> "the moving scan: needed for points in voxels."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

/// What `invert`, `compose`, `convert` and `jacobian` share.
type TransformVerbArguments =
    | [<AltCommandLine("-t")>] Transform of file: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of file: string
    | [<Unique>] Reference of file: string
    | [<Unique>] Moving of file: string
    | [<Unique>] Layout of LayoutName
    | [<Unique>] Threads of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Transform _ -> transformHelp
            | Output _ ->
                "write the result here; the name chooses the format: affine map .txt, .tfm, .mat; field .nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr; list .h5. (jacobian writes an image.)"
            | Reference _ ->
                "an image whose grid a field is written on (default: the grid of the transform's own field). For invert, the moving scan."
            | Moving _ -> "the moving scan: needed with --reference to read FSL's matrices."
            | Layout _ ->
                "of a field as NIfTI: itk (default; nx,ny,nz,1,3, millimetres, LPS) or learn2reg (nx,ny,nz,3, voxels)."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."
