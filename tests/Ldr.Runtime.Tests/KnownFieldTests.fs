/// Pairs with a known field: the truth is right, as large and as smooth as asked for, and the error is measured from it.
module Ldr.Runtime.Tests.KnownFieldTests

open System
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.TestKit.Helpers

let private anatomy =
    {
        Size = 28, 24, 26
        Subjects = 1
        Structures = 4
        Deformation = 1.0
        Noise = 0.01
        Seed = 5
    }

let private spacing = 1.0, 1.4, 1.8

/// A bright ball with texture in a dark surround, and its label.
let private scene =
    lazy
        (let sx, sy, sz = spacing
         let scan, labels = Anatomy.subject anatomy 0
         let g = scan.Grid

         let grid =
             Grid(g.Nx, g.Ny, g.Nz, Affine.Scaling(sx, -sy, sz).Then(Affine.Translation(9., 40., -7.)))

         let ball =
             Array.init (int g.Count) (fun i ->
                 let d n centre = pown ((float n - centre) / 9.) 2
                 d (i % g.Nx) 13.5 + d (i / g.Nx % g.Ny) 11.5 + d (i / (g.Nx * g.Ny)) 12.5 <= 1.)

         Volume(grid, Array.map2 (fun inside v -> if inside then 1f + v else 0f) ball scan.Values),
         Volume(grid, Array.map2 (fun inside v -> if inside then v else 0f) ball labels.Values))

let private quiet = KnownFieldOptions(Noise = 0.)

/// The lengths, mm, of a field's displacements less another's, at every voxel.
let private lengths (a: DisplacementField) (b: DisplacementField option) =
    let plane = int a.Grid.Count

    Array.init plane (fun i ->
        let rest channel =
            let own = float a.Vectors[channel * plane + i]

            own
            - (b
               |> Option.map (fun b -> float b.Vectors[channel * plane + i])
               |> Option.defaultValue 0.)

        let sx, sy, sz = spacing
        sqrt (pown (sx * rest 0) 2 + pown (sy * rest 1) 2 + pown (sz * rest 2) 2))

let private meanWhere (counts: bool seq) (values: float[]) =
    Seq.zip counts values |> Seq.filter fst |> Seq.averageBy snd

