module Ldr.Runtime.Tests.WarpTests

open System
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.TestKit.Helpers

/// Trilinear interpolation by the book: eight weights, in double precision, clamped at the border.
let private slowLinear (volume: Volume) (x: float, y: float, z: float) =
    let grid = volume.Grid

    let axis (position: float) size =
        let p = min (max position 0.) (float (size - 1))
        let low = int (floor p)
        [ low, 1. - (p - float low); min (low + 1) (size - 1), p - float low ]

    List.sum
        [
            for ix, wx in axis x grid.Nx do
                for iy, wy in axis y grid.Ny do
                    for iz, wz in axis z grid.Nz do
                        wx * wy * wz * float volume[ix, iy, iz]
        ]

let private positionOf (field: DisplacementField) (moving: Grid) x y z =
    let grid = field.Grid
    let i = x + grid.Nx * (y + grid.Ny * z)

    let u channel =
        float field.Vectors[channel * int grid.Count + i]

    let struct (wx, wy, wz) =
        grid.VoxelToWorld.Apply(float x + u 0, float y + u 1, float z + u 2)

    let struct (px, py, pz) = moving.WorldToVoxel.Apply(wx, wy, wz)
    px, py, pz

let private voxels (grid: Grid) =
    seq {
        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    x, y, z
    }

/// Sizes from 1; sometimes a row longer than the buffer of positions.
let private randomGrid (random: Random) affine =
    let size () = random.Next(1, 12)

    let nx =
        if random.Next 10 = 0 then
            250 + random.Next 300
        else
            random.Next(1, 40)

    Grid(nx, size (), size (), affine)

let private sameBits (a: Volume) (b: Volume) what =
    let bits (volume: Volume) =
        volume.Values |> Array.map BitConverter.SingleToInt32Bits

    Expect.isTrue (bits a = bits b) what

