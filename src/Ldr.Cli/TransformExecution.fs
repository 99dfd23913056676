/// Carries out what was asked of transforms.
module Ldr.Cli.TransformExecution

open System
open System.IO
open System.Text.Json.Nodes
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

/// What a verb has to say: a line for people, an object for programs.
type Said = { Line: string; Json: JsonObject }

let private said (line: string) (pairs: (string * JsonNode) list) =
    let node = JsonObject()

    for key, value in pairs do
        node.Add(key, value)

    { Line = line; Json = node }

let private text (value: string) : JsonNode =
    nonNull (JsonValue.Create value) :> JsonNode

let private number (value: float) : JsonNode =
    JsonValue.Create(Math.Round(value, 6)) :> JsonNode

let private refuse path problem remedy =
    raise (InvalidFileException(path, problem, remedy))

/// The transforms as one; each file is read once.
let private read (fixedGrid: Grid option) movingGrid (names: TransformName list) =
    names
    |> List.map (fun name ->
        let transform = TransformStore.read fixedGrid movingGrid name.File
        if name.Inverse then transform.Inverse() else transform)
    |> Transform.Compose

/// Refuses an output that is one of the files that are read, under whatever name, and two outputs of one name.
let checkDistinct (inputs: string list) (outputs: string list) =
    let real (path: string) =
        let full = Path.GetFullPath path

        try
            match File.ResolveLinkTarget(full, true) with
            | null -> full
            | target -> target.FullName
        with :? IOException ->
            full

    let read = inputs |> List.map real

    for path in outputs do
        if List.contains (real path) read then
            refuse path "is read too, and would be overwritten" "give the output its own name"

    match outputs |> List.countBy real |> List.tryFind (fun (_, n) -> n > 1) with
    | Some(path, _) -> refuse path "is named as two outputs" "give each its own name"
    | None -> ()

/// Whether an image can be written under a name, found out before time is spent.
let checkImageName (path: string) =
    if not (ImageFile.CanWrite path) then
        refuse path "is no name of an image file" $"let it end in {ImageFile.Extensions}"

    AtomicFile.CheckWritable path

let private apply threads (o: ApplyOptions) =
    checkImageName o.Output
    let reference = ImageFile.ReadGrid o.Reference
    let moving = ImageFile.Read(o.Moving, Option.toNullable o.Volume)
    let transform = read (Some reference) (Some moving.Grid) o.Transforms
    let outside = o.Outside |> Option.map float32 |> Option.toNullable

    let moved =
        Resampler.Apply(moving, transform, reference, o.Interpolation, outside, threads)

    ImageFile.Write(o.Output, moved)

    said
        $"{o.Output}: {moved.Grid}"
        [ "output", text o.Output; "transforms", JsonValue.Create o.Transforms.Length ]

let private applyPoints (o: ApplyPointsOptions) =
    AtomicFile.CheckWritable o.Output
    let grid = Option.map ImageFile.ReadGrid
    let fixedGrid, movingGrid = grid o.Fixed, grid o.Moving
    let points = PointFile.Read(o.Points, Option.toNullable o.Frame)

    if points.Frame = PointFrame.Voxel && (fixedGrid.IsNone || movingGrid.IsNone) then
        refuse
            o.Points
            "has its points in voxels"
            "name the scans that they count in, with --fixed and --moving"

    let forward = read fixedGrid movingGrid o.Transforms

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

    let direction =
        if o.FromMoving then
            "from the moving image to the fixed image"
        else
            "from the fixed image to the moving image"

    said
        $"{o.Output}: {moved.Length} points taken {direction}"
        [
            "output", text o.Output
            "points", JsonValue.Create moved.Length
            "direction",
            text (
                if o.FromMoving then
                    "moving-to-fixed"
                else
                    "fixed-to-moving"
            )
        ]

/// Whether a transform can be written under a name, found out before time is spent.
let checkTransformName (path: string) =
    if not (TransformStore.canWrite path) then
        refuse
            path
            "is no name of a transform"
            $"let it end in {TransformFile.AffineExtensions} (affine), {TransformFile.FieldExtensions} (field) or .h5 (list)"

    AtomicFile.CheckWritable path

