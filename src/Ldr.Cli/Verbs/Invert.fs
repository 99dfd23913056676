/// `invert`: the inverse of a transform.
module Ldr.Cli.Verbs.Invert

open System
open System.Globalization
open Argu
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

let private writeMap (output: string) (map: Transform) =
    TransformStore.write None false output map

    Said.both $"{output}: the exact inverse of an affine map" (Json.object [ "output", Json.text output ])

let private writeField (job: TransformJob) (inverse: Transform) (grid: Grid) =
    let output = job.Options.Output
    Budget.CheckField(output, grid)
    let field = Transform.Dense(inverse.ToField(grid, job.Threads))
    TransformStore.write (Some grid) job.Options.Voxels output field
    let error = InverseConsistency.Measure(job.Transform, field, grid, job.Threads)

    Said.both
        (String.Format(
            CultureInfo.InvariantCulture,
            "{0}: going there and back misses by {1:F4} mm on average, {2:F3} mm at most",
            output,
            error.MeanMm,
            error.MaxMm
        ))
        (Json.object
            [
                "output", Json.text output
                "residual_mean_mm", Json.number error.MeanMm
                "residual_max_mm", Json.number error.MaxMm
            ])

let private run (job: TransformJob) : Said =
    let output = job.Options.Output
    let inverse = job.Transform.Inverse()

    match inverse, job.Grid |> Option.orElse (TransformStore.ownGrid inverse) with
    | :? Transform.Linear, _ when not (TransformFile.IsFieldName output) -> writeMap output inverse
    | _, Some grid -> writeField job inverse grid
    | _, None ->
        Outputs.refuse
            output
            "is to hold a displacement field, and an affine map has no grid of its own"
            "give one with --reference"

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write the inverse of a transform."
        More = "It tells by how much going there and back misses."
        Groups =
            [
                "Inputs", [ "--transform"; "--reference"; "--moving" ]
                "Outputs", [ "--output"; "--layout" ]
            ]
        Examples =
            [
                "ldr-fs invert --transform transform.h5 --reference moving.nii.gz --output inverse.nii.gz"
            ]
    }

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkTransform run r
