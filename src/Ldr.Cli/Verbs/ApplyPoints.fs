/// `apply-points`: points moved by transforms.
module Ldr.Cli.Verbs.ApplyPoints

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

type FrameName =
    | Ras
    | Lps
    | Voxel

type DirectionName =
    | [<CustomCommandLine "fixed-to-moving">] FixedToMoving
    | [<CustomCommandLine "moving-to-fixed">] MovingToFixed

type Arguments =
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
            | Transform _ -> TransformNames.usage
            | Points _ ->
                "points as CSV whose header says what they count (such as x_ras,y_ras,z_ras, x_lps,... or x_voxel,...), or Slicer's .mrk.json or .fcsv."
            | Output _ ->
                "write the moved points here, in the same frame; the name chooses the format (.csv, .fcsv; .mrk.json where the points came so)."
            | Direction _ ->
                "fixed-to-moving (default): the points were marked on the fixed image, and come out where they are in the moving image. moving-to-fixed: the points were marked on the moving image, and come out where they lie in the moved image, on the fixed one. (Points go the other way than images.)"
            | Frame _ -> "what the numbers of a CSV count, when its header does not say it."
            | Fixed _ -> "the fixed scan: needed for points in voxels."
            | Moving _ -> "the moving scan: needed for points in voxels."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type private Options =
    {
        Transforms: TransformName list
        Points: string
        Output: string
        /// The points were marked on the moving image.
        FromMoving: bool
        Frame: PointFrame option
        Fixed: string option
        Moving: string option
    }

let private frame (name: FrameName) =
    match name with
    | Ras -> PointFrame.Ras
    | Lps -> PointFrame.Lps
    | Voxel -> PointFrame.Voxel

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! transforms = TransformNames.parse (r.GetResults Transform)
        let! points = Usage.need "--points" (r.TryGetResult Points)
        let! output = Usage.need "--output" (r.TryGetResult Output)

        return
            {
                Transforms = transforms
                Points = points
                Output = output
                FromMoving = (r.TryGetResult Direction = Some MovingToFixed)
                Frame = r.TryGetResult Frame |> Option.map frame
                Fixed = r.TryGetResult Fixed
                Moving = r.TryGetResult Moving
            }
    }

let private say (o: Options) (count: int) : Said =
    let words, key =
        if o.FromMoving then
            "from the moving image to the fixed image", "moving-to-fixed"
        else
            "from the fixed image to the moving image", "fixed-to-moving"

    Said.both
        $"{o.Output}: {count} points taken {words}"
        (Json.object
            [
                "output", Json.text o.Output
                "points", Json.integer count
                "direction", Json.text key
            ])

let private run (o: Options) : Said =
    OutputFiles.CheckApart(
        (o.Transforms |> List.map _.File)
        @ o.Points :: List.choose id [ o.Fixed; o.Moving ],
        [ o.Output ]
    )

    AtomicFile.CheckWritable o.Output
    let grid = Option.map ImageFile.ReadGrid
    let fixedGrid, movingGrid = grid o.Fixed, grid o.Moving
    let points = PointFile.Read(o.Points, Option.toNullable o.Frame)
    points.CheckName o.Output

    if points.Frame = PointFrame.Voxel && (fixedGrid.IsNone || movingGrid.IsNone) then
        Outputs.refuse
            o.Points
            "has its points in voxels"
            "name the scans that they count in, with --fixed and --moving"

    let forward = TransformNames.read fixedGrid movingGrid o.Transforms

    let transform, from, into =
        if o.FromMoving then
            forward.Inverse(), movingGrid, fixedGrid
        else
            forward, fixedGrid, movingGrid

    let moved =
        points.ToWorld(Option.toObj from)
        |> Seq.map (fun struct (x, y, z) -> transform.MapPoint(x, y, z))
        |> Array.ofSeq

    points.Write(o.Output, moved, Option.toObj into)
    say o moved.Length

/// The text of --help beside the options.
let help: Help =
    {
        What = "Move points by transforms."
        More =
            "Points go from the fixed to the moving scan, the way opposite to images; --direction turns it round."
        Groups =
            [
                "Inputs", [ "--transform"; "--points"; "--frame"; "--fixed"; "--moving"; "--direction" ]
                "Outputs", [ "--output" ]
            ]
        Examples =
            [
                "ldr-fs apply-points --transform transform.h5 --points points.csv --output moved.csv"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r

        return!
            Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ ->
                Error.guard (fun () -> run options))
    }