let private linear =
    [
        testSeeds "equal grids: agrees with a slow loop" 60
        <| fun random ->
            let grid = randomGrid random (obliqueAffine random false)
            let moving = randomVolume random grid
            let field = randomField random grid 4.
            let moved = Warp.Linear(moving, field)

            for x, y, z in voxels grid do
                let i = x + grid.Nx * (y + grid.Ny * z)

                let u channel =
                    float field.Vectors[channel * int grid.Count + i]

                let slow = slowLinear moving (float x + u 0, float y + u 1, float z + u 2)
                // Positions are single precision: half an ulp of the longest axis, times the steepest slope.
                Expect.isLessThan (abs (float moved[x, y, z] - slow)) 0.02 $"voxel {x},{y},{z} of {grid}"

        testSeeds "smooth images: agrees closely" 30
        <| fun random ->
            let grid = Grid(random.Next(9, 30), 7, 8, Affine.Identity)
            let smooth = Array.init (int grid.Count) (fun i -> float32 (i % grid.Nx) / 30f)
            let moving = Volume(grid, smooth)
            let field = randomField random grid 4.
            let moved = Warp.Linear(moving, field)

            for x, y, z in voxels grid do
                let slow = slowLinear moving (positionOf field grid x y z)
                Expect.isLessThan (abs (float moved[x, y, z] - slow)) 1e-6 $"voxel {x},{y},{z}"

        testSeeds "different grids: agrees with a slow loop" 60
        <| fun random ->
            let field =
                randomField random (randomGrid random (obliqueAffine random (random.Next 2 = 0))) 2.
            // Somewhere near the field's grid, so that many positions fall inside.
            let turn =
                Affine.FromRows(1.2, 0.3, -0.2, 0., -0.3, 0.9, 0.25, 0., 0.15, -0.2, 1.1, 0.)

            let shift =
                Affine.Translation(random.NextDouble(), random.NextDouble(), -random.NextDouble())

            let moving =
                randomVolume random (randomGrid random (turn.Then(field.Grid.VoxelToWorld).Then(shift)))

            let moved = Warp.Linear(moving, field)

            for x, y, z in voxels field.Grid do
                let slow = slowLinear moving (positionOf field moving.Grid x y z)
                Expect.isLessThan (abs (float moved[x, y, z] - slow)) 0.1 $"voxel {x},{y},{z}"

        testSeeds "the identity changes nothing" 20
        <| fun random ->
            let moving = randomVolume random (randomGrid random (obliqueAffine random true))
            sameBits moving (Warp.Linear(moving, DisplacementField.Zero moving.Grid)) "linear"
            sameBits moving (Warp.Nearest(moving, DisplacementField.Zero moving.Grid)) "nearest"
            sameBits moving (Warp.Resample(moving, moving.Grid, Affine.Identity)) "resample"

        testSeeds "whole-voxel shifts are exact" 40
        <| fun random ->
            let grid = randomGrid random (obliqueAffine random false)
            let moving = randomVolume random grid
            let shift = Array.init 3 (fun _ -> random.Next(-5, 6))
            let n = int grid.Count

            let field =
                DisplacementField(grid, Array.init (3 * n) (fun i -> float32 shift[i / n]))

            let clamp size i = min (max i 0) (size - 1)

            let expected =
                voxels grid
                |> Seq.map (fun (x, y, z) ->
                    moving[clamp grid.Nx (x + shift[0]),
                           clamp grid.Ny (y + shift[1]),
                           clamp grid.Nz (z + shift[2])])
                |> Array.ofSeq

            sameBits (Volume(grid, expected)) (Warp.Linear(moving, field)) "linear"
            sameBits (Volume(grid, expected)) (Warp.Nearest(moving, field)) "nearest"

        testSeeds "a crop of the same world is exact" 30
        <| fun random ->
            let map = obliqueAffine random false
            let moving = randomVolume random (Grid(20, 15, 10, map))
            let cropped = Grid(9, 8, 7, Affine.Translation(3., 2., 1.).Then map)

            for moved in
                [
                    Warp.Linear(moving, DisplacementField.Zero cropped)
                    Warp.Resample(moving, cropped, Affine.Identity)
                    Warp.Resample(moving, cropped, Affine.Identity, nearest = true)
                ] do
                for x, y, z in voxels cropped do
                    Expect.equal moved[x, y, z] moving[x + 3, y + 2, z + 1] "voxel"

        testSeeds "labels as planes: the bits of each label's own volume, resampled" 30
        <| fun random ->
            let size most = 1 + random.Next most
            let source = Grid(size 20, size 15, size 10, obliqueAffine random false)

            // Blocks of labels, some of them negative, and noise.
            let map =
                Volume(
                    source,
                    Array.init (int source.Count) (fun i ->
                        float32 (if random.Next 4 = 0 then random.Next(-2, 6) else i / 37 % 5))
                )

            // Between the source's voxels, and some voxels beyond it.
            let between = Affine.Scaling(0.45, 0.6, 0.7).Then source.VoxelToWorld
            // Some wide and large enough for several pieces of a row and several threads.
            let target =
                if random.Next 3 = 0 then
                    Grid(290, 16, 6, between)
                else
                    Grid(size 40, size 20, size 12, between)

            let turned = Affine.Translation(random.NextDouble(), random.NextDouble(), 0.25)
            let labels = [| 3; -1; 0; 5; 99; 1 |]

            let expected =
                labels
                |> Array.collect (fun label ->
                    let only =
                        Volume(
                            source,
                            map.Values |> Array.map (fun v -> if v = float32 label then 1f else 0f)
                        )

                    (Warp.Resample(only, target, turned)).Values)

            let planes = Grid(target.Nx, target.Ny, labels.Length * target.Nz, Affine.Identity)

            sameBits
                (Volume(planes, expected))
                (Volume(planes, LabelSampling.Linear(map, labels, target, turned)))
                "planes"

        testCase "the number of threads does not matter"
        <| fun () ->
            let random = Random 4
            let grid = Grid(61, 53, 47, Affine.Identity)
            let other = Grid(50, 60, 40, Affine.Scaling(1.1, 0.9, 1.3))
            let moving, field = randomVolume random grid, randomField random grid 3.
            let far = randomVolume random other

            let all threads =
                [
                    Warp.Linear(moving, field, threads)
                    Warp.Linear(far, field, threads)
                    Warp.Nearest(far, field, threads)
                    Warp.Resample(moving, other, Affine.Identity, false, threads)
                    Jacobian.Determinants(field, threads)
                    Volume(
                        Grid(grid.Nx, grid.Ny, 3 * grid.Nz, Affine.Identity),
                        DisplacementField.Compose(field, field, threads).Vectors
                    )
                    Volume(
                        Grid(other.Nx, other.Ny, 3 * other.Nz, Affine.Identity),
                        field.ResampleTo(other, threads).Vectors
                    )
                ]

            for threads in [ 0; 2; 7 ] do
                for one, many in List.zip (all 1) (all threads) do
                    sameBits one many $"{threads} threads"

            Expect.throwsT<ArgumentOutOfRangeException>
                (fun () -> all -1 |> ignore)
                "a negative number of threads"

        testSeeds "a voxel does not depend on where it lies in its row" 20
        <| fun random ->
            // Rows of 1 to 7 voxels take the scalar path, longer ones the vector path.
            let moving = randomVolume random (Grid(16, 9, 8, Affine.Scaling(1.1, 1.2, 0.9)))
            let long = randomField random (Grid(24, 5, 6, Affine.Identity)) 3.
            let whole = Warp.Linear(moving, long)

            for x in 0..23 do
                let column = Grid(1, 5, 6, Affine.Translation(float x, 0., 0.))

                let vectors =
                    [|
                        for c in 0..2 do
                            for row in 0..29 -> long.Vectors[c * 720 + row * 24 + x]
                    |]

                let part = Warp.Linear(moving, DisplacementField(column, vectors))

                for y in 0..4 do
                    for z in 0..5 do
                        Expect.isLessThan (abs (part[0, y, z] - whole[x, y, z])) 1e-2f $"voxel {x},{y},{z}"

        testSeeds "vectors that are no numbers stay inside the volume" 60
        <| fun random ->
            let grid = randomGrid random Affine.Identity

            let wild =
                [|
                    nanf
                    infinityf
                    -infinityf
                    Single.MaxValue
                    Single.MinValue
                    3e9f
                    -3e9f
                    Single.Epsilon
                |]

            let vectors =
                Array.init (3 * int grid.Count) (fun _ ->
                    if random.Next 2 = 0 then
                        wild[random.Next wild.Length]
                    else
                        1f)

            let values = randomVolume random grid
            let struct (low, high) = values.Range

            let other =
                Volume(Grid(grid.Nx, grid.Ny, grid.Nz, obliqueAffine random false), values.Values)

            let field = DisplacementField(grid, vectors)

            for moved in
                [
                    Warp.Linear(values, field)
                    Warp.Nearest(values, field)
                    Warp.Linear(other, field)
                    Warp.Nearest(other, field)
                ] do
                for value in moved.Values do
                    Expect.isTrue
                        (value >= low - 1e-4f && value <= high + 1e-4f)
                        $"{value} is not between {low} and {high}"

        testCase "NaN reads index 0 of its axis, infinity the border"
        <| fun () ->
            for nx in [ 4; 12 ] do
                let grid = gridOf nx 1 1
                let moving = Volume(grid, Array.init nx (fun i -> float32 (i + 5)))

                let moved vector =
                    let vectors = Array.append (Array.create nx vector) (Array.zeroCreate (2 * nx))
                    let field = DisplacementField(grid, vectors)

                    Array.append (Warp.Linear(moving, field)).Values (Warp.Nearest(moving, field)).Values
                    |> Array.distinct

                Expect.equal (moved nanf) [| 5f |] "NaN"
                Expect.equal (moved -infinityf) [| 5f |] "-inf"
                Expect.equal (moved infinityf) [| float32 (nx + 4) |] "inf"
    ]

