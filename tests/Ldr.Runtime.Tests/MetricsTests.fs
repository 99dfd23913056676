module Ldr.Runtime.Tests.MetricsTests

open System
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.TestKit.Helpers

let private line (values: float list) =
    Volume(gridOf values.Length 1 1, values |> List.map float32 |> Array.ofList)

let private overlap =
    [
        testCase "known answers"
        <| fun () ->
            let a = line [ 0; 1; 1; 1; 2; 2; 0; 7 ]
            let b = line [ 1; 1; 1; 0; 2; 3; 3; 0 ]
            let found = Overlap.Measure(a, b, ResizeArray [ 2; 1; 3; 7; 9 ])

            let row (o: OverlapMeasure) =
                o.Label, o.VoxelsA, o.VoxelsB, o.VoxelsBoth

            Expect.equal
                [ for o in found -> row o ]
                [ 2, 2L, 1L, 1L; 1, 3L, 3L, 2L; 3, 0L, 2L, 0L; 7, 1L, 0L, 0L; 9, 0L, 0L, 0L ]
                "counts"

            let dice = [ for o in found -> o.Dice ]

            List.iter2
                (fun a b -> Expect.floatClose Accuracy.high a b "Dice")
                dice
                [ 2. / 3.; 2. / 3.; 0.; 0.; 1. ]

            let jaccard = [ for o in found -> o.Jaccard ]

            List.iter2
                (fun a b -> Expect.floatClose Accuracy.high a b "Jaccard")
                jaccard
                [ 0.5; 0.5; 0.; 0.; 1. ]

        testSeeds "agrees with counting; Jaccard follows from Dice" 40
        <| fun random ->
            let grid = gridOf 6 5 4

            let labels () =
                Volume(grid, Array.init 120 (fun _ -> float32 (random.Next(-1, 5))))

            let a, b = labels (), labels ()

            for o in Overlap.Measure(a, b, ResizeArray [ 0..5 ]) do
                let isLabel (v: float32) = v = float32 o.Label

                let count f =
                    Array.map2 f a.Values b.Values |> Array.filter id |> Array.length |> int64

                Expect.equal o.VoxelsA (count (fun x _ -> isLabel x)) "A"
                Expect.equal o.VoxelsB (count (fun _ y -> isLabel y)) "B"
                Expect.equal o.VoxelsBoth (count (fun x y -> isLabel x && isLabel y)) "both"

                if o.Dice > 0. then
                    Expect.floatClose Accuracy.high o.Jaccard (o.Dice / (2. - o.Dice)) "Jaccard"

        testCase "labels are sorted whole numbers but 0"
        <| fun () ->
            let volume = line [ 5; 5; 0; 2.5; nan; -3; 5; 16777216; infinity; 2 ]
            Expect.sequenceEqual (Overlap.Labels volume) [ -3; 2; 5; 16777216 ] "labels"

        testCase "sizes must agree, labels be named once"
        <| fun () ->
            Expect.throwsT<ArgumentException>
                (fun () -> Overlap.Measure(line [ 1 ], line [ 1; 1 ], ResizeArray [ 1 ]) |> ignore)
                "sizes"

            Expect.throwsT<ArgumentException>
                (fun () -> Overlap.Measure(line [ 1 ], line [ 1 ], ResizeArray [ 1; 1 ]) |> ignore)
                "labels"
    ]

