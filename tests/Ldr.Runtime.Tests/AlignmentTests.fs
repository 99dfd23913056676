/// Alignment and refinement by optimisation: gradients against differences, known answers, real scans.
module Ldr.Runtime.Tests.AlignmentTests

open System
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.TestKit.Repository
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

let private anatomy seed =
    {
        Size = 40, 44, 36
        Subjects = 2
        Structures = 6
        Deformation = 1.5
        Noise = 0.01
        Seed = seed
    }

/// The same voxels under a header that a map of the world has moved.
let private under (map: Affine) (volume: Volume) =
    let g = volume.Grid
    Volume(Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then map), volume.Values, volume.StoredAs)

/// Mean distance (mm) between two maps over a grid.
let private apart (grid: Grid) (a: Affine) (b: Affine) =
    seq {
        for x in 0..4 do
            for y in 0..4 do
                for z in 0..4 do
                    let at n i = float (n - 1) * float i / 4.0

                    let struct (wx, wy, wz) =
                        grid.VoxelToWorld.Apply(at grid.Nx x, at grid.Ny y, at grid.Nz z)

                    distance (a.Apply(wx, wy, wz)) (b.Apply(wx, wy, wz))
    }
    |> Seq.average

/// A rotation about an axis through a point.
let private turned (random: Random) degrees struct (cx, cy, cz) =
    let angle = degrees * Math.PI / 180.0
    let c, s = cos angle, sin angle

    let turn =
        match random.Next 3 with
        | 0 -> Affine.FromRows(1., 0., 0., 0., 0., c, -s, 0., 0., s, c, 0.)
        | 1 -> Affine.FromRows(c, 0., s, 0., 0., 1., 0., 0., -s, 0., c, 0.)
        | _ -> Affine.FromRows(c, -s, 0., 0., s, c, 0., 0., 0., 0., 1., 0.)

    Affine.Translation(-cx, -cy, -cz).Then(turn).Then(Affine.Translation(cx, cy, cz))

let private meanDice (a: Volume) (b: Volume) (labels: int seq) =
    Overlap.Measure(a, b, ResizeArray labels)
    |> Seq.choose (fun o -> if Double.IsNaN o.Dice then None else Some o.Dice)
    |> Seq.average

