/// Refinement that goes on from a field: never worse, rightly composed; its penalty and its control points.
module Ldr.Runtime.Tests.RefinementTests

open System
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

let private anatomy seed =
    {
        Size = 40, 36, 32
        Subjects = 2
        Structures = 6
        Deformation = 1.5
        Noise = 0.01
        Seed = seed
    }

let private scan seed index =
    fst (Anatomy.subject (anatomy seed) index)

/// The same voxels under a header that a map of the world has moved.
let private under (map: Affine) (volume: Volume) =
    let g = volume.Grid
    Volume(Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then map), volume.Values, volume.StoredAs)

/// How alike a field leaves the scans, measured anew: nothing is done.
let private similarityOf fixedScan moving initial field =
    (Refinement.Run(fixedScan, moving, initial, field, RefinementOptions(Steps = 0))).Before

let private turn =
    let c, s = cos 0.3, sin 0.3
    Affine.FromRows(c, -s, 0., 0., s, c, 0., 0., 0., 0., 1., 0.).Then(Affine.Translation(30., -8., 12.))

/// A cube of so many voxels a side in a dark surround.
let private cube (grid: Grid) side =
    Volume(
        grid,
        Array.init (int grid.Count) (fun i ->
            let inside n = n >= 3 && n < 3 + side

            if
                inside (i % grid.Nx)
                && inside (i / grid.Nx % grid.Ny)
                && inside (i / (grid.Nx * grid.Ny))
            then
                100f
            else
                0f)
    )

