namespace Ldr

open System
open System.Globalization
open System.Text.Json.Nodes
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics

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

/// The scores of one label of a pair; what needs the label in both maps is not a number when a map lacks it.
type LabelScore =
    {
        Label: int
        Dice: float
        Jaccard: float
        Hd95Mm: float
        /// Between the fixed surface as the field carries it and the moving surface (`SurfaceDistance.Carried95`).
        Carried95Mm: float
        /// Inside the fixed label: the median Jacobian determinant, and the share of the voxels whose determinant is outside
        /// 1/3 to 3.
        MedianJacobian: float
        ExtremePercent: float
        /// The label's volume in the moving scan over that in the fixed one: what the median should be near.
        VolumeRatio: float
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
        /// The standard deviation of log J, and Learn2Reg's damped one (`FoldingMeasure`).
        SdLogJ: float
        SdLogJLearn2Reg: float
        /// Shares of the voxels whose Jacobian determinant is outside 1/3 to 3: of all, of the fixed scan's content, inside its
        /// labels.
        ExtremePercent: float
        ExtremeContentPercent: float
        ExtremeLabelPercent: float
        /// Mean over the labels: how far the median determinant is from the ratio of the label's volumes.
        VolumeErrorPercent: float
        /// Mean over the labels, see `LabelScore`.
        Carried95Mm: float
        /// Mean distance, in the labels or the content of the fixed scan, from where points end that go to the moving scan by this
        /// registration and back by the one of the pair turned round; not a number where that was not asked for.
        InverseMm: float
        Milliseconds: float
    }

