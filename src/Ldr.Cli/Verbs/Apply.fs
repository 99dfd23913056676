/// `apply`: an image or a label map moved by transforms.
module Ldr.Cli.Verbs.Apply

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

type InterpolationName =
    | Linear
    | Cubic
    | Nearest
    | Label

type Arguments =
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
            | Transform _ -> TransformNames.usage
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

type private Options =
    {
        Transforms: TransformName list
        Moving: string
        Reference: string
        Output: string
        Interpolation: Ldr.Runtime.Transforms.Interpolation
        Outside: float option
        Volume: int option
    }

let private interpolation (name: InterpolationName option) =
    match name with
    | Some Cubic -> Ldr.Runtime.Transforms.Interpolation.Cubic
    | Some Nearest -> Ldr.Runtime.Transforms.Interpolation.Nearest
    | Some Label -> Ldr.Runtime.Transforms.Interpolation.Label
    | Some Linear
    | None -> Ldr.Runtime.Transforms.Interpolation.Linear

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! transforms = TransformNames.parse (r.GetResults Transform)
        let! moving = Usage.need "--moving" (r.TryGetResult Moving)
        let! reference = Usage.need "--reference" (r.TryGetResult Reference)
        let! output = Usage.need "--output" (r.TryGetResult Output)

        return
            {
                Transforms = transforms
                Moving = moving
                Reference = reference
                Output = output
                Interpolation = interpolation (r.TryGetResult Interpolation)
                Outside = r.TryGetResult Outside
                Volume = r.TryGetResult Volume
            }
    }

/// Labels between two labels mean nothing.
let private blending (o: Options) (moving: Volume) : string list =
    match o.Interpolation with
    | Ldr.Runtime.Transforms.Interpolation.Linear
    | Ldr.Runtime.Transforms.Interpolation.Cubic when LabelMap.looksLikeOne moving ->
        let name = (string o.Interpolation).ToLowerInvariant()

        [
            $"warning: {o.Moving} looks like a label map, and {name} interpolation blends its labels; add --interpolation label"
        ]
    | _ -> []

let private run (o: Options) (threads: int) : Said =
    OutputFiles.CheckApart((o.Transforms |> List.map _.File) @ [ o.Moving; o.Reference ], [ o.Output ])
    Outputs.checkImage o.Output
    let reference = ImageFile.ReadGrid o.Reference
    Budget.CheckImage(o.Reference, reference)
    let moving = ImageFile.Read(o.Moving, Option.toNullable o.Volume)
    let transform = TransformNames.read (Some reference) (Some moving.Grid) o.Transforms
    let outside = o.Outside |> Option.map float32 |> Option.toNullable

    let moved =
        Resampler.Apply(moving, transform, reference, o.Interpolation, outside, threads)

    ImageFile.Write(o.Output, moved)

    { Said.both
          $"{o.Output}: {moved.Grid}"
          (Json.object [ "output", Json.text o.Output; "transforms", Json.integer o.Transforms.Length ]) with
        Remarks = blending o moving
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Move an image or a label map by transforms."
        More =
            "Several transforms: the first one named acts on the moving image first. antsApplyTransforms lists them the other way round."
        Groups =
            [
                "Inputs", [ "--transform"; "--moving"; "--reference"; "--volume" ]
                "Outputs", [ "--output" ]
                "Resampling", [ "--interpolation"; "--outside" ]
            ]
        Examples =
            [
                "ldr-fs apply --transform transform.h5 --moving labels.nii.gz --reference fixed.nii.gz --interpolation label --output moved.nii.gz"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r

        return!
            Call.create
                { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                (fun context -> Error.guard (fun () -> run options (defaultArg context.Threads 0)))
    }
