/// `evaluate` without a model: known fields, there and back, refinement, the verdict on trial.
module Ldr.Cli.Tests.EvaluateTests

open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 24, 26, 22
        Subjects = 3
        Structures = 3
        Deformation = 1.5
        Noise = 0.01
        Seed = 2
    }

/// A data set of three scans with labels.
let private scene folder =
    for part in [ "imagesTr"; "labelsTr" ] do
        Directory.CreateDirectory(folder </> part) |> ignore

    for i in 0..2 do
        let scan, labels = Anatomy.subject anatomy i
        ImageFile.Write(folder </> "imagesTr" </> $"case_{i}.nii", scan)

        ImageFile.Write(
            folder </> "labelsTr" </> $"case_{i}.nii",
            Volume(labels.Grid, labels.Values, VoxelType.UInt8)
        )

    let entries =
        [
            for i in 0..2 ->
                $$"""{"image": "./imagesTr/case_{{i}}.nii", "label": "./labelsTr/case_{{i}}.nii"}"""
        ]
        |> String.concat ", "

    File.WriteAllText(folder </> "dataset.json", $$"""{"name": "Tiny", "training": [{{entries}}]}""")

let private evaluate folder arguments =
    ldr (
        [ "evaluate"; "--model"; "none"; "--data"; folder; "--split"; "all" ]
        @ arguments
    )

let private json (outcome: Outcome) =
    Expect.equal outcome.Code 0 outcome.Errors
    (JsonNode.Parse outcome.Output |> nonNull).AsObject()

let private value (node: JsonObject) (key: string) = (nonNull node[key]).GetValue<float>()

let private refused (outcome: Outcome) code (words: string list) =
    Expect.equal outcome.Code code outcome.Errors
    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 outcome.Errors

    for word in words do
        Expect.stringContains outcome.Errors word "the line"