let private nearest =
    [
        testSeeds "takes the value at the nearest voxel" 40
        <| fun random ->
            let field = randomField random (randomGrid random Affine.Identity) 3.
            let moving = randomVolume random (randomGrid random (Affine.Scaling(0.7, 1.3, 0.9)))
            let moved = Warp.Nearest(moving, field)
            let clamp size i = min (max i 0) (size - 1)

            for x, y, z in voxels field.Grid do
                let px, py, pz = positionOf field moving.Grid x y z

                let round p size =
                    clamp size (int (floor (p + 0.5 + 1e-6)))

                let expected =
                    moving[round px moving.Grid.Nx, round py moving.Grid.Ny, round pz moving.Grid.Nz]

                Expect.equal moved[x, y, z] expected $"voxel {x},{y},{z}"

        testSeeds "halves all go to the higher index, whatever the rounding" 60
        <| fun random ->
            // Every position is a half; the spacings and offsets of the world make most of them inexact.
            let map = obliqueAffine random false
            let moving = Volume(Grid(100, 2, 2, map), Array.init 400 float32, VoxelType.UInt8)
            let half = Grid(99, 1, 1, Affine.Translation(0.5, 0.5, 0.5).Then map)
            let moved = Warp.Resample(moving, half, Affine.Identity, nearest = true)
            Expect.equal moved.Values (Array.init 99 (fun i -> moving[i + 1, 1, 1])) "values"
            Expect.equal moved.StoredAs VoxelType.UInt8 "labels keep their type"
    ]

