/// `jacobian`: how much a transform grows or shrinks each voxel.
module Ldr.Cli.Verbs.Jacobian

open System
open System.Globalization
open Argu
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

let private write (job: TransformJob) (grid: Grid) : Said =
    let output = job.Options.Output
    Budget.CheckField(output, grid)

    let map =
        Jacobian.Determinants(job.Transform.ToField(grid, job.Threads), job.Threads)

    ImageFile.Write(output, map)
    let folding = Folding.OfDeterminants map

    Said.both
        (String.Format(
            CultureInfo.InvariantCulture,
            "{0}: {1:F3} % of the voxels folded, SD log J {2:F3}",
            output,
            folding.FoldedPercent,
            folding.SdLogJ
        ))
        (Json.object
            [
                "output", Json.text output
                "folded_percent", Json.number folding.FoldedPercent
                "sdlogj", Json.number folding.SdLogJ
                "sdlogj_learn2reg", Json.number folding.SdLogJLearn2Reg
                "extreme_percent", Json.number folding.ExtremePercent
            ])

let private run (job: TransformJob) : Said =
    match job.Grid |> Option.orElse (TransformStore.ownGrid job.Transform) with
    | Some grid -> write job grid
    | None ->
        Outputs.refuse
            job.Options.Output
            "is to hold a map, and an affine map has no grid of its own"
            "give one with --reference"

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write how much a transform grows or shrinks each voxel."
        More = "1 keeps the volume; at or below 0 the deformation folds."
        Groups =
            [
                "Inputs", [ "--transform"; "--reference"; "--moving" ]
                "Outputs", [ "--output"; "--layout" ]
            ]
        Examples =
            [
                "ldr-fs jacobian --transform transform.h5 --reference fixed.nii.gz --output jacobian.nii.gz"
            ]
    }

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkImage run r
