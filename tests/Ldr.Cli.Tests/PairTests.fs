/// `register` without a network: alignment, refinement, masks, the inverse, files of other formats.
module Ldr.Cli.Tests.PairTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.TestKit.Repository
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 36, 40, 32
        Subjects = 2
        Structures = 5
        Deformation = 1.5
        Noise = 0.01
        Seed = 3
    }

/// Two subjects; the moving one lies 60 mm away, turned by 20°.
let private scene folder =
    let fixedScan, fixedLabels = Anatomy.subject anatomy 0
    let moving, labels = Anatomy.subject anatomy 1
    let c, s = cos 0.35, sin 0.35

    let map =
        Affine.FromRows(c, -s, 0., 0., s, c, 0., 0., 0., 0., 1., 0.).Then(Affine.Translation(60., 5., -20.))

    let moved (v: Volume) =
        let g = v.Grid
        Volume(Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then map), v.Values, v.StoredAs)

    ImageFile.Write(folder </> "fixed.nrrd", fixedScan)
    ImageFile.Write(folder </> "moving.mha", moved moving)
    ImageFile.Write(folder </> "labels.nii.gz", moved labels)
    fixedScan, fixedLabels, moved moving

let private register folder (arguments: string list) =
    ldr (
        [
            "register"
            "--model"
            "none"
            "--fixed"
            folder </> "fixed.nrrd"
            "--moving"
            folder </> "moving.mha"
            "--json"
        ]
        @ arguments
    )

let private json (outcome: Outcome) =
    (JsonNode.Parse outcome.Output |> nonNull).AsObject()

let private value (node: JsonObject) (key: string) = (nonNull node[key]).GetValue<float>()

let private startedBy (node: JsonObject) = string node["initial_alignment"]

let private dice (a: Volume) (b: Volume) =
    Overlap.Measure(a, b, Overlap.Labels a) |> Seq.averageBy (fun o -> o.Dice)

