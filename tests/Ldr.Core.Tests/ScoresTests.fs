/// Scores against answers that were worked out by hand: two pairs, three labels.
module Ldr.Core.Tests.ScoresTests

open System
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

let private score name dice jaccard hd95 perLabel folded sd milliseconds : PairScore =
    {
        Fixed = name
        Moving = "m"
        Dice = dice
        Jaccard = jaccard
        Hd95Mm = hd95
        TreMm = nan
        PerLabel = perLabel
        FoldedPercent = folded
        SdLogJ = sd
        SdLogJLearn2Reg = sd / 4.0
        ExtremePercent = 10.0 * sd
        ExtremeContentPercent = 20.0 * sd
        ExtremeLabelPercent = 30.0 * sd
        VolumeErrorPercent = 40.0 * sd
        Carried95Mm = 2.0 * hd95
        InverseMm = nan
        Milliseconds = milliseconds
    }

let private label number dice jaccard hd95 : LabelScore =
    {
        Label = number
        Dice = dice
        Jaccard = jaccard
        Hd95Mm = hd95
        Carried95Mm = 3.0 * hd95
        MedianJacobian = 1.0 + dice
        ExtremePercent = 8.0 * dice
        VolumeRatio = 2.0 * dice
    }

/// The first pair has labels 1 and 2, the second 2 and 7.
let private pairs =
    [
        { score "a, left" 0.75 0.6 2.0 [ label 1 1.0 1.0 0.0; label 2 0.5 0.2 4.0 ] 0.0 0.1 10.0 with
            TreMm = 1.5
        }
        score "b\"c" 0.25 0.2 nan [ label 2 0.5 0.4 nan; label 7 0.0 0.0 nan ] 3.0 0.3 50.0
    ]

let private before =
    pairs
    |> List.map (fun s ->
        { s with
            Dice = s.Dice / 2.0
            Milliseconds = 0.0
        })

let private summary = Scores.summarise "student" (1234567L, 2.5e9) before pairs

/// What the table of one row has in the column.
let private cell (column: string) (row: Summary) : string =
    let lines = (Scores.toTable [ row ]).Split '\n'
    let at = lines[0].Split '|' |> Array.findIndex (_.Trim() >> (=) column)
    let cells = lines[2].Split '|'
    cells[at].Trim()

/// Volumes of one row of voxels.
let private row (values: float32 list) =
    Volume(Grid(values.Length, 1, 1, Affine.Identity), Array.ofList values)

let private scan labels points mask : ScoredScan =
    {
        Name = "s"
        Image = labels
        Labels = Some labels
        Points = points
        Mask = mask
    }

let private close actual expected what =
    Expect.floatClose Accuracy.high actual expected what

