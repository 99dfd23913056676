/// That what a network predicts is what the registered scans and labels show.
module Ldr.Core.Tests.RegistrationTests

open System
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 32, 32, 32
        Subjects = 2
        Structures = 3
        Deformation = 1.5
        Noise = 0.0
        Seed = 8
    }

let private model (folder: string) =
    let path = folder </> "model.safetensors"
    writeModel path
    let model = ModelFile.read path |> Error.orRaise

    { model with
        Card =
            { model.Card with
                Intensity = IntensityRule.Window(0.0, 1.0)
            }
    }

/// The scan with intensities that the window [0, 1] leaves as they are.
let private scan index =
    IntensityRule.Percentiles(0.0, 100.0).Apply(fst (Anatomy.subject anatomy index))

let private predict model alignment (fixedScan: Volume) (moving: Volume) =
    (TorchPredictor(torch.CPU, model): IFieldPredictor)
        .Predict(fixedScan, moving, alignment, null, CancellationToken.None)

let private worst (a: Volume) (b: float32[]) =
    Array.map2 (fun x y -> abs (x - y)) a.Values b |> Array.max

let tests =
    testList
        "registration"
        [
            testInFolder "the moved scan is the network's own, on its own grid" (fun folder ->
                let model = model folder
                let fixedScan, moving = scan 0, scan 1

                let registered = predict model (Nullable Alignment.World) fixedScan moving

                let shape = [| 1L; 1L; 32L; 32L; 32L |]

                let input (volume: Volume) =
                    Bridge.toTensor torch.CPU shape volume.Values

                let prediction = model.Network.Predict(input fixedScan, input moving)
                let length = registered.Field.MeanLengthMm
                Expect.isGreaterThan length 0.2 "the field does something"
                Expect.isLessThan (worst registered.Moved (Bridge.toArray prediction.Moved)) 1e-4f "moved")

            testInFolder
                "a smaller scan is registered on the model's grid, and its field comes back to its own"
                (fun folder ->
                    let model = model folder

                    let crop (volume: Volume) =
                        Warp.Resample(volume, Grid(26, 29, 24, Affine.Identity), Affine.Translation(3, 2, 4))

                    let fixedScan, moving = crop (scan 0), crop (scan 1)

                    let registered = predict model (Nullable Alignment.World) fixedScan moving

                    let grid =
                        ModelGrid.Around(fixedScan.Grid, struct (1.0, 1.0, 1.0), struct (32, 32, 32))

                    let pair = Pairs.prepare grid Affine.Identity fixedScan moving
                    let shape = [| 1L; 1L; 32L; 32L; 32L |]

                    let prediction =
                        model.Network.Predict(
                            Bridge.toTensor torch.CPU shape pair.Fixed,
                            Bridge.toTensor torch.CPU shape pair.Moving
                        )

                    let theirs = Bridge.toArray prediction.Moved

                    for z in 0..23 do
                        for y in 0..28 do
                            for x in 0..25 do
                                // The scan's first voxel is voxel (3, 1, 4) of the model's grid.
                                let own = registered.Moved[x, y, z]
                                let other = theirs[((z + 4) * 32 + y + 1) * 32 + x + 3]
                                Expect.isLessThan (abs (own - other)) 1e-4f "moved")

            testInFolder
                "a scan of another orientation gives the same moved image in world space"
                (fun folder ->
                    let model = model folder
                    let fixedScan, moving = scan 0, scan 1
                    // The same scan with its x axis stored the other way round.
                    let flipped =
                        let map =
                            Affine.FromRows(
                                [| -1.0; 0.0; 0.0; 31.0; 0.0; 1.0; 0.0; 0.0; 0.0; 0.0; 1.0; 0.0 |]
                            )

                        Volume(
                            Grid(32, 32, 32, map),
                            Array.init fixedScan.Values.Length (fun i ->
                                fixedScan.Values[i / 32 * 32 + 31 - i % 32])
                        )

                    let usual = (predict model (Nullable Alignment.World) fixedScan moving).Moved

                    let other = (predict model (Nullable Alignment.World) flipped moving).Moved

                    let back =
                        Array.init usual.Values.Length (fun i -> other.Values[i / 32 * 32 + 31 - i % 32])

                    Expect.isLessThan (worst usual back) 1e-3f "moved")

            testInFolder
                "scans that lie far apart start from a translation, which the field contains"
                (fun folder ->
                    let model = model folder
                    let fixedScan, moving = scan 0, scan 1

                    let away =
                        Volume(Grid(32, 32, 32, Affine.Translation(300, -200, 100)), moving.Values)

                    let near = predict model (Nullable()) fixedScan moving
                    let far = predict model (Nullable()) fixedScan away
                    Expect.equal far.Alignment Alignment.Centres "alignment"
                    Expect.isLessThan (worst near.Moved far.Moved.Values) 1e-3f "the same moved image"
                    let struct (x, _, _) = far.Field.MapPoint(16, 16, 16)
                    Expect.isGreaterThan x 250.0 "the translation is part of the field")

            test "a deformation spoils what agreed already, and nothing else" {
                let fixedScan, moving = scan 0, scan 1
                let grid = fixedScan.Grid

                let shifted by =
                    let n = int grid.Count

                    Warp.Linear(
                        fixedScan,
                        DisplacementField(grid, Array.init (3 * n) (fun i -> if i < n then by else 0f))
                    )

                let spoils moving moved =
                    QualityCheck.Spoils(fixedScan, moving, Affine.Identity, moved)

                Expect.isTrue (spoils fixedScan (shifted 1f)) "a scan and itself, moved"
                Expect.isFalse (spoils fixedScan fixedScan) "left as it is"
                Expect.isTrue (spoils (shifted 0.25f) (shifted 1f)) "a scan that nearly agrees, moved away"
                Expect.isFalse (spoils (shifted 0.25f) fixedScan) "and one that is moved the right way"
                Expect.isFalse (spoils moving (shifted 3f)) "scans that do not agree may become worse"
                Expect.isFalse (spoils (shifted 3f) (shifted 4f)) "however alike they are otherwise"

                // The alignment comes first.
                let far =
                    Volume(Grid(32, 32, 32, Affine.Translation(80., 0., 0.)), fixedScan.Values)

                let back = Affine.Translation(80., 0., 0.)
                Expect.isTrue (QualityCheck.Spoils(fixedScan, far, back, shifted 1f)) "by its map"

                Expect.isFalse
                    (QualityCheck.Spoils(fixedScan, far, Affine.Identity, shifted 1f))
                    "not without"

                // Only what is inside the mask counts.
                let mask =
                    Volume(grid, Array.init fixedScan.Values.Length (fun i -> if i % 32 < 16 then 1f else 0f))

                let half (moved: Volume) =
                    Volume(
                        grid,
                        Array.mapi2 (fun i a b -> if i % 32 < 16 then a else b) fixedScan.Values moved.Values
                    )

                Expect.isTrue (spoils fixedScan (half (shifted 2f))) "on the other side, without a mask"

                Expect.isFalse
                    (QualityCheck.Spoils(fixedScan, fixedScan, Affine.Identity, half (shifted 2f), mask))
                    "outside the mask"
            }

            testInFolder
                "a scan and itself are left as they are, whatever the network would do; others are deformed"
                (fun folder ->
                    let model = model folder

                    let options = RegistrationOptions()

                    use registrar = new Registrar(TorchPredictor(torch.CPU, model))
                    let fixedScan, moving = scan 0, scan 1

                    let untouched = predict model (Nullable()) fixedScan fixedScan
                    Expect.isGreaterThan untouched.Deformation.MeanLengthMm 0.2 "the network would deform"

                    let itself = registrar.Register(fixedScan, fixedScan, options)
                    Expect.isTrue itself.NetworkLeftOut "left as they were"
                    Expect.equal itself.Deformation.MaxLengthMm 0.0 "no deformation"
                    Expect.equal itself.Field.MaxLengthMm 0.0 "no displacement"
                    Expect.equal itself.Moved.Values fixedScan.Values "the scan as it is"
                    let judged = itself.Quality
                    Expect.equal (judged.Verdict, List.ofSeq judged.Reasons) (Verdict.Ok, []) "ok"

                    let other = registrar.Register(fixedScan, moving, options)
                    Expect.isFalse other.NetworkLeftOut "another subject"
                    Expect.isGreaterThan other.Deformation.MeanLengthMm 0.2 "is deformed"

                    // The alignment stays: the same scan, 50 mm away.
                    let away =
                        Volume(Grid(32, 32, 32, Affine.Translation(50., 0., -20.)), fixedScan.Values)

                    let far = registrar.Register(fixedScan, away, options)
                    Expect.isTrue far.NetworkLeftOut "left as aligned"
                    Expect.equal far.Deformation.MaxLengthMm 0.0 "no deformation"

                    Expect.isLessThan (worst fixedScan far.Moved.Values) 1e-3f "moved by the alignment"

                    let struct (x, y, z) = far.Field.MapPoint(3., 4., 5.)

                    Expect.isLessThan
                        (abs (x - 53.) + abs (y - 4.) + abs (z + 15.))
                        1e-3
                        "which the field contains"

                    // What is refined goes on from there.
                    let refined =
                        registrar.Register(
                            fixedScan,
                            fixedScan,
                            RegistrationOptions(Refinement = RefinementOptions(Steps = 4))
                        )

                    Expect.isTrue refined.NetworkLeftOut "before the refinement"

                    Expect.isLessThan refined.Deformation.MeanLengthMm 0.1 "which has nothing to do"

                    use alone = new Registrar()
                    let none = alone.Register(fixedScan, fixedScan, options)
                    Expect.isFalse none.NetworkLeftOut "without a network nothing is left out")

            test "every stage can be stopped, and is told of in order" {
                let fixedScan, moving = scan 0, scan 1

                let options =
                    RegistrationOptions(
                        Prealignment = Prealignment.Auto,
                        Refinement = RefinementOptions(Steps = 4),
                        Diffeomorphic = JacobianBounds.NoFolds
                    )

                let run stopAt =
                    let told = ResizeArray<RegistrationStage>()
                    use source = new CancellationTokenSource()

                    let progress =
                        { new IProgress<RegistrationProgress> with
                            member _.Report now =
                                if not (now.Level.HasValue) then
                                    told.Add now.Stage

                                if Some now.Stage = stopAt then
                                    source.Cancel()
                        }

                    use registrar = new Registrar()

                    let result =
                        try
                            Some(registrar.Register(fixedScan, moving, options, progress, source.Token))
                        with :? OperationCanceledException ->
                            None

                    result, List.ofSeq told

                let stages =
                    [
                        RegistrationStage.Aligning
                        RegistrationStage.Refining
                        RegistrationStage.Unfolding
                        RegistrationStage.Resampling
                        RegistrationStage.Checking
                    ]

                let result, told = run None
                Expect.isSome result "not stopped"
                Expect.equal told stages "the stages"

                for stage in stages |> List.except [ RegistrationStage.Resampling ] do
                    let result, told = run (Some stage)
                    Expect.isNone result $"stopped in {stage}"
                    Expect.equal (List.last told) stage "and nothing begins after it"
            }

            test "a result moves labels, goes back, and can be given another deformation" {
                let fixedScan, moving = scan 0, scan 1
                let labels = snd (Anatomy.subject anatomy 1)
                use registrar = new Registrar()
                let result = registrar.Register(fixedScan, moving)

                Expect.equal
                    (result.MoveLabels labels).Values
                    (Warp.Nearest(labels, result.Field)).Values
                    "labels"

                Expect.throwsT<ArgumentException>
                    (fun () ->
                        result.MoveLabels(Volume(Grid(2, 2, 2, Affine.Identity), Array.zeroCreate 8))
                        |> ignore)
                    "labels of another scan"

                let mutable residual = InverseConsistency()
                let back = result.Inverse(&residual)
                Expect.isTrue (back.Grid.Equals moving.Grid) "on the moving grid"
                Expect.isLessThan residual.MeanMm 0.05 "there and back"
                let same = result.With result.Deformation
                Expect.equal same.Moved.Values result.Moved.Values "the same deformation"
                Expect.equal same.Quality.DetailAfter result.Quality.DetailAfter "and quality"
            }

            testCase "a real scan and itself are ok with every model that is shipped"
            <| fun () ->
                for name, folder, file in
                    [
                        "hippocampus", "Task04_Hippocampus", "hippocampus_001"
                        "hippocampus-labels", "Task04_Hippocampus", "hippocampus_008"
                    ] do
                    let data = Repository.needData folder
                    let path = ModelFile.resolve name |> Error.orRaise
                    let scan = ImageFile.Read(data </> "imagesTr" </> $"{file}.nii.gz")
                    use registrar = new Registrar(StudentModel.Load path)

                    let options = RegistrationOptions()

                    let result = registrar.Register(scan, scan, options)
                    let quality = result.Quality

                    Expect.equal (quality.Verdict, List.ofSeq quality.Reasons) (Verdict.Ok, []) name
                    Expect.isTrue result.NetworkLeftOut name
                    Expect.isLessThan (worst scan result.Moved.Values) 1e-3f name

            test "ok, look and failed by what the scans show" {
                let fixedScan, moving = scan 0, scan 1
                let grid = fixedScan.Grid

                let step =
                    DisplacementField(
                        grid,
                        Array.init (3 * int grid.Count) (fun i -> if i < int grid.Count then 0.5f else 0.0f)
                    )

                /// A registration that made this of the moving scan.
                let check fixedScan moving (moved: Volume) field =
                    QualityCheck.Run(fixedScan, moving, moved, field, field, Affine.Identity)

                let verdictOf moved = check fixedScan moving moved step

                let mixed part =
                    Volume(
                        grid,
                        Array.map2 (fun m f -> m + float32 part * (f - m)) moving.Values fixedScan.Values
                    )

                let good = verdictOf (mixed 0.9)
                Expect.equal (good.Verdict, List.ofSeq good.Reasons) (Verdict.Ok, []) "near the fixed scan"
                Expect.isLessThan good.InverseError.MaxMm 1e-3 "a translation has an inverse"

                let itself = check fixedScan fixedScan fixedScan (DisplacementField.Zero grid)
                Expect.equal itself.Verdict Verdict.Ok $"a scan and itself: %A{List.ofSeq itself.Reasons}"
                Expect.floatClose Accuracy.medium itself.SimilarityBefore 1.0 "a scan is like itself"

                let worse = verdictOf (mixed -0.3)
                Expect.equal worse.Verdict Verdict.Failed "less alike"
                Expect.exists worse.Reasons (fun r -> r.Contains "less alike") "in words"

                let random = System.Random 3

                for name, wrong, words in
                    [
                        "noise",
                        Array.init moving.Values.Length (fun _ -> float32 (random.NextDouble())),
                        "same thing"
                        "empty", Array.zeroCreate moving.Values.Length, "moving scan is empty"
                    ] do
                    let wrong = Volume(grid, wrong)
                    let quality = check fixedScan wrong wrong step
                    Expect.equal quality.Verdict Verdict.Failed name
                    Expect.exists quality.Reasons (fun r -> r.Contains words) $"{name}, in words"

                let spoilt =
                    Volume(grid, fixedScan.Values |> Array.mapi (fun i v -> if i = 700 then nanf else v))

                let one = check spoilt moving (mixed 0.9) step
                Expect.equal one.Verdict Verdict.Ok "one voxel that is not a number"

                let none = Volume(grid, Array.create fixedScan.Values.Length nanf)
                let unknown = check none moving (mixed 0.9) step
                Expect.notEqual unknown.Verdict Verdict.Ok "nothing to measure"
                Expect.exists unknown.Reasons (fun r -> r.Contains "cannot be measured") "no voxel"
            }
        ]
