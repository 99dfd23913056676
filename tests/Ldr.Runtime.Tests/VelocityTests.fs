/// Flows of stationary velocities, and fields brought to the nearest that does not fold.
module Ldr.Runtime.Tests.VelocityTests

open System
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

/// The vectors M(x − centre) of every voxel.
let private linear (grid: Grid) (m: float[,]) =
    let n = int grid.Count
    let vectors = Array.zeroCreate<float32>(3 * n)

    for z in 0 .. grid.Nz - 1 do
        for y in 0 .. grid.Ny - 1 do
            for x in 0 .. grid.Nx - 1 do
                let p =
                    [|
                        float x - float (grid.Nx - 1) / 2.0
                        float y - float (grid.Ny - 1) / 2.0
                        float z - float (grid.Nz - 1) / 2.0
                    |]

                for c in 0..2 do
                    vectors[c * n + x + grid.Nx * (y + grid.Ny * z)] <-
                        float32 (m[c, 0] * p[0] + m[c, 1] * p[1] + m[c, 2] * p[2])

    DisplacementField(grid, vectors)

let private times s (field: DisplacementField) =
    DisplacementField(field.Grid, field.Vectors |> Array.map (fun v -> s * v))

/// The largest difference of two fields, in voxels, at the voxels that are so far from the border.
let private worst border (a: DisplacementField) (b: DisplacementField) =
    let grid = a.Grid
    let n = int grid.Count

    seq {
        for z in border .. grid.Nz - 1 - border do
            for y in border .. grid.Ny - 1 - border do
                for x in border .. grid.Nx - 1 - border do
                    let i = x + grid.Nx * (y + grid.Ny * z)

                    for c in 0..2 do
                        abs (float a.Vectors[c * n + i] - float b.Vectors[c * n + i])
    }
    |> Seq.max

/// Mean distance in voxels.
let private meanChange (a: DisplacementField) (b: DisplacementField) =
    let n = int a.Grid.Count

    Seq.init n (fun i ->
        Seq.init 3 (fun c -> (float a.Vectors[c * n + i] - float b.Vectors[c * n + i]) ** 2.0)
        |> Seq.sum
        |> sqrt)
    |> Seq.average

let private least (field: DisplacementField) =
    Array.min (Jacobian.Determinants field).Values

let private flows =
    testList
        "flow"
        [
            testCase "of a constant velocity is that velocity, at the border too"
            <| fun () ->
                let grid = gridOf 9 8 7
                let n = int grid.Count

                let velocity =
                    DisplacementField(grid, Array.init (3 * n) (fun i -> [| 3.5f; -2f; 0.25f |].[i / n]))

                for squarings in [ 0; 1; 7 ] do
                    let flow = StationaryVelocity.Exponential(velocity, squarings)
                    Expect.isLessThan (worst 0 velocity flow) 1e-5 $"{squarings} squarings"

            testCase "of a velocity towards the centre: (1 − a/2ⁿ)^2ⁿ − 1, exactly"
            <| fun () ->
                let grid = gridOf 13 11 9

                let velocity =
                    linear grid (array2D [ [ -0.8; 0.; 0. ]; [ 0.; -0.5; 0. ]; [ 0.; 0.; -0.2 ] ])

                for squarings in [ 0; 3; 7 ] do
                    let steps = float (1 <<< squarings)
                    let factor a = (1.0 - a / steps) ** steps - 1.0

                    let expected =
                        linear
                            grid
                            (array2D
                                [ [ factor 0.8; 0.; 0. ]; [ 0.; factor 0.5; 0. ]; [ 0.; 0.; factor 0.2 ] ])

                    let flow = StationaryVelocity.Exponential(velocity, squarings)
                    Expect.isLessThan (worst 0 expected flow) 2e-5 $"{squarings} squarings"

                let flow = StationaryVelocity.Exponential velocity
                let determinants = (Jacobian.Determinants flow).Values
                let expected = exp -1.5

                for d in determinants do
                    Expect.isLessThan (abs (float d - expected)) 2e-3 "e to the divergence"

            testCase "of a turning velocity is a rotation"
            <| fun () ->
                let grid = gridOf 25 25 5
                let angle = 0.6

                let velocity =
                    linear grid (array2D [ [ 0.; -angle; 0. ]; [ angle; 0.; 0. ]; [ 0.; 0.; 0. ] ])

                let rotation =
                    linear
                        grid
                        (array2D
                            [
                                [ cos angle - 1.0; -(sin angle); 0. ]
                                [ sin angle; cos angle - 1.0; 0. ]
                                [ 0.; 0.; 0. ]
                            ])

                let flow = StationaryVelocity.Exponential(velocity, 10)

                let inner =
                    seq {
                        for y in 6..18 do
                            for x in 6..18 do
                                let i = x + 25 * y + 625 * 2

                                for c in 0..1 do
                                    let n = int grid.Count
                                    abs (flow.Vectors[c * n + i] - rotation.Vectors[c * n + i])
                    }

                Expect.isLessThan (Seq.max inner) 5e-3f "voxels"

            testSeeds
                "back undoes the flow; more doublings change little; threads change nothing"
                4
                (fun random ->
                    let grid = Grid(26, 24, 22, obliqueAffine random (random.Next 2 = 0))
                    let velocity = smoothField random grid (3.0 * smallest grid)
                    let flow = StationaryVelocity.Exponential velocity
                    let back = StationaryVelocity.Exponential(times -1f velocity)
                    let rest = DisplacementField.Compose(flow, back)
                    Expect.isLessThan (meanChange rest (DisplacementField.Zero grid)) 0.1 "voxels"
                    let finer = StationaryVelocity.Exponential(velocity, 9)
                    Expect.isLessThan (worst 4 flow finer) 0.05 "voxels"
                    let alone = StationaryVelocity.Exponential(velocity, threads = 1)
                    Expect.equal alone.Vectors flow.Vectors "one thread")

            testCase "wrong counts are refused"
            <| fun () ->
                for squarings in [ -1; 21 ] do
                    Expect.throwsT<ArgumentOutOfRangeException>
                        (fun () ->
                            StationaryVelocity.Exponential(DisplacementField.Zero(gridOf 2 2 2), squarings)
                            |> ignore)
                        $"{squarings}"
        ]