let private resample =
    [
        testCase "the map goes from the target's world to the moving world"
        <| fun () ->
            let moving = Volume(gridOf 10 1 1, Array.init 10 float32)
            let moved = Warp.Resample(moving, gridOf 10 1 1, Affine.Translation(2.5, 0., 0.))

            Expect.equal
                moved.Values
                [| 2.5f; 3.5f; 4.5f; 5.5f; 6.5f; 7.5f; 8.5f; 9f; 9f; 9f |]
                "moving(x + 2.5)"

            Expect.equal moved.StoredAs VoxelType.Float32 "interpolated"

        testSeeds "agrees with a slow loop" 40
        <| fun random ->
            let target = randomGrid random (obliqueAffine random false)
            let moving = randomVolume random (randomGrid random target.VoxelToWorld)

            let map =
                Affine
                    .Translation(random.NextDouble() - 0.5, random.NextDouble(), 0.3)
                    .Then(Affine.Scaling(1.01, 0.98, 1.))

            let moved = Warp.Resample(moving, target, map)
            let whole = target.VoxelToWorld.Then(map).Then(moving.Grid.WorldToVoxel)

            for x, y, z in voxels target do
                let struct (px, py, pz) = whole.Apply(float x, float y, float z)
                let slow = slowLinear moving (px, py, pz)
                Expect.isLessThan (abs (float moved[x, y, z] - slow)) 0.1 $"voxel {x},{y},{z}"
    ]

/// Marks this program.
type private Mark = class end

/// Warps on a machine with less.
let private narrower =
    Ldr.TestKit.Machines.narrower
        typeof<Mark>.Assembly.Location
        Ldr.Runtime.Inference.StudentGraph.Lanes
        [ "ldr/runtime/warp" ]

let tests =
    testList
        "warp"
        [
            test "rows of one, two and three voxels, at, before and beyond their ends" {
                for nx in 1..3 do
                    let random = Random nx
                    let source = Grid(nx, 3, 2, Affine.Identity)

                    let volume =
                        Volume(source, Array.init (int source.Count) (fun _ -> random.NextSingle()))

                    // Rows of 16 positions, a vector and another: -2, -1.5 … 5.5.
                    let rows = Affine.FromRows(0.5, 0., 0., -2., 0., 0.5, 0., -0.5, 0., 0., 0.5, -0.5)

                    let wide = Grid(16, 8, 6, rows)
                    let found = Warp.Resample(volume, wide, Affine.Identity)

                    for x, y, z in voxels wide do
                        let struct (px, py, pz) = rows.Apply(float x, float y, float z)

                        Expect.floatClose
                            Accuracy.medium
                            (float found[x, y, z])
                            (slowLinear volume (px, py, pz))
                            $"row of {nx}, at {px}, {py}, {pz}"
            }
            testList "linear" linear
            testList "nearest" nearest
            testList "resample" resample
            narrower
            testCase "the number of threads of the process holds where a call gives none"
            <| fun () ->
                let field = DisplacementField.Zero(gridOf 64 64 64)
                let volume = Volume(field.Grid, Array.zeroCreate (int field.Grid.Count))

                /// What the thread pool was given to do, at least and at most, in a few warps.
                let pooled threads =
                    let before = Threads.Most
                    Threads.Most <- threads

                    try
                        let counts =
                            [
                                for _ in 1..5 do
                                    let start = Threading.ThreadPool.CompletedWorkItemCount
                                    Warp.Linear(volume, field) |> ignore
                                    Jacobian.Determinants field |> ignore
                                    Threading.ThreadPool.CompletedWorkItemCount - start
                            ]

                        List.min counts, List.max counts
                    finally
                        Threads.Most <- before

                Expect.equal (fst (pooled 1)) 0L "one thread is the caller's"
                Expect.isGreaterThan (snd (pooled 4)) 0L "four are not"

                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> Threads.Most <- 0) "none is refused"
        ]
