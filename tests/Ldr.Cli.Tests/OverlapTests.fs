/// `overlap`, and what `register` says of label maps: how well structures agree.
module Ldr.Cli.Tests.OverlapTests

open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private grid = Grid(6, 5, 4, Affine.Scaling(1., 2., 1.5))

let private write path (pick: int * int * int -> float32) =
    let values =
        Array.init (int grid.Count) (fun i ->
            pick (i % grid.Nx, i / grid.Nx % grid.Ny, i / (grid.Nx * grid.Ny)))

    ImageFile.Write(path, Volume(grid, values, VoxelType.UInt8))

/// Label 1 at x of 1 and 2, and at 2 and 3; label 2 in one plane of the first, label 7 in one of the second.
let private maps folder =
    let own first (alone: float32) (x, _, z) =
        if x = first || x = first + 1 then 1f
        elif x = 5 && z = 0 then alone
        else 0f

    write (folder </> "a.nii.gz") (own 1 2f)
    write (folder </> "b.nii.gz") (own 2 7f)

let private json (outcome: Outcome) =
    (JsonNode.Parse outcome.Output |> nonNull).AsObject()

let private value (node: JsonObject) (key: string) = (nonNull node[key]).GetValue<float>()

let private labelsOf (outcome: Outcome) =
    let said = json outcome
    (nonNull said["labels"]).AsObject()

let private oneLine (outcome: Outcome) code (words: string list) =
    Expect.equal outcome.Code code outcome.Errors
    Expect.equal outcome.Output "" "nothing on stdout"
    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 outcome.Errors

    for word in words do
        Expect.stringContains outcome.Errors word "the line"

let private anatomy =
    {
        Size = 32, 34, 30
        Subjects = 2
        Structures = 4
        Deformation = 1.5
        Noise = 0.01
        Seed = 6
    }

/// Two scans with their labels.
let private pair folder =
    for name, index in [ "fixed", 0; "moving", 1 ] do
        let scan, labels = Anatomy.subject anatomy index
        ImageFile.Write(folder </> $"{name}.nii.gz", scan)
        ImageFile.Write(folder </> $"{name}-labels.nii.gz", labels)

let private register folder arguments =
    ldr (
        [
            "register"
            "--model"
            "none"
            "--fixed"
            folder </> "fixed.nii.gz"
            "--moving"
            folder </> "moving.nii.gz"
            "--transform"
            folder </> "field.nii.gz"
        ]
        @ arguments
    )

