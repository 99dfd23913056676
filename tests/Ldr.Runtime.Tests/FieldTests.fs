module Ldr.Runtime.Tests.FieldTests

open System
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.TestKit.Helpers

let private voxels (grid: Grid) =
    [
        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    x, y, z
    ]

let private vectorAt (field: DisplacementField) x y z =
    let grid = field.Grid
    let i = x + grid.Nx * (y + grid.Ny * z)

    let u channel =
        float field.Vectors[channel * int grid.Count + i]

    u 0, u 1, u 2

/// A field from a function of the voxel.
let private fieldOf (grid: Grid) f =
    let vectors: float32[] = Array.zeroCreate (3 * int grid.Count)

    voxels grid
    |> List.iteri (fun i (x, y, z) ->
        let ux, uy, uz = f (float x) (float y) (float z)
        vectors[i] <- float32 ux
        vectors[int grid.Count + i] <- float32 uy
        vectors[2 * int grid.Count + i] <- float32 uz)

    DisplacementField(grid, vectors)

let private expectVectors tolerance (expected: DisplacementField) (found: DisplacementField) what =
    Expect.equal found.Vectors.Length expected.Vectors.Length what

    for a, b in Array.zip expected.Vectors found.Vectors do
        Expect.isLessThan (abs (a - b)) (float32 tolerance) what

/// x ↦ Mx + t with M near the identity: displacement (M - I)x + t.
let private linearField (grid: Grid) (map: Affine) =
    fieldOf grid (fun x y z ->
        let struct (a, b, c) = map.Apply(x, y, z)
        a - x, b - y, c - z)

let private smallMap (random: Random) =
    let e () = 0.2 * (random.NextDouble() - 0.5)

    Affine.FromRows(1. + e (), e (), e (), e (), e (), 1. + e (), e (), e (), e (), e (), 1. + e (), e ())

let private world (field: DisplacementField) x y z =
    let ux, uy, uz = vectorAt field x y z
    field.Grid.VoxelToWorld.Apply(float x + ux, float y + uy, float z + uz)

let private distance (struct (a: float, b: float, c: float)) (struct (x: float, y: float, z: float)) =
    sqrt (pown (a - x) 2 + pown (b - y) 2 + pown (c - z) 2)

let private basics =
    [
        testCase "lengths are in millimetres"
        <| fun () ->
            let grid = Grid(2, 1, 1, Affine.Scaling(2., 1., 3.))
            let field = DisplacementField(grid, [| 1f; 0f; 0f; 4f; 0f; -1f |])
            Expect.floatClose Accuracy.high field.MaxLengthMm 5. "(0, 4, -3) mm"
            Expect.floatClose Accuracy.high field.MeanLengthMm 3.5 "and (2, 0, 0) mm"
            Expect.equal (DisplacementField.Zero grid).MaxLengthMm 0. "none"

        testCase "a wrong number of vectors is refused"
        <| fun () ->
            Expect.throwsT<ArgumentException>
                (fun () -> DisplacementField(gridOf 2 2 2, Array.zeroCreate 8) |> ignore)
                "one plane"

        testSeeds "a point moves by the field at its place" 30
        <| fun random ->
            let grid = Grid(6, 7, 8, obliqueAffine random true)
            let field = randomField random grid 2.
            let x, y, z = random.Next 6, random.Next 7, random.Next 8
            let struct (px, py, pz) = grid.VoxelToWorld.Apply(float x, float y, float z)
            Expect.isLessThan (distance (field.MapPoint(px, py, pz)) (world field x y z)) 1e-2 "at a voxel"
            let linear = linearField grid (smallMap random)
            let struct (qx, qy, qz) = grid.VoxelToWorld.Apply(2.3, 4.6, 5.1)
            let map = grid.WorldToVoxel.Then(smallMap (Random 0)).Then(grid.VoxelToWorld)
            let known = linearField grid (smallMap (Random 0))

            Expect.isLessThan
                (distance (known.MapPoint(qx, qy, qz)) (map.Apply(qx, qy, qz)))
                1e-3
                "between voxels"

            Expect.isGreaterThan linear.MaxLengthMm 0. "the field moves"
    ]