/// Surface voxels and all their distances, by the definition.
let private slowHd95 (a: Volume) (b: Volume) label =
    let grid = a.Grid
    let struct (sx, sy, sz) = grid.Spacing

    let surface (volume: Volume) =
        let inside (x, y, z) =
            x >= 0
            && y >= 0
            && z >= 0
            && x < grid.Nx
            && y < grid.Ny
            && z < grid.Nz
            && volume[x, y, z] = float32 label

        [|
            for z in 0 .. grid.Nz - 1 do
                for y in 0 .. grid.Ny - 1 do
                    for x in 0 .. grid.Nx - 1 do
                        let neighbours =
                            [ x - 1, y, z; x + 1, y, z; x, y - 1, z; x, y + 1, z; x, y, z - 1; x, y, z + 1 ]

                        if inside (x, y, z) && not (List.forall inside neighbours) then
                            float x * sx, float y * sy, float z * sz
        |]

    let nearest (others: (float * float * float)[]) (x, y, z) =
        others
        |> Array.map (fun (p, q, r) -> sqrt (pown (x - p) 2 + pown (y - q) 2 + pown (z - r) 2))
        |> Array.min

    let inA, inB = surface a, surface b

    if Array.isEmpty inA || Array.isEmpty inB then
        nan
    else
        let pooled =
            Array.append (Array.map (nearest inB) inA) (Array.map (nearest inA) inB)
            |> Array.sort

        let position = 0.95 * float (pooled.Length - 1)
        let low = int position
        let high = min (low + 1) (pooled.Length - 1)
        pooled[low] + (pooled[high] - pooled[low]) * (position - float low)

let private surfaces =
    [
        testSeeds "agrees with brute force" 60
        <| fun random ->
            let size () = random.Next(1, 10)
            let grid = Grid(size (), size (), size (), obliqueAffine random (random.Next 2 = 0))
            // From a few voxels to nearly all.
            let density = random.NextDouble()

            let mask () =
                Volume(
                    grid,
                    Array.init (int grid.Count) (fun _ -> if random.NextDouble() < density then 3f else 1f)
                )

            let a, b = mask (), mask ()
            let found, slow = SurfaceDistance.Hd95(a, b, 3), slowHd95 a b 3

            if Double.IsNaN slow then
                Expect.isTrue (Double.IsNaN found) "no surface"
            else
                Expect.isLessThan (abs (found - slow)) 1e-9 $"{grid}"

        testSeeds "solid balls: agrees with brute force" 15
        <| fun random ->
            let grid = Grid(14, 12, 13, Affine.Scaling(0.8, 1.3, 2.1))

            let ball () =
                let centre () = 3. + 6. * random.NextDouble()
                let cx, cy, cz, r = centre (), centre (), centre (), 1. + 4. * random.NextDouble()

                Volume(
                    grid,
                    [|
                        for z in 0..12 do
                            for y in 0..11 do
                                for x in 0..13 ->
                                    if
                                        pown (float x - cx) 2 + pown (float y - cy) 2 + pown (float z - cz) 2
                                        <= r * r
                                    then
                                        1f
                                    else
                                        0f
                    |]
                )

            let a, b = ball (), ball ()
            Expect.isLessThan (abs (SurfaceDistance.Hd95(a, b, 1) - slowHd95 a b 1)) 1e-9 "balls"
            Expect.equal (SurfaceDistance.Hd95(a, a, 1)) 0. "itself"
            Expect.equal (SurfaceDistance.Hd95(a, b, 1)) (SurfaceDistance.Hd95(b, a, 1)) "symmetric"

        testCase "two voxels, in millimetres"
        <| fun () ->
            let grid = Grid(5, 5, 5, Affine.Scaling(1., 2., 3.))

            let at index =
                Volume(grid, Array.init 125 (fun i -> if i = index then 1f else 0f))

            Expect.floatClose
                Accuracy.high
                (SurfaceDistance.Hd95(at 0, at (4 * 25), 1))
                12.
                "four slices of 3 mm"

            Expect.floatClose
                Accuracy.high
                (SurfaceDistance.Hd95(at 0, at 6, 1))
                (sqrt 5.)
                "one step in x and y"

        testCase "an empty mask has no distance"
        <| fun () ->
            let full, empty = line [ 1; 1 ], line [ 0; 0 ]
            Expect.isTrue (Double.IsNaN(SurfaceDistance.Hd95(full, empty, 1))) "one"
            Expect.isTrue (Double.IsNaN(SurfaceDistance.Hd95(empty, empty, 1))) "both"
    ]

