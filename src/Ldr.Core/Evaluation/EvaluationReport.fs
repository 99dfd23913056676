namespace Ldr

open System
open System.Globalization
open System.Net
open System.Security.Cryptography
open System.Text
open Ldr.Runtime

/// What an evaluation was of.
type EvaluationSubject =
    {
        Model: string
        Data: string
        /// The part of the data set that the pairs are of.
        Split: string
        Subjects: int
        /// The command that makes the page again; nothing: none is told.
        Command: string
    }

/// The report of `evaluate`: one HTML file that says how well a model does on many pairs, by structure, and which pairs to look
/// at. It needs no script and asks no server for anything.
module EvaluationReport =
    /// Pairs of the list of those that came out worst.
    let private worstPairs = 25

    let private style =
        """
.facts { width: 100%; }
.facts td, .facts th { vertical-align: middle; }
.facts td, .facts thead th { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts .name { text-align: left; }
.facts td.name { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
.facts td.plot { width: 100%; padding-right: 0; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--quiet); }
svg .axis { stroke: var(--line); fill: none; }
svg .before { fill: var(--quiet); fill-opacity: .35; }
svg .after { fill: var(--accent); fill-opacity: .6; }
svg .worse { fill: var(--failed); fill-opacity: .9; }
svg .mean { stroke: var(--text); stroke-width: 2; }
.figure { max-width: 560px; }
"""

    let private encode (text: string) = WebUtility.HtmlEncode text |> string

    /// A coordinate of a picture.
    let private at (value: float) =
        value.ToString("0.#", CultureInfo.InvariantCulture)

    let private fixedPoint = Scores.fixedPoint

    let private known (values: float seq) =
        values |> Seq.filter Double.IsFinite |> List.ofSeq

    /// Mean and deviation as text; a dash where there is nothing.
    let private spread digits (values: float list) =
        match values with
        | [] -> "–"
        | _ ->
            let mean = List.average values
            let deviation = sqrt (values |> List.averageBy (fun v -> (v - mean) ** 2.0))
            $"{fixedPoint digits mean} ± {fixedPoint digits deviation}"

    /// What pairs are compared by: the overlap where labels are, else the landmarks.
    type private Measure =
        {
            Name: string
            /// What the axes end with.
            Most: float
            Digits: int
            HigherIsBetter: bool
            Of: PairScore -> float
        }

    let private overlap =
        {
            Name = "Dice"
            Most = 1.0
            Digits = 3
            HigherIsBetter = true
            Of = _.Dice
        }

    let private landmarks (pairs: PairScore list) =
        {
            Name = "TRE (mm)"
            Most =
                pairs
                |> Seq.map _.TreMm
                |> known
                |> (fun v -> Math.Ceiling(List.max (1.0 :: v)))
            Digits = 2
            HigherIsBetter = false
            Of = _.TreMm
        }

    let private isWorse (measure: Measure) (before: PairScore) (after: PairScore) =
        let change = measure.Of after - measure.Of before

        if measure.HigherIsBetter then
            change < 0.0
        else
            change > 0.0

    /// A row of dots for the values before and one for those after, with a stroke at each mean.
    let private strip (before: float list) (after: float list) =
        let width, height = 360.0, 34.0
        let x value = at (6.0 + (width - 12.0) * value)

        let dots name y values =
            [
                for value in values do
                    $"<circle class=\"{name}\" cx=\"{x value}\" cy=\"{at y}\" r=\"3\"/>"
                if not (List.isEmpty values) then
                    let mean = List.average values
                    $"<path class=\"mean\" d=\"M{x mean} {at (y - 6.0)}V{at (y + 6.0)}\"/>"
            ]
            |> String.concat ""

        String.concat
            ""
            [
                $"<svg viewBox=\"0 0 {at width} {at height}\" role=\"img\" aria-label=\"Dice before and after\">"
                for tick in 0..4 do
                    $"<path class=\"axis\" d=\"M{x (float tick / 4.0)} 0V{at height}\"/>"
                dots "before" 9.0 before
                dots "after" 25.0 after
                "</svg>"
            ]

    /// Every pair as a dot: the measure before across, after upwards.
    let private scatter (measure: Measure) (pairs: (PairScore * PairScore) list) =
        let size, left, foot = 420.0, 46.0, 40.0
        let x value = at (left + size * value / measure.Most)

        let y value =
            at (8.0 + size * (1.0 - value / measure.Most))

        String.concat
            ""
            [
                $"<svg viewBox=\"0 0 {at (left + size + 14.0)} {at (size + foot + 8.0)}\" role=\"img\" aria-label=\"{encode measure.Name} of every pair, before and after\">"
                for tick in 0..4 do
                    let value = measure.Most * float tick / 4.0
                    let label = value.ToString("0.##", CultureInfo.InvariantCulture)
                    $"<path class=\"axis\" d=\"M{x value} {y 0.0}V{y measure.Most}M{x 0.0} {y value}H{x measure.Most}\"/>"
                    $"<text x=\"{x value}\" y=\"{at (size + 26.0)}\" text-anchor=\"middle\">{label}</text>"
                    $"<text x=\"{at (left - 8.0)}\" y=\"{y value}\" text-anchor=\"end\" dominant-baseline=\"middle\">{label}</text>"
                $"<path class=\"axis\" d=\"M{x 0.0} {y 0.0}L{x measure.Most} {y measure.Most}\"/>"
                $"<text x=\"{x (measure.Most / 2.0)}\" y=\"{at (size + 44.0)}\" text-anchor=\"middle\">{encode measure.Name} before</text>"
                $"<text transform=\"translate(12 {y (measure.Most / 2.0)}) rotate(-90)\" text-anchor=\"middle\">{encode measure.Name} after</text>"
                for before, after in pairs do
                    let b, a = measure.Of before, measure.Of after

                    if Double.IsFinite b && Double.IsFinite a then
                        let kind = if isWorse measure before after then "worse" else "after"

                        $"<circle class=\"{kind}\" cx=\"{x (min b measure.Most)}\" cy=\"{y (min a measure.Most)}\" r=\"3.5\"><title>{encode after.Moving} to {encode after.Fixed}: {fixedPoint measure.Digits b} before, {fixedPoint measure.Digits a} after</title></circle>"
                "</svg>"
            ]

    /// A table; its first columns are names.
    let private table (names: int) (head: string list) (rows: string list) =
        let heads =
            head
            |> List.mapi (fun i h ->
                if i < names then
                    $"<th class=\"name\">{h}</th>"
                else
                    $"<th>{h}</th>")
            |> String.concat ""

        let body = String.concat "\n" rows

        $"<div class=\"wide\"><table class=\"facts\"><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>"

    let private row (name: string) (cells: string list) =
        let cells = cells |> List.map (fun c -> $"<td>{c}</td>") |> String.concat ""
        $"<tr><th scope=\"row\">{name}</th>{cells}</tr>"

    let private summary (before: PairScore list) (after: PairScore list) =
        let measures: (string * (PairScore -> float) * int) list =
            [
                "Dice", _.Dice, 3
                "Jaccard", _.Jaccard, 3
                "HD95 (mm)", _.Hd95Mm, 2
                "TRE (mm)", _.TreMm, 2
                "folded (%)", _.FoldedPercent, 3
                "SDlogJ", _.SdLogJ, 3
            ]

        // What was not measured has no column.
        let columns =
            measures
            |> List.filter (fun (_, pick, _) -> after |> List.exists (pick >> Double.IsFinite))

        let cells (scores: PairScore list) =
            columns
            |> List.map (fun (_, pick, digits) -> scores |> Seq.map pick |> known |> spread digits)

        let time = after |> Seq.map _.Milliseconds |> Statistics.median

        table
            1
            ("" :: (columns |> List.map (fun (name, _, _) -> name)) @ [ "ms per pair" ])
            [
                row "Before" (cells before @ [ "" ])
                row "After" (cells after @ [ fixedPoint 0 time ])
            ]

    let private structures (before: PairScore list) (after: PairScore list) =
        let ofLabel label (pick: LabelScore -> float) (scores: PairScore list) =
            scores
            |> Seq.collect _.PerLabel
            |> Seq.filter (fun own -> own.Label = label)
            |> Seq.map pick
            |> known

        let labels =
            after |> Seq.collect _.PerLabel |> Seq.map _.Label |> Seq.distinct |> Seq.sort

        let rows =
            [
                for label in labels do
                    let first, last = ofLabel label _.Dice before, ofLabel label _.Dice after

                    let lowest =
                        match last with
                        | [] -> "–"
                        | _ -> fixedPoint 3 (List.min last)

                    $"<tr><th scope=\"row\">{label}</th><td>{spread 3 first}</td><td>{spread 3 last}</td><td>{lowest}</td><td>{spread 2 (ofLabel label _.Hd95Mm after)}</td><td class=\"plot\">{strip first last}</td></tr>"
            ]

        match rows with
        | [] -> ""
        | _ ->
            "<section><h2>Structures</h2>\n<p class=\"intro\">The overlap (Dice) of each label; a dot is a pair, grey before and blue after, from 0 on the left to 1 on the right; a stroke is the mean.</p>\n"
            + table 1 [ "Label"; "Dice before"; "Dice after"; "lowest"; "HD95 (mm)"; "" ] rows
            + "</section>"

    let private worst (measure: Measure) (pairs: (PairScore * PairScore) list) =
        let order (_, after: PairScore) =
            let value = measure.Of after
            // What could not be measured comes last.
            if Double.IsNaN value then infinity
            elif measure.HigherIsBetter then value
            else -value

        let shown = pairs |> List.sortBy order |> List.truncate worstPairs

        let all =
            if shown.Length = pairs.Length then
                "All of them."
            else
                $"The {shown.Length} worst of {pairs.Length}; <code>scores.csv</code> beside this page has all."

        let rows =
            [
                for before, after in shown do
                    $"<tr><td class=\"name\">{encode after.Fixed}</td><td class=\"name\">{encode after.Moving}</td><td>{fixedPoint measure.Digits (measure.Of before)}</td><td>{fixedPoint measure.Digits (measure.Of after)}</td><td>{fixedPoint 2 after.Hd95Mm}</td><td>{fixedPoint 3 after.FoldedPercent}</td><td>{fixedPoint 3 after.SdLogJ}</td></tr>"
            ]

        $"<section><h2>Pairs to look at</h2>\n<p class=\"intro\">{all} <code>ldr-fs register --report PAGE.html</code> shows one in pictures.</p>\n"
        + table
            2
            [
                "Fixed"
                "Moving"
                $"{measure.Name} before"
                $"{measure.Name} after"
                "HD95 (mm)"
                "folded (%)"
                "SDlogJ"
            ]
            rows
        + "</section>"

    /// The whole page. `before` are the scores of the same pairs after the initial alignment alone, in the same order.
    let page (subject: EvaluationSubject) (before: PairScore list) (after: PairScore list) : string =
        let css = RegistrationReport.Resource "report.css" + style

        let hash =
            css |> Encoding.UTF8.GetBytes |> SHA256.HashData |> Convert.ToBase64String

        let pairs = List.zip before after

        let measure =
            if after |> List.exists (_.Dice >> Double.IsFinite) then
                overlap
            else
                landmarks (before @ after)

        let count = pairs |> List.filter (fun (b, a) -> isWorse measure b a) |> List.length
        let folding = after |> List.filter (fun a -> a.FoldedPercent > 0.5) |> List.length

        let notice =
            [
                if count = 0 then
                    $"No pair has a worse {encode measure.Name} after than before."
                elif count = 1 then
                    $"1 of {pairs.Length} pairs has a worse {encode measure.Name} after than before (red below)."
                else
                    $"{count} of {pairs.Length} pairs have a worse {encode measure.Name} after than before (red below)."
                if folding > 0 then
                    $"In {folding} of {pairs.Length} pairs more than 0.5 %% of the voxels fold."
            ]
            |> String.concat " "

        let better =
            if measure.HigherIsBetter then
                "above the diagonal a pair is better after than before."
            else
                "below the diagonal a pair is better after than before."

        let command =
            if subject.Command = "" then
                ""
            else
                $"<section><h2>The command</h2><pre><code>{encode subject.Command}</code></pre></section>"

        let version =
            match typeof<RegistrationReport>.Assembly.GetName().Version with
            | null -> ""
            | version -> version.ToString 3

        $"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evaluation report: {encode subject.Model} on {encode subject.Data}</title>
<style>{css}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Evaluation report</p>
<h1><span class="name">{encode subject.Model}</span> on <span class="name">{encode subject.Data}</span>, {encode subject.Split} subjects</h1>
</header>
<section>
<p class="intro">{pairs.Length} pairs of {subject.Subjects} subjects; mean ± deviation over the pairs. <b>Before</b> is the initial alignment alone, <b>after</b> the model's registration. {notice}</p>
{summary before after}
</section>
<section>
<h2>Pairs</h2>
<p class="intro">Every dot is a pair; {better} The name of a pair appears when the pointer rests on it.</p>
<div class="figure">{scatter measure pairs}</div>
</section>
{structures before after}
{worst measure pairs}
{command}
<footer>Made by ldr-fs {version}. For research; not a medical device.</footer>
</main>
</body>
</html>
"""
