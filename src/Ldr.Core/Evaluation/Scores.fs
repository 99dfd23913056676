namespace Ldr

open System
open System.Globalization
open System.Text.Json.Nodes
open Ldr.Runtime

/// A scan with what it is scored by, as stored.
[<NoEquality; NoComparison>]
type ScoredScan =
    {
        Name: string
        Image: Volume
        Labels: Volume option
        /// World millimetres; the i-th of two scans are the same place.
        Points: Landmarks option
        /// Where folding counts, on the scan's grid, not 0.
        Mask: Volume option
    }

/// The scores of one label of a pair; the distance is not a number when the label is missing in a map.
type LabelScore =
    {
        Label: int
        Dice: float
        Jaccard: float
        Hd95Mm: float
    }

/// The scores of one registered pair. Overlaps are means over the labels that are in either label map, not a number where a
/// scan has none.
type PairScore =
    {
        Fixed: string
        Moving: string
        Dice: float
        Jaccard: float
        /// Mean over the labels that are in both maps; not a number when there are none.
        Hd95Mm: float
        /// Target registration error: the mean distance of the landmarks that both scans have; not a number when there are none.
        TreMm: float
        PerLabel: LabelScore list
        FoldedPercent: float
        SdLogJ: float
        Milliseconds: float
    }

/// The scores of a method over many pairs: means (Dice also its deviation over the pairs), times as the median.
type Summary =
    {
        Name: string
        /// The part of the data set that the pairs are of; nothing where a random cut made it.
        Part: string
        Pairs: int
        DiceBefore: float
        Dice: float
        DiceSd: float
        DicePerLabel: (int * float) list
        Jaccard: float
        Hd95Mm: float
        TreBeforeMm: float
        TreMm: float
        FoldedPercent: float
        SdLogJ: float
        Milliseconds: float
        Parameters: int64
        /// Multiplications with addition for one pair of the training grid's size.
        Macs: float
        /// How many trainings with different seeds were averaged, pair by pair.
        Seeds: int
    }

/// What is kept of the scores of a trained model: all that a table needs.
type ScoreSheet =
    {
        Parameters: int64
        Macs: float
        Scores: PairScore list
    }