let tests =
    testList
        "pairs"
        [
            testInFolder "without a network: aligned, refined, with labels, list, inverse"
            <| fun folder ->
                let fixedScan, fixedLabels, moving = scene folder

                let outcome =
                    register
                        folder
                        [
                            "--moved"
                            folder </> "moved.mha"
                            "--labels"
                            folder </> "labels.nii.gz"
                            "--moved-labels"
                            folder </> "moved-labels.nii.gz"
                            "--transform"
                            folder </> "all.h5"
                            "--inverse-transform"
                            folder </> "inverse.nii.gz"
                        ]

                Expect.equal outcome.Code 0 (outcome.Output + outcome.Errors)
                let said = json outcome
                Expect.equal (string said["initial_alignment"]) "affine" "start"

                Expect.isGreaterThan
                    (value said "local_correlation_after")
                    (value said "local_correlation_before")
                    "refined"

                Expect.isLessThan (value said "inverse_residual_mean_mm") 0.1 "inverse"
                let moved = ImageFile.Read(folder </> "moved.mha")
                Expect.isTrue (moved.Grid.SameAs fixedScan.Grid) "the fixed scan's grid"

                Expect.isGreaterThan
                    (dice fixedLabels (ImageFile.Read(folder </> "moved-labels.nii.gz")))
                    0.6
                    "Dice"

                // The list gives the same image.
                let whole = TransformStore.read None None (folder </> "all.h5")
                let again = Resampler.Apply(moving, whole, moved.Grid, Interpolation.Linear)

                let off =
                    Array.map2 (fun a b -> abs (float a - float b)) again.Values moved.Values
                    |> Array.average

                Expect.isLessThan off 1e-3 "of 1"
                // The inverse lies on the moving scan's grid.
                Expect.isTrue
                    ((ImageFile.ReadGrid(folder </> "inverse.nii.gz")).SameAs moving.Grid)
                    "its grid"

            testInFolder "--affine rigid, none and FILE; --init; --budget"
            <| fun folder ->
                let _ = scene folder

                let start arguments =
                    let outcome =
                        register folder (arguments @ [ "--moved"; folder </> "m.nii"; "--refine"; "2" ])

                    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                    json outcome

                Expect.equal (start [ "--affine"; "rigid" ] |> startedBy) "rigid" "rigid"
                // The scans do not overlap in the world.
                Expect.equal (start [ "--affine"; "none" ] |> startedBy) "centres" "headers"
                TransformFile.WriteAffine(folder </> "a.tfm", Affine.Translation(60., 5., -20.))

                for option in [ "--affine"; "--init" ] do
                    let said =
                        start (
                            [ option; folder </> "a.tfm" ]
                            @ (if option = "--init" then [ "--affine"; "none" ] else [])
                        )

                    Expect.equal (string said["initial_alignment"]) "given" option

                    Expect.floatClose
                        Accuracy.medium
                        ((nonNull (said["affine"]) :?> JsonArray).[3] |> nonNull |> _.GetValue<float>())
                        60.
                        "the map of the file"

                let said = start [ "--budget"; "0.001" ]
                Expect.isLessThan (value said "refinement_steps") 6. "a budget of nothing"

            testInFolder
                "--diffeomorphic: what folds does so no more, with a model, with refinement, without either"
            <| fun folder ->
                let fixedScan, _, _ = scene folder
                let random = Random 3
                writeModel (folder </> "model.safetensors")

                // A start that folds.
                TransformFile.WriteField(
                    folder </> "folds.nii",
                    smoothField random fixedScan.Grid (8.0 * smallest fixedScan.Grid)
                )

                for arguments in
                    [
                        [ "--init"; folder </> "folds.nii"; "--refine"; "1" ]
                        [ "--model"; folder </> "model.safetensors" ]
                        [
                            "--model"
                            folder </> "model.safetensors"
                            "--refine"
                            "3"
                            "--affine"
                            "full"
                        ]
                    ] do
                    let outcome =
                        ldr (
                            [
                                "register"
                                "--fixed"
                                folder </> "fixed.nrrd"
                                "--moving"
                                folder </> "moving.mha"
                                "--json"
                                "--diffeomorphic"
                                "--moved"
                                folder </> "m.nii"
                                "--transform"
                                folder </> "field.nii.gz"
                                "--report"
                                folder </> "page.html"
                            ]
                            @ (if List.contains "--model" arguments then
                                   []
                               else
                                   [ "--model"; "none" ])
                            @ arguments
                        )

                    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                    let said = json outcome

                    if List.contains "--init" arguments then
                        Expect.isGreaterThan (value said "folded_percent_before") 1.0 "folded before"

                    Expect.isGreaterThan (value said "diffeomorphic_change_mean_mm") 0.0 "what it took"
                    Expect.equal (value said "folded_percent") 0.0 "folds now"
                    let written = Nifti.ReadField(folder </> "field.nii.gz")

                    Expect.isGreaterThan
                        (Array.min (Jacobian.Determinants written).Values)
                        0f
                        "every voxel of the written field"

                    Expect.stringContains (File.ReadAllText(folder </> "page.html")) "Unfolding" "the report"

            testInFolder
                "a scan whose header lies far away is brought back by the grids' centres, where nothing is better"
            <| fun folder ->
                let scan, _ = Anatomy.subject anatomy 0
                let g = scan.Grid

                let away =
                    Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then(Affine.Translation(300., 0., -40.)))

                ImageFile.Write(folder </> "fixed.nrrd", scan)
                ImageFile.Write(folder </> "moving.mha", Volume(away, scan.Values, scan.StoredAs))
                let outcome = register folder [ "--moved"; folder </> "moved.nii" ]
                Expect.equal outcome.Code 0 outcome.Output
                let said = json outcome
                Expect.equal (startedBy said) "centres" "start"
                Expect.isGreaterThan (value said "similarity_after") 0.99 "the same scan"

            testInFolder "--refine 0 is alignment alone: an affine map can be written, and its inverse"
            <| fun folder ->
                let fixedScan, _, moving = scene folder

                for name, affine in [ "x.tfm", "rigid"; "x.txt", "full"; "x.mat", "auto" ] do
                    let outcome =
                        register
                            folder
                            [
                                "--refine"
                                "0"
                                "--affine"
                                affine
                                "--transform"
                                folder </> name
                                "--inverse-transform"
                                folder </> "back.tfm"
                                "--moved"
                                folder </> "aligned.nii"
                            ]

                    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                    let said = json outcome
                    Expect.equal (value said "mean_deformation_mm") 0. "nothing is deformed"
                    Expect.isFalse (said.ContainsKey "refinement_steps") "nothing is refined"
                    let map = TransformStore.read None None (folder </> name)
                    let back = TransformStore.read None None (folder </> "back.tfm")
                    Expect.isTrue (map :? Transform.Linear) "an affine map"

                    let rows =
                        (nonNull said["affine"]).AsArray()
                        |> Seq.map (fun v -> (nonNull v).GetValue<float>())
                        |> Array.ofSeq

                    for x, y, z in [ 0., 0., 0.; 30., 10., 5.; 3., 35., 31. ] do
                        let struct (mx, my, mz) = map.MapPoint(x, y, z)
                        let struct (ex, ey, ez) = (Affine.FromRows rows).Apply(x, y, z)

                        Expect.isLessThan
                            (abs (mx - ex) + abs (my - ey) + abs (mz - ez))
                            1e-3
                            "the map that is told"

                        let struct (bx, by, bz) = back.MapPoint(mx, my, mz)
                        Expect.isLessThan (abs (bx - x) + abs (by - y) + abs (bz - z)) 1e-3 "there and back"

                    if affine = "rigid" then
                        Expect.floatClose Accuracy.medium (Affine.FromRows rows).Determinant 1. "rigid"

                    let again = Resampler.Apply(moving, map, fixedScan.Grid, Interpolation.Linear)
                    let written = ImageFile.Read(folder </> "aligned.nii")

                    let off =
                        Array.map2 (fun a b -> abs (float a - float b)) again.Values written.Values
                        |> Array.average

                    Expect.isLessThan off 1e-3 "the map moves the scan as the moved scan shows"

                // A field holds an alignment too.
                let outcome =
                    register
                        folder
                        [ "--refine"; "0"; "--affine"; "rigid"; "--transform"; folder </> "x.nii.gz" ]

                Expect.equal outcome.Code 0 outcome.Errors
                Expect.isGreaterThan (Nifti.ReadField(folder </> "x.nii.gz")).MeanLengthMm 20. "the alignment"

                // Whatever deforms needs a field.
                for more in [ [ "--refine"; "2" ]; []; [ "--refine"; "0"; "--diffeomorphic" ] ] do
                    let refused =
                        register folder ([ "--affine"; "rigid"; "--transform"; folder </> "y.tfm" ] @ more)

                    Expect.equal refused.Code 1 refused.Errors
                    Expect.stringContains refused.Errors "can hold an affine map only" "why"
                    Expect.hasLength (refused.Errors.TrimEnd('\n').Split '\n') 1 refused.Errors
                    Expect.isFalse (File.Exists(folder </> "y.tfm")) "nothing is written"

            testInFolder "--log-jacobian and --control-spacing make a refinement stiffer"
            <| fun folder ->
                let _ = scene folder

                let spread more =
                    let outcome =
                        register folder ([ "--moved"; folder </> "m.nii"; "--refine"; "10" ] @ more)

                    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                    let said = json outcome
                    Expect.isTrue (said.ContainsKey "sdlogj_learn2reg") "Learn2Reg's"
                    Expect.isTrue (said.ContainsKey "extreme_percent") "extreme"
                    Expect.isTrue (said.ContainsKey "extreme_content_percent") "in the content"
                    Expect.isLessThan (value said "sdlogj_learn2reg") (value said "sdlogj") "which is damped"
                    value said "sdlogj"

                let fine = spread [ "--control-spacing"; "3" ]
                Expect.isLessThan (spread [ "--control-spacing"; "12" ]) (0.8 * fine) "control points"

                Expect.isLessThan
                    (spread [ "--control-spacing"; "3"; "--log-jacobian"; "1" ])
                    (0.8 * fine)
                    "log² J"

            testInFolder "a mask guides the alignment of a model that aligns by itself"
            <| fun folder ->
                let scans = needData "Brain_IXI" </> "imagesTr"
                let files = Directory.GetFiles(scans, "*.nii.gz") |> Array.sort
                let fixedScan = ImageFile.Read files[0]
                let g = fixedScan.Grid

                let half =
                    Volume(g, Array.init (int g.Count) (fun i -> if i % g.Nx < g.Nx / 2 then 1.0f else 0.0f))

                ImageFile.Write(folder </> "mask.nii.gz", half)

                let affineOf more =
                    let outcome =
                        ldr (
                            [
                                "register"
                                "--model"
                                "brain"
                                "--fixed"
                                files[0]
                                "--moving"
                                files[1]
                                "--moved"
                                folder </> "moved.nii"
                                "--json"
                            ]
                            @ more
                        )

                    Expect.equal outcome.Code 0 outcome.Errors
                    let said = json outcome
                    Expect.equal (startedBy said) "affine" "start"
                    (nonNull said["affine"]).ToJsonString()

                Expect.notEqual
                    (affineOf [ "--fixed-mask"; folder </> "mask.nii.gz" ])
                    (affineOf [])
                    "another map"

            testInFolder "names that cannot hold what is asked for are refused before anything is read"
            <| fun folder ->
                let _ = scene folder

                for option, name, words in
                    [
                        "--transform", "z.mat", "can hold an affine map only"
                        "--inverse-transform", "z.txt", "can hold an affine map only"
                        "--report", "z.pdf", "let it end in .html"
                    ] do
                    let outcome =
                        register folder [ "--moved"; folder </> "z.nii"; option; folder </> name ]

                    Expect.equal outcome.Code 1 name
                    Expect.stringContains outcome.Errors words name
                    Expect.isFalse (File.Exists(folder </> "z.nii")) "nothing is written"

            testInFolder "inspect tells what images and transforms of every kind are"
            <| fun folder ->
                let _ = scene folder
                TransformFile.WriteAffine(folder </> "a.tfm", Affine.Translation(60., 5., -20.))

                let outcome =
                    register folder [ "--transform"; folder </> "all.h5"; "--refine"; "2" ]

                Expect.equal outcome.Code 0 outcome.Errors

                for file, words in
                    [
                        "fixed.nrrd", "image, 36 × 40 × 32 voxels"
                        "moving.mha", "image, 36 × 40 × 32 voxels"
                        "a.tfm", "transform of 1 part"
                        "all.h5", "displacement field on 36 × 40 × 32 voxels"
                    ] do
                    let said = ldr [ "inspect"; folder </> file ]
                    Expect.equal said.Code 0 said.Errors
                    Expect.stringContains said.Output words file
                    let node = ldr [ "inspect"; folder </> file; "--json" ]
                    Expect.isTrue ((json node).ContainsKey "kind") node.Output

            testInFolder "scans of 512 × 512 × 300 voxels take at most 4 GB, and what is done is said"
            <| fun folder ->
                let nx, ny, nz = 512, 512, 300
                let grid = Grid(nx, ny, nz, Affine.Scaling(0.7, 0.7, 1.1))

                let wave count length phase =
                    Array.init count (fun i -> sin (float i / length + phase))

                // Bodies of a few centimetres, as in a CT; the moving ones lie up to 9 mm elsewhere.
                let scan phase =
                    let x, y, z = wave nx 40. phase, wave ny 47. phase, wave nz 31. phase
                    let values = Array.zeroCreate<float32>(int grid.Count)

                    for k in 0 .. nz - 1 do
                        for j in 0 .. ny - 1 do
                            let start = nx * (j + ny * k)
                            let both = 300. * y[j] * z[k]

                            for i in 0 .. nx - 1 do
                                values[start + i] <- float32 (int (both * x[i]))

                    Volume(grid, values, VoxelType.Int16)

                ImageFile.Write(folder </> "fixed.nii", scan 0.)
                ImageFile.Write(folder </> "moving.nii", scan 0.2)

                // What `./ldr-fs` runs, compiled ahead of time. Code that is compiled at its first call, as beside these tests,
                // keeps what it no longer needs until it returns: one volume more.
                let shipped =
                    Path.Combine(Repository.root, "src", "Ldr.Cli", "bin", "Release", "net10.0", "ldr-fs.dll")

                use running =
                    start
                        "dotnet"
                        [
                            shipped
                            "register"
                            "--model"
                            "none"
                            "--fixed"
                            folder </> "fixed.nii"
                            "--moving"
                            folder </> "moving.nii"
                            "--moved"
                            folder </> "moved.nii"
                            "--transform"
                            folder </> "field.nii"
                        ]

                let output = running.StandardOutput.ReadToEndAsync()
                let errors = running.StandardError.ReadToEndAsync()
                let mutable peak = 0L

                while not (running.WaitForExit 50) do
                    try
                        running.Refresh()
                        peak <- max peak running.PeakWorkingSet64
                    with :? InvalidOperationException ->
                        // It ended a moment ago.
                        ()

                Expect.equal running.ExitCode 0 (output.Result + errors.Result)
                Expect.isGreaterThan peak 1_000_000_000L "bytes of memory: four volumes at least"
                Expect.isLessThanOrEqual peak 4_000_000_000L "bytes of memory"

                let steps =
                    [
                        "reading"
                        "aligning the scans as a whole"
                        "refining the deformation"
                        "resampling the moving scan"
                        "checking the result"
                        "writing"
                    ]

                let places =
                    steps
                    |> List.map (fun step -> errors.Result.IndexOf(step, StringComparison.Ordinal))

                Expect.isGreaterThanOrEqual (List.min places) 0 errors.Result
                Expect.equal (List.sort places) places "in this order"

            testInFolder "refusals are one line"
            <| fun folder ->
                let _ = scene folder

                let refused (words: string) code arguments =
                    let outcome = register folder arguments
                    Expect.equal outcome.Code code outcome.Errors
                    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 outcome.Errors
                    Expect.stringContains outcome.Errors words "the line"

                let moved = [ "--moved"; folder </> "m.nii" ]
                refused "nothing to write" 2 []
                refused "no name of an image" 1 [ "--moved"; folder </> "m.png" ]
                refused "another grid" 1 (moved @ [ "--fixed-mask"; folder </> "labels.nii.gz" ])
                refused "does not exist" 1 (moved @ [ "--affine"; folder </> "no.tfm" ])

                refused
                    "give one of them"
                    2
                    (moved @ [ "--init"; folder </> "start.tfm"; "--affine"; "centres" ])

                refused "did you mean \"rigid\"?" 2 (moved @ [ "--affine"; "rigd" ])
                refused "--refine" 2 (moved @ [ "--refine"; "-1" ])
                refused "--control-spacing" 2 (moved @ [ "--control-spacing"; "0" ])
                refused "--control-spacing" 2 (moved @ [ "--control-spacing"; "1e9" ])
                refused "--log-jacobian" 2 (moved @ [ "--log-jacobian"; "-1" ])
                refused "--log-jacobian" 2 (moved @ [ "--log-jacobian"; "nan" ])
                refused "--budget" 2 (moved @ [ "--budget"; "-1" ])
        ]