let private composition =
    [
        testSeeds "with nothing, either way, changes nothing" 20
        <| fun random ->
            let grid =
                Grid(random.Next(1, 20), random.Next(1, 9), random.Next(1, 9), obliqueAffine random false)

            let field, zero = randomField random grid 3., DisplacementField.Zero grid
            Expect.equal (DisplacementField.Compose(field, zero)).Vectors field.Vectors "field ∘ 0"
            Expect.equal (DisplacementField.Compose(zero, field)).Vectors field.Vectors "0 ∘ field"

        testSeeds "agrees with its definition" 20
        <| fun random ->
            let grid = Grid(11, 6, 5, Affine.Identity)
            let a, b = randomField random grid 2., randomField random grid 2.
            let both = DisplacementField.Compose(a, b)
            let n = int grid.Count

            for channel in 0..2 do
                let plane (field: DisplacementField) =
                    Volume(grid, field.Vectors[channel * n .. channel * n + n - 1])

                let expected = Array.map2 (+) (Warp.Linear(plane a, b)).Values (plane b).Values
                Expect.equal (plane both).Values expected "a(x + b(x)) + b(x)"

        testSeeds "linear maps: a point goes through b first" 20
        <| fun random ->
            let grid = Grid(20, 20, 20, Affine.Identity)
            let a, b = smallMap random, smallMap random
            let both = DisplacementField.Compose(linearField grid a, linearField grid b)
            let expected = linearField grid (b.Then a)

            for x, y, z in [ for x in 4..15 -> x, 19 - x, 8 ] do
                let ax, ay, az = vectorAt both x y z
                let ex, ey, ez = vectorAt expected x y z
                Expect.isLessThan (abs (ax - ex) + abs (ay - ey) + abs (az - ez)) 1e-4 "inside"

        testCase "an image goes through a first, then b"
        <| fun () ->
            let grid = gridOf 24 20 22

            let wave phase =
                fieldOf grid (fun x y z ->
                    1.5 * sin (x / 6. + phase), cos (y / 5. + phase), sin (z / 4. - phase))

            let moving =
                Volume(
                    grid,
                    voxels grid
                    |> List.map (fun (x, y, z) -> sin (float32 (x + y) / 9f) + cos (float32 z / 8f))
                    |> Array.ofList
                )

            let a, b = wave 0., wave 2.
            let twice = Warp.Linear(Warp.Linear(moving, a), b)
            let once = Warp.Linear(moving, DisplacementField.Compose(a, b))
            let wrong = Warp.Linear(moving, DisplacementField.Compose(b, a))

            // Away from the border, where the first warp clamps positions and the composition vectors.
            let difference (p: Volume) (q: Volume) =
                voxels grid
                |> List.filter (fun (x, y, z) -> min x (min y z) > 4 && x < 19 && y < 15 && z < 17)
                |> List.averageBy (fun (x, y, z) -> abs (p[x, y, z] - q[x, y, z]))

            Expect.isLessThan (difference twice once) 0.005f "warped twice, or once by the composition"
            Expect.isGreaterThan (difference twice wrong) (10f * difference twice once) "the order matters"

        testCase "fields on different grids are refused"
        <| fun () ->
            let zero size = DisplacementField.Zero(gridOf size 2 2)

            Expect.throwsT<ArgumentException>
                (fun () -> DisplacementField.Compose(zero 2, zero 3) |> ignore)
                "sizes differ"
    ]

let private after =
    [
        testSeeds "a translation of the world adds its vector" 20
        <| fun random ->
            let grid = Grid(4, 3, 5, obliqueAffine random (random.Next 2 = 0))
            let field = randomField random grid 2.
            let moved = field.After(Affine.Translation(3., -4., 5.))
            let struct (dx, dy, dz) = grid.WorldToVoxel.ApplyLinear(3., -4., 5.)
            let n = int grid.Count
            let shift = [| dx; dy; dz |]

            let expected =
                field.Vectors |> Array.mapi (fun i u -> float32 (float u + shift[i / n]))

            expectVectors 1e-4 (DisplacementField(grid, expected)) moved "in voxels"

        testSeeds "takes p to T(p + u(p))" 20
        <| fun random ->
            let grid = Grid(4, 3, 5, obliqueAffine random false)
            let field, map = randomField random grid 2., obliqueAffine random true
            let moved = field.After map

            for x, y, z in voxels grid do
                let struct (wx, wy, wz) = world field x y z

                Expect.isLessThan
                    (distance (world moved x y z) (map.Apply(wx, wy, wz)))
                    1e-3
                    "position in the moving world"

        testCase "the image goes through T first"
        <| fun () ->
            let random = Random 8
            let grid = Grid(20, 20, 20, Affine.Identity)

            let moving =
                Volume(
                    grid,
                    voxels grid
                    |> List.map (fun (x, y, z) -> float32 (x + 2 * y - z))
                    |> Array.ofList
                )

            let field, map = randomField random grid 1., smallMap random
            let total = Warp.Linear(moving, field.After map)
            let aligned = Warp.Linear(Warp.Resample(moving, grid, map), field)

            for x, y, z in [ for x in 6..13 -> x, 10, 19 - x ] do
                Expect.isLessThan
                    (abs (total[x, y, z] - aligned[x, y, z]))
                    1e-3f
                    "a linear image is interpolated exactly"

        testCase "nothing changes nothing"
        <| fun () ->
            let field = randomField (Random 3) (gridOf 4 5 6) 2.
            expectVectors 1e-6 field (field.After Affine.Identity) "identity"
    ]

