/// Transforms as maps: composition, inverses, resampling; against slow loops and scipy.
module Ldr.Runtime.Tests.TransformTests

open System
open System.Globalization
open System.IO
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

let private scene (random: Random) =
    let grid = Grid(17, 14, 12, obliqueAffine random (random.Next 2 = 0))
    let field = gentleField random grid
    let affine = worldMap random grid.Centre
    grid, field, affine

let private inside (random: Random) (grid: Grid) =
    grid.VoxelToWorld.Apply(
        float (grid.Nx - 1) * (0.2 + 0.6 * random.NextDouble()),
        float (grid.Ny - 1) * (0.2 + 0.6 * random.NextDouble()),
        float (grid.Nz - 1) * (0.2 + 0.6 * random.NextDouble())
    )

let tests =
    testList
        "transforms"
        [
            testSeeds "a list maps points through its last transform first" 30 (fun random ->
                let grid, field, affine = scene random
                let first, second = Transform.Linear affine, Transform.Dense field
                let struct (x, y, z) = inside random grid
                let together = Transform.Compose(first, second).MapPoint(x, y, z)
                let struct (sx, sy, sz) = field.MapPoint(x, y, z)
                let apart = affine.Apply(sx, sy, sz)
                Expect.isLessThan (distance together apart) 1e-3 "mm")

            testCase "neighbouring affine maps become one, the identity disappears"
            <| fun () ->
                let random = Random 3
                let a, b = obliqueAffine random false, obliqueAffine random true

                match Transform.Compose(Transform.Linear a, Transform.Identity, Transform.Linear b) with
                | :? Transform.Linear as one ->
                    Expect.isTrue (one.World.IsCloseTo(b.Then a, 1e-9)) "the later one meets points first"
                | other -> failtest $"{other}"

                Expect.equal (Transform.Compose()) Transform.Identity "nothing"

            testSeeds "an inverse undoes its transform, away from the border" 20 (fun random ->
                let grid, field, affine = scene random

                let transform =
                    Transform.Compose(
                        Transform.Linear affine,
                        Transform.Dense field,
                        Transform.Linear affine
                    )

                let struct (x, y, z) = inside random grid
                let struct (mx, my, mz) = transform.MapPoint(x, y, z)
                let back = transform.Inverse().MapPoint(mx, my, mz)
                Expect.isLessThan (distance back (struct (x, y, z))) (1e-3 * smallest grid) "there and back"
                let again = transform.Inverse().Inverse().MapPoint(x, y, z)
                Expect.isLessThan (distance again (struct (mx, my, mz))) 1e-9 "the inverse of the inverse")

            testSeeds "inverted fields, written on a grid: residual, and inverted twice" 5 (fun random ->
                let grid = Grid(24, 22, 20, obliqueAffine random (random.Next 2 = 0))
                let field = gentleField random grid
                let transform = Transform.Dense field
                let inverse = Transform.Dense(transform.Inverse().ToField grid)
                let error = InverseConsistency.Measure(transform, inverse, grid)
                Expect.isLessThan (error.MeanMm / smallest grid) 0.1 "compose(T, T⁻¹), voxels"
                let twice = inverse.Inverse().ToField grid
                let n = int grid.Count
                // Where the inverse left the grid it is an extrapolation.
                let worst =
                    seq {
                        for z in 5 .. grid.Nz - 6 do
                            for y in 5 .. grid.Ny - 6 do
                                for x in 5 .. grid.Nx - 6 do
                                    let i = x + grid.Nx * (y + grid.Ny * z)

                                    for c in 0..2 do
                                        abs (twice.Vectors[c * n + i] - field.Vectors[c * n + i])
                    }
                    |> Seq.averageBy float

                Expect.isLessThan worst 0.05 "invert(invert(T)), voxels")

            testSeeds "as a field on its own grid it is that field" 5 (fun random ->
                let grid, field, affine = scene random
                Expect.equal ((Transform.Dense field).ToField grid) field "the same object"
                let expected = field.After affine

                let found =
                    Transform.Compose(Transform.Linear affine, Transform.Dense field).ToField grid

                let worst =
                    Array.map2 (fun a b -> abs (a - b)) expected.Vectors found.Vectors |> Array.max

                Expect.isLessThan worst 1e-3f "voxels")

            testSeeds "resampling once agrees with warping by the field" 5 (fun random ->
                let grid, field, _ = scene random
                let moving = randomVolume random (Grid(15, 16, 13, grid.VoxelToWorld))
                let transform = Transform.Dense field

                let check (expected: Volume) (found: Volume) tolerance share =
                    let off =
                        Array.map2 (fun a b -> abs (a - b) > tolerance) expected.Values found.Values
                        |> Array.filter id

                    Expect.isLessThan
                        (float off.Length)
                        (share * float expected.Values.Length + 0.5)
                        "voxels that differ"

                check
                    (Warp.Linear(moving, field))
                    (Resampler.Apply(moving, transform, grid, Interpolation.Linear))
                    0.05f
                    0.0

                check
                    (Warp.Nearest(moving, field))
                    (Resampler.Apply(moving, transform, grid, Interpolation.Nearest))
                    0.0f
                    0.001)

            testSeeds "cubic goes through the voxels, labels vote, outside has its value" 5 (fun random ->
                let grid = Grid(13, 11, 9, obliqueAffine random false)
                let volume = randomVolume random grid
                let same = Resampler.Apply(volume, Transform.Identity, grid, Interpolation.Cubic)

                let worst =
                    Array.map2 (fun a b -> abs (a - b)) same.Values volume.Values |> Array.max

                Expect.isLessThan worst 1e-2f "of 200"
                let labels = Volume(grid, volume.Values |> Array.map (fun v -> float32 (int v % 4)))
                // Away from the voxels: a slow vote over one-hot maps.
                let shift = grid.VoxelToWorld.ApplyLinear(0.3, 0.4, 0.2)
                let struct (dx, dy, dz) = shift
                let map = Transform.Linear(Affine.Translation(dx, dy, dz))
                let found = Resampler.Apply(labels, map, grid, Interpolation.Label)

                let weights =
                    [ -3f .. 3f ]
                    |> List.map (fun l ->
                        let one =
                            Volume(grid, labels.Values |> Array.map (fun v -> if v = l then 1f else 0f))

                        l, (Resampler.Apply(one, map, grid, Interpolation.Linear)).Values)

                for i in 0 .. found.Values.Length - 1 do
                    let most = weights |> List.map (fun (_, w) -> w[i]) |> List.max
                    let _, own = weights |> List.find (fun (l, _) -> l = found.Values[i])
                    Expect.isGreaterThan own[i] (most - 1e-4f) "a label with the most votes"

                let struct (fx, fy, fz) = grid.VoxelToWorld.ApplyLinear(20.0, 0.0, 0.0)

                let away =
                    Resampler.Apply(
                        volume,
                        Transform.Linear(Affine.Translation(fx, fy, fz)),
                        grid,
                        Interpolation.Linear,
                        -7f
                    )

                Expect.allEqual away.Values -7f "outside")

            testInFolder
                "linear and cubic agree with scipy, on oblique grids of different size and handedness"
            <| fun folder ->
                let random = Random 11

                for handed in [ false; true ] do
                    let moving = randomVolume random (Grid(20, 17, 15, obliqueAffine random handed))
                    let map = worldMap random moving.Grid.Centre
                    let struct (cx, cy, cz) = moving.Grid.Centre
                    let turn = obliqueAffine random (not handed)

                    let reference =
                        let at = Grid(18, 16, 19, turn).Centre
                        let struct (tx, ty, tz) = at
                        Grid(18, 16, 19, turn.Then(Affine.Translation(cx - tx, cy - ty, cz - tz)))

                    Nifti.Write(folder </> "moving.nii", moving)
                    // In double precision: headers hold single.
                    let rows (a: Affine) =
                        a.ToRows()
                        |> Array.map (fun v -> v.ToString("R", CultureInfo.InvariantCulture))
                        |> String.concat " "

                    let voxels = reference.VoxelToWorld.Then(map).Then(moving.Grid.WorldToVoxel)

                    File.WriteAllText(folder </> "map.txt", rows voxels)

                    let script =
                        """
import sys, numpy as np, nibabel as nib
from scipy.ndimage import map_coordinates
folder = sys.argv[1]
data = np.asarray(nib.load(folder + '/moving.nii').dataobj, dtype=np.float64)
m = np.loadtxt(folder + '/map.txt').reshape(3, 4)
g = np.meshgrid(*[np.arange(n) for n in (18, 16, 19)], indexing='ij')
p = np.stack([m[r, 0]*g[0] + m[r, 1]*g[1] + m[r, 2]*g[2] + m[r, 3] for r in range(3)])
p = np.stack([np.clip(p[r], 0, data.shape[r]-1) for r in range(3)])
for order in (1, 3):
    out = map_coordinates(data, p, order=order, mode='mirror')
    out.astype('<f8').ravel(order='F').tofile(folder + f'/{order}.raw')
"""

                    python script [ folder ] |> ignore

                    for order, interpolation in [ 1, Interpolation.Linear; 3, Interpolation.Cubic ] do
                        let bytes = File.ReadAllBytes(folder </> $"{order}.raw")

                        let ours = Resampler.Apply(moving, Transform.Linear map, reference, interpolation)

                        let worst =
                            ours.Values
                            |> Array.mapi (fun i v -> abs (float v - BitConverter.ToDouble(bytes, 8 * i)))
                            |> Array.max

                        Expect.isLessThan worst 0.02 $"order {order}, of a range of 200"
        ]
