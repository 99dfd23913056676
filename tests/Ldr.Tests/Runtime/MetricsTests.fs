module Ldr.Tests.Runtime.MetricsTests

open System
open Expecto
open Ldr.Runtime
open Ldr.Tests.Runtime.Helpers

let private line (values: float list) =
    Volume(gridOf values.Length 1 1, values |> List.map float32 |> Array.ofList)

let private overlap =
    [
        testCase "known answers"
        <| fun () ->
            let a = line [ 0; 1; 1; 1; 2; 2; 0; 7 ]
            let b = line [ 1; 1; 1; 0; 2; 3; 3; 0 ]
            let found = Overlap.Measure(a, b, ResizeArray [ 2; 1; 3; 7; 9 ])

            let row (o: LabelOverlap) =
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
            Expect.equal found (FoldingMeasure(0., 0.)) "zero"

        testCase "a mirrored axis folds everywhere"
        <| fun () ->
            let vectors =
                Array.init (3 * 64) (fun i -> if i < 64 then float32 (-2 * (i % 4)) else 0f)

            let found = Folding.Measure(DisplacementField(gridOf 4 4 4, vectors))
            Expect.equal found.FoldedPercent 100. "percent"
            Expect.isLessThan found.SdLogJ 1e-6 "all alike"

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
                Expect.floatClose Accuracy.medium (measure inner).SdLogJ expected what

            expect 0f 3. "Learn2Reg's + 3"
            expect -1f 2. "also of a folded voxel"
            expect 5f 8. "an eightfold"
            expect -7f 1e-9 "clamped from below"
            expect 1e20f 1e9 "clamped from above"
            expect nanf 1e-9 "not a number is the worst"

            let damped = (measure 1.02f).SdLogJ / (log 1.02 / 2.)
            Expect.isTrue (abs (4. * damped - 1.) < 0.01) "near J = 1 a fourth of the deviation of log J"

        testCase "all voxels count when an axis is short"
        <| fun () ->
            let found =
                Folding.OfDeterminants(
                    Volume(gridOf 2 4 4, Array.init 32 (fun i -> if i < 8 then -1f else 1f))
                )

            Expect.equal found.FoldedPercent 25. "percent"
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
            Expect.isLessThan (abs (Similarity.Correlation(a, b) - expected)) 1e-12 "Pearson"

        testSeeds "does not see brightness and contrast" 20
        <| fun random ->
            let a = randomVolume random (gridOf 5 6 7)

            let scaled factor =
                Volume(a.Grid, a.Values |> Array.map (fun v -> factor * v + 40f))

            Expect.isLessThan (abs (Similarity.Correlation(a, scaled 3f) - 1.)) 1e-6 "brighter"
            Expect.isLessThan (abs (Similarity.Correlation(a, scaled -0.5f) + 1.)) 1e-6 "inverted"

        testCase "a constant has no correlation"
        <| fun () ->
            let constant = Volume(gridOf 10 10 7, Array.create 700 0.1f)
            let other = randomVolume (Random 1) constant.Grid
            Expect.equal (Similarity.Correlation(constant, other)) 0. "one"
            Expect.equal (Similarity.Correlation(other, constant)) 0. "the other"
            Expect.equal (Similarity.Correlation(constant, constant)) 0. "both"

        testCase "a voxel that is not finite in either is left out"
        <| fun () ->
            let a, b = line [ 9; 1; 2; 4; 3; infinity ], line [ nan; 2; 1; 5; 3; 7 ]

            Expect.equal
                (Similarity.Correlation(a, b))
                (Similarity.Correlation(line [ 1; 2; 4; 3 ], line [ 2; 1; 5; 3 ]))
                "the same as without them"

            Expect.isTrue (Double.IsNaN(Similarity.Correlation(line [ nan; 1 ], line [ 1; nan ]))) "none"

        testCase "sizes must agree"
        <| fun () ->
            Expect.throwsT<ArgumentException>
                (fun () -> Similarity.Correlation(line [ 1 ], line [ 1; 2 ]) |> ignore)
                "sizes"
    ]

let tests =
    testList
        "metrics"
        [
            testList "overlap" overlap
            testList "surface distance" surfaces
            testList "folding" folding
            testList "similarity" similarity
        ]
