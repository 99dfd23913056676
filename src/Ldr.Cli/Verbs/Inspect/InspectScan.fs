/// What `inspect` says of scans, fields and affine maps.
module Ldr.Cli.Verbs.InspectScan

open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

let private sizeNode (grid: Grid) =
    Json.list [ Json.integer grid.Nx; Json.integer grid.Ny; Json.integer grid.Nz ]

let private spacingNode (grid: Grid) =
    let struct (x, y, z) = grid.Spacing
    Json.numbers [| x; y; z |]

let private affineNode (map: Affine) = Json.numbers (map.ToRows())

let private sizeWords (grid: Grid) =
    $"{grid.Nx} × {grid.Ny} × {grid.Nz} voxels"

let private spacingWords (grid: Grid) =
    let struct (x, y, z) = grid.Spacing
    $"{Scores.fixedPoint 3 x} × {Scores.fixedPoint 3 y} × {Scores.fixedPoint 3 z} mm"

let private nifti (path: string) (header: NiftiHeader) =
    let grid = header.Grid
    let kind = if header.IsField then "displacement field" else "scan"

    let volumes =
        if header.Volumes > 1 && not header.IsField then
            $", {header.Volumes} volumes"
        else
            ""

    Said.lines
        [
            $"{path}: NIfTI-{header.Version} {kind}, {sizeWords grid}{volumes} of {spacingWords grid}, orientation {grid.Orientation}, stored as {header.StoredAs}"
            for warning in header.Warnings do
                $"warning: {warning}"
        ]
        (Json.object
            [
                "kind", Json.text (if header.IsField then "field" else "scan")
                "size", sizeNode grid
                if not header.IsField then
                    "volumes", JsonValue.Create header.Volumes
                "spacing_mm", spacingNode grid
                "orientation", Json.text grid.Orientation
                "type", Json.text (string header.StoredAs)
                "affine", affineNode grid.VoxelToWorld
                "warnings", Json.texts header.Warnings
            ])

/// A NIfTI file.
let ofNifti (path: string) : Result<Said, Error> =
    result {
        let! header = Error.guard (fun () -> Nifti.ReadHeader path)
        return nifti path header
    }

let private image (path: string) (grid: Grid) (numbers: int64) =
    let each =
        match numbers with
        | 1L -> ""
        | 3L -> ", 3 numbers each (a displacement field, or colours)"
        | several -> $", {several} numbers each"

    Said.both
        $"{path}: image, {sizeWords grid} of {spacingWords grid}, orientation {grid.Orientation}{each}"
        (Json.object
            [
                "kind", Json.text "scan"
                "size", sizeNode grid
                "volumes", JsonValue.Create numbers
                "spacing_mm", spacingNode grid
                "orientation", Json.text grid.Orientation
                "affine", affineNode grid.VoxelToWorld
            ])

/// An image that is no NIfTI file: MetaImage, NRRD.
let ofImage (path: string) : Result<Said, Error> =
    result {
        let! grid, numbers =
            Error.guard (fun () -> ImageFile.ReadGrid path, ImageFile.CountVolumes path)

        return image path grid numbers
    }

/// In words, and as JSON.
let private part (part: Transform) : string * JsonNode =
    let field (kind: string) (grid: Grid) =
        $"{kind} on {sizeWords grid} of {spacingWords grid}",
        Json.object
            [
                "kind", Json.text kind
                "size", sizeNode grid
                "spacing_mm", spacingNode grid
            ]

    match part with
    | :? Transform.Linear as linear ->
        let rows =
            linear.World.ToRows() |> Array.map (Scores.fixedPoint 4) |> String.concat " "

        $"affine map, fixed world to moving world (RAS): {rows}",
        Json.object [ "kind", Json.text "affine"; "matrix", affineNode linear.World ]
    | :? Transform.Dense as dense -> field "displacement field" dense.Field.Grid
    | :? Transform.Inverted as inverted -> field "inverse of a displacement field" inverted.Field.Grid
    | other -> string other, Json.object [ "kind", Json.text (string other) ]

/// An affine map, or a list of transforms.
let ofTransform (path: string) : Result<Said, Error> =
    result {
        let! transform = Error.guard (fun () -> TransformStore.read None None path)

        let parts =
            match transform with
            | :? Transform.Sequence as several -> several.Parts |> Seq.map part |> List.ofSeq
            | one -> [ part one ]

        let count =
            match parts.Length with
            | 1 -> "1 part"
            | several -> $"{several} parts, the first one acts on the moving image first"

        return
            Said.lines
                [
                    $"{path}: transform of {count}"
                    for words, _ in parts do
                        $"  {words}"
                ]
                (Json.object [ "kind", Json.text "transform"; "parts", parts |> List.map snd |> Json.list ])
    }
