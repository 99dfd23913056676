module Ldr.Runtime.Tests.GeometryTests

open System
open Expecto
open Ldr.Runtime.Geometry
open Ldr.TestKit.Helpers

let private close (x, y, z) (struct (a, b, c)) tolerance what =
    Expect.isLessThan (abs (x - a)) tolerance $"{what}: x"
    Expect.isLessThan (abs (y - b)) tolerance $"{what}: y"
    Expect.isLessThan (abs (z - c)) tolerance $"{what}: z"

let private affine =
    testList
        "affine"
        [
            testCase "Then applies this map first"
            <| fun () ->
                let map = Affine.Scaling(2., 2., 2.).Then(Affine.Translation(1., 0., 0.))
                Expect.equal (map.Apply(3., 0., 0.)) (struct (7., 0., 0.)) "scaled, then moved"

            testSeeds "an inverse undoes its map" 50
            <| fun random ->
                let map = obliqueAffine random (random.Next 2 = 0)
                Expect.isTrue (map.Then(map.Inverse()).IsCloseTo(Affine.Identity, 1e-9)) "map, then inverse"
                Expect.isTrue (map.Inverse().Then(map).IsCloseTo(Affine.Identity, 1e-9)) "inverse, then map"

            testSeeds "the determinant of a product is the product" 50
            <| fun random ->
                let a, b = obliqueAffine random true, obliqueAffine random false
                Expect.isLessThan a.Determinant 0. "left-handed"

                Expect.floatClose
                    Accuracy.high
                    (a.Then(b).Determinant / (a.Determinant * b.Determinant))
                    1.
                    "determinants multiply"

            testCase "a singular map has no inverse"
            <| fun () ->
                let flat = Affine.FromRows(1., 2., 3., 0., 2., 4., 6., 0., 0., 0., 1., 0.)
                Expect.throwsT<InvalidOperationException> (fun () -> flat.Inverse() |> ignore) "flat"

            testCase "tiny voxels are not singular"
            <| fun () ->
                let map = Affine.Scaling(1e-5, 1e-5, 1e-5)
                Expect.isTrue (map.Then(map.Inverse()).IsCloseTo(Affine.Identity, 1e-9)) "inverse"

            testCase "equality is by value"
            <| fun () ->
                Expect.equal (Affine.Translation(1., 2., 3.)) (Affine.Translation(1., 2., 3.)) "equal"
                Expect.notEqual (Affine.Translation(1., 2., 3.)) (Affine.Translation(1., 2., 4.)) "different"

            testCase "rows come out as they went in"
            <| fun () ->
                let rows = Array.init 12 (fun i -> float (i * i))
                let map = Affine.FromRows rows
                Expect.equal (map.ToRows()) rows "rows"
                Expect.equal map[1, 3] 49. "row 1, column 3"

                Expect.throwsT<ArgumentException> (fun () -> Affine.FromRows(1., 2.) |> ignore) "two entries"
        ]

