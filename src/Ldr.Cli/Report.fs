/// The report of `register`: what of a registered pair a page says and shows.
module Ldr.Cli.Report

open System
open System.IO
open Ldr
open Ldr.Runtime

let private started (how: string) =
    match how with
    | "world" -> "by the scans' positions in the world"
    | "centres" -> "centre on centre"
    | "given" -> "as given"
    | "rigid" -> "turned and shifted (rigid, optimised)"
    | "affine" -> "turned, shifted, stretched (affine, optimised)"
    | other -> other

let private numbers (result: PairResult) (quality: RegistrationQuality) =
    let fixedPoint = Scores.fixedPoint

    let line name value unit remark = ReportNumber(name, value, unit, remark)

    let seconds (milliseconds: float) = fixedPoint 2 (milliseconds / 1000.0)

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
let write
    (path: string)
    (commandLine: string list)
    (asked: RegisterOptions)
    (fixedScan: Volume)
    (moving: Volume)
    (labels: Volume option)
    (result: PairResult)
    (verdict: string)
    (quality: RegistrationQuality)
    =
    RegistrationReport.Write(
        path,
        ReportContent(
            FixedName = nonNull (Path.GetFileName asked.Fixed),
            MovingName = nonNull (Path.GetFileName asked.Moving),
            Fixed = fixedScan,
            Moving = moving,
            Moved = result.Registered.Moved,
            Initial = result.Registered.Initial,
            Field = result.Registered.Field,
            Deformation = result.Registered.Deformation,
            MovingLabels = Option.toObj labels,
            Verdict = verdict,
            Reasons = quality.Reasons,
            Numbers = Array.ofList (numbers result quality),
            Command = Shell.command commandLine,
            Folder = Directory.GetCurrentDirectory()
        )
    )