let private folding =
    [
        testCase "no displacement: nothing folds, nothing varies"
        <| fun () ->
            let found = Folding.Measure(DisplacementField.Zero(gridOf 4 5 6))
            Expect.equal found (FoldingMeasure(0., 0., 0., 0.)) "zero"

        testCase "a mirrored axis folds everywhere"
        <| fun () ->
            let vectors =
                Array.init (3 * 64) (fun i -> if i < 64 then float32 (-2 * (i % 4)) else 0f)

            let found = Folding.Measure(DisplacementField(gridOf 4 4 4, vectors))
            Expect.equal found.FoldedPercent 100. "percent"
            Expect.equal found.ExtremePercent 100. "no volume is kept"
            Expect.isLessThan found.SdLogJ 1e-6 "all alike"
            Expect.isLessThan found.SdLogJLearn2Reg 1e-6 "all alike, damped too"

        testCase "only the interior counts; a determinant of 0 is folded"
        <| fun () ->
            let grid = gridOf 4 3 3

            let determinants inner =
                // Border voxels are bad, the two interior voxels are 1 and what is given.
                let values = Array.create 36 -5f
                values[17] <- 1f
                values[18] <- inner
                Volume(grid, values)

            let measure inner =
                Folding.OfDeterminants(determinants inner)

            Expect.equal (measure 0f).FoldedPercent 50. "zero"
            Expect.equal (measure nanf).FoldedPercent 50. "not a number"
            Expect.equal (measure 1e-3f).FoldedPercent 0. "positive"
            // Two values deviate by half their difference: here log(1 + 3) and the one given.
            let expect inner shifted what =
                let expected = abs (log shifted - log 4.) / 2.
                Expect.floatClose Accuracy.medium (measure inner).SdLogJLearn2Reg expected what

            expect 0f 3. "Learn2Reg's + 3"
            expect -1f 2. "also of a folded voxel"
            expect 5f 8. "an eightfold"
            expect -7f 1e-9 "clamped from below"
            expect 1e20f 1e9 "clamped from above"
            expect nanf 1e-9 "not a number is the worst"

            let damped = (measure 1.02f).SdLogJLearn2Reg / (measure 1.02f).SdLogJ
            Expect.isTrue (abs (4. * damped - 1.) < 0.01) "near J = 1 a fourth of the deviation of log J"

        testCase "the deviation of log J is plain, and J below 0.001 or no number counts as 0.001"
        <| fun () ->
            let measure inner =
                let values = Array.create 36 1f
                values[17] <- 1f
                values[18] <- inner
                Folding.OfDeterminants(Volume(gridOf 4 3 3, values))

            for inner, counted in
                [
                    2f, 2.
                    0.5f, 0.5
                    0.002f, 0.002
                    0.001f, 0.001
                    0.0009f, 0.001
                    0f, 0.001
                    -3f, 0.001
                    nanf, 0.001
                    1e6f, 1e6
                ] do
                Expect.floatClose
                    Accuracy.medium
                    (measure inner).SdLogJ
                    (abs (log counted) / 2.)
                    $"J = {inner}"

        testSeeds "agrees with a slow loop over the interior and a mask" 30
        <| fun random ->
            let size () = random.Next(1, 7)
            let grid = gridOf (size ()) (size ()) (size ())
            let border = if List.min [ grid.Nx; grid.Ny; grid.Nz ] < 3 then 0 else 1

            let determinants =
                Volume(
                    grid,
                    Array.init (int grid.Count) (fun _ -> float32 (exp (4. * random.NextDouble() - 2.) - 0.2))
                )

            let mask =
                Volume(grid, Array.init (int grid.Count) (fun _ -> float32 (random.Next 3)))

            let counted =
                [|
                    for z in border .. grid.Nz - 1 - border do
                        for y in border .. grid.Ny - 1 - border do
                            for x in border .. grid.Nx - 1 - border do
                                if mask[x, y, z] <> 0f then
                                    float determinants[x, y, z]
                |]

            let deviation f =
                let values = Array.map f counted
                let mean = Array.average values
                values |> Array.averageBy (fun v -> pown (v - mean) 2) |> sqrt

            let percent f =
                100. * float (counted |> Array.filter f |> Array.length) / float counted.Length

            let found = Folding.OfDeterminants(determinants, mask)

            if counted.Length > 0 then
                Expect.floatClose Accuracy.medium found.FoldedPercent (percent (fun j -> j <= 0.)) "folded"
                let extreme j = j < 1. / 3. || j > 3.
                Expect.floatClose Accuracy.medium found.ExtremePercent (percent extreme) "extreme"
                let close a b = Expect.isLessThan (abs (a - b)) 1e-6
                close found.SdLogJ (deviation (fun j -> log (max j 1e-3))) "plain"
                close found.SdLogJLearn2Reg (deviation (fun j -> log (j + 3.))) "Learn2Reg's"
            else
                Expect.isTrue (Double.IsNaN found.SdLogJ) "nothing counts"
                Expect.isTrue (Double.IsNaN found.SdLogJLearn2Reg) "nothing counts"
                Expect.equal found.ExtremePercent 0. "nothing is extreme"

        testCase "a volume is extreme below a third and above three times, and where it is no number"
        <| fun () ->
            let percent inner =
                Folding
                    .OfDeterminants(
                        Volume(gridOf 3 3 3, Array.init 27 (fun i -> if i = 13 then inner else 1f))
                    )
                    .ExtremePercent

            for inner in [ 1f; 0.334f; 3f; 2.99f ] do
                Expect.equal (percent inner) 0. $"{inner}"

            for inner in [ 0.333f; 3.001f; 0f; -1f; nanf; infinityf ] do
                Expect.equal (percent inner) 100. $"{inner}"

        testCase "the field itself and its determinants give one measure"
        <| fun () ->
            let field = randomField (Random 3) (gridOf 7 6 5) 0.6

            Expect.equal
                (Folding.Measure field)
                (Folding.OfDeterminants(Jacobian.Determinants field))
                "measure"

        testCase "all voxels count when an axis is short"
        <| fun () ->
            let found =
                Folding.OfDeterminants(
                    Volume(gridOf 2 4 4, Array.init 32 (fun i -> if i < 8 then -1f else 1f))
                )

            Expect.equal found.FoldedPercent 25. "percent"
    ]