/// How far from a known field doing nothing is, and what was found: means over a scan's labels, or its content, mm.
type KnownFieldError = { BeforeMm: float; FoundMm: float }

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
        SdLogJLearn2Reg: float
        ExtremePercent: float
        ExtremeContentPercent: float
        ExtremeLabelPercent: float
        ExtremePerLabel: (int * float) list
        MedianJacobianPerLabel: (int * float) list
        VolumeRatioPerLabel: (int * float) list
        VolumeErrorPercent: float
        Carried95Mm: float
        InverseMm: float
        /// Of the scans that were tried with a known field.
        KnownFields: KnownFieldError list
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
        /// The digest of the training that made them (`Experiment.instanceDigest`); none in sheets of before.
        MadeBy: string option
        Scores: PairScore list
        /// Of the test scans that were tried with a known field.
        KnownFields: KnownFieldError list
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

    /// The scores of the labels that are in either map.
    let private ofLabels
        ignored
        surface
        (determinants: Volume)
        (fixedLabels: Volume)
        (movingLabels: Volume)
        (field: DisplacementField)
        : LabelScore list =
        let labels = labelsOf ignored fixedLabels movingLabels
        let moved = Warp.Nearest(movingLabels, field)

        let volumes =
            VolumeChange.OfLabels(determinants, fixedLabels, movingLabels, labels)
            |> Seq.map (fun change -> change.Label, change)
            |> Map.ofSeq

        let distance measure = if surface then measure () else nan

        let overlaps = Overlap.Measure(fixedLabels, moved, labels) |> Array.ofSeq

        let ofLabel (overlap: OverlapMeasure) =
            let change pick =
                volumes.TryFind overlap.Label |> Option.map pick |> Option.defaultValue nan

            {
                Label = overlap.Label
                Dice = overlap.Dice
                Jaccard = overlap.Jaccard
                Hd95Mm = distance (fun () -> SurfaceDistance.Hd95(fixedLabels, moved, overlap.Label))
                Carried95Mm =
                    distance (fun () ->
                        SurfaceDistance.Carried95(fixedLabels, movingLabels, field, overlap.Label))
                MedianJacobian = change _.MedianJacobian
                ExtremePercent = change _.ExtremePercent
                VolumeRatio = change _.VolumeRatio
            }

        let scores = Array.zeroCreate<LabelScore> overlaps.Length

        Slices.ForEach(
            overlaps.Length,
            fixedLabels.Grid.Count,
            0,
            (fun i -> scores[i] <- ofLabel overlaps[i])
        )

        List.ofArray scores

    /// Where a scan counts: its labels but the ignored ones, or its content.
    let private region (ignored: int list) (scan: ScoredScan) : bool[] =
        match scan.Labels with
        | Some labels ->
            let ignored = ignored |> Seq.map float32 |> System.Collections.Generic.HashSet
            labels.Values |> Array.map (fun v -> v <> 0.0f && not (ignored.Contains v))
        | None -> Content.Of scan.Image

    let private marked (grid: Grid) (counts: bool[]) =
        Volume(grid, counts |> Array.map (fun counts -> if counts then 1.0f else 0.0f))

    /// How far from where they came from points of the fixed scan end that go there and back; mm, the mean over at most about
    /// ten thousand of them.
    let inverseMm
        (ignored: int list)
        (fixedScan: ScoredScan)
        (forward: DisplacementField)
        (backward: DisplacementField)
        : float =
        let grid = fixedScan.Image.Grid
        let counts = region ignored fixedScan
        let all = counts |> Seq.filter id |> Seq.length
        let step = max 1 (all / 10_000)

        Seq.indexed counts
        |> Seq.filter snd
        |> Seq.indexed
        |> Seq.choose (fun (place, (voxel, _)) -> if place % step = 0 then Some voxel else None)
        |> Seq.map (fun voxel ->
            let x, y, z =
                voxel % grid.Nx, voxel / grid.Nx % grid.Ny, voxel / (grid.Nx * grid.Ny)

            let struct (wx, wy, wz) = grid.VoxelToWorld.Apply(float x, float y, float z)
            let struct (mx, my, mz) = forward.MapPoint(wx, wy, wz)
            let struct (bx, by, bz) = backward.MapPoint(mx, my, mz)
            sqrt ((bx - wx) ** 2.0 + (by - wy) ** 2.0 + (bz - wz) ** 2.0))
        |> meanOf

    /// Scores a field by the labels (nearest neighbour) and the landmarks that both scans have; folding inside the fixed
    /// scan's mask. `surface`: measure distances of surfaces too, which takes longer.
    let ofPair
        (ignored: int list)
        (surface: bool)
        (fixedScan: ScoredScan)
        (moving: ScoredScan)
        (field: DisplacementField)
        (milliseconds: float)
        : PairScore =
        let determinants = Jacobian.Determinants field
        let folding = Folding.OfDeterminants(determinants, Option.toObj fixedScan.Mask)

        let extreme (counts: bool[]) =
            if Array.contains true counts then
                Folding.OfDeterminants(determinants, marked determinants.Grid counts).ExtremePercent
            else
                nan

        let perLabel =
            match fixedScan.Labels, moving.Labels with
            | Some fixedLabels, Some movingLabels ->
                ofLabels ignored surface determinants fixedLabels movingLabels field
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
            SdLogJLearn2Reg = folding.SdLogJLearn2Reg
            ExtremePercent = folding.ExtremePercent
            ExtremeContentPercent = extreme (Content.Of fixedScan.Image)
            ExtremeLabelPercent =
                if fixedScan.Labels.IsSome then
                    extreme (region ignored fixedScan)
                else
                    nan
            VolumeErrorPercent = mean (fun s -> 100.0 * abs (s.MedianJacobian / s.VolumeRatio - 1.0))
            Carried95Mm = mean _.Carried95Mm
            InverseMm = nan
            Milliseconds = milliseconds
        }

    let private orNan = Option.defaultValue nan

    let private known (value: float) =
        if Double.IsNaN value then None else Some value

    /// A measured number, kept to a millionth: what lies beyond is noise, and sheets of many labels are large.
    let private measured =
        Codec.finite |> Codec.map id (fun (value: float) -> Math.Round(value, 6))

    /// A measured number that may be unknown.
    let private unsure key (pick: 's -> float) = maybe key measured (pick >> known)

    let private labelCodec: Codec<LabelScore> =
        codec {
            let! label = required "label" Codec.int _.Label
            and! dice = required "dice" measured _.Dice
            and! jaccard = required "jaccard" measured _.Jaccard
            and! hd95Mm = unsure "hd95_mm" (fun (s: LabelScore) -> s.Hd95Mm)
            and! carried95Mm = unsure "carried95_mm" (fun (s: LabelScore) -> s.Carried95Mm)

            and! medianJacobian =
                unsure "median_jacobian" (fun (s: LabelScore) -> s.MedianJacobian)

            and! extremePercent =
                unsure "extreme_percent" (fun (s: LabelScore) -> s.ExtremePercent)

            and! volumeRatio = unsure "volume_ratio" (fun (s: LabelScore) -> s.VolumeRatio)

            return
                {
                    Label = label
                    Dice = dice
                    Jaccard = jaccard
                    Hd95Mm = orNan hd95Mm
                    Carried95Mm = orNan carried95Mm
                    MedianJacobian = orNan medianJacobian
                    ExtremePercent = orNan extremePercent
                    VolumeRatio = orNan volumeRatio
                }
        }

    /// Sheets of before the deviation of log J was measured have Learn2Reg's under its name, and no other.
    let private pairCodec: Codec<PairScore> =
        codec {
            let! fixedName = required "fixed" Codec.string _.Fixed
            and! moving = required "moving" Codec.string _.Moving
            and! dice = unsure "dice" (fun (s: PairScore) -> s.Dice)
            and! jaccard = unsure "jaccard" (fun (s: PairScore) -> s.Jaccard)
            and! hd95Mm = unsure "hd95_mm" (fun (s: PairScore) -> s.Hd95Mm)
            and! treMm = unsure "tre_mm" (fun (s: PairScore) -> s.TreMm)

            and! foldedPercent =
                required "folded_percent" measured (fun (s: PairScore) -> s.FoldedPercent)

            and! sdlogj = unsure "sdlogj" (fun (s: PairScore) -> s.SdLogJ)
            and! learn2reg = unsure "sdlogj_learn2reg" (fun (s: PairScore) -> s.SdLogJLearn2Reg)

            and! extremePercent =
                unsure "extreme_percent" (fun (s: PairScore) -> s.ExtremePercent)

            and! extremeContentPercent =
                unsure "extreme_content_percent" (fun (s: PairScore) -> s.ExtremeContentPercent)

            and! extremeLabelPercent =
                unsure "extreme_label_percent" (fun (s: PairScore) -> s.ExtremeLabelPercent)

            and! volumeErrorPercent =
                unsure "volume_error_percent" (fun (s: PairScore) -> s.VolumeErrorPercent)

            and! carried95Mm = unsure "carried95_mm" (fun (s: PairScore) -> s.Carried95Mm)
            and! inverseMm = unsure "inverse_mm" (fun (s: PairScore) -> s.InverseMm)

            and! milliseconds =
                required "milliseconds" measured (fun (s: PairScore) -> s.Milliseconds)

            and! perLabel = required "labels" (Codec.list labelCodec) _.PerLabel

            return
                {
                    Fixed = fixedName
                    Moving = moving
                    Dice = orNan dice
                    Jaccard = orNan jaccard
                    Hd95Mm = orNan hd95Mm
                    TreMm = orNan treMm
                    PerLabel = perLabel
                    FoldedPercent = foldedPercent
                    SdLogJ = if Option.isNone learn2reg then nan else orNan sdlogj
                    SdLogJLearn2Reg = learn2reg |> Option.orElse sdlogj |> orNan
                    ExtremePercent = orNan extremePercent
                    ExtremeContentPercent = orNan extremeContentPercent
                    ExtremeLabelPercent = orNan extremeLabelPercent
                    VolumeErrorPercent = orNan volumeErrorPercent
                    Carried95Mm = orNan carried95Mm
                    InverseMm = orNan inverseMm
                    Milliseconds = milliseconds
                }
        }

    let private knownCodec: Codec<KnownFieldError> =
        codec {
            let! before = unsure "before_mm" (fun (e: KnownFieldError) -> e.BeforeMm)
            and! found = unsure "found_mm" (fun (e: KnownFieldError) -> e.FoundMm)

            return
                {
                    BeforeMm = orNan before
                    FoundMm = orNan found
                }
        }

    /// A score sheet as JSON.
    let sheet: Codec<ScoreSheet> =
        codec {
            let! parameters =
                required "parameters" Codec.notNegative (fun s -> float s.Parameters)

            and! macs = required "macs" Codec.notNegative _.Macs
            and! madeBy = maybe "made_by" Codec.string _.MadeBy
            and! scores = required "pairs" (Codec.list pairCodec) _.Scores
            and! knownFields = added "known_fields" (Codec.list knownCodec) [] _.KnownFields

            return
                {
                    Parameters = int64 (parameters: float)
                    Macs = macs
                    MadeBy = madeBy
                    Scores = scores
                    KnownFields = knownFields
                }
        }

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
                SdLogJLearn2Reg = mean _.SdLogJLearn2Reg
                ExtremePercent = mean _.ExtremePercent
                ExtremeContentPercent = mean _.ExtremeContentPercent
                ExtremeLabelPercent = mean _.ExtremeLabelPercent
                VolumeErrorPercent = mean _.VolumeErrorPercent
                Carried95Mm = mean _.Carried95Mm
                InverseMm = mean _.InverseMm
                Milliseconds = mean _.Milliseconds
            })

    /// The mean of errors against known fields.
    let meanKnown (errors: KnownFieldError list) : KnownFieldError =
        {
            BeforeMm = errors |> Seq.map _.BeforeMm |> meanOf
            FoundMm = errors |> Seq.map _.FoundMm |> meanOf
        }

    /// The errors against known fields of several trainings of one kind, averaged scan by scan.
    let knownOverSeeds (errors: KnownFieldError list list) : KnownFieldError list =
        errors |> List.transpose |> List.map meanKnown

    /// The summary of a method; `before` are the scores of the same pairs after the initial alignment alone.
    let summarise
        (name: string)
        (parameters: int64, macs: float)
        (before: PairScore list)
        (scores: PairScore list)
        : Summary =
        let mean (pick: PairScore -> float) = scores |> Seq.map pick |> meanOf
        let dice = mean _.Dice

        let perLabel (pick: LabelScore -> float) =
            scores
            |> Seq.collect _.PerLabel
            |> Seq.groupBy _.Label
            |> Seq.map (fun (label, own) -> label, own |> Seq.map pick |> meanOf)
            |> Seq.sortBy fst
            |> List.ofSeq

        {
            Name = name
            Part = ""
            Pairs = scores.Length
            DiceBefore = before |> Seq.map _.Dice |> meanOf
            Dice = dice
            DiceSd = scores |> Seq.map (fun s -> (s.Dice - dice) ** 2.0) |> meanOf |> sqrt
            DicePerLabel = perLabel _.Dice
            Jaccard = mean _.Jaccard
            Hd95Mm = mean _.Hd95Mm
            TreBeforeMm = before |> Seq.map _.TreMm |> meanOf
            TreMm = mean _.TreMm
            FoldedPercent = mean _.FoldedPercent
            SdLogJ = mean _.SdLogJ
            SdLogJLearn2Reg = mean _.SdLogJLearn2Reg
            ExtremePercent = mean _.ExtremePercent
            ExtremeContentPercent = mean _.ExtremeContentPercent
            ExtremeLabelPercent = mean _.ExtremeLabelPercent
            ExtremePerLabel = perLabel _.ExtremePercent
            MedianJacobianPerLabel = perLabel _.MedianJacobian
            VolumeRatioPerLabel = perLabel _.VolumeRatio
            VolumeErrorPercent = mean _.VolumeErrorPercent
            Carried95Mm = mean _.Carried95Mm
            InverseMm = mean _.InverseMm
            KnownFields = []
            Milliseconds = scores |> Seq.map _.Milliseconds |> Statistics.median
            Parameters = parameters
            Macs = macs
            Seeds = 1
        }

    /// The row of a table that has the initial alignment alone; for known fields, doing nothing.
    let untouched (before: PairScore list) (known: KnownFieldError list) : Summary =
        { summarise "untouched" (0L, 0.0) before before with
            KnownFields = known |> List.map (fun error -> { error with FoundMm = error.BeforeMm })
        }

    /// The keys of `evaluate --json` and of the rows of `train --json`.
    let toJson (summary: Summary) : JsonObject =
        let perLabel (values: (int * float) list) =
            let node = JsonObject()

            for label, value in values do
                node.Add(string label, JsonNumber.rounded value)

            node

        let node = JsonObject()
        node.Add("name", JsonValue.Create summary.Name)

        if summary.Part <> "" then
            node.Add("part", JsonValue.Create summary.Part)

        node.Add("pairs", JsonValue.Create summary.Pairs)
        node.Add("dice_before", JsonNumber.rounded summary.DiceBefore)
        node.Add("dice", JsonNumber.rounded summary.Dice)
        node.Add("dice_sd", JsonNumber.rounded summary.DiceSd)
        node.Add("dice_per_label", perLabel summary.DicePerLabel)
        node.Add("jaccard", JsonNumber.rounded summary.Jaccard)
        node.Add("hd95_mm", JsonNumber.rounded summary.Hd95Mm)
        node.Add("tre_before_mm", JsonNumber.rounded summary.TreBeforeMm)
        node.Add("tre_mm", JsonNumber.rounded summary.TreMm)
        node.Add("folded_percent", JsonNumber.rounded summary.FoldedPercent)
        node.Add("sdlogj", JsonNumber.rounded summary.SdLogJ)
        node.Add("sdlogj_learn2reg", JsonNumber.rounded summary.SdLogJLearn2Reg)
        node.Add("extreme_percent", JsonNumber.rounded summary.ExtremePercent)
        node.Add("extreme_content_percent", JsonNumber.rounded summary.ExtremeContentPercent)
        node.Add("extreme_label_percent", JsonNumber.rounded summary.ExtremeLabelPercent)
        node.Add("extreme_percent_per_label", perLabel summary.ExtremePerLabel)
        node.Add("median_jacobian_per_label", perLabel summary.MedianJacobianPerLabel)
        node.Add("volume_ratio_per_label", perLabel summary.VolumeRatioPerLabel)
        node.Add("volume_error_percent", JsonNumber.rounded summary.VolumeErrorPercent)
        node.Add("carried95_mm", JsonNumber.rounded summary.Carried95Mm)
        node.Add("inverse_mm", JsonNumber.rounded summary.InverseMm)

        if not summary.KnownFields.IsEmpty then
            let mean = meanKnown summary.KnownFields

            let each =
                [| for error in summary.KnownFields -> JsonNumber.rounded error.FoundMm |]

            node.Add("known_field_scans", JsonValue.Create each.Length)
            node.Add("known_field_before_mm", JsonNumber.rounded mean.BeforeMm)
            node.Add("known_field_mm", JsonNumber.rounded mean.FoundMm)
            node.Add("known_field_each_mm", JsonArray each)

        node.Add("milliseconds", JsonNumber.rounded summary.Milliseconds)
        node.Add("parameters", JsonValue.Create summary.Parameters)
        node.Add("macs", JsonNumber.rounded summary.Macs)
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

    let private columns (rows: Summary list) : (string * (Summary -> string)) list =
        [
            "",
            (fun s ->
                if s.Seeds > 1 then
                    $"{s.Name} ({s.Seeds} seeds)"
                else
                    s.Name)
            "Dice", (fun s -> $"{fixedPoint 3 s.Dice} ± {fixedPoint 3 s.DiceSd}")
            "HD95 (mm)", (fun s -> fixedPoint 2 s.Hd95Mm)
            "carried (mm)", (fun s -> fixedPoint 2 s.Carried95Mm)
            if rows |> List.exists (fun row -> not (Double.IsNaN row.TreMm)) then
                "TRE (mm)", (fun s -> fixedPoint 2 s.TreMm)
            "J out (%)", (fun s -> fixedPoint 2 s.ExtremeLabelPercent)
            "volume error (%)", (fun s -> fixedPoint 0 s.VolumeErrorPercent)
            "folded (%)", (fun s -> fixedPoint 3 s.FoldedPercent)
            "SD log J", (fun s -> fixedPoint 3 s.SdLogJ)
            if rows |> List.exists (fun row -> not (Double.IsNaN row.InverseMm)) then
                "there and back (mm)", (fun s -> fixedPoint 2 s.InverseMm)
            if rows |> List.exists (fun row -> not row.KnownFields.IsEmpty) then
                "known field (mm)", (fun s -> fixedPoint 2 (meanKnown s.KnownFields).FoundMm)
            "parameters", (fun s -> s.Parameters.ToString("N0", CultureInfo.InvariantCulture))
            "GMAC", (fun s -> fixedPoint 2 (s.Macs / 1e9))
            "ms per pair", (fun s -> fixedPoint 0 s.Milliseconds)
        ]

    /// A Markdown table, its columns padded so that it reads well as plain text too; TRE only where landmarks were scored, there and
    /// back and known fields only where they were tried.
    let toTable (rows: Summary list) : string =
        let columns = columns rows

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

    /// The measures of a pair in a table, by their columns.
    let private pairColumns: (string * (PairScore -> float)) list =
        [
            "dice", _.Dice
            "jaccard", _.Jaccard
            "hd95_mm", _.Hd95Mm
            "tre_mm", _.TreMm
            "folded_percent", _.FoldedPercent
            "sdlogj", _.SdLogJ
            "sdlogj_learn2reg", _.SdLogJLearn2Reg
            "extreme_percent", _.ExtremePercent
            "extreme_content_percent", _.ExtremeContentPercent
            "extreme_label_percent", _.ExtremeLabelPercent
            "volume_error_percent", _.VolumeErrorPercent
            "carried95_mm", _.Carried95Mm
            "inverse_mm", _.InverseMm
            "milliseconds", _.Milliseconds
        ]

    /// The measures of a label in a table; a column `MEASURE_LABEL` for each label.
    let private labelColumns: (string * (LabelScore -> float)) list =
        [
            "dice", _.Dice
            "jaccard", _.Jaccard
            "hd95_mm", _.Hd95Mm
            "carried95_mm", _.Carried95Mm
            "median_jacobian", _.MedianJacobian
            "volume_ratio", _.VolumeRatio
            "extreme_percent", _.ExtremePercent
        ]

    let private csvNumber (value: float) =
        if Double.IsNaN value then
            ""
        else
            value.ToString("G7", CultureInfo.InvariantCulture)

    let private csvRow (labels: int list) (score: PairScore) : string list =
        let ofLabel (measure: LabelScore -> float) label =
            score.PerLabel
            |> List.tryFind (fun own -> own.Label = label)
            |> Option.map (measure >> csvNumber)
            |> Option.defaultValue ""

        [
            Csv.field score.Fixed
            Csv.field score.Moving

            for _, measure in pairColumns do
                csvNumber (measure score)

            for _, measure in labelColumns do
                yield! labels |> List.map (ofLabel measure)
        ]

    /// One line per pair, for a spreadsheet; a column per label and measure. What is not a number is empty.
    let toCsv (scores: PairScore list) : string =
        let labels =
            scores
            |> Seq.collect (fun s -> s.PerLabel |> Seq.map _.Label)
            |> Seq.distinct
            |> Seq.sort
            |> List.ofSeq

        let head =
            [
                yield! [ "fixed"; "moving" ]
                yield! pairColumns |> List.map fst

                for name, _ in labelColumns do
                    for label in labels -> $"{name}_{label}"
            ]

        (head :: List.map (csvRow labels) scores)
        |> List.map (String.concat "," >> fun line -> line + "\n")
        |> String.concat ""