let private grid =
    testList
        "grid"
        [
            testSeeds "centre and spacing of an oblique grid" 50
            <| fun random ->
                let map = obliqueAffine random false
                let grid = Grid(7, 4, 5, map)
                let struct (x, y, z) = map.Apply(3., 1.5, 2.)
                close (x, y, z) grid.Centre 1e-9 "centre"
                let struct (x0, y0, z0) = map.Apply(0., 0., 0.)
                let struct (x1, y1, z1) = map.Apply(0., 1., 0.)
                let step = sqrt (pown (x1 - x0) 2 + pown (y1 - y0) 2 + pown (z1 - z0) 2)
                let struct (_, spacingY, _) = grid.Spacing
                Expect.floatClose Accuracy.high spacingY step "spacing along y"

            testCase "grids that cannot be are refused"
            <| fun () ->
                let refused f what =
                    Expect.throwsT<ArgumentException> (fun () -> f () |> ignore) what

                refused (fun () -> gridOf 0 1 1) "no voxels"
                refused (fun () -> gridOf 1 -2 1) "negative"
                refused (fun () -> gridOf 100000 100000 100000) "overflow"
                refused (fun () -> Grid(1, 1, 1, Affine.Scaling(1., 0., 1.))) "singular"
                refused (fun () -> Grid(1, 1, 1, Affine.Translation(nan, 0., 0.))) "not finite"
                refused (fun () -> Grid(1, 1, 1, Affine.Scaling(infinity, 1., 1.))) "infinite"

            testCase "orientation codes"
            <| fun () ->
                let code (rows: float list) =
                    Grid(2, 2, 2, Affine.FromRows(List.toArray rows)).Orientation

                Expect.equal (code [ 1; 0; 0; 0; 0; 1; 0; 0; 0; 0; 1; 0 ]) "RAS" "identity"
                Expect.equal (code [ -1; 0; 0; 0; 0; 0; 2; 0; 0; -1; 0; 0 ]) "LIA" "FreeSurfer's"
                Expect.equal (code [ 0; 0; 3; 5; -1; 0; 0; 5; 0; 1; 0; 5 ]) "PSR" "a permutation"

                // The second and the third axis both lie nearest to y; the third fits better and gets it.
                let sheared =
                    [
                        0.250257
                        -0.115801
                        0.751444
                        0
                        0.415808
                        0.219525
                        0.990745
                        0
                        0.641439
                        0.208621
                        -0.807018
                        0
                    ]

                Expect.equal (code sheared) "SLA" "the axis that fits best chooses first"

            testCase "SameAs measures in millimetres, at the corners"
            <| fun () ->
                let grid = gridOf 101 5 5
                Expect.isTrue (grid.SameAs(Grid(101, 5, 5, Affine.Translation(0.0009, 0., 0.)))) "within"
                Expect.isFalse (grid.SameAs(Grid(101, 5, 5, Affine.Translation(0.0011, 0., 0.)))) "moved"

                Expect.isFalse
                    (grid.SameAs(Grid(101, 5, 5, Affine.Scaling(1.0001, 1., 1.))))
                    "stretched by 0.01 mm"

                Expect.isTrue (grid.SameAs(Grid(101, 5, 5, Affine.Scaling(1.0001, 1., 1.)), 0.02)) "tolerance"
                Expect.isFalse (grid.SameAs(gridOf 101 5 6)) "another size"

            testCase "OverlapWith is the share of the smaller box"
            <| fun () ->
                let grid = gridOf 10 10 10

                let moved x =
                    Grid(10, 10, 10, Affine.Translation(x, 0., 0.))

                Expect.floatClose Accuracy.high (grid.OverlapWith grid) 1. "itself"
                Expect.floatClose Accuracy.high (grid.OverlapWith(moved 4.)) 0.6 "moved by 4 of 10"
                Expect.equal (grid.OverlapWith(moved 11.)) 0. "apart"
                let inner = Grid(2, 2, 1, Affine.Translation(3., 3., 3.))
                Expect.floatClose Accuracy.high (grid.OverlapWith inner) 1. "inside, one slice"
                Expect.floatClose Accuracy.high (inner.OverlapWith grid) 1. "symmetric"
        ]

let private volume =
    testList
        "volume"
        [
            testCase "x is fastest"
            <| fun () ->
                let volume = Volume(gridOf 2 3 4, Array.init 24 float32)
                Expect.equal volume[1, 2, 3] 23f "the last"
                Expect.equal volume[1, 0, 0] 1f "x"
                Expect.equal volume[0, 1, 0] 2f "y"
                Expect.equal volume[0, 0, 1] 6f "z"
                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> volume[2, 0, 0] |> ignore) "outside"

            testCase "a wrong number of values is refused"
            <| fun () ->
                Expect.throwsT<ArgumentException>
                    (fun () -> Volume(gridOf 2 2 2, Array.zeroCreate 7) |> ignore)
                    "7 of 8"

            testCase "the range is over finite values"
            <| fun () ->
                let range values =
                    let struct (low, high) = Volume(gridOf (Array.length values) 1 1, values).Range
                    low, high

                Expect.equal (range [| nanf; -3f; infinityf; 5f |]) (-3f, 5f) "some"
                Expect.isTrue (range [| nanf; -infinityf |] |> fst |> Single.IsNaN) "none"
        ]

/// numpy's definition, by sorting.
let private slowPercentile (values: float32[]) percent =
    let sorted = values |> Array.filter Single.IsFinite |> Array.map float |> Array.sort
    let position = percent / 100. * float (sorted.Length - 1)
    let low = int (floor position)
    let high = min (low + 1) (sorted.Length - 1)
    sorted[low] + (sorted[high] - sorted[low]) * (position - float low)