/// Displacements in voxels, from those in mm at each voxel's place in the world.
let private fieldOf (grid: Grid) (millimetres: float * float * float -> float * float * float) =
    let plane = int grid.Count
    let vectors = Array.zeroCreate<float32>(3 * plane)

    for i in 0 .. plane - 1 do
        let struct (x, y, z) =
            grid.VoxelToWorld.Apply(
                float (i % grid.Nx),
                float (i / grid.Nx % grid.Ny),
                float (i / (grid.Nx * grid.Ny))
            )

        let struct (u, v, w) = grid.WorldToVoxel.ApplyLinear(millimetres (x, y, z))
        vectors[i] <- float32 u
        vectors[plane + i] <- float32 v
        vectors[2 * plane + i] <- float32 w

    DisplacementField(grid, vectors)

/// 1 within a ball of the world.
let private ballOn (grid: Grid) (cx, cy, cz) radius =
    Volume(
        grid,
        Array.init (int grid.Count) (fun i ->
            let struct (x, y, z) =
                grid.VoxelToWorld.Apply(
                    float (i % grid.Nx),
                    float (i / grid.Nx % grid.Ny),
                    float (i / (grid.Nx * grid.Ny))
                )

            if sqrt (pown (x - cx) 2 + pown (y - cy) 2 + pown (z - cz) 2) <= radius then
                1f
            else
                0f)
    )

let private only (volume: Volume) label =
    let dice = Overlap.Measure(volume, label, ResizeArray [ 1 ])
    dice[0].Dice