let tests =
    testList
        "refinement"
        [
            testCase "after a start it is never less alike than the start, good or bad, whatever the steps"
            <| fun () ->
                let one, two = scan 11 0, scan 11 1
                let known = KnownField.Of(one, null, KnownFieldOptions(Noise = 0.01))
                let random = Random 2

                let cases =
                    [
                        "another subject", one, two, smoothField random one.Grid 2.
                        "a bad start", one, two, smoothField random one.Grid 8.
                        "the truth", known.Fixed, known.Moving, known.Truth
                    ]

                for name, fixedScan, moving, start in cases do
                    for steps, length in [ 0, 0.25; 1, 0.25; 6, 0.25; 3, 4. ] do
                        let refined =
                            Refinement.Run(
                                fixedScan,
                                moving,
                                Affine.Identity,
                                start,
                                RefinementOptions(Steps = steps, StepVoxels = length)
                            )

                        Expect.isGreaterThanOrEqual
                            refined.After
                            refined.Before
                            $"{name}, {steps} steps of {length}"

                        if steps = 0 then
                            Expect.equal refined.Steps 0 $"{name}: no steps"

                            // As it is, or what is coarse of it where that is better.
                            if refined.After = refined.Before then
                                Expect.equal refined.Field.Vectors start.Vectors $"{name}: nothing is done"
                            else
                                Expect.notEqual name "the truth" "which nothing is better than"

            testCase "what is told of the start and the end is what the fields give"
            <| fun () ->
                let one, two = scan 12 0, under turn (scan 12 1)
                let start = smoothField (Random 3) one.Grid 1.5
                let refined = Refinement.Run(one, two, turn, start, RefinementOptions(Steps = 10))
                Expect.isGreaterThan refined.After (refined.Before + 0.02) "it helps"
                Expect.floatClose Accuracy.high (similarityOf one two turn start) refined.Before "before"
                // Interpolated once here, twice while it is refined.
                Expect.isLessThan
                    (abs (similarityOf one two turn refined.Field - refined.After))
                    (0.2 * (refined.After - refined.Before))
                    "after"

            testCase "a start is composed with what is added: the truth stays, a part of the way is gone on"
            <| fun () ->
                let scan = scan 13 0

                let pair =
                    KnownField.Of(scan, null, KnownFieldOptions(Noise = 0., AmplitudeMm = Nullable 4.))

                let moving = under turn pair.Moving
                let before = pair.ErrorMm null
                Expect.isGreaterThan before 3. "mm to go"

                let refined start options =
                    (Refinement.Run(pair.Fixed, moving, turn, start, options)).Field

                let little = RefinementOptions(Steps = 2)

                Expect.isLessThan
                    (pair.ErrorMm(refined pair.Truth little))
                    0.15
                    "from the truth it stays near it"

                let half =
                    DisplacementField(scan.Grid, pair.Truth.Vectors |> Array.map (fun v -> 0.5f * v))

                let from = pair.ErrorMm half
                let reached = pair.ErrorMm(refined half (RefinementOptions()))
                Expect.isLessThan reached (0.5 * from) $"from {from} mm"

            testCase "a start on another grid is the same start"
            <| fun () ->
                let scan = scan 14 0
                let coarse = Grid(21, 19, 17, Affine.Scaling(2., 2., 2.))
                let start = smoothField (Random 5) coarse 4.
                let same = start.ResampleTo scan.Grid
                // The start is right, so that nothing is better.
                let fixedScan = Warp.Linear(scan, same)

                let from field =
                    (Refinement.Run(fixedScan, scan, Affine.Identity, field, RefinementOptions(Steps = 0)))
                        .Field

                Expect.equal (from start).Vectors same.Vectors "on the fixed grid"
                Expect.equal (from same).Vectors same.Vectors "as it is"

            testCase "what a start has wrong on a small scale is smoothed away, and the better end is kept"
            <| fun () ->
                let scan = scan 18 0

                let pair =
                    KnownField.Of(scan, null, KnownFieldOptions(Noise = 0., AmplitudeMm = Nullable 3.))

                let random = Random 4

                let rough =
                    DisplacementField(
                        scan.Grid,
                        pair.Truth.Vectors
                        |> Array.map (fun v -> v + float32 (4. * random.NextDouble() - 2.))
                    )

                let run start steps =
                    Refinement.Run(pair.Fixed, scan, Affine.Identity, start, RefinementOptions(Steps = steps))

                let wrong = pair.ErrorMm rough
                Expect.isGreaterThan wrong 1.5 "mm off"
                let smoothed = run rough 0
                Expect.isGreaterThan smoothed.After smoothed.Before "more alike"
                Expect.isLessThan (pair.ErrorMm smoothed.Field) (0.7 * wrong) "nearer without a step"
                let refined = run rough 20
                Expect.isGreaterThan refined.After smoothed.After "steps bring more"
                Expect.isLessThan (pair.ErrorMm refined.Field) (0.4 * wrong) "and bring it nearer"
                // From both: 20 at each of two coarse levels and 10 at the finest.
                Expect.equal refined.Steps 100 "steps"

            testCase "the penalty on volumes makes them change less, at a price"
            <| fun () ->
                let one, two = scan 15 0, scan 15 1

                let run weight =
                    Refinement.Run(
                        one,
                        two,
                        Affine.Identity,
                        null,
                        RefinementOptions(LogJacobian = weight, ControlSpacingMm = Nullable 4.)
                    )

                let deviation (r: Refined) = (Folding.Measure r.Field).SdLogJ
                let free, held, tight = run 0., run 0.2, run 2.
                Expect.isLessThan (deviation held) (0.85 * deviation free) "a little"
                Expect.isLessThan (deviation tight) (0.7 * deviation held) "more"
                Expect.isGreaterThan held.After held.Before "it still helps"
                Expect.isGreaterThan free.After held.After "at a price"
                Expect.isGreaterThan held.After tight.After "and more of it"

            testCase "the penalty needs no more threads than one"
            <| fun () ->
                let one, two = scan 16 0, scan 16 1

                let run threads =
                    (Refinement.Run(
                        one,
                        two,
                        Affine.Identity,
                        smoothField (Random 6) one.Grid 1.,
                        RefinementOptions(LogJacobian = 0.1, Steps = 6, Threads = threads)
                    ))
                        .Field.Vectors

                Expect.equal (run 2) (run 1) "threads"

            testCase
                "control points suit what the scan shows: an eighth of its side, up to 8 mm, but 4 voxels of its coarsest axis at least"
            <| fun () ->
                let grid = gridOf 60 60 60
                let of' scan = Refinement.ControlSpacingFor scan
                Expect.floatClose Accuracy.high (of' (cube grid 40)) 5. "40 mm"
                Expect.floatClose Accuracy.high (of' (cube grid 56)) 7. "56 mm"
                Expect.floatClose Accuracy.high (of' (cube grid 12)) 4. "four voxels"
                let wide = Grid(60, 60, 60, Affine.Scaling(2., -2., 2.))
                Expect.floatClose Accuracy.high (of' (cube wide 40)) 8. "80 mm: no more than 8"
                Expect.floatClose Accuracy.high (of' (cube wide 20)) 8. "four voxels of 2 mm"
                let flat = Grid(60, 60, 60, Affine.Scaling(0.5, 1., 2.))
                Expect.floatClose Accuracy.high (of' (cube flat 32)) 8. "four voxels of the coarsest axis"
                Expect.floatClose Accuracy.high (of' (cube flat 10)) 8. "however small the content"
                let coarse = Grid(30, 30, 30, Affine.Scaling(3., 3., 3.))
                Expect.floatClose Accuracy.high (of' (cube coarse 20)) 10. "but no more than 10 mm for that"

                // A mask leaves a part of the content, too little for more than four voxels.
                let mask =
                    Volume(grid, Array.init (int grid.Count) (fun i -> if i % 60 < 23 then 1f else 0f))

                Expect.floatClose
                    Accuracy.high
                    (Refinement.ControlSpacingFor(cube grid 40, mask))
                    4.
                    "inside the mask"

            testCase "without a distance of control points, that of the scan is taken"
            <| fun () ->
                let one, two = scan 17 0, scan 17 1

                let mask =
                    Volume(one.Grid, Array.init one.Values.Length (fun i -> if i % 40 < 30 then 1f else 0f))

                let run (distance: Nullable<float>) =
                    (Refinement.Run(
                        one,
                        two,
                        Affine.Identity,
                        null,
                        RefinementOptions(Steps = 4, ControlSpacingMm = distance, FixedMask = mask)
                    ))
                        .Field.Vectors

                let own = Refinement.ControlSpacingFor(one, mask)
                Expect.equal (run (Nullable())) (run (Nullable own)) "the same"
                Expect.notEqual (run (Nullable(own + 1.))) (run (Nullable own)) "it matters"
        ]
