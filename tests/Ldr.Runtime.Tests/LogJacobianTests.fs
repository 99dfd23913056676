/// The penalty on changes of volume: its closed form, its gradient against differences, folds.
module Ldr.Runtime.Tests.LogJacobianTests

open System
open FSharp.NativeInterop
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.TestKit.Helpers

#nowarn "9" // The penalty works on memory.

let private mean threads (grid: Grid) (field: float32[]) =
    use start = fixed field
    LogJacobian.Mean(start, grid, threads)

/// A gradient that is added, times a factor, to numbers that are there.
let private added threads factor (grid: Grid) (field: float32[]) (there: float32[]) =
    let result = Array.copy there
    use start = fixed field
    use target = fixed result
    LogJacobian.AddGradient(start, grid, factor, target, threads)
    result

/// The determinants of the cells by forward differences, from the definition.
let private slowDeterminants (grid: Grid) (field: float32[]) =
    let nx, ny, nz = grid.Nx, grid.Ny, grid.Nz

    let at c x y z =
        float field[c * int grid.Count + x + nx * (y + ny * z)]

    [|
        for z in 0 .. max 0 (nz - 2) do
            for y in 0 .. max 0 (ny - 2) do
                for x in 0 .. max 0 (nx - 2) do
                    let a =
                        Array2D.init 3 3 (fun c axis ->
                            let x', y', z' =
                                match axis with
                                | 0 -> min (nx - 1) (x + 1), y, z
                                | 1 -> x, min (ny - 1) (y + 1), z
                                | _ -> x, y, min (nz - 1) (z + 1)

                            at c x' y' z' - at c x y z + (if c = axis then 1. else 0.))

                    a[0, 0] * (a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1])
                    - a[0, 1] * (a[1, 0] * a[2, 2] - a[1, 2] * a[2, 0])
                    + a[0, 2] * (a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0])
    |]

/// log² J, below 0.05 along its tangent.
let private slowPenalty j =
    if j >= 0.05 then
        log j ** 2.
    else
        log 0.05 ** 2. + 2. * log 0.05 / 0.05 * (j - 0.05)

let private linear (grid: Grid) (rows: float[,]) =
    let plane = int grid.Count

    Array.init (3 * plane) (fun i ->
        let v = i % plane

        let place =
            [| v % grid.Nx; v / grid.Nx % grid.Ny; v / (grid.Nx * grid.Ny) |]
            |> Array.map float

        float32 (
            Seq.sum [ for axis in 0..2 -> rows[i / plane, axis] * place[axis] ]
            - place[i / plane]
        ))