/// The world's places of the voxels of a label that have one of their six neighbours outside it.
let private surfaceOf (volume: Volume) label =
    let grid = volume.Grid

    let inside (x, y, z) =
        x >= 0
        && y >= 0
        && z >= 0
        && x < grid.Nx
        && y < grid.Ny
        && z < grid.Nz
        && volume[x, y, z] = float32 label

    [|
        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    let neighbours =
                        [ x - 1, y, z; x + 1, y, z; x, y - 1, z; x, y + 1, z; x, y, z - 1; x, y, z + 1 ]

                    if inside (x, y, z) && not (List.forall inside neighbours) then
                        grid.VoxelToWorld.Apply(float x, float y, float z)
    |]

let private between struct (a, b, c) struct (x, y, z) =
    sqrt (pown (a - x) 2 + pown (b - y) 2 + pown (c - z) 2)

/// Distances of all points to all others, both ways, by the definition.
let private slowCarried95 (fixedLabels: Volume) (movingLabels: Volume) (field: DisplacementField) label =
    let carried =
        surfaceOf fixedLabels label
        |> Array.map (fun struct (x, y, z) -> field.MapPoint(x, y, z))

    let target = surfaceOf movingLabels label

    let nearest others p =
        others |> Array.map (between p) |> Array.min

    let pooled =
        Array.append (Array.map (nearest target) carried) (Array.map (nearest carried) target)
        |> Array.sort

    let position = 0.95 * float (pooled.Length - 1)
    let low = int position
    let high = min (low + 1) (pooled.Length - 1)
    pooled[low] + (pooled[high] - pooled[low]) * (position - float low)