let tests =
    testList
        "overlap"
        [
            testInFolder
                "two label maps: Dice, Jaccard, distance and volumes of every label that either has"
                (fun folder ->
                    maps folder
                    let a, b = folder </> "a.nii.gz", folder </> "b.nii.gz"
                    let outcome = ldr [ "overlap"; a; b; "--json" ]
                    Expect.equal outcome.Code 0 outcome.Errors
                    let said = json outcome
                    Expect.equal (value said "labels") 3. "labels"
                    // Label 1: 40 voxels each, 20 in both; 2 and 7 are in one map only.
                    Expect.floatClose Accuracy.medium (value said "dice") (0.5 / 3.) "mean Dice"
                    Expect.floatClose Accuracy.medium (value said "jaccard") (1. / 9.) "mean Jaccard"
                    Expect.floatClose Accuracy.medium (value said "hd95_mm") 1. "of the label that both have"

                    let rows =
                        (nonNull said["per_label"]).AsArray()
                        |> Seq.map (fun r -> (nonNull r).AsObject())
                        |> List.ofSeq

                    Expect.equal (rows |> List.map (fun r -> value r "label")) [ 1.; 2.; 7. ] "labels"

                    for key, expected in
                        [
                            "dice", 0.5
                            "jaccard", 1. / 3.
                            "hd95_mm", 1.
                            "volume_a_ml", 0.12
                            "volume_b_ml", 0.12
                        ] do
                        Expect.floatClose Accuracy.medium (value rows.Head key) expected key

                    Expect.equal (value rows[1] "dice") 0. "in one map only"

                    Expect.isTrue
                        (rows[1].ContainsKey "hd95_mm" && isNull (rows[1]["hd95_mm"]))
                        "no distance"

                    Expect.floatClose Accuracy.medium (value rows[1] "volume_a_ml") 0.015 "5 voxels of 3 mm³"
                    Expect.floatClose Accuracy.medium (value rows[2] "volume_b_ml") 0.015 "of the second map"

                    let text = ldr [ "overlap"; a; b ]
                    Expect.equal text.Code 0 text.Errors
                    let lines = text.Output.TrimEnd('\n').Split '\n'
                    Expect.hasLength lines 5 "a heading, three labels, the mean"
                    Expect.stringContains lines[0] "Dice" "heading"

                    let words (line: string) =
                        line.Split(' ', System.StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

                    Expect.equal (words lines[1]) [ "1"; "0.500"; "0.333"; "1.00"; "0.12"; "0.12" ] "label 1"
                    Expect.equal (words lines[2] |> List.truncate 4) [ "2"; "0.000"; "0.000"; "–" ] "label 2"
                    Expect.equal (words lines[4] |> List.truncate 3) [ "mean"; "0.167"; "0.111" ] "the mean"

                    let same = json (ldr [ "overlap"; a; a; "--json" ])
                    Expect.equal (value same "dice", value same "hd95_mm") (1., 0.) "itself")

            testInFolder "maps that do not fit or are none are refused in one line" (fun folder ->
                maps folder
                let a, b = folder </> "a.nii.gz", folder </> "b.nii.gz"
                let other = folder </> "other.nii.gz"
                let values = (ImageFile.Read a).Values

                // As many voxels, elsewhere.
                ImageFile.Write(
                    other,
                    Volume(Grid(6, 5, 4, grid.VoxelToWorld.Then(Affine.Translation(0., 0., 9.))), values)
                )

                oneLine (ldr [ "overlap"; a; other ]) 1 [ other; "another grid"; "apply --reference"; a ]
                oneLine (ldr [ "overlap"; a; folder </> "no.nii.gz" ]) 1 [ "no.nii.gz" ]
                let scan = folder </> "scan.nii.gz"
                ImageFile.Write(scan, Volume(grid, Array.init values.Length (fun i -> 0.5f + float32 i)))
                oneLine (ldr [ "overlap"; a; scan ]) 1 [ scan ]

                for files in [ []; [ a ]; [ a; b; a ] ] do
                    oneLine
                        (ldr ("overlap" :: files))
                        2
                        [ $"two label maps are compared, not {files.Length}" ])

            testInFolder
                "with the fixed scan's labels, register says how the structures agree before and after"
                (fun folder ->
                    pair folder

                    let labels =
                        [
                            "--labels"
                            folder </> "moving-labels.nii.gz"
                            "--fixed-labels"
                            folder </> "fixed-labels.nii.gz"
                        ]

                    let outcome = register folder ("--json" :: labels)
                    Expect.equal outcome.Code 0 outcome.Errors
                    let said = labelsOf outcome

                    for key in
                        [
                            "dice_before"
                            "dice"
                            "hd95_before_mm"
                            "hd95_mm"
                            "carried95_before_mm"
                            "carried95_mm"
                            "extreme_label_percent"
                            "volume_error_percent"
                        ] do
                        Expect.isTrue (System.Double.IsFinite(value said key)) key

                    Expect.isGreaterThan
                        (value said "dice")
                        (value said "dice_before")
                        "the registration helps"

                    let rows = (nonNull said["per_label"]).AsArray()
                    Expect.hasLength rows 4 "structures"

                    // The same as is found by hand.
                    let read name =
                        ImageFile.Read(folder </> $"{name}.nii.gz")

                    let fixedLabels, movingLabels = read "fixed-labels", read "moving-labels"

                    let dice field =
                        let moved = Warp.Nearest(movingLabels, field)
                        Overlap.Measure(fixedLabels, moved, [| 1; 2; 3; 4 |]) |> Seq.averageBy _.Dice

                    let field = Nifti.ReadField(folder </> "field.nii.gz")

                    Expect.isLessThan
                        (abs (value said "dice" - dice field))
                        1e-3
                        "Dice, of the written field"

                    let rowsOf key =
                        rows |> Seq.averageBy (fun row -> value ((nonNull row).AsObject()) key)

                    Expect.floatClose
                        Accuracy.medium
                        (rowsOf "dice")
                        (value said "dice")
                        "mean of the labels"

                    Expect.floatClose
                        Accuracy.medium
                        (rowsOf "dice_before")
                        (value said "dice_before")
                        "before too"

                    Expect.floatClose
                        Accuracy.medium
                        (rows
                         |> Seq.averageBy (fun row ->
                             let row = (nonNull row).AsObject()
                             100. * abs (value row "median_jacobian" / value row "volume_ratio" - 1.)))
                        (value said "volume_error_percent")
                        "volumes"

                    // In words.
                    let text = register folder labels
                    let before, after = value said "dice_before", value said "dice"

                    Expect.stringContains
                        text.Output
                        $"labels: Dice {before:F3} before, {after:F3} after"
                        "in words"

                    // An alignment that moves nothing: before is after.
                    let still =
                        register folder ([ "--refine"; "0"; "--affine"; "none"; "--json" ] @ labels)

                    let said = labelsOf still
                    Expect.equal (value said "dice") (value said "dice_before") "nothing is done"

                    Expect.floatClose
                        Accuracy.high
                        (value said "dice_before")
                        (dice (DisplacementField.Zero field.Grid))
                        "by hand")

            testInFolder "labels that do not fit together are refused before anything is done" (fun folder ->
                pair folder
                let fixedLabels = folder </> "fixed-labels.nii.gz"

                oneLine
                    (register folder [ "--fixed-labels"; fixedLabels ])
                    2
                    [ "--fixed-labels"; "--labels" ]

                let labels = [ "--labels"; folder </> "moving-labels.nii.gz" ]
                oneLine (register folder labels) 2 [ "--labels"; "--moved-labels"; "--fixed-labels" ]
                maps folder

                oneLine
                    (register folder (labels @ [ "--fixed-labels"; folder </> "a.nii.gz" ]))
                    1
                    [ "a.nii.gz"; "another grid than the fixed scan" ]

                oneLine
                    (register folder (labels @ [ "--fixed-labels"; folder </> "fixed.nii.gz" ]))
                    1
                    [ "fixed.nii.gz" ]

                Expect.isFalse (File.Exists(folder </> "field.nii.gz")) "nothing is written")
        ]