module Scores =
    /// The labels that a pair is scored on.
    let private labelsOf (ignored: int list) (fixedLabels: Volume) (movingLabels: Volume) =
        Seq.append (Overlap.Labels fixedLabels) (Overlap.Labels movingLabels)
        |> Seq.distinct
        |> Seq.filter (fun label -> not (List.contains label ignored))
        |> Seq.sort
        |> Array.ofSeq

    let private meanOf (values: float seq) =
        let known = values |> Seq.filter (Double.IsNaN >> not) |> Array.ofSeq
        if known.Length = 0 then nan else Array.average known

    /// The mean distance of the moving landmarks from where a field takes the fixed ones, mm.
    let private treOf (field: DisplacementField) (fixedPoints: Landmarks) (movingPoints: Landmarks) =
        Seq.zip fixedPoints movingPoints
        |> Seq.choose (fun points ->
            match points with
            | Some(fx, fy, fz), Some(mx, my, mz) ->
                let struct (x, y, z) = field.MapPoint(fx, fy, fz)
                Some(sqrt ((x - mx) ** 2.0 + (y - my) ** 2.0 + (z - mz) ** 2.0))
            | _ -> None)
        |> meanOf

    let private overlaps
        ignored
        surface
        (fixedLabels: Volume)
        (movingLabels: Volume)
        field
        : LabelScore list =
        let labels = labelsOf ignored fixedLabels movingLabels
        let moved = Warp.Nearest(movingLabels, field)

        [
            for overlap in Overlap.Measure(fixedLabels, moved, labels) ->
                {
                    Label = overlap.Label
                    Dice = overlap.Dice
                    Jaccard = overlap.Jaccard
                    Hd95Mm =
                        if surface then
                            SurfaceDistance.Hd95(fixedLabels, moved, overlap.Label)
                        else
                            nan
                }
        ]

    /// Scores a field by the labels (nearest neighbour) and the landmarks that both scans have; folding inside the fixed
    /// scan's mask. `surface`: measure HD95 too, which takes longer.
    let ofPair
        (ignored: int list)
        (surface: bool)
        (fixedScan: ScoredScan)
        (moving: ScoredScan)
        (field: DisplacementField)
        (milliseconds: float)
        : PairScore =
        let folding = Folding.Measure(field, Option.toObj fixedScan.Mask)

        let perLabel =
            match fixedScan.Labels, moving.Labels with
            | Some fixedLabels, Some movingLabels -> overlaps ignored surface fixedLabels movingLabels field
            | _ -> []

        let mean (pick: LabelScore -> float) = perLabel |> Seq.map pick |> meanOf

        {
            Fixed = fixedScan.Name
            Moving = moving.Name
            Dice = mean _.Dice
            Jaccard = mean _.Jaccard
            Hd95Mm = mean _.Hd95Mm
            TreMm =
                match fixedScan.Points, moving.Points with
                | Some fixedPoints, Some movingPoints -> treOf field fixedPoints movingPoints
                | _ -> nan
            PerLabel = perLabel
            FoldedPercent = folding.FoldedPercent
            SdLogJ = folding.SdLogJ
            Milliseconds = milliseconds
        }

    let private orNan = Option.defaultValue nan

    let private known (value: float) =
        if Double.IsNaN value then None else Some value

    /// A measured number, kept to a millionth: what lies beyond is noise, and sheets of many labels are large.
    let private measured =
        Codec.finite |> Codec.map id (fun (value: float) -> Math.Round(value, 6))

    let private labelCodec: Codec<LabelScore> =
        Codec.record (fun label dice jaccard hd95 ->
            {
                Label = label
                Dice = dice
                Jaccard = jaccard
                Hd95Mm = orNan hd95
            })
        |> Codec.required "label" Codec.int _.Label
        |> Codec.required "dice" measured _.Dice
        |> Codec.required "jaccard" measured _.Jaccard
        |> Codec.maybe "hd95_mm" measured (fun s -> known s.Hd95Mm)
        |> Codec.seal

    let private pairCodec: Codec<PairScore> =
        Codec.record (fun fixedName moving dice jaccard hd95 tre folded sdlogj milliseconds labels ->
            {
                Fixed = fixedName
                Moving = moving
                Dice = orNan dice
                Jaccard = orNan jaccard
                Hd95Mm = orNan hd95
                TreMm = orNan tre
                PerLabel = labels
                FoldedPercent = folded
                SdLogJ = orNan sdlogj
                Milliseconds = milliseconds
            })
        |> Codec.required "fixed" Codec.string _.Fixed
        |> Codec.required "moving" Codec.string _.Moving
        |> Codec.maybe "dice" measured (fun (s: PairScore) -> known s.Dice)
        |> Codec.maybe "jaccard" measured (fun (s: PairScore) -> known s.Jaccard)
        |> Codec.maybe "hd95_mm" measured (fun (s: PairScore) -> known s.Hd95Mm)
        |> Codec.maybe "tre_mm" measured (fun (s: PairScore) -> known s.TreMm)
        |> Codec.required "folded_percent" measured (fun (s: PairScore) -> s.FoldedPercent)
        |> Codec.maybe "sdlogj" measured (fun (s: PairScore) -> known s.SdLogJ)
        |> Codec.required "milliseconds" measured (fun (s: PairScore) -> s.Milliseconds)
        |> Codec.required "labels" (Codec.list labelCodec) _.PerLabel
        |> Codec.seal

    /// A score sheet as JSON.
    let sheet: Codec<ScoreSheet> =
        Codec.record (fun parameters macs scores ->
            {
                Parameters = int64 (parameters: float)
                Macs = macs
                Scores = scores
            })
        |> Codec.required "parameters" Codec.notNegative (fun s -> float s.Parameters)
        |> Codec.required "macs" Codec.notNegative _.Macs
        |> Codec.required "pairs" (Codec.list pairCodec) _.Scores
        |> Codec.seal

    /// The scores of several trainings of one kind on the same pairs, averaged pair by pair (labels: of the first).
    let overSeeds (scores: PairScore list list) : PairScore list =
        scores
        |> List.transpose
        |> List.map (fun own ->
            let mean (pick: PairScore -> float) = own |> Seq.map pick |> meanOf

            { own.Head with
                Dice = mean _.Dice
                Jaccard = mean _.Jaccard
                Hd95Mm = mean _.Hd95Mm
                TreMm = mean _.TreMm
                FoldedPercent = mean _.FoldedPercent
                SdLogJ = mean _.SdLogJ
                Milliseconds = mean _.Milliseconds
            })

    /// The summary of a method; `before` are the scores of the same pairs after the initial alignment alone.
    let summarise
        (name: string)
        (parameters: int64, macs: float)
        (before: PairScore list)
        (scores: PairScore list)
        : Summary =
        let mean (pick: PairScore -> float) = scores |> Seq.map pick |> meanOf
        let dice = mean _.Dice

        {
            Name = name
            Part = ""
            Pairs = scores.Length
            DiceBefore = before |> Seq.map _.Dice |> meanOf
            Dice = dice
            DiceSd = scores |> Seq.map (fun s -> (s.Dice - dice) ** 2.0) |> meanOf |> sqrt
            DicePerLabel =
                scores
                |> Seq.collect _.PerLabel
                |> Seq.groupBy _.Label
                |> Seq.map (fun (label, own) -> label, own |> Seq.averageBy _.Dice)
                |> Seq.sortBy fst
                |> List.ofSeq
            Jaccard = mean _.Jaccard
            Hd95Mm = mean _.Hd95Mm
            TreBeforeMm = before |> Seq.map _.TreMm |> meanOf
            TreMm = mean _.TreMm
            FoldedPercent = mean _.FoldedPercent
            SdLogJ = mean _.SdLogJ
            Milliseconds = scores |> Seq.map _.Milliseconds |> Statistics.median
            Parameters = parameters
            Macs = macs
            Seeds = 1
        }

    /// The keys of `evaluate --json` and of the rows of `train --json`.
    let toJson (summary: Summary) : JsonObject =
        let labels = JsonObject()

        for label, dice in summary.DicePerLabel do
            labels.Add(string label, Codec.rounded dice)

        let node = JsonObject()
        node.Add("name", JsonValue.Create summary.Name)

        if summary.Part <> "" then
            node.Add("part", JsonValue.Create summary.Part)

        node.Add("pairs", JsonValue.Create summary.Pairs)
        node.Add("dice_before", Codec.rounded summary.DiceBefore)
        node.Add("dice", Codec.rounded summary.Dice)
        node.Add("dice_sd", Codec.rounded summary.DiceSd)
        node.Add("dice_per_label", labels)
        node.Add("jaccard", Codec.rounded summary.Jaccard)
        node.Add("hd95_mm", Codec.rounded summary.Hd95Mm)
        node.Add("tre_before_mm", Codec.rounded summary.TreBeforeMm)
        node.Add("tre_mm", Codec.rounded summary.TreMm)
        node.Add("folded_percent", Codec.rounded summary.FoldedPercent)
        node.Add("sdlogj", Codec.rounded summary.SdLogJ)
        node.Add("milliseconds", Codec.rounded summary.Milliseconds)
        node.Add("parameters", JsonValue.Create summary.Parameters)
        node.Add("macs", Codec.rounded summary.Macs)
        node.Add("seeds", JsonValue.Create summary.Seeds)
        node

    /// A number for people with so many decimals; a dash where there is none.
    let fixedPoint (digits: int) (value: float) =
        if Double.IsNaN value then
            "–"
        else
            value.ToString("F" + string digits, CultureInfo.InvariantCulture)

    /// A number with its sign, whichever it is.
    let signed (digits: int) (value: float) =
        (if value >= 0.0 then "+" else "−") + fixedPoint digits (abs value)

    /// A probability with two digits, or how small it is at least.
    let probability (p: float) =
        if p < 1e-4 then
            "p < 0.0001"
        else
            "p = " + p.ToString("G2", CultureInfo.InvariantCulture)

    let private treColumn = "TRE (mm)"

    let private columns: (string * (Summary -> string)) list =
        [
            "",
            (fun s ->
                if s.Seeds > 1 then
                    $"{s.Name} ({s.Seeds} seeds)"
                else
                    s.Name)
            "Dice", (fun s -> $"{fixedPoint 3 s.Dice} ± {fixedPoint 3 s.DiceSd}")
            "Jaccard", (fun s -> fixedPoint 3 s.Jaccard)
            "HD95 (mm)", (fun s -> fixedPoint 2 s.Hd95Mm)
            treColumn, (fun s -> fixedPoint 2 s.TreMm)
            "folded (%)", (fun s -> fixedPoint 3 s.FoldedPercent)
            "SDlogJ", (fun s -> fixedPoint 3 s.SdLogJ)
            "parameters", (fun s -> s.Parameters.ToString("N0", CultureInfo.InvariantCulture))
            "GMAC", (fun s -> fixedPoint 2 (s.Macs / 1e9))
            "ms per pair", (fun s -> fixedPoint 0 s.Milliseconds)
        ]

    /// A Markdown table, its columns padded so that it reads well as plain text too; TRE only where landmarks were scored.
    let toTable (rows: Summary list) : string =
        let columns =
            if rows |> List.forall (fun row -> Double.IsNaN row.TreMm) then
                columns |> List.filter (fun (head, _) -> head <> treColumn)
            else
                columns

        let cells =
            (columns |> List.map fst)
            :: [ for row in rows -> columns |> List.map (fun (_, show) -> show row) ]

        let widths =
            columns
            |> List.mapi (fun i _ -> cells |> List.map (fun row -> max 3 row[i].Length) |> List.max)

        let line (row: string list) =
            List.map2
                (fun (cell: string) (i, width: int) ->
                    if i = 0 then cell.PadRight width else cell.PadLeft width)
                row
                (List.indexed widths)
            |> String.concat " | "
            |> sprintf "| %s |"

        let rule =
            widths
            |> List.mapi (fun i width ->
                if i = 0 then
                    String('-', width)
                else
                    String('-', width - 1) + ":")
            |> String.concat " | "
            |> sprintf "| %s |"

        (line cells.Head :: rule :: (cells.Tail |> List.map line)) |> String.concat "\n"

    /// A field of a CSV file, in quotes where RFC 4180 asks for them.
    let private csvField (text: string) =
        if text.IndexOfAny [| ','; '"'; '\n'; '\r' |] >= 0 then
            "\"" + text.Replace("\"", "\"\"") + "\""
        else
            text

    /// One line per pair, for a spreadsheet; a column per label and measure. What is not a number is empty.
    let toCsv (scores: PairScore list) : string =
        let labels =
            scores
            |> Seq.collect (fun s -> s.PerLabel |> Seq.map _.Label)
            |> Seq.distinct
            |> Seq.sort
            |> List.ofSeq

        let plain (value: float) =
            if Double.IsNaN value then
                ""
            else
                value.ToString("G7", CultureInfo.InvariantCulture)

        let head =
            [
                "fixed"
                "moving"
                "dice"
                "jaccard"
                "hd95_mm"
                "tre_mm"
                "folded_percent"
                "sdlogj"
                "milliseconds"
            ]
            @ [
                for measure in [ "dice"; "jaccard"; "hd95_mm" ] do
                    for label in labels -> $"{measure}_{label}"
            ]

        let row (s: PairScore) =
            let perLabel (pick: LabelScore -> float) =
                labels
                |> List.map (fun label ->
                    s.PerLabel
                    |> List.tryFind (fun own -> own.Label = label)
                    |> Option.map (pick >> plain)
                    |> Option.defaultValue "")

            [
                csvField s.Fixed
                csvField s.Moving
                plain s.Dice
                plain s.Jaccard
                plain s.Hd95Mm
                plain s.TreMm
                plain s.FoldedPercent
                plain s.SdLogJ
                plain s.Milliseconds
            ]
            @ perLabel _.Dice
            @ perLabel _.Jaccard
            @ perLabel _.Hd95Mm

        (head :: List.map row scores)
        |> List.map (String.concat ",")
        |> String.concat "\n"
        |> fun text -> text + "\n"