let private carried =
    [
        testCase "a surface that goes nowhere is where it was; one that is moved by 3 mm is 3 mm away"
        <| fun () ->
            let grid =
                Grid(26, 24, 22, Affine.Scaling(1., 1.2, 1.1).Then(Affine.Translation(-5., 3., 2.)))

            let centre = 7., 16., 13.
            let ball = ballOn grid centre 7.
            let still = SurfaceDistance.Carried95(ball, ball, DisplacementField.Zero grid, 1)
            Expect.isLessThan still 1e-6 "itself"
            let shifted = fieldOf grid (fun _ -> 3., 0., 0.)
            let off = SurfaceDistance.Carried95(ball, ball, shifted, 1)
            // The poles go 3 mm, the equator slides along itself.
            Expect.isTrue (off > 2.3 && off <= 3.1) $"{off} mm"

            // On another grid, where it lies 3 mm further.
            let other =
                Grid(40, 40, 40, Affine.Scaling(0.8, 0.8, 0.8).Then(Affine.Translation(-8., 0., -2.)))

            let away = ballOn other (10., 16., 13.) 7.
            let met = SurfaceDistance.Carried95(ball, away, shifted, 1)
            // Half a voxel, of a ball that each grid has to half of its own.
            Expect.isLessThan met 1.5 $"{met} mm"

            Expect.isGreaterThan
                (SurfaceDistance.Carried95(ball, away, DisplacementField.Zero grid, 1))
                2.
                "not carried"

        testSeeds "agrees with all distances of all points, to half a voxel" 12
        <| fun random ->
            let grid, other =
                Grid(13, 12, 11, Affine.Scaling(0.9, 1.2, 1.5)),
                Grid(12, 14, 16, Affine.Scaling(1.1, 1.0, 0.9).Then(Affine.Translation(-1., 0.5, 1.)))

            let number low high =
                low + (high - low) * random.NextDouble()

            let centre () =
                number 4. 8., number 5. 8., number 6. 9.

            let a, b =
                ballOn grid (centre ()) (number 2. 5.), ballOn other (centre ()) (number 2. 5.)

            let step = number -1.5 1.5

            let field =
                fieldOf grid (fun (x, y, z) ->
                    step * sin (x / 3.), 0.7 * step * cos (y / 2.), step * sin (z / 4.))

            let found, slow =
                SurfaceDistance.Carried95(a, b, field, 1), slowCarried95 a b field 1

            Expect.isLessThan (abs (found - slow)) (0.5 * sqrt (1.21 + 1. + 0.81)) $"{found} mm, {slow} mm"

        testCase "a field that collapses a ball into its middle is far, although the resampled labels agree"
        <| fun () ->
            let grid = gridOf 24 24 24
            let centre = 11.5, 11.5, 11.5
            let ball = ballOn grid centre 8.

            let collapse =
                fieldOf grid (fun (x, y, z) ->
                    let dx, dy, dz = x - 11.5, y - 11.5, z - 11.5

                    if sqrt (dx * dx + dy * dy + dz * dz) <= 8. then
                        -0.8 * dx, -0.8 * dy, -0.8 * dz
                    else
                        0., 0., 0.)

            let moved = Warp.Nearest(ball, collapse)
            Expect.equal (only ball moved) 1. "Dice sees nothing"
            Expect.equal (SurfaceDistance.Hd95(ball, moved, 1)) 0. "nor do the resampled surfaces"
            // The surface goes from a radius of 8 to one of 1.6.
            let off = SurfaceDistance.Carried95(ball, ball, collapse, 1)
            Expect.isTrue (off > 5.5 && off < 7.) $"{off} mm"

        testCase "what is not reached counts as what is not hit"
        <| fun () ->
            let grid = gridOf 20 20 20
            let centre = 10., 10., 10.
            let large = ballOn grid centre 6.
            // Its pole alone, which lies on the large surface.
            let pole = ballOn grid (4., 10., 10.) 0.1
            let still = DisplacementField.Zero grid

            Expect.isGreaterThan
                (SurfaceDistance.Carried95(pole, large, still, 1))
                8.
                "the rest is not reached"

            Expect.isGreaterThan (SurfaceDistance.Carried95(large, pole, still, 1)) 8. "the rest does not hit"

        testCase "a structure that a map lacks has none, and what is lost is infinitely far"
        <| fun () ->
            let grid = gridOf 12 12 12
            let ball, none = ballOn grid (6., 6., 6.) 3., Volume(grid, Array.zeroCreate 1728)
            let still = DisplacementField.Zero grid
            Expect.isTrue (Double.IsNaN(SurfaceDistance.Carried95(ball, none, still, 1))) "moving"
            Expect.isTrue (Double.IsNaN(SurfaceDistance.Carried95(none, ball, still, 1))) "fixed"

            let lost =
                DisplacementField(grid, Array.init (3 * 1728) (fun i -> if i < 1728 then nanf else 0f))

            Expect.equal (SurfaceDistance.Carried95(ball, ball, lost, 1)) infinity "not a number"
            // Far out of the scan is far, whatever the box.
            let away = fieldOf grid (fun _ -> 1e7, 0., 0.)
            Expect.isGreaterThan (SurfaceDistance.Carried95(ball, ball, away, 1)) 10. "out of the scan"
    ]