let private fits =
    testList
        "diffeomorphic"
        [
            testSeeds "a small smooth field stays, to 0.05 voxel on average" 4 (fun random ->
                let grid = Grid(30, 28, 26, obliqueAffine random (random.Next 2 = 0))
                let field = smoothField random grid (2.0 * smallest grid)
                Expect.isGreaterThan (least field) 0f "no fold before"
                let fit = DiffeomorphicFit.To field
                Expect.isLessThan (meanChange field fit.Field) 0.05 "voxels"

                Expect.equal
                    (StationaryVelocity.Exponential(fit.Velocity, fit.Squarings)).Vectors
                    fit.Field.Vectors
                    "the flow"

                Expect.floatClose
                    Accuracy.high
                    fit.MeanChangeMm
                    (DisplacementField(grid, Array.map2 (-) field.Vectors fit.Field.Vectors)).MeanLengthMm
                    "as it says")

            testSeeds "a field with folds becomes one without, at every voxel" 6 (fun random ->
                let grid = Grid(28, 26, 24, obliqueAffine random (random.Next 2 = 0))
                // Smooth and too steep, or noise.
                let steep = smoothField random grid (9.0 * smallest grid)
                let change = (DiffeomorphicFit.To steep).MeanChangeMm
                Expect.isLessThan (change / steep.MeanLengthMm) 0.3 "what is left of a steep field"
                let noise = randomField random grid 1.2

                for field in
                    [
                        steep
                        noise
                        DisplacementField(grid, Array.map2 (+) steep.Vectors noise.Vectors)
                    ] do
                    let before = Folding.Measure field
                    Expect.isGreaterThan before.FoldedPercent 0.5 "folds before"
                    let fit = DiffeomorphicFit.To field
                    Expect.equal (Folding.Measure fit.Field).FoldedPercent 0.0 "by the program's measure"

                    Expect.isGreaterThanOrEqual
                        (least fit.Field)
                        (float32 DiffeomorphicFit.LeastDeterminant)
                        "the border too")

            testSeeds "what is a flow stays, however far it goes" 4 (fun random ->
                let grid = Grid(30, 28, 26, obliqueAffine random (random.Next 2 = 0))
                let velocity = smoothField random grid (5.0 * smallest grid)
                let flow = StationaryVelocity.Exponential velocity

                Expect.isGreaterThan
                    (least flow)
                    (float32 DiffeomorphicFit.LeastDeterminant)
                    "no fold before"

                Expect.isLessThan (meanChange flow (DiffeomorphicFit.To flow).Field) 0.05 "voxels")

            testCase "a wild field, thin grids and no field at all"
            <| fun () ->
                let random = Random 5

                for grid in [ gridOf 20 18 16; gridOf 1 1 1; gridOf 15 1 1; gridOf 12 9 1 ] do
                    let fit = DiffeomorphicFit.To(randomField random grid 60.)
                    Expect.isGreaterThan (least fit.Field) 0f $"{grid}"

                let grid = gridOf 6 5 4
                let still = DiffeomorphicFit.To(DisplacementField.Zero grid)
                Expect.allEqual still.Field.Vectors 0f "nothing"
                Expect.equal still.MaxChangeMm 0.0 "no change"

            testCase "numbers that are not finite are refused"
            <| fun () ->
                let grid = gridOf 3 3 3

                let field =
                    DisplacementField(grid, Array.init 81 (fun i -> if i = 40 then nanf else 0f))

                Expect.throwsT<ArgumentException> (fun () -> DiffeomorphicFit.To field |> ignore) "NaN"
        ]

let tests = testList "velocity" [ flows; fits ]
