/// How well the label maps of a registered pair agree.
module Ldr.Cli.Verbs.RegisterOverlap

open System.Text.Json.Nodes
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Registration

/// After the initial alignment alone, and in the end.
type Agreement = { Before: PairScore; After: PairScore }

/// Where both scans have a label map.
let measure (inputs: Inputs) (registered: RegistrationResult) : Agreement option =
    match inputs.FixedLabels, inputs.Labels with
    | Some _, Some _ ->
        let scan name image labels mask =
            {
                Name = name
                Image = image
                Labels = labels
                Points = None
                Mask = mask
            }

        let score field =
            Scores.ofPair
                []
                true
                (scan "fixed" inputs.Fixed inputs.FixedLabels inputs.FixedMask)
                (scan "moving" inputs.Moving inputs.Labels None)
                field
                0.0

        Some
            {
                Before = score ((DisplacementField.Zero inputs.Fixed.Grid).After registered.Initial)
                After = score registered.Field
            }
    | _ -> None

let private labelNode (before: LabelScore) (after: LabelScore) =
    Json.object
        [
            "label", Json.integer after.Label
            "dice_before", Json.number before.Dice
            "dice", Json.number after.Dice
            "hd95_before_mm", Json.number before.Hd95Mm
            "hd95_mm", Json.number after.Hd95Mm
            "carried95_mm", Json.number after.Carried95Mm
            "median_jacobian", Json.number after.MedianJacobian
            "volume_ratio", Json.number after.VolumeRatio
            "extreme_percent", Json.number after.ExtremePercent
        ]

let node (agreement: Agreement) : JsonNode =
    let before, after = agreement.Before, agreement.After

    Json.object
        [
            "dice_before", Json.number before.Dice
            "dice", Json.number after.Dice
            "hd95_before_mm", Json.number before.Hd95Mm
            "hd95_mm", Json.number after.Hd95Mm
            "carried95_before_mm", Json.number before.Carried95Mm
            "carried95_mm", Json.number after.Carried95Mm
            "extreme_label_percent", Json.number after.ExtremeLabelPercent
            "volume_error_percent", Json.number after.VolumeErrorPercent
            "per_label", List.map2 labelNode before.PerLabel after.PerLabel |> Json.list
        ]

let line (agreement: Agreement) : string =
    let before, after = agreement.Before, agreement.After
    let fixedPoint = Scores.fixedPoint

    $"labels: Dice {fixedPoint 3 before.Dice} before, {fixedPoint 3 after.Dice} after; surfaces (HD95) {fixedPoint 2 before.Hd95Mm} mm before, {fixedPoint 2 after.Hd95Mm} mm after; {fixedPoint 1 after.ExtremeLabelPercent} %% of the voxels inside change their volume more than threefold"