let tests =
    testList
        "scores"
        [
            test "means, the deviation over the pairs, the median time" {
                Expect.equal summary.Pairs 2 "pairs"
                close summary.DiceBefore 0.25 "before"
                close summary.Dice 0.5 "Dice"
                close summary.DiceSd 0.25 "population deviation"
                close summary.Jaccard 0.4 "Jaccard"
                close summary.Hd95Mm 2.0 "HD95 of the pair that has one"
                close summary.TreMm 1.5 "TRE of the pair that has one"
                close summary.FoldedPercent 1.5 "folded"
                close summary.SdLogJ 0.2 "SD log J"
                close summary.SdLogJLearn2Reg 0.05 "Learn2Reg's"
                close summary.ExtremePercent 2.0 "extreme"
                close summary.ExtremeContentPercent 4.0 "in the content"
                close summary.ExtremeLabelPercent 6.0 "in the labels"
                close summary.VolumeErrorPercent 8.0 "volumes"
                close summary.Carried95Mm 4.0 "carried surfaces, of the pair that has one"
                Expect.isTrue (Double.IsNaN summary.InverseMm) "no pair was turned round"

                let turned = pairs |> List.mapi (fun i s -> { s with InverseMm = float (i + 1) })

                close (Scores.summarise "x" (0L, 0.0) before turned).InverseMm 1.5 "both were"

                Expect.equal
                    summary.ExtremePerLabel
                    [ 1, 8.0; 2, 4.0; 7, 0.0 ]
                    "extreme, each label over the pairs that have it"

                Expect.equal summary.MedianJacobianPerLabel [ 1, 2.0; 2, 1.5; 7, 1.0 ] "median determinants"
                Expect.equal summary.VolumeRatioPerLabel [ 1, 2.0; 2, 1.0; 7, 0.0 ] "ratios of volumes"
                close summary.Milliseconds 30.0 "median of two"

                Expect.equal
                    summary.DicePerLabel
                    [ 1, 1.0; 2, 0.5; 7, 0.0 ]
                    "each label over the pairs that have it"

                let three =
                    Scores.summarise "x" (0L, 0.0) before (pairs @ [ { pairs[0] with Milliseconds = 11.0 } ])

                close three.Milliseconds 11.0 "median of three"

                Expect.isTrue
                    (Double.IsNaN (Scores.summarise "x" (0L, 0.0) [] []).Milliseconds)
                    "median of none"
            }
            test "a pair is scored on the labels of either map but those ignored" {
                let fixedLabels = row [ 1f; 1f; 2f; 2f; 0f; 9f ]
                let movingLabels = row [ 1f; 0f; 2f; 2f; 3f; 9f ]
                let field = DisplacementField.Zero fixedLabels.Grid

                let scored =
                    Scores.ofPair
                        [ 9 ]
                        true
                        (scan fixedLabels None None)
                        (scan movingLabels None None)
                        field
                        5.0

                Expect.equal (scored.PerLabel |> List.map _.Label) [ 1; 2; 3 ] "union"
                Expect.equal (scored.PerLabel |> List.map _.Dice) [ 2.0 / 3.0; 1.0; 0.0 ] "Dice"
                Expect.equal (scored.PerLabel |> List.map _.Jaccard) [ 0.5; 1.0; 0.0 ] "Jaccard"
                close scored.Dice (5.0 / 9.0) "mean Dice"
                close scored.Jaccard 0.5 "mean Jaccard"
                // Of label 1 the distances are 0, 1 and 0: their 95th percentile lies at 0.9.
                close scored.PerLabel[0].Hd95Mm 0.9 "HD95 of label 1"
                Expect.isTrue (Double.IsNaN scored.PerLabel[2].Hd95Mm) "none of a label that one map lacks"
                close scored.Hd95Mm 0.45 "mean over the labels in both"
            }
            test "landmarks: the mean distance of those that both scans have; folding inside the mask" {
                let grid =
                    Grid(
                        5,
                        5,
                        5,
                        Affine.FromRows [| 2.0; 0.0; 0.0; 0.0; 0.0; 2.0; 0.0; 0.0; 0.0; 0.0; 2.0; 0.0 |]
                    )

                let labels = Volume(grid, Array.create 125 1.0f)
                // Voxels go 1 voxel, 2 mm, along x; the sheet x = 2 goes back far beyond its neighbours.
                let vectors = Array.zeroCreate 375

                for i in 0..124 do
                    vectors[i] <- if i % 5 = 2 then -3.0f else 1.0f

                let field = DisplacementField(grid, vectors)

                let fixedPoints =
                    Some [| Some(0.0, 0.0, 0.0); Some(0.0, 2.0, 0.0); None; Some(8.0, 8.0, 8.0) |]

                let moving =
                    Some [| Some(2.0, 3.0, 0.0); None; Some(1.0, 1.0, 1.0); Some(10.0, 8.0, 7.0) |]

                let score mask =
                    Scores.ofPair [] false (scan labels fixedPoints mask) (scan labels moving None) field 0.0

                close (score None).TreMm 2.0 "the mean of 3 and 1 mm"
                Expect.isGreaterThan (score None).FoldedPercent 0.0 "folded"
                let away = Volume(grid, Array.init 125 (fun i -> if i % 5 = 2 then 0.0f else 1.0f))
                let inside = score (Some away)

                let free =
                    score (Some(Volume(grid, Array.init 125 (fun i -> if i % 5 = 0 then 1.0f else 0.0f))))

                Expect.isLessThan inside.FoldedPercent 100.0 "the sheet's neighbours may fold"
                Expect.isTrue (Double.IsNaN free.SdLogJ) "no interior voxel counts"

                Expect.isTrue
                    (Double.IsNaN
                        (Scores.ofPair [] false (scan labels None None) (scan labels moving None) field 0.0)
                            .TreMm)
                    "one scan has no landmarks"
            }
            test "CSV: a column per label and measure, names in quotes where they must be" {
                Expect.equal
                    (Scores.toCsv pairs)
                    ("fixed,moving,dice,jaccard,hd95_mm,tre_mm,folded_percent,sdlogj,sdlogj_learn2reg,"
                     + "extreme_percent,extreme_content_percent,extreme_label_percent,volume_error_percent,"
                     + "carried95_mm,inverse_mm,milliseconds,"
                     + "dice_1,dice_2,dice_7,jaccard_1,jaccard_2,jaccard_7,hd95_mm_1,hd95_mm_2,hd95_mm_7,"
                     + "carried95_mm_1,carried95_mm_2,carried95_mm_7,"
                     + "median_jacobian_1,median_jacobian_2,median_jacobian_7,"
                     + "volume_ratio_1,volume_ratio_2,volume_ratio_7,"
                     + "extreme_percent_1,extreme_percent_2,extreme_percent_7\n"
                     + "\"a, left\",m,0.75,0.6,2,1.5,0,0.1,0.025,1,2,3,4,4,,10,1,0.5,,1,0.2,,0,4,,"
                     + "0,12,,2,1.5,,2,1,,8,4,\n"
                     + "\"b\"\"c\",m,0.25,0.2,,,3,0.3,0.075,3,6,9,12,,,50,,0.5,0,,0.4,0,,,,"
                     + ",,,,1.5,1,,1,0,,4,0\n")
                    "text"
            }
            test "errors against known fields: means over scans and seeds, without those that are none" {
                let error before found = { BeforeMm = before; FoundMm = found }

                let seeds =
                    [
                        [ error 4.0 1.0; error 2.0 0.5; error nan nan ]
                        [ error 4.0 2.0; error 2.0 nan; error nan nan ]
                    ]

                let known = Scores.knownOverSeeds seeds
                Expect.equal (List.take 2 known) [ error 4.0 1.5; error 2.0 0.5 ] "scan by scan"
                let row = { summary with KnownFields = known }
                let json = Scores.toJson row
                Expect.equal (string json["known_field_mm"]) "1" "the mean over the scans that have one"
                Expect.equal (string json["known_field_before_mm"]) "3" "and of doing nothing"

                Expect.equal (cell "known field (mm)" row) "1.00" "the table"
                Expect.equal (cell "known field (mm)" (Scores.untouched before known)) "3.00" "doing nothing"
                Expect.isFalse ((Scores.toTable [ summary ]).Contains "known field") "not tried, no column"
            }
            test "there and back has a column where it was tried" {
                let row = { summary with InverseMm = 1.234 }
                Expect.equal (cell "there and back (mm)" row) "1.23" "the table"
                Expect.isFalse ((Scores.toTable [ summary ]).Contains "there and back") "not tried, no column"
            }
            test "a score sheet: JSON and back" {
                let sheet =
                    {
                        Parameters = 1234567L
                        Macs = 2.5e9
                        MadeBy = Some "digest"
                        Scores = pairs
                        KnownFields = [ { BeforeMm = 4.0; FoundMm = 1.5 }; { BeforeMm = nan; FoundMm = nan } ]
                    }

                // NaN is not equal to itself, so the texts are compared.
                let text = Codec.toLine Scores.sheet sheet

                match Codec.ofText "test.json" Scores.sheet text with
                | Ok back ->
                    Expect.equal (Codec.toLine Scores.sheet back) text "text"
                    Expect.equal back.KnownFields.Head sheet.KnownFields.Head "known fields"
                    Expect.isTrue (Double.IsNaN back.Scores[1].Hd95Mm) "a distance that is not known"

                    Expect.equal
                        (sprintf "%A" back.Scores[0])
                        (sprintf "%A" pairs[0])
                        "the first pair, its numbers and what is none"
                | Error e -> failtest (String.concat " " (Error.lines e))
            }
            test "a sheet of before has Learn2Reg's deviation under the plain one's name" {
                let read fields =
                    $$"""{"parameters": 1, "macs": 1, "pairs": [{"fixed": "a", "moving": "b", "folded_percent": 0.1,
                        {{fields}} "milliseconds": 12.5, "labels": []}]}"""
                    |> Codec.ofText "test.json" Scores.sheet
                    |> Error.orRaise
                    |> fun sheet -> sheet.Scores.Head

                let old = read "\"sdlogj\": 0.05,"
                Expect.isTrue (Double.IsNaN old.SdLogJ) "nobody measured it"
                close old.SdLogJLearn2Reg 0.05 "what was measured"
                let now = read "\"sdlogj\": 0.2, \"sdlogj_learn2reg\": 0.05,"
                close now.SdLogJ 0.2 "plain"
                close now.SdLogJLearn2Reg 0.05 "Learn2Reg's"
                let bare = read ""
                Expect.isTrue (Double.IsNaN bare.SdLogJ && Double.IsNaN bare.SdLogJLearn2Reg) "neither"
            }
            test "a pair's measures of volumes: in the content, in its labels, in each of them" {
                // J = 1.25 · 1 · 1 but for a folded sheet.
                let grid = Grid(8, 8, 8, Affine.Identity)
                let vectors = Array.zeroCreate<float32>(3 * 512)

                for i in 0..511 do
                    vectors[i] <- 0.25f * float32 (i % 8)

                // Between x = 5 and 6 space is torn: there J = −0.05.
                for i in 0..511 do
                    if i % 8 >= 6 then
                        vectors[i] <- vectors[i] - 2.6f

                let field = DisplacementField(grid, vectors)
                let by pick = Volume(grid, Array.init 512 pick)

                // Bright, and label 1, for x ≤ 3; label 2 for x of 4 and more, label 9 at one plane.
                let labels =
                    by (fun i ->
                        if i / 64 = 4 then 9f
                        elif i % 8 <= 3 then 1f
                        else 2f)

                let image = by (fun i -> if i % 8 <= 3 then 100f else 0f)

                let scored =
                    Scores.ofPair
                        [ 9 ]
                        true
                        { scan labels None None with
                            Image = image
                        }
                        (scan (by (fun i -> if i < 256 then 1f else 2f)) None None)
                        field
                        0.0

                let jacobian = Jacobian.Determinants field

                let share inside =
                    let counted =
                        [
                            for z in 1..6 do
                                for y in 1..6 do
                                    for x in 1..6 do
                                        if inside labels[x, y, z] x then
                                            jacobian[x, y, z]
                        ]

                    let out = counted |> List.filter (fun j -> j < 0.3333f || j > 3f)
                    100.0 * float out.Length / float counted.Length

                close scored.ExtremePercent (share (fun _ _ -> true)) "everywhere"
                Expect.isGreaterThan scored.ExtremePercent 20.0 "the sheet"
                Expect.equal scored.ExtremeContentPercent 0.0 "not where something is to be seen"
                close scored.ExtremeLabelPercent (share (fun l _ -> l <> 9f)) "in labels that count"
                let first = scored.PerLabel |> List.find (fun s -> s.Label = 1)
                Expect.isLessThan (abs (first.MedianJacobian - 1.25)) 1e-6 "stretched"
                close first.VolumeRatio (256.0 / 224.0) "voxels"
                Expect.equal first.ExtremePercent 0.0 "nothing of label 1"
                let second = scored.PerLabel |> List.find (fun s -> s.Label = 2)
                Expect.isGreaterThan second.ExtremePercent 40.0 "half of label 2"

                close
                    scored.VolumeErrorPercent
                    ([ first; second ]
                     |> List.averageBy (fun s -> 100.0 * abs (s.MedianJacobian / s.VolumeRatio - 1.0)))
                    "mean over the labels"

                close
                    scored.Carried95Mm
                    ((first.Carried95Mm + second.Carried95Mm) / 2.0)
                    "mean over the labels"

                Expect.isGreaterThan scored.Carried95Mm 0.0 "surfaces are apart"

                let bare =
                    Scores.ofPair
                        []
                        false
                        { scan labels None None with
                            Image = image
                            Labels = None
                        }
                        (scan labels None None)
                        field
                        0.0

                Expect.isTrue (Double.IsNaN bare.ExtremeLabelPercent) "no labels"
                Expect.isTrue (Double.IsNaN bare.Carried95Mm) "no surfaces"
                Expect.equal bare.ExtremeContentPercent 0.0 "content all the same"
            }
            test "there and back: how far points end from where they began, in the labels that count" {
                let grid =
                    Grid(
                        10,
                        9,
                        8,
                        Affine.FromRows [| 2.0; 0.0; 0.0; 0.0; 0.0; 1.0; 0.0; 0.0; 0.0; 0.0; 1.5; 0.0 |]
                    )

                let shift x =
                    DisplacementField(grid, Array.init (3 * 720) (fun i -> if i < 720 then float32 x else 0f))

                let labels =
                    Volume(
                        grid,
                        Array.init 720 (fun i ->
                            if i % 10 = 4 then 1f
                            elif i % 10 = 9 then 5f
                            else 0f)
                    )

                let off ignored forward backward =
                    Scores.inverseMm ignored (scan labels None None) forward backward

                close (off [ 5 ] (shift 1.5) (shift -1.5)) 0.0 "undone"
                close (off [ 5 ] (shift 1.5) (shift -1.0)) 1.0 "half a voxel of 2 mm"
                close (off [ 5 ] (shift 0.0) (shift -1.0)) 2.0 "one way only"

                // Where label 5 is, the field goes another voxel.
                let torn =
                    DisplacementField(
                        grid,
                        Array.init (3 * 720) (fun i -> if i < 720 && i % 10 = 9 then 1f else 0f)
                    )

                close (off [ 5 ] torn (shift 0.0)) 0.0 "ignored"
                close (off [] torn (shift 0.0)) 1.0 "one of two labels"

                let bare =
                    { scan labels None None with
                        Image = Volume(grid, Array.init 720 (fun i -> if i % 10 = 9 then 100f else 0f))
                        Labels = None
                    }

                close (Scores.inverseMm [] bare torn (shift 0.0)) 2.0 "without labels, the content"
            }
            test "several seeds are averaged pair by pair" {
                let other =
                    pairs
                    |> List.map (fun s ->
                        { s with
                            Dice = s.Dice + 0.2
                            Hd95Mm = nan
                            SdLogJ = s.SdLogJ + 0.2
                            SdLogJLearn2Reg = s.SdLogJLearn2Reg + 0.1
                            ExtremePercent = s.ExtremePercent + 1.0
                            ExtremeContentPercent = s.ExtremeContentPercent + 2.0
                            ExtremeLabelPercent = s.ExtremeLabelPercent + 3.0
                            VolumeErrorPercent = s.VolumeErrorPercent + 4.0
                            Carried95Mm = s.Carried95Mm + 5.0
                            InverseMm = 6.0
                        })

                let mean = Scores.overSeeds [ pairs; other ]
                close mean[0].Dice 0.85 "Dice"
                close mean[0].Hd95Mm 2.0 "what is known"
                close mean[0].SdLogJ 0.2 "SD log J"
                close mean[0].SdLogJLearn2Reg 0.075 "Learn2Reg's"
                close mean[0].ExtremePercent 1.5 "extreme"
                close mean[0].ExtremeContentPercent 3.0 "in the content"
                close mean[0].ExtremeLabelPercent 4.5 "in the labels"
                close mean[0].VolumeErrorPercent 6.0 "volumes"
                close mean[0].Carried95Mm 6.5 "carried surfaces"
                close mean[0].InverseMm 6.0 "there and back, where it is known"
                Expect.equal (mean |> List.map _.Fixed) (pairs |> List.map _.Fixed) "pairs"
            }
            test "Wilcoxon's signed-rank test against known answers" {
                // scipy.stats.wilcoxon(x, y, method="approx", correction=False)
                let p differences =
                    (Wilcoxon.test (differences |> List.map (fun d -> d, 0.0))).P

                let near actual expected what =
                    Expect.isLessThan (abs (actual - expected)) (1e-6 * expected + 1e-12) what

                near (p [ 1.0 .. 8.0 ]) 0.011718685599768628 "all one way"
                near (p [ 1.0; 2.0; -3.0; 4.0; 5.0; -6.0; 7.0; 8.0 ]) 0.20757844233562428 "mixed"
                near (p [ 1.0; 1.0; -1.0; 2.0; 2.0; 0.0; 3.0 ]) 0.07074986707637762 "ties and a zero"
                Expect.equal (p [ 0.0; 0.0 ]) 1.0 "no difference"
                Expect.equal (p [ -1.0; -2.0; 3.0 ]) (p [ 1.0; 2.0; -3.0 ]) "two-sided"
                close (Wilcoxon.test [ 2.0, 1.0; 5.0, 5.0 ]).MeanDifference 0.5 "mean"
            }
            test "the table" {
                let unknown =
                    { summary with
                        Name = "x"
                        Hd95Mm = nan
                        TreMm = nan
                    }

                Expect.stringContains (Scores.toTable [ summary; unknown ]) "TRE (mm)" "landmarks"

                Expect.equal
                    (Scores.toTable [ { summary with TreMm = nan }; unknown ])
                    (String.concat
                        "\n"
                        [
                            "|         |          Dice | HD95 (mm) | carried (mm) | J out (%) | volume error (%) | folded (%) | SD log J | parameters | GMAC | ms per pair |"
                            "| ------- | ------------: | --------: | -----------: | --------: | ---------------: | ---------: | -------: | ---------: | ---: | ----------: |"
                            "| student | 0.500 ± 0.250 |      2.00 |         4.00 |      6.00 |                8 |      1.500 |    0.200 |  1,234,567 | 2.50 |          30 |"
                            "| x       | 0.500 ± 0.250 |         – |         4.00 |      6.00 |                8 |      1.500 |    0.200 |  1,234,567 | 2.50 |          30 |"
                        ])
                    "text"
            }
            test "JSON has null for what is no number" {
                let node = Scores.toJson { summary with Hd95Mm = nan }
                Expect.isNull node["hd95_mm"] "HD95"
                Expect.equal (string node["dice_sd"]) "0.25" "deviation"
                Expect.equal (string node["tre_mm"]) "1.5" "TRE"
                Expect.equal (node["dice_per_label"].ToJsonString()) """{"1":1,"2":0.5,"7":0}""" "labels"

                for key, expected in
                    [
                        "sdlogj", "0.2"
                        "sdlogj_learn2reg", "0.05"
                        "extreme_percent", "2"
                        "extreme_content_percent", "4"
                        "extreme_label_percent", "6"
                        "extreme_percent_per_label", """{"1":8,"2":4,"7":0}"""
                        "median_jacobian_per_label", """{"1":2,"2":1.5,"7":1}"""
                        "volume_ratio_per_label", """{"1":2,"2":1,"7":0}"""
                        "volume_error_percent", "8"
                        "carried95_mm", "4"
                    ] do
                    Expect.equal ((nonNull node[key]).ToJsonString()) expected key

                Expect.isTrue (node.ContainsKey "inverse_mm" && isNull node["inverse_mm"]) "not turned round"
            }
            test "the report has every pair as a dot, what became worse and what folds first" {
                let about =
                    {
                        Model = "<m>"
                        Data = "d"
                        Split = "test"
                        Subjects = 3
                        LabelNames = Map [ 2, "<tail>" ]
                        Command = "ldr-fs evaluate --model '<m>'"
                        Folder = "<here>"
                    }

                let count (pattern: string) (page: string) = Regex.Matches(page, pattern).Count

                let listed (page: string) =
                    [
                        for row in Regex.Matches(page, "<tr( class=\"flagged\")?><td class=\"name\">([^<]*)<") ->
                            row.Groups[2].Value, row.Groups[1].Success
                    ]

                // The second pair folds; a third is good, but not as good as before.
                let third = { pairs[0] with Fixed = "c" }
                let after = [ yield! pairs; { third with Dice = 0.7 } ]
                let before = [ yield! before; third ]
                let page = EvaluationReport.page about before after
                Expect.equal (count "<circle[^>]*><title>" page) 3 "dots"
                Expect.equal (count "<circle class=\"worse\"" page) 1 "the pair that became worse"
                Expect.stringContains page "1 of 3 pairs became worse by Dice." "and in words"
                Expect.stringContains page "In 1 more than 1 % of the voxels fold." "folds"

                Expect.equal
                    (listed page)
                    [ "b&quot;c", true; "c", true; "a, left", false ]
                    "what folds, what became worse, the others"
                // Labels 1, 2 and 7, and a stroke at each mean, before and after.
                Expect.equal (count "<tr><th scope=\"row\">[0-9]+( &lt;tail&gt;)?</th>" page) 3 "structures"
                Expect.equal (count ">2 &lt;tail&gt;</th>" page) 1 "a name that the data set gives"
                Expect.equal (count "class=\"mean\"" page) 6 "means"
                // Of label 2 all three pairs, before and after.
                Expect.equal
                    (count "class=\"dots [a-z]+\" d=\"(M[0-9. ]+h0){3}\"" page)
                    2
                    "dots of a structure"

                Expect.isFalse (Regex.IsMatch(page, "<m>|<here>")) "names are encoded"

                Expect.isFalse
                    (Regex.IsMatch(page, "https?://|<script|NaN|{{"))
                    "nothing is asked for or left out"

                // The same of landmarks alone, which the third pair has not.
                let bare tre (score: PairScore) =
                    { score with
                        Dice = nan
                        Jaccard = nan
                        Hd95Mm = nan
                        TreMm = tre
                        PerLabel = []
                    }

                let page =
                    EvaluationReport.page
                        { about with Command = "" }
                        (List.map2 bare [ 2.0; 1.0; nan ] after)
                        (List.map2 bare [ 1.0; 2.0; nan ] after)

                Expect.equal (count "<circle class=\"worse\"" page) 1 "of 1 before, 2 after"
                Expect.equal (count "<circle[^>]*><title>" page) 2 "dots of those that have landmarks"

                Expect.stringContains
                    page
                    "1 of 2 pairs became worse by TRE (mm). 1 could not be measured by it."
                    "in words"

                Expect.equal (listed page |> List.last) ("c", false) "what was not measured is last"

                Expect.isFalse
                    (Regex.IsMatch(page, "Dice|Structures|HD95|The command|NaN"))
                    "what there is not"

                let page =
                    EvaluationReport.page about (List.map (bare nan) before) (List.map (bare nan) after)

                Expect.stringContains page "No pair has labels or landmarks to be compared by." "nothing"
                Expect.equal (count "<svg" page) 0 "and no picture"
            }
        ]