let tests =
    testList
        "known field"
        [
            testCase
                "without noise the fixed scan is the scan under the truth, and the moving one is the scan"
            <| fun () ->
                let scan, _ = scene.Value
                let pair = KnownField.Of(scan, null, quiet)
                Expect.equal pair.Fixed.Values (Warp.Linear(scan, pair.Truth)).Values "fixed"
                Expect.isTrue (obj.ReferenceEquals(pair.Moving, scan)) "moving"
                Expect.notEqual pair.Fixed.Values scan.Values "it is deformed"
                Expect.isTrue (pair.Truth.Grid.SameAs scan.Grid) "the truth's grid"
                Expect.equal (Folding.Measure pair.Truth).FoldedPercent 0. "it does not fold"

            testCase "the mean length in the scan's content is the amplitude; two voxels by itself"
            <| fun () ->
                let scan, _ = scene.Value

                for wanted, expected in
                    [ Nullable(), 2. * (1.0 + 1.4 + 1.8) / 3.; Nullable 1.5, 1.5; Nullable 4., 4. ] do
                    let pair = KnownField.Of(scan, null, KnownFieldOptions(AmplitudeMm = wanted))
                    let found = lengths pair.Truth None |> meanWhere (Content.Of scan)
                    Expect.isLessThan (abs (found - expected)) (1e-4 * expected) $"{found} mm"

            testCase
                "it is as smooth as a Gaussian of the deviation makes it, along every axis and at the border"
            <| fun () ->
                let sx, sy, sz = spacing
                let grid = Grid(48, 40, 36, Affine.Scaling(sx, sy, sz))
                let scan = Volume(grid, randomFloats (Random 1) (int grid.Count) 0. 1.)

                // White noise under a Gaussian of deviation σ has squared slopes of 1 / (2 σ²) of its squares, on average.
                for wanted, sigma in [ Nullable 4., 4.; Nullable 6., 6. ] do
                    let truth =
                        (KnownField.Of(scan, null, KnownFieldOptions(SmoothnessMm = wanted))).Truth

                    let plane = int grid.Count

                    for axis, step, mm in [ 0, 1, sx; 1, 48, sy; 2, 48 * 40, sz ] do
                        let squares, slopes = ResizeArray(), ResizeArray()

                        for i in 0 .. plane - 1 do
                            let place = [| i % 48; i / 48 % 40; i / (48 * 40) |]

                            if place[axis] + 1 < [| 48; 40; 36 |][axis] then
                                for channel, own in [ 0, sx; 1, sy; 2, sz ] do
                                    let at j =
                                        own * float truth.Vectors[channel * plane + j]

                                    squares.Add(pown (at i) 2)
                                    slopes.Add(pown ((at (i + step) - at i) / mm) 2)

                        let ratio = Seq.average slopes / Seq.average squares * 2. * sigma * sigma
                        Expect.isTrue (ratio > 0.7 && ratio < 1.3) $"{sigma} mm, axis {axis}: {ratio}"

                    let rms counts =
                        lengths truth None
                        |> Array.indexed
                        |> Array.filter (fun (i, _) -> counts (i % 48) (i / 48 % 40) (i / (48 * 40)))
                        |> Array.averageBy (fun (_, l) -> l * l)
                        |> sqrt

                    let border =
                        rms (fun x y z -> x < 2 || y < 2 || z < 2 || x > 45 || y > 37 || z > 33)

                    let middle =
                        rms (fun x y z -> x > 7 && y > 7 && z > 7 && x < 40 && y < 32 && z < 28)

                    Expect.isTrue (border > 0.6 * middle && border < 1.6 * middle) $"{border}, {middle} mm"

                // Eight voxels by itself.
                let unasked = (KnownField.Of(scan, null, KnownFieldOptions())).Truth
                let asked = KnownFieldOptions(SmoothnessMm = Nullable(8. * (sx + sy + sz) / 3.))
                Expect.equal unasked.Vectors (KnownField.Of(scan, null, asked)).Truth.Vectors "by itself"

            testCase "one seed gives one pair, another seed another one, on every machine"
            <| fun () ->
                let scan, _ = scene.Value

                let make seed =
                    KnownField.Of(scan, null, KnownFieldOptions(Seed = seed))

                let one, again, other = make 7, make 7, make 8
                Expect.equal again.Truth.Vectors one.Truth.Vectors "field"
                Expect.equal again.Fixed.Values one.Fixed.Values "noise"
                Expect.notEqual other.Truth.Vectors one.Truth.Vectors "another field"

            testCase
                "the error is 0 for the truth, what doing nothing misses for nothing, else the distance between"
            <| fun () ->
                let scan, labels = scene.Value
                let content = KnownField.Of(scan, null, KnownFieldOptions())
                let inLabels = KnownField.Of(scan, labels, KnownFieldOptions())

                Expect.equal
                    inLabels.Truth.Vectors
                    content.Truth.Vectors
                    "labels change where errors count alone"

                let regions =
                    [
                        content, Content.Of(Warp.Linear(scan, content.Truth))
                        inLabels, Array.map (fun v -> v <> 0f) (Warp.Nearest(labels, content.Truth)).Values
                    ]

                for pair, region in regions do
                    Expect.sequenceEqual pair.Region region "where errors count"
                    Expect.equal (pair.ErrorMm pair.Truth) 0. "the truth"
                    let before = lengths pair.Truth None |> meanWhere region
                    Expect.floatClose Accuracy.medium (pair.ErrorMm null) before "nothing"

                    Expect.floatClose
                        Accuracy.high
                        (pair.ErrorMm(DisplacementField.Zero scan.Grid))
                        (pair.ErrorMm null)
                        "a field that moves nothing"

                    let found = randomField (Random 3) scan.Grid 2.

                    Expect.floatClose
                        Accuracy.medium
                        (pair.ErrorMm found)
                        (lengths pair.Truth (Some found) |> meanWhere region)
                        "another field"

                Expect.notEqual (content.ErrorMm null) (inLabels.ErrorMm null) "regions differ"

                let bare =
                    KnownField.Of(scan, Volume(scan.Grid, Array.zeroCreate scan.Values.Length), quiet)

                Expect.isTrue (Double.IsNaN(bare.ErrorMm null)) "labels without a label"

            testCase
                "noise is a share of the scan's range, in the content alone unless it is wanted everywhere"
            <| fun () ->
                let scan, _ = scene.Value
                let clean = (KnownField.Of(scan, null, quiet)).Fixed
                let content = Content.Of clean
                // The range as the percentiles say it.
                let sorted = Array.sort scan.Values

                let at share =
                    float sorted[int (round (share * float (sorted.Length - 1)))]

                let range = at 0.995 - at 0.005

                for share in [ 0.02; 0.1 ] do
                    for everywhere in [ false; true ] do
                        let noisy =
                            (KnownField.Of(
                                scan,
                                null,
                                KnownFieldOptions(Noise = share, NoiseEverywhere = everywhere)
                            ))
                                .Fixed

                        let added = Array.map2 (fun a b -> float a - float b) noisy.Values clean.Values

                        let where inside =
                            Array.zip content added |> Array.filter (fst >> (=) inside) |> Array.map snd

                        let deviation values =
                            values |> Array.averageBy (fun v -> v * v) |> sqrt

                        let inside = deviation (where true)
                        Expect.isLessThan (abs (inside / (share * range) - 1.)) 0.05 $"{inside} of {range}"
                        Expect.isLessThan (abs (Array.average (where true))) (0.1 * inside) "around 0"

                        if everywhere then
                            Expect.isLessThan
                                (abs (deviation (where false) / (share * range) - 1.))
                                0.05
                                "outside too"
                        else
                            Expect.isTrue (where false |> Array.forall ((=) 0.)) "the surround is as it was"

                Expect.equal (KnownFieldOptions()).Noise 0.02 "by itself"
        ]