let tests =
    testList
        "evaluate without a model"
        [
            testInFolder
                "tells the error against known fields, how two ways undo each other, and changes of volume"
                (fun folder ->
                    scene folder

                    let known =
                        [
                            "--known-field"
                            "--inverse"
                            "--refine"
                            "8"
                            "--output"
                            folder </> "scores"
                        ]

                    let said = evaluate folder (known @ [ "--pairs"; "2"; "--json" ]) |> json

                    for key in
                        [
                            "known_field_mm"
                            "known_field_before_mm"
                            "inverse_mm"
                            "extreme_label_percent"
                            "extreme_content_percent"
                            "sdlogj"
                            "sdlogj_learn2reg"
                            "volume_error_percent"
                            "carried95_mm"
                        ] do
                        Expect.isTrue (System.Double.IsFinite(value said key)) key

                    Expect.equal (string said["name"]) "none refined" "the name"
                    Expect.equal (value said "pairs") 2. "pairs"
                    Expect.equal (value said "parameters") 0. "no network"
                    Expect.isGreaterThan (value said "dice") (value said "dice_before") "it registers"
                    // A known field of two voxels, found to a fraction.
                    Expect.isTrue (value said "known_field_before_mm" > 1.) "something to find"

                    Expect.isLessThan
                        (value said "known_field_mm")
                        (0.5 * value said "known_field_before_mm")
                        "found"

                    Expect.isGreaterThan (value said "inverse_mm") 0. "there and back"
                    Expect.isLessThan (value said "inverse_mm") 3. "near each other"

                    let each =
                        (nonNull said["known_field_each_mm"]).AsArray()
                        |> Seq.map (fun v -> (nonNull v).GetValue<float>())

                    Expect.equal (value said "known_field_scans") 3. "all three scans"

                    Expect.floatClose
                        Accuracy.medium
                        (Seq.average each)
                        (value said "known_field_mm")
                        "their mean"

                    let head = (File.ReadAllLines(folder </> "scores" </> "scores.csv")).[0].Split ','

                    for column in
                        [ "inverse_mm"; "sdlogj_learn2reg"; "extreme_label_percent"; "carried95_mm_1" ] do
                        Expect.contains head column "column"

                    Expect.isTrue (File.Exists(folder </> "scores" </> "report.html")) "report"

                    // The same without what was not asked for.
                    let bare = evaluate folder [ "--pairs"; "2"; "--refine"; "8"; "--json" ] |> json
                    Expect.isFalse (bare.ContainsKey "known_field_mm") "not asked for"

                    Expect.isTrue
                        (bare.ContainsKey "inverse_mm" && isNull bare["inverse_mm"])
                        "not asked for"

                    Expect.equal (value bare "dice") (value said "dice") "the same registrations")

            testInFolder
                "--refine 0 is alignment alone; a known field is as large as asked for; in words"
                (fun folder ->
                    scene folder

                    let said =
                        evaluate
                            folder
                            [
                                "--known-field"
                                "--amplitude"
                                "3"
                                "--noise"
                                "0"
                                "--refine"
                                "0"
                                "--pairs"
                                "1"
                                "--json"
                            ]
                        |> json

                    // An affine map cannot be torn.
                    Expect.isLessThan (value said "sdlogj") 1e-3 "an affine map"
                    Expect.equal (value said "extreme_label_percent") 0. "keeps volumes alike"
                    let before = value said "known_field_before_mm"

                    Expect.isTrue
                        (before > 2. && before < 4.)
                        $"{before} mm where labels are, 3 in the content"

                    let twice =
                        evaluate
                            folder
                            [
                                "--known-field"
                                "--amplitude"
                                "6"
                                "--noise"
                                "0"
                                "--refine"
                                "0"
                                "--pairs"
                                "1"
                                "--json"
                            ]
                        |> json

                    let ratio = value twice "known_field_before_mm" / before
                    Expect.isTrue (ratio > 1.8 && ratio < 2.2) $"{ratio} times as far"

                    let words =
                        evaluate folder [ "--known-field"; "--inverse"; "--refine"; "0"; "--pairs"; "1" ]

                    Expect.equal words.Code 0 words.Errors
                    Expect.stringContains words.Output "known field: " "a line"
                    Expect.stringContains words.Output "(3 scans)" "of how many"
                    Expect.stringContains words.Output "| untouched" "and the table"
                    Expect.stringContains words.Output "| known field (mm) |" "with a column"
                    Expect.stringContains words.Output "| there and back (mm) |" "and one of the way back")

            testInFolder
                "--diffeomorphic and --jacobian-bounds keep changes of volume, as register does"
                (fun folder ->
                    scene folder
                    let asked = [ "--refine"; "20"; "--control-spacing"; "4"; "--pairs"; "2"; "--json" ]
                    let bounds = [ "--diffeomorphic"; "--jacobian-bounds"; "0.9"; "1.1" ]

                    let free, bound =
                        evaluate folder asked |> json, evaluate folder (asked @ bounds) |> json

                    // Where J lies between 0.9 and 1.1, log J does between -0.106 and 0.096.
                    Expect.isGreaterThan (value free "sdlogj") 0.12 "without: larger changes"
                    Expect.isLessThan (value bound "sdlogj") 0.106 "with: within the bounds"
                    Expect.equal (value bound "folded_percent") 0. "no folds")

            testInFolder
                "without a model nobody says what is for tests, unless an experiment does"
                (fun folder ->
                    scene folder

                    refused
                        (ldr [ "evaluate"; "--model"; "none"; "--data"; folder ])
                        1
                        [ "--split test"; "without a model"; "--split all" ])

            test "options that are of another are refused" {
                for arguments, words in
                    [
                        [ "--amplitude"; "2" ], [ "--amplitude"; "--known-field" ]
                        [ "--smoothness"; "8" ], [ "--smoothness"; "--known-field" ]
                        [ "--noise"; "0.1" ], [ "--noise"; "--known-field" ]
                        [ "--noise-everywhere" ], [ "--noise-everywhere"; "--known-field" ]
                        [ "--known-field"; "--amplitude"; "0" ], [ "--amplitude"; "above 0" ]
                        [ "--known-field"; "--smoothness"; "-1" ], [ "--smoothness"; "above 0" ]
                        [ "--known-field"; "--noise"; "2" ], [ "--noise"; "0 to 1" ]
                        [ "--control-spacing"; "0" ], [ "--control-spacing"; "above 0" ]
                        [ "--refine"; "-1" ], [ "--refine"; "from 0 to 10000" ]
                        [ "--jacobian-bounds"; "0.5"; "2" ], [ "--jacobian-bounds"; "--diffeomorphic" ]
                        [ "--diffeomorphic"; "--jacobian-bounds"; "2"; "3" ],
                        [ "--jacobian-bounds"; "below 1" ]
                        [ "--other"; "x.nii" ], [ "--other"; "--verdict" ]
                    ] do
                    refused (evaluate "data" arguments) 2 words
            }

            testInFolder
                "the verdict on trial: a table, a line for each judged pair, and rates"
                (fun folder ->
                    scene folder
                    let other = folder </> "other.nii"
                    let noise = System.Random 3
                    ImageFile.Write(other, randomVolume noise (gridOf 24 24 24))

                    let said =
                        evaluate
                            folder
                            [
                                "--verdict"
                                "--other"
                                other
                                "--pairs"
                                "2"
                                "--refine"
                                "3"
                                "--output"
                                folder </> "trial"
                                "--json"
                            ]
                        |> json

                    for key in
                        [ "good_pairs"; "good_ok"; "self_pairs"; "self_ok"; "wrong_pairs"; "wrong_ok" ] do
                        Expect.isTrue (said.ContainsKey key) key

                    let lines = File.ReadAllLines(folder </> "trial" </> "verdict.csv")
                    // A good pair, a scan and itself, two fields spoilt, fifteen wrong scans; of two pairs.
                    Expect.hasLength lines (1 + 2 * (4 + 15)) "a heading and a line for each"
                    Expect.stringStarts lines[0] "pairs,kind,fixed,moving,chosen,verdict,dice," "heading"
                    let rows = lines[1..] |> Array.map (fun line -> line.Split ',')

                    let of' kind =
                        rows |> Array.filter (fun row -> row[1] = kind)

                    Expect.hasLength (of' "SelfPair") 2 "scans and themselves"

                    Expect.isTrue
                        (of' "SelfPair" |> Array.forall (fun row -> row[2] = row[3]))
                        "the same scan"

                    Expect.isTrue (of' "SelfPair" |> Array.forall (fun row -> row[5] = "ok")) "are ok"

                    Expect.isTrue
                        (of' "WrongPair" |> Array.exists (fun row -> row[0] = "something else"))
                        "the other scan"

                    for name in [ "noise"; "something else" ] do
                        Expect.isTrue
                            (rows
                             |> Array.filter (fun row -> row[0] = name)
                             |> Array.forall (fun row -> row[5] <> "ok"))
                            name

                    // Rates are of the half that thresholds are not chosen on, and of pairs that came out wrong: no mirror
                    // images, and none whose labels overlap two thirds as well as those of good pairs.
                    let dice (row: string[]) = float row[6]
                    let good = of' "GoodPair" |> Array.map dice |> Array.average

                    let wrong =
                        of' "WrongPair"
                        |> Array.filter (fun row ->
                            row[4] = "False"
                            && row[0] <> "flipped along x"
                            && not (dice row >= 2.0 / 3.0 * good))

                    Expect.isNonEmpty wrong "some are wrong"
                    Expect.equal (value said "wrong_pairs") (float wrong.Length) "held back"

                    Expect.equal
                        (value said "wrong_ok")
                        (wrong |> Array.filter (fun row -> row[5] = "ok") |> Array.length |> float)
                        "of which ok"

                    let table = File.ReadAllText(folder </> "trial" </> "verdict.md")
                    Expect.stringContains table "| a scan and itself |" "the table")
        ]