let private intensity =
    testList
        "intensity"
        [
            testSeeds "percentiles agree with sorting" 100
            <| fun random ->
                // Few distinct values, wide ranges of exponent, both signs, and numbers that do not count.
                let value () =
                    match random.Next 4 with
                    | 0 -> float32 (random.Next 5)
                    | 1 -> float32 ((random.NextDouble() - 0.5) * 10. ** float (random.Next(-30, 30)))
                    | 2 -> float32 (random.NextDouble() * 100.)
                    | _ -> [| nanf; infinityf; -infinityf; -0f; -1000f |][random.Next 5]

                let values =
                    Array.init (1 + random.Next 200) (fun _ -> value ()) |> Array.append [| 1f |]

                let percents = [| 0.; 100.; 100. * random.NextDouble(); 50.; 99.5 |]
                let found = Percentile.Of(ReadOnlySpan values, percents)

                for percent, found in Array.zip percents found do
                    let slow = slowPercentile values percent
                    Expect.isLessThan (abs (found - slow)) (1e-12 * (1. + abs slow)) $"percentile {percent}"

            testCase "percentiles of a known list"
            <| fun () ->
                let percents = [| 0.; 25.; 50.; 90.; 100. |]
                let found = Percentile.Of(ReadOnlySpan [| 4f; 1f; 3f; 2f |], percents)

                for expected, found in List.zip [ 1.; 1.75; 2.5; 3.7; 4. ] (List.ofArray found) do
                    Expect.floatClose Accuracy.high found expected "numpy.percentile"

            testCase "a percentile window clamps and hides what is not finite"
            <| fun () ->
                let values = Array.append (Array.init 101 float32) [| nanf; infinityf |]
                let volume = Volume(gridOf 103 1 1, values, VoxelType.Int16)
                let scaled = IntensityRule.Percentiles(10., 90.).Apply volume
                Expect.equal scaled.Values[5] 0f "below"
                Expect.equal scaled.Values[95] 1f "above"
                Expect.floatClose Accuracy.medium (float scaled.Values[50]) 0.5 "the middle"
                Expect.floatClose Accuracy.medium (float scaled.Values[30]) 0.25 "a quarter"
                Expect.equal (scaled.Values[101], scaled.Values[102]) (0f, 0f) "not finite"
                Expect.equal scaled.StoredAs VoxelType.Float32 "no longer integers"

            testCase "a fixed window"
            <| fun () ->
                let volume = Volume(gridOf 4 1 1, [| -2000f; -1000f; 0f; 3000f |])
                let scaled = IntensityRule.Window(-1000., 1000.).Apply volume
                Expect.equal scaled.Values [| 0f; 0f; 0.5f; 1f |] "scaled"

            testCase "constant and empty images become 0"
            <| fun () ->
                let rule = IntensityRule.Percentiles(1., 99.)

                let apply values =
                    (rule.Apply(Volume(gridOf 3 1 1, values))).Values

                Expect.equal (apply [| 7f; 7f; 7f |]) [| 0f; 0f; 0f |] "constant"
                Expect.equal (apply [| nanf; nanf; nanf |]) [| 0f; 0f; 0f |] "nothing finite"

            testCase "a small object in an empty image is not lost"
            <| fun () ->
                let values = Array.init 1000 (fun i -> if i = 500 then 9f else 0f)

                let scaled =
                    IntensityRule.Percentiles(1., 99.).Apply(Volume(gridOf 10 10 10, values))

                Expect.equal scaled.Values[500] 1f "the object"
                Expect.equal scaled.Values[0] 0f "the background"

            testCase "rules compare by value and check their numbers"
            <| fun () ->
                Expect.equal (IntensityRule.Window(0., 1.)) (IntensityRule.Window(0., 1.)) "equal"

                Expect.throwsT<ArgumentException>
                    (fun () -> IntensityRule.Percentiles(99., 1.) |> ignore)
                    "turned round"

                Expect.throwsT<ArgumentException>
                    (fun () -> IntensityRule.Percentiles(0., 101.) |> ignore)
                    "above 100"

                Expect.throwsT<ArgumentException> (fun () -> IntensityRule.Window(1., 1.) |> ignore) "empty"
        ]

let tests = testList "geometry" [ affine; grid; volume; intensity ]
