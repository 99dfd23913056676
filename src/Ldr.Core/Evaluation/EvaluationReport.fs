namespace Ldr

open System
open System.Globalization
open System.IO
open Ldr.Runtime.Registration.Quality
open Ldr.Runtime.Reports

/// What an evaluation was of.
type EvaluationSubject =
    {
        Model: string
        Data: string
        /// Which subjects: `test`, `validation`, `training` or `all`.
        Split: string
        Subjects: int
        /// The names of labels, where the data set gives them.
        LabelNames: Map<int, string>
        /// The command that makes the page again, and the folder it is run in; nothing: none is told.
        Command: string
        Folder: string
    }

/// The report of `evaluate`: one HTML file that says how well a model does on many pairs, by structure, and which pairs to look
/// at. It needs no script and asks no server for anything.
module EvaluationReport =
    /// Pairs that are listed.
    let private listed = 25

    let private encode = ReportPage.Encode
    let private isolate = ReportPage.Isolate
    let private fixedPoint = Scores.fixedPoint

    /// A coordinate of a picture.
    let private at (value: float) =
        value.ToString("0.#", CultureInfo.InvariantCulture)

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

    [<NoEquality; NoComparison>]
    type private Measure =
        {
            Name: string
            Digits: int
            Of: PairScore -> float
        }

    let private dice =
        {
            Name = "Dice"
            Digits = 3
            Of = _.Dice
        }

    let private tre =
        {
            Name = "TRE (mm)"
            Digits = 2
            Of = _.TreMm
        }

    let private measure name digits pick =
        {
            Name = name
            Digits = digits
            Of = pick
        }

    let private measures =
        [
            dice
            measure "Jaccard" 3 _.Jaccard
            measure "HD95 (mm)" 2 _.Hd95Mm
            tre
            measure "folded (%)" 3 _.FoldedPercent
            measure "J out in labels (%)" 2 _.ExtremeLabelPercent
            measure "J out in content (%)" 2 _.ExtremeContentPercent
            measure "volume error (%)" 1 _.VolumeErrorPercent
            measure "carried surface (mm)" 2 _.Carried95Mm
            measure "SD log J" 3 _.SdLogJ
        ]

    let private isMeasured (scores: PairScore list) (measure: Measure) =
        scores |> List.exists (measure.Of >> Double.IsFinite)

    /// Whether pairs are compared by their overlap, of which more is better, or by a distance, of which less is.
    let private isOverlap (by: Measure) = by.Name = dice.Name

    /// Whether a pair can be compared: measured before and after.
    let private isCompared (by: Measure) (before: PairScore, after: PairScore) =
        Double.IsFinite(by.Of before) && Double.IsFinite(by.Of after)

    /// By how much a pair became worse.
    let private loss (by: Measure) (before: PairScore, after: PairScore) =
        let change = by.Of after - by.Of before
        if isOverlap by then -change else change

    let private isFolded (_, after: PairScore) =
        after.FoldedPercent > VerdictThresholds.FoldedPercent

    let private section title intro body =
        $"<section>\n<h2>{title}</h2>\n<p class=\"intro\">{intro}</p>\n{body}\n</section>"

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

    let private cells (values: string list) =
        values |> List.map (fun value -> $"<td>{value}</td>") |> String.concat ""

    let private summary (before: PairScore list) (after: PairScore list) =
        // What was not measured has no column.
        let columns = measures |> List.filter (isMeasured after)

        let row name (scores: PairScore list) time =
            let own =
                columns
                |> List.map (fun m -> scores |> Seq.map m.Of |> known |> spread m.Digits)

            $"<tr><th scope=\"row\">{name}</th>{cells (own @ [ time ])}</tr>"

        table
            1
            ("" :: (columns |> List.map _.Name) @ [ "ms per pair" ])
            [
                row "Before" before ""
                row "After" after (after |> Seq.map _.Milliseconds |> Statistics.median |> fixedPoint 0)
            ]

    /// Every pair as a dot: the measure before across, after upwards.
    let private scatter (by: Measure) (pairs: (PairScore * PairScore) list) =
        let size, left, foot = 420.0, 46.0, 40.0

        let most =
            if isOverlap by then
                1.0
            else
                pairs
                |> Seq.map (fun (b, a) -> max (by.Of b) (by.Of a))
                |> Seq.max
                |> max 1.0
                |> Math.Ceiling

        let x value = at (left + size * value / most)
        let y value = at (8.0 + size * (1.0 - value / most))

        String.concat
            "\n"
            [
                $"<div class=\"figure\"><svg viewBox=\"0 0 {at (left + size + 14.0)} {at (size + foot + 8.0)}\" role=\"img\" aria-label=\"{by.Name} of every pair, before and after\">"
                for tick in 0..4 do
                    let value = most * float tick / 4.0
                    let label = value.ToString("0.##", CultureInfo.InvariantCulture)
                    $"<path class=\"axis\" d=\"M{x value} {y 0.0}V{y most}M{x 0.0} {y value}H{x most}\"/>"
                    $"<text x=\"{x value}\" y=\"{at (size + 26.0)}\" text-anchor=\"middle\">{label}</text>"
                    $"<text x=\"{at (left - 8.0)}\" y=\"{y value}\" text-anchor=\"end\" dominant-baseline=\"middle\">{label}</text>"
                $"<path class=\"axis\" d=\"M{x 0.0} {y 0.0}L{x most} {y most}\"/>"
                $"<text x=\"{x (most / 2.0)}\" y=\"{at (size + 44.0)}\" text-anchor=\"middle\">{by.Name} before</text>"
                $"<text transform=\"translate(12 {y (most / 2.0)}) rotate(-90)\" text-anchor=\"middle\">{by.Name} after</text>"
                for before, after in pairs do
                    let b, a = by.Of before, by.Of after

                    let worse =
                        if loss by (before, after) > 0.0 then
                            " class=\"worse\""
                        else
                            ""

                    $"<circle{worse} cx=\"{x b}\" cy=\"{y a}\" r=\"3.5\"><title>{isolate after.Moving} to {isolate after.Fixed}: {fixedPoint by.Digits b} before, {fixedPoint by.Digits a} after</title></circle>"
                "</svg></div>"
            ]

    /// A row of dots for the values before and one for those after, from 0 to 1, with a stroke at each mean.
    let private strip (before: float list) (after: float list) =
        let width, height = 360.0, 34.0
        let x value = at (6.0 + (width - 12.0) * value)

        let dots name y values =
            let places =
                values |> List.map (fun value -> $"M{x value} {at y}h0") |> String.concat ""

            let mean =
                match values with
                | [] -> ""
                | _ ->
                    $"<path class=\"mean\" d=\"M{x (List.average values)} {at (y - 6.0)}V{at (y + 6.0)}\"/>"

            $"<path class=\"dots {name}\" d=\"{places}\"/>{mean}"

        let lines =
            [ 0..4 ]
            |> List.map (fun tick -> $"M{x (float tick / 4.0)} 0V{at height}")
            |> String.concat ""

        $"<svg viewBox=\"0 0 {at width} {at height}\" role=\"img\" aria-label=\"Dice before and after\"><path class=\"axis\" d=\"{lines}\"/>"
        + dots "before" 9.0 before
        + dots "after" 25.0 after
        + "</svg>"

    let private structures (names: Map<int, string>) (before: PairScore list) (after: PairScore list) =
        let byLabel (scores: PairScore list) =
            scores |> Seq.collect _.PerLabel |> Seq.groupBy _.Label |> Map.ofSeq

        let first, last = byLabel before, byLabel after

        let rows =
            [
                for KeyValue(label, own) in last do
                    let was =
                        first.TryFind label |> Option.defaultValue Seq.empty |> Seq.map _.Dice |> known

                    let is = own |> Seq.map _.Dice |> known
                    let distance = own |> Seq.map _.Hd95Mm |> known
                    let lowest = if is.IsEmpty then nan else List.min is
                    let numbers = [ spread 3 was; spread 3 is; fixedPoint 3 lowest; spread 2 distance ]

                    let name =
                        match names.TryFind label with
                        | Some name -> $" {encode name}"
                        | None -> ""

                    $"<tr><th scope=\"row\">{label}{name}</th>{cells numbers}<td class=\"plot\">{strip was is}</td></tr>"
            ]

        if rows.IsEmpty then
            ""
        else
            table 1 [ "Label"; "Dice before"; "Dice after"; "lowest"; "HD95 (mm)"; "" ] rows
            |> section
                "Structures"
                "The overlap (Dice) of each label; a dot is a pair, grey before and blue after, from 0 on the left to 1 on the right; a stroke is the mean."

    /// The pairs that became worse or fold, then those that came out worst.
    let private list (by: Measure) (pairs: (PairScore * PairScore) list) =
        let isFlagged pair = loss by pair > 0.0 || isFolded pair

        let place (before, after: PairScore) =
            let value = by.Of after
            // What could not be measured comes last.
            not (isFlagged (before, after)),
            if Double.IsNaN value then infinity
            elif isOverlap by then value
            else -value

        let shown = pairs |> List.sortBy place |> List.truncate listed

        let columns =
            measures
            |> List.filter (fun m ->
                m.Name <> by.Name && m.Name <> "Jaccard" && isMeasured (pairs |> List.map snd) m)

        let rows =
            [
                for before, after in shown do
                    let kind =
                        if isFlagged (before, after) then
                            " class=\"flagged\""
                        else
                            ""

                    let numbers =
                        [
                            fixedPoint by.Digits (by.Of before)
                            fixedPoint by.Digits (by.Of after)
                            for m in columns do
                                fixedPoint m.Digits (m.Of after)
                        ]

                    $"<tr{kind}><td class=\"name\">{encode after.Fixed}</td><td class=\"name\">{encode after.Moving}</td>{cells numbers}</tr>"
            ]

        let how =
            if shown.Length = pairs.Length then
                $"All {pairs.Length}"
            else
                $"{shown.Length} of {pairs.Length}"

        table
            2
            ([ "Fixed"; "Moving"; $"{by.Name} before"; $"{by.Name} after" ]
             @ (columns |> List.map _.Name))
            rows
        |> section
            "Pairs to look at"
            $"{how}: those that became worse or fold (red) first, then by their {by.Name} after. <code>scores.csv</code> beside this page has every pair; <code>ldr-fs register --report PAGE.html</code> shows one in pictures."

    let private notice (by: Measure) (pairs: (PairScore * PairScore) list) =
        let count condition =
            pairs |> List.filter condition |> List.length

        let compared = count (isCompared by)
        let worse = count (fun pair -> loss by pair > 0.0)
        let folded = count isFolded

        [
            if compared = 0 then
                "No pair has labels or landmarks to be compared by."
            else
                let noun = if compared = 1 then "pair" else "pairs"
                $"{worse} of {compared} {noun} became worse by {by.Name}."

                if compared < pairs.Length then
                    $"{pairs.Length - compared} could not be measured by it."
            $"In {folded} more than {fixedPoint 0 VerdictThresholds.FoldedPercent} %% of the voxels fold."
        ]
        |> String.concat " "

    /// The whole page. `before` are the scores of the same pairs after the initial alignment alone, in the same order.
    let page (subject: EvaluationSubject) (before: PairScore list) (after: PairScore list) : string =
        let pairs = List.zip before after
        let by = if isMeasured after dice then dice else tre

        let style = ReportPage.Resource "report.css" + ReportPage.Resource "evaluation.css"

        let compared = pairs |> List.filter (isCompared by)
        let better = if isOverlap by then "above" else "below"

        let parts =
            [
                "style", style
                "stylehash", ReportPage.Hash style
                "model", encode subject.Model
                "data", encode subject.Data
                "split", encode subject.Split
                "what",
                $"Pairs: {pairs.Length}, of {subject.Subjects} subjects; mean ± deviation over the pairs."
                "notice", notice by pairs
                "summary", summary before after
                "pairs",
                (if compared.IsEmpty then
                     ""
                 else
                     scatter by compared
                     |> section
                         "Pairs"
                         $"Every dot is a pair; {better} the diagonal it is better after than before. Its name appears when the pointer rests on it.")
                "structures", structures subject.LabelNames before after
                "list", list by pairs
                "command", ReportPage.Command(subject.Command, subject.Folder)
                "version", ReportPage.Version
            ]

        use writer = new StringWriter()

        ReportPage.Write(
            writer,
            ReportPage.Resource "evaluation.html",
            dict parts |> Collections.Generic.Dictionary
        )

        writer.ToString()