let tests =
    testList
        "log jacobian"
        [
            testCase "one determinant: log², 0 at 1, the same for J and 1/J"
            <| fun () ->
                Expect.equal (LogJacobian.Of 1.) 0. "volumes stay"
                Expect.equal (LogJacobian.Slope 1.) 0. "its least"

                for j in [ 0.05; 0.1; 0.3; 0.9; 1.5; 4.; 19. ] do
                    Expect.floatClose Accuracy.high (LogJacobian.Of j) (log j ** 2.) $"{j}"
                    Expect.floatClose Accuracy.high (LogJacobian.Slope j) (2. * log j / j) $"slope at {j}"

                    if j > 0.05 then
                        Expect.floatClose Accuracy.high (LogJacobian.Of j) (LogJacobian.Of(1. / j)) $"1/{j}"

            testCase "below the least determinant it goes on along its tangent"
            <| fun () ->
                let least = LogJacobian.Least
                Expect.equal least 0.05 "least"

                for far in [ 1e-9; 0.01; 0.05; 1.; 30. ] do
                    Expect.equal (LogJacobian.Slope(least - far)) (LogJacobian.Slope least) "a straight line"

                    Expect.floatClose
                        Accuracy.high
                        (LogJacobian.Of(least - far))
                        (LogJacobian.Of least - far * LogJacobian.Slope least)
                        $"{far} below"

                Expect.isLessThan (LogJacobian.Slope -1.) 0. "it pulls upwards"

            testCase "an affine field costs log² of its determinant, whatever it turns"
            <| fun () ->
                let grid = gridOf 5 6 4

                for rows, determinant in
                    [
                        array2D [ [ 1.5; 0.; 0. ]; [ 0.; 0.8; 0. ]; [ 0.; 0.; 1.1 ] ], 1.5 * 0.8 * 1.1
                        array2D [ [ 0.; -1.; 0. ]; [ 1.; 0.; 0. ]; [ 0.; 0.; 1. ] ], 1.
                        // det = 2·(1.5·1 − 0.2·0.4) − 0.3·(0.1·1 − 0.2·0.7) + 0.5·(0.1·0.4 − 1.5·0.7)
                        array2D [ [ 2.; 0.3; 0.5 ]; [ 0.1; 1.5; 0.2 ]; [ 0.7; 0.4; 1. ] ],
                        2. * (1.5 - 0.08) - 0.3 * (0.1 - 0.14) + 0.5 * (0.04 - 1.05)
                    ] do
                    Expect.isLessThan
                        (abs (mean 1 grid (linear grid rows) - log determinant ** 2.))
                        1e-5
                        $"{determinant}"

            testSeeds "agrees with a slow loop over the cells, folded ones too" 40
            <| fun random ->
                let size () = random.Next(1, 8)
                let grid = gridOf (size ()) (size ()) (size ())
                let field = (randomField random grid (2. * random.NextDouble())).Vectors
                let slow = slowDeterminants grid field |> Array.averageBy slowPenalty
                Expect.isLessThan (abs (mean 1 grid field - slow)) (1e-9 * (1. + slow)) $"{grid}"

            for nx, ny, nz in [ 5, 3, 7; 4, 5, 1; 1, 4, 3; 4, 1, 5; 6, 1, 1; 1, 1, 1; 3, 2, 19 ] do
                testCase $"the gradient is that of differences, added times a factor: {nx} × {ny} × {nz}"
                <| fun () ->
                    let random = Random(nx + 10 * ny + 100 * nz)
                    let grid = gridOf nx ny nz
                    let field = (randomField random grid 0.12).Vectors
                    let there = Array.init field.Length (fun i -> float32 (i % 3))
                    let found = added 1 2.5 grid field there
                    // A power of two, so that the moved numbers are exact to a ten-thousandth of it.
                    let step = 1f / 256f

                    let slopes =
                        field
                        |> Array.mapi (fun i v ->
                            let at by =
                                let moved = Array.copy field
                                moved[i] <- v + by
                                mean 1 grid moved, float moved[i]

                            let (high, x1), (low, x0) = at step, at (-step)
                            2.5 * (high - low) / (x1 - x0))

                    let largest = slopes |> Array.fold (fun m v -> max m (abs v)) 0.

                    if List.max [ nx; ny; nz ] > 1 then
                        Expect.isGreaterThan largest 1e-3 "there is a slope"

                    for i in 0 .. field.Length - 1 do
                        Expect.isLessThan
                            (abs (float found[i] - float there[i] - slopes[i]))
                            (2e-3 * largest + 1e-6)
                            $"number {i}"

            testCase "one, two or three threads: the same bits, of the mean and the gradient"
            <| fun () ->
                let random = Random 4
                // Slices enough for several blocks, voxels enough for several threads.
                let grid = gridOf 45 39 37
                let field = (randomField random grid 0.4).Vectors
                let there = randomFloats random field.Length -1. 1.
                let one, gradient = mean 1 grid field, added 1 1000. grid field there
                Expect.notEqual gradient there "there is a gradient"

                for threads in [ 2; 3; 0 ] do
                    Expect.equal (mean threads grid field) one $"mean, {threads} threads"

                    Expect.isTrue
                        (added threads 1000. grid field there = gradient)
                        $"gradient, {threads} threads"

            testCase "a folded field is finite, and is pulled back until nothing folds"
            <| fun () ->
                let grid = gridOf 8 7 6
                // Along x every second voxel goes two to the right: J = −1 and 3 in turn.
                let field =
                    Array.init (3 * int grid.Count) (fun i ->
                        if i < int grid.Count && i % grid.Nx % 2 = 0 then 2f else 0f)

                let least = slowDeterminants grid field |> Array.min
                Expect.equal least -1. "it folds"
                Expect.isTrue (Double.IsFinite(mean 1 grid field)) "finite"
                let mutable now = field
                let mutable before = infinity

                for _ in 1..200 do
                    let cost = mean 1 grid now
                    Expect.isLessThanOrEqual cost (before + 1e-6) "downhill"
                    before <- cost
                    // The slope is up to 120 for each cell.
                    now <- added 1 (-0.002 * float grid.Count) grid now now

                Expect.isGreaterThan (slowDeterminants grid now |> Array.min) 0. "nothing folds"
        ]
