/// That what a network predicts is what the registered scans and labels show.
module Ldr.Tests.Core.RegistrationTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime
open Ldr.Tests.Runtime.Helpers
open Ldr.Tests.Cli.Process

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

let private worst (a: Volume) (b: float32[]) =
    Array.map2 (fun x y -> abs (x - y)) a.Values b |> Array.max

let tests =
    testList
        "registration"
        [
            testInFolder "the moved scan is the network's own, on its own grid" (fun folder ->
                let model = model folder
                let fixedScan, moving = scan 0, scan 1

                let registered =
                    Registration.run torch.CPU model (Some Alignment.World) fixedScan moving

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

                    let registered =
                        Registration.run torch.CPU model (Some Alignment.World) fixedScan moving

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

                    let usual =
                        (Registration.run torch.CPU model (Some Alignment.World) fixedScan moving).Moved

                    let other =
                        (Registration.run torch.CPU model (Some Alignment.World) flipped moving).Moved

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

                    let near = Registration.run torch.CPU model None fixedScan moving
                    let far = Registration.run torch.CPU model None fixedScan away
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

                    let options =
                        {
                            Prealignment = ByHeader None
                            Start = None
                            StartField = None
                            Refinement = None
                            FixedMask = None
                            MovingMask = None
                            Diffeomorphic = None
                            Say = ignore
                        }

                    let network = Some(Registration.run torch.CPU model)
                    let fixedScan, moving = scan 0, scan 1

                    let quality (result: PairResult) (moving: Volume) =
                        Registration.quality (Some model.Card) None fixedScan moving result.Registered

                    let untouched = Registration.run torch.CPU model None fixedScan fixedScan
                    Expect.isGreaterThan untouched.Deformation.MeanLengthMm 0.2 "the network would deform"

                    let itself = PairRegistration.run network options fixedScan fixedScan
                    Expect.isTrue itself.LeftAsTheyWere "left as they were"
                    Expect.equal itself.Registered.Deformation.MaxLengthMm 0.0 "no deformation"
                    Expect.equal itself.Registered.Field.MaxLengthMm 0.0 "no displacement"
                    Expect.equal itself.Registered.Moved.Values fixedScan.Values "the scan as it is"
                    let judged = quality itself fixedScan
                    Expect.equal (judged.Verdict, List.ofSeq judged.Reasons) (Verdict.Ok, []) "ok"

                    let other = PairRegistration.run network options fixedScan moving
                    Expect.isFalse other.LeftAsTheyWere "another subject"
                    Expect.isGreaterThan other.Registered.Deformation.MeanLengthMm 0.2 "is deformed"

                    // The alignment stays: the same scan, 50 mm away.
                    let away =
                        Volume(Grid(32, 32, 32, Affine.Translation(50., 0., -20.)), fixedScan.Values)

                    let far = PairRegistration.run network options fixedScan away
                    Expect.isTrue far.LeftAsTheyWere "left as aligned"
                    Expect.equal far.Registered.Deformation.MaxLengthMm 0.0 "no deformation"

                    Expect.isLessThan
                        (worst fixedScan far.Registered.Moved.Values)
                        1e-3f
                        "moved by the alignment"

                    let struct (x, y, z) = far.Registered.Field.MapPoint(3., 4., 5.)

                    Expect.isLessThan
                        (abs (x - 53.) + abs (y - 4.) + abs (z + 15.))
                        1e-3
                        "which the field contains"

                    // What is refined goes on from there.
                    let refined =
                        PairRegistration.run
                            network
                            { options with
                                Refinement = Some(RefinementOptions(Steps = 4))
                            }
                            fixedScan
                            fixedScan

                    Expect.isTrue refined.LeftAsTheyWere "before the refinement"

                    Expect.isLessThan
                        refined.Registered.Deformation.MeanLengthMm
                        0.1
                        "which has nothing to do"

                    let none = PairRegistration.run None options fixedScan fixedScan
                    Expect.isFalse none.LeftAsTheyWere "without a network nothing is left out")

            testCase "a real scan and itself are ok with every model that is shipped"
            <| fun () ->
                for name, folder, file in
                    [
                        "hippocampus", "Task04_Hippocampus", "hippocampus_001"
                        "hippocampus-labels", "Task04_Hippocampus", "hippocampus_008"
                    ] do
                    let data = DataTests.needData folder
                    let path = ModelFile.resolve name |> Error.orRaise
                    let scan = ImageFile.Read(data </> "imagesTr" </> $"{file}.nii.gz")
                    let card, _ = ModelFile.inspect path |> Error.orRaise
                    use registrar = new Registrar(StudentModel.Load path)

                    let options =
                        {
                            Prealignment = ByHeader None
                            Start = None
                            StartField = None
                            Refinement = None
                            FixedMask = None
                            MovingMask = None
                            Diffeomorphic = None
                            Say = ignore
                        }

                    let result =
                        PairRegistration.run (Some(Registration.managed registrar)) options scan scan

                    let quality = Registration.quality (Some card) None scan scan result.Registered

                    Expect.equal (quality.Verdict, List.ofSeq quality.Reasons) (Verdict.Ok, []) name
                    Expect.isTrue result.LeftAsTheyWere name
                    Expect.isLessThan (worst scan result.Registered.Moved.Values) 1e-3f name

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

                for name, wrong in
                    [
                        "noise", Array.init moving.Values.Length (fun _ -> float32 (random.NextDouble()))
                        "empty", Array.zeroCreate moving.Values.Length
                    ] do
                    let wrong = Volume(grid, wrong)
                    let quality = check fixedScan wrong wrong step
                    Expect.equal quality.Verdict Verdict.Failed name
                    Expect.exists quality.Reasons (fun r -> r.Contains "same thing") $"{name}, in words"

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
