/// The page of `register --report`: what it says and shows of a registered pair.
module Ldr.Cli.Verbs.RegisterPage

open System
open System.IO
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Cli.Verbs.RegisterPair
open Ldr.Runtime

let private started (how: string) =
    match how with
    | "world" -> "by the scans' positions in the world"
    | "centres" -> "centre on centre"
    | "given" -> "as given"
    | "rigid" -> "turned and shifted (rigid, optimised)"
    | "affine" -> "turned, shifted, stretched (affine, optimised)"
    | other -> other

let private line name value unit remark = ReportNumber(name, value, unit, remark)

let private fixedPoint (digits: int) (value: float) = Scores.fixedPoint digits value

let private seconds (milliseconds: float) = fixedPoint 2 (milliseconds / 1000.0)

/// How well the scans agree, before and after.
let private agreement (quality: RegistrationQuality) =
    [
        line
            "Similarity before"
            (fixedPoint 3 quality.SimilarityBefore)
            ""
            "Correlation of the intensities where the scans overlap; 1 is best, 0 is none."
        line
            "Similarity after"
            (fixedPoint 3 quality.SimilarityAfter)
            ""
            "Should be higher than before, unless the scans agreed already."
        line
            "Detail explained before"
            (fixedPoint 0 (100.0 * quality.DetailBefore))
            "%"
            "Share of the fixed scan's local detail that the moving scan explains."
        line
            "Detail explained after"
            (fixedPoint 0 (100.0 * quality.DetailAfter))
            "%"
            (String.Format(
                Globalization.CultureInfo.InvariantCulture,
                "Below {0:0} % look; below {1:0} % the scans do not show the same thing.",
                100.0 * VerdictThresholds.Standard.LookDetail,
                100.0 * VerdictThresholds.Standard.FailedDetail
            ))
    ]

/// How far and how evenly places move.
let private deformation (quality: RegistrationQuality) =
    [
        line
            "Folded voxels"
            (fixedPoint 2 quality.Folding.FoldedPercent)
            "%"
            "Places that the deformation turns inside out; should be 0 or nearly so."
        line
            "Deformation, mean"
            (fixedPoint 2 quality.MeanDeformationMm)
            "mm"
            "How far places move, beyond the alignment of the scans as a whole."
        line "Deformation, largest" (fixedPoint 2 quality.MaxDeformationMm) "mm" ""
        line
            "Displacement, mean"
            (fixedPoint 2 quality.MeanDisplacementMm)
            "mm"
            "The same with the alignment of the scans as a whole."
        line "Displacement, largest" (fixedPoint 2 quality.MaxDisplacementMm) "mm" ""
        line
            "Overlap at the start"
            (fixedPoint 0 quality.OverlapPercent)
            "%"
            "Share of the fixed scan where the moving scan lies after the alignment."
        line
            "Outside the moving scan"
            (fixedPoint 0 quality.OutsidePercent)
            "%"
            "Share of the fixed scan whose content the moving scan does not hold."
        line
            "There and back, mean"
            (fixedPoint 3 quality.InverseError.MeanMm)
            "mm"
            "By how much the deformation and its inverse miss each other; large where it folds."
        line "There and back, largest" (fixedPoint 3 quality.InverseError.MaxMm) "mm" ""
        line
            "Torn content"
            (fixedPoint 2 quality.ExtremeContentPercent)
            "%"
            "Share of the content whose volume shrinks to less than a third or grows to more than three times; should be 0 or nearly so."
        line
            "Unevenness (SD log J)"
            (fixedPoint 3 quality.Folding.SdLogJ)
            ""
            "How much the volume change differs from place to place: the deviation of its logarithm."
    ]

/// What was done, and how long it took.
let private work (result: PairResult) =
    [
        match result.Refined with
        | Some refined ->
            line
                "Refinement"
                $"{refined.Steps}"
                "steps"
                (String.Format(
                    Globalization.CultureInfo.InvariantCulture,
                    "Local correlation {0:F3} before, {1:F3} after.",
                    refined.Before,
                    refined.After
                ))
        | None -> ()
        match result.Unfolded with
        | Some unfolded ->
            line
                "Unfolding, mean change"
                (fixedPoint 3 unfolded.Fit.MeanChangeMm)
                "mm"
                $"The deformation was brought to one without folds; before, {fixedPoint 2 unfolded.FoldedBeforePercent} %% of the voxels folded."
        | None -> ()
        line "Start" "" "" $"The scans were laid over each other {started result.StartedBy}."
        let unfolding =
            match result.Unfolded with
            | Some unfolded -> $", unfolding {seconds unfolded.Ms} s"
            | None -> ""

        line
            "Time"
            (seconds result.Registered.TotalMs)
            "s"
            $"Alignment {seconds result.AffineMs} s, network {seconds result.Registered.NetworkMs} s, refinement {seconds result.RefinementMs} s{unfolding}."
    ]

/// Writes the page.
let write (path: string) (commandLine: string list) (o: RegisterOptions) (inputs: Inputs) (outcome: Outcome) =
    let registered, quality = outcome.Registered, outcome.Quality

    RegistrationReport.Write(
        path,
        ReportContent(
            FixedName = nonNull (Path.GetFileName o.Fixed),
            MovingName = nonNull (Path.GetFileName o.Moving),
            Fixed = inputs.Fixed,
            Moving = inputs.Moving,
            Moved = registered.Moved,
            Initial = registered.Initial,
            Field = registered.Field,
            Deformation = registered.Deformation,
            MovingLabels = Option.toObj inputs.Labels,
            Verdict = outcome.Verdict,
            Reasons = quality.Reasons,
            Numbers = Array.ofList (agreement quality @ deformation quality @ work outcome.Result),
            Command = Shell.command commandLine,
            Folder = Directory.GetCurrentDirectory()
        )
    )