let private volumes =
    [
        testCase "a stretched structure: the median determinant, and the ratio of the volumes in mm³"
        <| fun () ->
            let fixedGrid = Grid(12, 11, 10, Affine.Scaling(1., 2., 1.5))
            let movingGrid = Grid(20, 20, 20, Affine.Scaling(0.5, -1., 1.))
            // J = 1.5 · 1.2 · 0.9 everywhere.
            let field = fieldOf fixedGrid (fun (x, y, z) -> 0.5 * x, 0.2 * y, -0.1 * z)

            let labels (grid: Grid) first second =
                Volume(
                    grid,
                    Array.init (int grid.Count) (fun i ->
                        if i < first then 1f
                        elif i < first + second then 2f
                        else 0f)
                )

            let found =
                VolumeChange.OfLabels(
                    Jacobian.Determinants field,
                    labels fixedGrid 100 40,
                    labels movingGrid 600 0,
                    [| 2; 7; 1 |]
                )

            Expect.equal
                [ for c in found -> c.Label, c.Voxels ]
                [ 2, 40L; 1, 100L ]
                "as asked for; 7 is not there"

            let second, first = found[0], found[1]
            Expect.floatClose Accuracy.medium first.MedianJacobian (1.5 * 1.2 * 0.9) "median"

            Expect.floatClose
                Accuracy.high
                first.VolumeRatio
                (600. * 0.5 / (100. * 3.))
                "600 voxels of 0.5 mm³"

            Expect.floatClose
                Accuracy.medium
                first.ErrorPercent
                (100. * (1.5 * 1.2 * 0.9 - 1.))
                "of the median from the ratio"

            Expect.isTrue (Double.IsNaN second.VolumeRatio) "the moving map lacks it"
            Expect.isTrue (Double.IsNaN second.ErrorPercent) "and nothing is told"
            Expect.equal (first.ExtremePercent, second.ExtremePercent) (0., 0.) "nothing is extreme"

        testCase "the median and the extreme share are those of the label's own voxels"
        <| fun () ->
            let labels = line [ 1; 1; 1; 1; 2; 2; 0; 1 ]
            let determinants = line [ 0.2; 1.1; 0.9; 4.0; 3.5; nan; -7; 1.0 ]
            let found = VolumeChange.OfLabels(determinants, labels, labels, [| 1; 2 |])
            Expect.floatClose Accuracy.medium found[0].MedianJacobian 1.0 "of 0.2, 0.9, 1, 1.1, 4"
            Expect.equal found[0].ExtremePercent 40. "0.2 and 4"
            Expect.equal found[1].ExtremePercent 100. "3.5 and no number"
            Expect.equal found[0].VolumeRatio 1. "the same map"
            Expect.floatClose Accuracy.low found[0].ErrorPercent 0. "no error"

        testCase "a halved volume is as wrong as the ratio says"
        <| fun () ->
            let labels = line [ 1; 1 ]
            let found = VolumeChange.OfLabels(line [ 0.5; 0.5 ], labels, labels, [| 1 |])
            Expect.floatClose Accuracy.medium found[0].ErrorPercent 50. "|0.5 − 1|"

        testCase "sizes must agree"
        <| fun () ->
            Expect.throwsT<ArgumentException>
                (fun () ->
                    VolumeChange.OfLabels(line [ 1 ], line [ 1; 1 ], line [ 1; 1 ], [| 1 |])
                    |> ignore)
                "determinants of another size"
    ]

/// To the nearest voxel of the other kind, less half the least spacing, by the definition.
let private slowDepth (labels: Volume) label limit =
    let grid = labels.Grid
    let struct (sx, sy, sz) = grid.Spacing

    let place i =
        float (i % grid.Nx) * sx, float (i / grid.Nx % grid.Ny) * sy, float (i / (grid.Nx * grid.Ny)) * sz

    let inside i = labels.Values[i] = float32 label
    let half = (min sx (min sy sz)) / 2.

    Array.init (int grid.Count) (fun i ->
        let x, y, z = place i

        let nearest =
            [ 0 .. int grid.Count - 1 ]
            |> List.filter (fun j -> inside j <> inside i)
            |> List.map (fun j ->
                let p, q, r = place j
                sqrt (pown (x - p) 2 + pown (y - q) 2 + pown (z - r) 2))
            |> List.fold min infinity

        let depth = nearest - half
        (if inside i then depth else -depth) |> max -limit |> min limit)

