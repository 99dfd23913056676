namespace Ldr

open Ldr.Runtime

/// Two scans on one grid: what a network sees, x fastest.
[<NoEquality; NoComparison>]
type PreparedPair =
    {
        Grid: Grid
        Fixed: float32[]
        Moving: float32[]
        /// 1 inside the fixed scan, 0 where its border was continued.
        Inside: float32[]
        /// Fixed world to moving world, mm.
        Initial: Affine
    }

module Pairs =
    /// Both scans on a grid around the fixed one, by interpolation, continued at their borders. `initial` maps fixed world
    /// to moving world.
    let prepare (grid: Grid) (initial: Affine) (fixedImage: Volume) (movingImage: Volume) : PreparedPair =
        let toVoxel = fixedImage.Grid.WorldToVoxel
        let values = Array.zeroCreate (int grid.Count)
        let limits = fixedImage.Grid

        let isInside x y z =
            let struct (px, py, pz) = grid.VoxelToWorld.Apply(x, y, z)
            let struct (vx, vy, vz) = toVoxel.Apply(px, py, pz)
            let within v n = v > -0.5 && v < float n - 0.5
            within vx limits.Nx && within vy limits.Ny && within vz limits.Nz

        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    if isInside (float x) (float y) (float z) then
                        values[(z * grid.Ny + y) * grid.Nx + x] <- 1.0f

        {
            Grid = grid
            Fixed = Warp.Resample(fixedImage, grid, Affine.Identity).Values
            Moving = Warp.Resample(movingImage, grid, initial).Values
            Inside = values
            Initial = initial
        }

    /// The fixed and the moving subject of the i-th training pair of all: any two different ones of `count`.
    let training (seed: Seed) (count: int) (index: int) =
        let own = seed |> Seed.split "pairs" |> Seed.at index
        let fixedIndex = own |> Seed.split "fixed" |> Seed.next count
        let other = own |> Seed.split "moving" |> Seed.next (count - 1)
        fixedIndex, (if other >= fixedIndex then other + 1 else other)

    /// `wanted` different ordered pairs of `count` subjects (all of them where there are fewer), drawn by a seed.
    let distinct (seed: Seed) (count: int) (wanted: int) : (int * int) list =
        let all = count * (count - 1)

        Seed.permutation all seed
        |> Seq.truncate wanted
        |> Seq.map (fun i ->
            let fixedIndex = i / (count - 1)
            let other = i % (count - 1)
            fixedIndex, (if other >= fixedIndex then other + 1 else other))
        |> List.ofSeq

    /// The pairs that models are scored on.
    let evaluation (seed: Seed) (count: int) (wanted: int) : (int * int) list =
        distinct (seed |> Seed.split "evaluation") count wanted
