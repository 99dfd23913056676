/// What `register` says of a registered pair.
module Ldr.Cli.Verbs.RegisterSaid

open System
open System.Diagnostics
open System.Text.Json.Nodes
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Cli.Verbs.RegisterOverlap
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// All that can be said.
[<NoEquality; NoComparison>]
type Findings =
    {
        Options: RegisterOptions
        Inputs: Inputs
        Result: RegistrationResult
        Agreement: Agreement option
        /// Of the inverse that was written.
        InverseError: InverseConsistency option
    }

/// Most memory that this process has held so far, MB.
let private peakMegabytes () =
    use own = Process.GetCurrentProcess()
    float own.PeakWorkingSet64 / 1e6

let private qualityKeys (quality: RegistrationQuality) : (string * (JsonNode | null)) list =
    [
        for number in QualityNumbers.Of quality -> number.Key, Json.number number.Value
        yield "outside_training", Json.texts quality.OutsideTraining
        yield "check_milliseconds", Json.number quality.Elapsed.TotalMilliseconds
    ]

let private startWord (start: StartedBy) = (string start).ToLowerInvariant()

let private milliseconds (time: TimeSpan) = Json.number time.TotalMilliseconds

let private timesNode (result: RegistrationResult) : JsonNode =
    Json.object
        [
            "affine", milliseconds result.Times.Alignment
            "network", milliseconds result.Times.Network
            "refinement", milliseconds result.Times.Refinement
            if not (isNull result.Unfolded) then
                "diffeomorphic", milliseconds result.Times.Unfolding
            "warp", milliseconds result.Times.Warp
            "total", milliseconds result.Times.Total
        ]

let private node (f: Findings) : JsonNode =
    let o, result, quality = f.Options, f.Result, f.Result.Quality

    Json.object
        [
            "moved", Json.maybeText o.Moved
            "transform", Json.maybeText o.Transform
            for prefix in Option.toList o.OutputPrefix do
                "output_prefix", Json.text prefix
            for file in Option.toList o.Report do
                "report", Json.text file
            yield! qualityKeys quality
            "initial_alignment", Json.text (startWord result.StartedBy)
            if f.Inputs.Model.IsSome then
                "network_left_out", Json.boolean result.NetworkLeftOut
            "affine", Json.numbers (result.Initial.ToRows())
            "milliseconds", timesNode result
            for agreement in Option.toList f.Agreement do
                "labels", RegisterOverlap.node agreement
            for refined in Option.toList (Option.ofObj result.Refined) do
                "local_correlation_before", Json.number refined.Before
                "local_correlation_after", Json.number refined.After
                "refinement_steps", Json.integer refined.Steps
            for unfolded in Option.toList (Option.ofObj result.Unfolded) do
                "folded_percent_before", Json.number unfolded.FoldedBeforePercent
                "diffeomorphic_change_mean_mm", Json.number unfolded.Fit.MeanChangeMm
                "diffeomorphic_change_max_mm", Json.number unfolded.Fit.MaxChangeMm
            match f.InverseError with
            | Some error ->
                "inverse_transform", Json.maybeText o.InverseTransform
                "inverse_residual_mean_mm", Json.number error.MeanMm
                "inverse_residual_max_mm", Json.number error.MaxMm
            | None -> ()
            "peak_mb", Json.number (peakMegabytes ())
            "verdict", Json.text (quality.Verdict.Word())
            "reasons", Json.texts quality.Reasons
        ]

/// The deformation apart from the alignment before it.
let private deformed (result: RegistrationResult) : string =
    let quality = result.Quality
    let deformation = Scores.fixedPoint 2 quality.MeanDeformationMm
    let displacement = Scores.fixedPoint 2 quality.MeanDisplacementMm

    $"deformed by {deformation} mm on average, {displacement} mm with the alignment ({startWord result.StartedBy})"

let private lines (f: Findings) : string list =
    let result, quality = f.Result, f.Result.Quality
    let fixedPoint = Scores.fixedPoint

    [
        $"{quality.Verdict.Word()}: correlation {fixedPoint 3 quality.SimilarityBefore} before, {fixedPoint 3 quality.SimilarityAfter} after; {fixedPoint 2 quality.Folding.FoldedPercent} %% folded; {deformed result}; {fixedPoint 0 result.Times.Total.TotalMilliseconds} ms"
        for agreement in Option.toList f.Agreement do
            RegisterOverlap.line agreement
        if result.NetworkLeftOut then
            "the scans agree already: the network's deformation, with which they agree less, was left out"
        for refined in Option.toList (Option.ofObj result.Refined) do
            $"refinement: local correlation {fixedPoint 4 refined.Before} before, {fixedPoint 4 refined.After} after; {refined.Steps} steps, {fixedPoint 0 result.Times.Refinement.TotalMilliseconds} ms"
        for unfolded in Option.toList (Option.ofObj result.Unfolded) do
            $"diffeomorphic: {fixedPoint 2 unfolded.FoldedBeforePercent} %% folded before; places changed by {fixedPoint 3 unfolded.Fit.MeanChangeMm} mm on average, {fixedPoint 2 unfolded.Fit.MaxChangeMm} mm at most; {fixedPoint 0 result.Times.Unfolding.TotalMilliseconds} ms"
    ]

/// The numbers, the reasons of the verdict, and its exit code.
let said (f: Findings) : Said =
    let quality = f.Result.Quality

    { Said.answer (String.concat "\n" (lines f)) (lazy (node f).ToJsonString()) with
        Remarks = [ for reason in quality.Reasons -> $"{quality.Verdict.Word()}: {reason}" ]
        Code =
            match quality.Verdict with
            | Verdict.Failed -> ExitCode.badRegistration
            | _ -> ExitCode.ok
    }