let private depths =
    [
        testSeeds "depth agrees with a slow loop, and is cut" 25
        <| fun random ->
            let size () = random.Next(1, 7)
            let grid = Grid(size (), size (), size (), Affine.Scaling(0.8, 1.5, 2.2))
            let density = random.NextDouble()

            let labels =
                Volume(
                    grid,
                    Array.init (int grid.Count) (fun _ -> if random.NextDouble() < density then 3f else 1f)
                )

            for limit in [ 100.; 1.5 ] do
                let found, slow = SignedDistance.Of(labels, 3, limit), slowDepth labels 3 limit

                for a, b in Array.zip found.Values slow do
                    Expect.isLessThan (abs (float a - b)) 1e-5 $"{a} instead of {b}"

        testCase "a label that is not there is nowhere deep, one that fills the map is everywhere"
        <| fun () ->
            let ones = line [ 1; 1; 1 ]
            Expect.equal (SignedDistance.Of(ones, 2, 4.)).Values [| -4f; -4f; -4f |] "not there"
            Expect.equal (SignedDistance.Of(ones, 1, 4.)).Values [| 4f; 4f; 4f |] "everywhere"

        testCase "the surface lies halfway between the voxels"
        <| fun () ->
            let found = SignedDistance.Of(line [ 0; 0; 1; 1; 1; 0 ], 1, 4.)
            Expect.equal found.Values [| -1.5f; -0.5f; 0.5f; 1.5f; 0.5f; -0.5f |] "mm"
            Expect.isTrue (found.Grid.SameAs(gridOf 6 1 1)) "its grid"
    ]

let private similarity =
    [
        testSeeds "agrees with the definition" 30
        <| fun random ->
            let grid = gridOf 5 6 7
            let a, b = randomVolume random grid, randomVolume random grid
            let x, y = Array.map float a.Values, Array.map float b.Values
            let mx, my = Array.average x, Array.average y
            let covariance = Array.map2 (fun p q -> (p - mx) * (q - my)) x y |> Array.average

            let deviation m values =
                values |> Array.map (fun v -> pown (v - m) 2) |> Array.average |> sqrt

            let expected = covariance / (deviation mx x * deviation my y)
            Expect.isLessThan (abs (Pearson.Correlation(a, b) - expected)) 1e-12 "Pearson"

        testSeeds "does not see brightness and contrast" 20
        <| fun random ->
            let a = randomVolume random (gridOf 5 6 7)

            let scaled factor =
                Volume(a.Grid, a.Values |> Array.map (fun v -> factor * v + 40f))

            Expect.isLessThan (abs (Pearson.Correlation(a, scaled 3f) - 1.)) 1e-6 "brighter"
            Expect.isLessThan (abs (Pearson.Correlation(a, scaled -0.5f) + 1.)) 1e-6 "inverted"

        testCase "a constant has no correlation"
        <| fun () ->
            let constant = Volume(gridOf 10 10 7, Array.create 700 0.1f)
            let other = randomVolume (Random 1) constant.Grid
            Expect.equal (Pearson.Correlation(constant, other)) 0. "one"
            Expect.equal (Pearson.Correlation(other, constant)) 0. "the other"
            Expect.equal (Pearson.Correlation(constant, constant)) 0. "both"

        testCase "a voxel that is not finite in either is left out"
        <| fun () ->
            let a, b = line [ 9; 1; 2; 4; 3; infinity ], line [ nan; 2; 1; 5; 3; 7 ]

            Expect.equal
                (Pearson.Correlation(a, b))
                (Pearson.Correlation(line [ 1; 2; 4; 3 ], line [ 2; 1; 5; 3 ]))
                "the same as without them"

            Expect.isTrue (Double.IsNaN(Pearson.Correlation(line [ nan; 1 ], line [ 1; nan ]))) "none"

        testCase "sizes must agree"
        <| fun () ->
            Expect.throwsT<ArgumentException>
                (fun () -> Pearson.Correlation(line [ 1 ], line [ 1; 2 ]) |> ignore)
                "sizes"
    ]

let tests =
    testList
        "metrics"
        [
            testList "overlap" overlap
            testList "surface distance" surfaces
            testList "carried surface" carried
            testList "folding" folding
            testList "volume change" volumes
            testList "depth" depths
            testList "similarity" similarity
        ]