let tests =
    testList
        "alignment"
        [
            for seed in [ 1; 2; 3; 4 ] do
                testCase $"a scan that was turned by 25°, shifted and stretched is found again ({seed})"
                <| fun () ->
                    let random = Random(seed: int)
                    let image, _ = Anatomy.subject (anatomy seed) 0

                    let known =
                        (turned random (if seed % 2 = 0 then 25. else -25.) image.Grid.Centre)
                            .Then(
                                Affine.Scaling(
                                    0.9 + 0.2 * random.NextDouble(),
                                    0.9 + 0.2 * random.NextDouble(),
                                    0.9 + 0.2 * random.NextDouble()
                                )
                            )
                            .Then(Affine.Translation(12., -9., 15.))

                    // Another contrast: dark is bright.
                    let moving =
                        under known (Volume(image.Grid, image.Values |> Array.map (fun v -> 100f - 80f * v)))

                    let found = AffineAlignment.Run(image, moving, AffineFreedom.Full)
                    Expect.isLessThan (apart image.Grid found.World known) 0.5 "mm, on average"
                    Expect.isGreaterThan found.After 0.9 "nearly all is explained"

            testCase "rigid stays rigid, and the number of threads changes nothing"
            <| fun () ->
                let random = Random 5
                let image, _ = Anatomy.subject (anatomy 5) 0

                let known =
                    (turned random 15. image.Grid.Centre).Then(Affine.Translation(4., 5., -6.))

                let moving = under known image
                let found = AffineAlignment.Run(image, moving, AffineFreedom.Rigid, threads = 1)
                Expect.isLessThan (apart image.Grid found.World known) 0.3 "mm"

                for a in 0..2 do
                    for b in 0..2 do
                        let dot = [ 0..2 ] |> List.sumBy (fun r -> found.World[r, a] * found.World[r, b])

                        Expect.floatClose Accuracy.high dot (if a = b then 1. else 0.) "orthonormal"

                let again = AffineAlignment.Run(image, moving, AffineFreedom.Rigid, threads = 2)
                Expect.equal again.World found.World "threads"

            testCase
                "refinement raises the overlap of structures, folds nothing, needs no more threads than one"
            <| fun () ->
                let one, labelsOne = Anatomy.subject (anatomy 7) 0
                let two, labelsTwo = Anatomy.subject (anatomy 7) 1

                let run threads =
                    Refinement.Run(
                        one,
                        two,
                        Affine.Identity,
                        null,
                        RefinementOptions(ControlSpacingMm = 5., Threads = threads)
                    )

                let refined = run 1
                Expect.isGreaterThan refined.After refined.Before "local correlation"
                let labels = Overlap.Labels labelsOne
                let before = meanDice labelsOne labelsTwo labels
                let after = meanDice labelsOne (Warp.Nearest(labelsTwo, refined.Field)) labels
                Expect.isGreaterThan after (before + 0.1) $"Dice from {before}"
                Expect.isLessThan (Folding.Measure refined.Field).FoldedPercent 0.1 "folded"
                Expect.equal (run 2).Field.Vectors refined.Field.Vectors "threads"

            testCase
                "20 random headers of one pair, permuted, flipped, turned, resampled: one moved image in world space"
            <| fun () ->
                let one, labelsOne = Anatomy.subject (anatomy 9) 0
                let two, labelsTwo = Anatomy.subject (anatomy 9) 1
                let labels = Overlap.Labels labelsOne

                let score (first: Volume) (firstLabels: Volume) (second: Volume) (secondLabels: Volume) =
                    let affine = AffineAlignment.Run(first, second, AffineFreedom.Full)

                    let refined =
                        Refinement.Run(
                            first,
                            second,
                            affine.World,
                            null,
                            RefinementOptions(ControlSpacingMm = 6.)
                        )

                    let whole =
                        Transform.Compose(Transform.Linear affine.World, Transform.Dense refined.Field)

                    let moved =
                        Resampler.Apply(secondLabels, whole, firstLabels.Grid, Interpolation.Nearest)

                    meanDice firstLabels moved labels

                let expected = score one labelsOne two labelsTwo

                for seed in 1..20 do
                    let random = Random(seed: int)
                    // The same content in another storage order, each scan its own; both turned in the world by one rotation.
                    let world = turned random (360. * random.NextDouble()) (struct (0., 0., 0.))

                    let reorder () =
                        let order = [| 0; 1; 2 |]
                        random.Shuffle order
                        let flips = Array.init 3 (fun _ -> random.Next 2 = 0)

                        fun (v: Volume) ->
                            let sizes = [| v.Grid.Nx; v.Grid.Ny; v.Grid.Nz |]
                            let axis k = order[k]
                            // New voxel index i along its axis k is old index along axis order[k], perhaps from its end.
                            let rows = Array.zeroCreate<float> 12

                            for k in 0..2 do
                                let old = axis k
                                rows[4 * old + k] <- if flips[k] then -1. else 1.
                                rows[4 * old + 3] <- if flips[k] then float (sizes[old] - 1) else 0.

                            let toOld = Affine.FromRows rows
                            let n k = sizes[axis k]

                            let grid = Grid(n 0, n 1, n 2, toOld.Then(v.Grid.VoxelToWorld).Then world)

                            let values =
                                Array.init (int grid.Count) (fun i ->
                                    let struct (x, y, z) =
                                        toOld.Apply(
                                            float (i % grid.Nx),
                                            float (i / grid.Nx % grid.Ny),
                                            float (i / (grid.Nx * grid.Ny))
                                        )

                                    v[int (round x), int (round y), int (round z)])

                            Volume(grid, values, v.StoredAs)

                    let first, second = reorder (), reorder ()
                    let found = score (first one) (first labelsOne) (second two) (second labelsTwo)
                    Expect.isLessThan (abs (found - expected)) 0.01 $"Dice change, header {seed}"

                    // On a grid with other spacings, another corner and another direction. The labels stay as they are:
                    // their change is the transform's.
                    let resample (v: Volume) =
                        let g = v.Grid

                        let between low high =
                            low + (high - low) * random.NextDouble()

                        let size n factor = int (ceil (float n / factor)) + 8
                        let x, y, z = between 0.7 1.0, between 0.7 1.0, between 0.7 1.0

                        let toVoxels =
                            Affine
                                .Scaling(x, y, z)
                                .Then(Affine.Translation(between -4. -2., between -4. -2., between -4. -2.))
                                .Then(turned random (between -4. 4.) (struct (20., 20., 20.)))

                        let grid = Grid(size g.Nx x, size g.Ny y, size g.Nz z, toVoxels.Then g.VoxelToWorld)

                        Resampler.Apply(v, Transform.Linear Affine.Identity, grid, Interpolation.Cubic)

                    let found =
                        score
                            (resample (first one))
                            (first labelsOne)
                            (resample (second two))
                            (second labelsTwo)

                    Expect.isLessThan (abs (found - expected)) 0.01 $"Dice change, resampled {seed}"

            testCase "a budget ends a refinement"
            <| fun () ->
                let one, _ = Anatomy.subject (anatomy 8) 0
                let two, _ = Anatomy.subject (anatomy 8) 1

                let refined =
                    Refinement.Run(
                        one,
                        two,
                        Affine.Identity,
                        null,
                        RefinementOptions(Steps = 100000, Budget = TimeSpan.FromSeconds 0.5)
                    )

                Expect.isLessThan refined.Elapsed.TotalSeconds 3.0 "seconds"

            testCase "brains: alignment and refinement reach what elastix reaches"
            <| fun () ->
                let folder = needData "Brain_IXI"

                let files part =
                    Directory.GetFiles(folder </> part, "*.nii.gz") |> Array.sort

                let images, labels = files "imagesTr", files "labelsTr"

                let scores =
                    [
                        for pair in 0..2 do
                            let i, j = 2 * pair, 2 * pair + 1
                            let one, two = ImageFile.Read images[i], ImageFile.Read images[j]
                            let affine = AffineAlignment.Run(one, two, AffineFreedom.Full)
                            let refined = Refinement.Run(one, two, affine.World, null, RefinementOptions())

                            let whole =
                                Transform.Compose(
                                    Transform.Linear affine.World,
                                    Transform.Dense refined.Field
                                )

                            let expected = ImageFile.Read labels[i]

                            let found =
                                Resampler.Apply(
                                    ImageFile.Read labels[j],
                                    whole,
                                    one.Grid,
                                    Interpolation.Nearest
                                )

                            meanDice expected found (Overlap.Labels expected |> Seq.filter (fun l -> l <> 1))
                    ]

                Expect.isGreaterThanOrEqual (List.average scores) 0.63 "mean Dice"

            testCase "lungs: landmarks, with masks"
            <| fun () ->
                let folder = needData "Lung_CT"

                let read name =
                    ImageFile.Read(folder </> $"3DCT_lung_{name}.mha")

                let one, two = read "baseline", read "followup"
                let maskOne, maskTwo = read "baseline_mask", read "followup_mask"

                let affine =
                    AffineAlignment.Run(
                        one,
                        two,
                        AffineFreedom.Full,
                        fixedMask = maskOne,
                        movingMask = maskTwo
                    )

                let refined =
                    Refinement.Run(
                        one,
                        two,
                        affine.World,
                        null,
                        RefinementOptions(FixedMask = maskOne, MovingMask = maskTwo)
                    )

                let whole =
                    Transform.Compose(Transform.Linear affine.World, Transform.Dense refined.Field)

                let errors =
                    File.ReadAllLines(folder </> "landmarks_valid51_lps_mm.csv")
                    |> Array.skip 1
                    |> Array.map (fun line ->
                        let p =
                            line.Split ','
                            |> Array.map (fun w ->
                                Double.Parse(w, Globalization.CultureInfo.InvariantCulture))

                        distance (whole.MapPoint(-p[0], -p[1], p[2])) (struct (-p[3], -p[4], p[5])))

                Expect.isLessThanOrEqual (Array.average errors) 1.42 "mm, on average"
        ]