let private resampling =
    [
        testSeeds "on its own grid nothing changes" 10
        <| fun random ->
            let field = randomField random (Grid(9, 5, 6, obliqueAffine random false)) 2.
            Expect.equal (field.ResampleTo field.Grid).Vectors field.Vectors "the same"

        testSeeds "an affine displacement is the same on any grid inside" 20
        <| fun random ->
            let grid = Grid(20, 18, 16, obliqueAffine random true)
            let map = smallMap random
            let field = linearField grid map
            // Finer, turned axes, inside.
            let inner =
                Affine.FromRows(0., 0.5, 0., 3., 0.6, 0., 0., 4., 0., 0., 0.7, 5.).Then(grid.VoxelToWorld)

            let target = Grid(9, 10, 7, inner)
            let found = field.ResampleTo target
            let inWorld = grid.WorldToVoxel.Then(map).Then(grid.VoxelToWorld)

            for x, y, z in voxels target do
                let struct (wx, wy, wz) = target.VoxelToWorld.Apply(float x, float y, float z)
                let expected = inWorld.Apply(wx, wy, wz)
                Expect.isLessThan (distance (world found x y z) expected) 1e-3 "world position"

        testCase "outside, the border's displacement holds"
        <| fun () ->
            let field = fieldOf (gridOf 3 1 1) (fun x _ _ -> x, 0., 0.)

            let wide =
                Grid(7, 1, 1, Affine.Scaling(2., 2., 2.).Then(Affine.Translation(-4., 0., 0.)))

            let found = field.ResampleTo wide
            // World x is -4, -2, 0, 2, 4, …; displacements 0, 0, 0, 2, 2, … mm are half as many voxels.
            Expect.equal found.Vectors[..6] [| 0f; 0f; 0f; 1f; 1f; 1f; 1f |] "in voxels of the target"
    ]

let private jacobian =
    [
        testSeeds "a linear map's determinant, at the border too" 30
        <| fun random ->
            let size () = random.Next(2, 9)
            let map = smallMap random

            let field =
                linearField (Grid(size (), size (), size (), obliqueAffine random false)) map

            for determinant in (Jacobian.Determinants field).Values do
                Expect.isLessThan (abs (float determinant - map.Determinant)) 1e-4 "closed form"

        testCase "central differences inside, one-sided at the border"
        <| fun () ->
            let field = fieldOf (gridOf 5 1 1) (fun x _ _ -> x * x / 10., 0., 0.)
            let found = (Jacobian.Determinants field).Values

            for expected, found in Array.zip [| 1.1; 1.2; 1.4; 1.6; 1.7 |] found do
                Expect.isLessThan (abs (float found - expected)) 1e-6 "1 + 2x/10 inside"

        testCase "an axis of one voxel does not change volumes"
        <| fun () ->
            let field = randomField (Random 1) (gridOf 1 1 1) 3.
            Expect.equal (Jacobian.Determinants field).Values [| 1f |] "one voxel"

        testCase "a mirrored axis has a negative determinant"
        <| fun () ->
            let field = fieldOf (gridOf 4 4 4) (fun x _ _ -> -2. * x, 0., 0.)
            Expect.all (Jacobian.Determinants field).Values ((=) -1f) "folded everywhere"
    ]

let tests =
    testList
        "field"
        [
            testList "basics" basics
            testList "compose" composition
            testList "after" after
            testList "resample" resampling
            testList "jacobian" jacobian
        ]
