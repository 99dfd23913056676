/// Random fields and maps.
module Ldr.TestKit.Fields

open System
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.TestKit.Helpers

/// A smooth random field: random vectors (mm, up to `size`) on 5³ points around the grid, interpolated.
let smoothField (random: Random) (grid: Grid) size =
    let coarse =
        let step n = float (max 1 (n - 1)) / 4.0

        Grid(5, 5, 5, Affine.Scaling(step grid.Nx, step grid.Ny, step grid.Nz).Then grid.VoxelToWorld)

    let millimetres = randomFloats random (3 * 125) -size size
    let vectors = Array.zeroCreate<float32>(3 * 125)

    for i in 0..124 do
        let struct (x, y, z) =
            coarse.WorldToVoxel.ApplyLinear(
                float millimetres[i],
                float millimetres[125 + i],
                float millimetres[250 + i]
            )

        vectors[i] <- float32 x
        vectors[125 + i] <- float32 y
        vectors[250 + i] <- float32 z

    DisplacementField(coarse, vectors).ResampleTo grid

/// A small rotation, stretch and shift of the world about a point.
let worldMap (random: Random) struct (cx, cy, cz) =
    let small size =
        size * (2.0 * random.NextDouble() - 1.0)

    let a, b = small 0.3, small 0.3

    Affine
        .Translation(-cx, -cy, -cz)
        .Then(Affine.Scaling(1.0 + small 0.1, 1.0 + small 0.1, 1.0 + small 0.1))
        .Then(Affine.FromRows(1., 0., 0., 0., 0., cos a, -sin a, 0., 0., sin a, cos a, 0.))
        .Then(Affine.FromRows(cos b, -sin b, 0., 0., sin b, cos b, 0., 0., 0., 0., 1., 0.))
        .Then(Affine.Translation(cx + small 5.0, cy + small 5.0, cz + small 5.0))

let distance struct (ax: float, ay: float, az: float) struct (bx, by, bz) =
    sqrt ((ax - bx) ** 2.0 + (ay - by) ** 2.0 + (az - bz) ** 2.0)

/// Length of the shortest side of a voxel.
let smallest (grid: Grid) =
    let struct (x, y, z) = grid.Spacing
    min x (min y z)

/// A field that has an inverse: neighbouring vectors of the 5³ points differ by less than their distance.
let gentleField (random: Random) (grid: Grid) =
    smoothField random grid (0.7 * smallest grid)