/// The same for a registration's result, whose deformation an affine file cannot hold.
let checkDeformationName (path: string) =
    checkTransformName path

    if TransformFile.IsAffineName path then
        refuse
            path
            "can hold an affine map only, and a registration ends with a displacement field"
            $"let it end in {TransformFile.FieldExtensions} or .h5"

/// The same for a report.
let checkPageName (path: string) =
    if
        [ ".html"; ".htm" ]
        |> List.forall (fun ending -> not (path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)))
    then
        refuse path "is no name of a page" "let it end in .html"

    AtomicFile.CheckWritable path

/// Reads the transforms, and the grid that was asked for.
let private given (o: TransformOptions) =
    let reference = o.Reference |> Option.map ImageFile.ReadGrid
    let moving = o.Moving |> Option.map ImageFile.ReadGrid
    read reference moving o.Transforms, reference

let private convert (o: TransformOptions) =
    checkTransformName o.Output
    let transform, reference = given o
    TransformStore.write reference o.Voxels o.Output transform

    said
        $"{o.Output}: written"
        [ "output", text o.Output; "transforms", JsonValue.Create o.Transforms.Length ]

let private invert threads (o: TransformOptions) =
    checkTransformName o.Output
    let transform, reference = given o
    let inverse = transform.Inverse()

    match inverse with
    | :? Transform.Linear as linear when not (TransformFile.IsFieldName o.Output) ->
        TransformStore.write None false o.Output linear
        said $"{o.Output}: the exact inverse of an affine map" [ "output", text o.Output ]
    | _ ->
        match reference |> Option.orElse (TransformStore.ownGrid inverse) with
        | None ->
            refuse
                o.Output
                "is to hold a displacement field, and an affine map has no grid of its own"
                "give one with --reference"
        | Some grid ->
            let field = Transform.Dense(inverse.ToField(grid, threads))
            TransformStore.write (Some grid) o.Voxels o.Output field
            let error = InverseConsistency.Measure(transform, field, grid, threads)

            said
                (String.Format(
                    Globalization.CultureInfo.InvariantCulture,
                    "{0}: going there and back misses by {1:F4} mm on average, {2:F3} mm at most",
                    o.Output,
                    error.MeanMm,
                    error.MaxMm
                ))
                [
                    "output", text o.Output
                    "residual_mean_mm", number error.MeanMm
                    "residual_max_mm", number error.MaxMm
                ]

let private jacobian threads (o: TransformOptions) =
    checkImageName o.Output
    let transform, reference = given o

    match reference |> Option.orElse (TransformStore.ownGrid transform) with
    | None ->
        refuse
            o.Output
            "is to hold a map, and an affine map has no grid of its own"
            "give one with --reference"
    | Some grid ->
        let map = Jacobian.Determinants(transform.ToField(grid, threads), threads)
        ImageFile.Write(o.Output, map)
        let folding = Folding.OfDeterminants map

        said
            (String.Format(
                Globalization.CultureInfo.InvariantCulture,
                "{0}: {1:F3} % of the voxels folded, SD log J {2:F3}",
                o.Output,
                folding.FoldedPercent,
                folding.SdLogJ
            ))
            [
                "output", text o.Output
                "folded_percent", number folding.FoldedPercent
                "sdlogj", number folding.SdLogJ
                "sdlogj_learn2reg", number folding.SdLogJLearn2Reg
                "extreme_percent", number folding.ExtremePercent
            ]

/// Carries a command out; what is said of it.
let run (threads: int option) (command: TransformCommand) : Result<Said, Error> =
    let threads = defaultArg threads 0

    let files (transforms: TransformName list) others =
        (transforms |> List.map _.File) @ others

    Error.guard (fun () ->
        match command with
        | Apply o -> checkDistinct (files o.Transforms [ o.Moving; o.Reference ]) [ o.Output ]
        | ApplyPoints o ->
            checkDistinct
                (files o.Transforms (o.Points :: List.choose id [ o.Fixed; o.Moving ]))
                [ o.Output ]
        | Invert o
        | Compose o
        | Convert o
        | Jacobian o ->
            checkDistinct (files o.Transforms (List.choose id [ o.Reference; o.Moving ])) [ o.Output ]

        match command with
        | Apply o -> apply threads o
        | ApplyPoints o -> applyPoints o
        | Invert o -> invert threads o
        | Compose o
        | Convert o -> convert o
        | Jacobian o -> jacobian threads o)
