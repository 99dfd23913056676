/// Pairs that are moved apart are found together again, and the shipped student registers them as well as before.
/// `LDR_APART=20 ./test --filter ldr/apart` runs as many pairs; without it, six.
module Ldr.Core.Tests.ApartTests

open System
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.TestKit.Repository
open Ldr.TestKit
open Ldr.TestKit.Helpers

let private models = Path.Combine(Repository.root, "models")

/// A turn of up to 30° about a random axis, a scale of 0.85 to 1.2 and a shift of up to 20 mm along each axis.
let private motion (random: Random) struct (cx, cy, cz) =
    let between low high =
        low + (high - low) * random.NextDouble()

    let axis = Array.init 3 (fun _ -> between -1.0 1.0)
    let length = axis |> Array.sumBy (fun a -> a * a) |> sqrt
    let x, y, z = axis[0] / length, axis[1] / length, axis[2] / length
    let angle = between -30.0 30.0 * Math.PI / 180.0
    let c, s = cos angle, sin angle
    let t = 1.0 - c

    let turn =
        Affine.FromRows(
            t * x * x + c,
            t * x * y - s * z,
            t * x * z + s * y,
            0.0,
            t * x * y + s * z,
            t * y * y + c,
            t * y * z - s * x,
            0.0,
            t * x * z - s * y,
            t * y * z + s * x,
            t * z * z + c,
            0.0
        )

    let scale = between 0.85 1.2
    let shift () = between -20.0 20.0

    Affine
        .Translation(-cx, -cy, -cz)
        .Then(turn)
        .Then(Affine.Scaling(scale, scale, scale))
        .Then(Affine.Translation(cx + shift (), cy + shift (), cz + shift ()))

let private under (map: Affine) (volume: Volume) =
    let g = volume.Grid
    Volume(Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then map), volume.Values, volume.StoredAs)

/// On an upright grid of 1 mm that holds all of it, zeros around.
let private upright interpolation (volume: Volume) =
    let g = volume.Grid

    let corners =
        [
            for x in [ 0; g.Nx - 1 ] do
                for y in [ 0; g.Ny - 1 ] do
                    for z in [ 0; g.Nz - 1 ] do
                        let struct (a, b, c) = g.VoxelToWorld.Apply(x, y, z)
                        [| a; b; c |]
        ]

    let low = Array.init 3 (fun k -> corners |> List.map (fun p -> p[k]) |> List.min)
    let high = Array.init 3 (fun k -> corners |> List.map (fun p -> p[k]) |> List.max)
    let n k = int (ceil (high[k] - low[k])) + 1
    let grid = Grid(n 0, n 1, n 2, Affine.Translation(low[0], low[1], low[2]))
    Resampler.Apply(volume, Transform.Linear Affine.Identity, grid, interpolation, Nullable 0f)

let tests =
    testList
        "apart"
        [
            testCase
                "hippocampi turned, shifted and scaled lose at most 0.02 Dice, by headers or resampled with zeros around"
            <| fun () ->
                let data = needData "Task04_Hippocampus"
                let file = Path.Combine(models, "hippocampus.safetensors")
                let card, _ = ModelFile.inspect file |> Error.orRaise
                use registrar = new Registrar(StudentModel.Load file)

                let pairs =
                    match Environment.GetEnvironmentVariable "LDR_APART" with
                    | null -> 6
                    | count -> int count

                let subject name =
                    let read part =
                        ImageFile.Read(data </> part </> $"{name}.nii.gz")

                    read "imagesTr", read "labelsTr"

                let dice
                    prealignment
                    (fixedScan: Volume, fixedLabels: Volume)
                    (moving: Volume, labels: Volume)
                    =
                    let options = RegistrationOptions(Prealignment = prealignment, Check = false)

                    let result = registrar.Register(fixedScan, moving, options)

                    Overlap.Measure(fixedLabels, Warp.Nearest(labels, result.Field), [| 1; 2 |])
                    |> Seq.averageBy _.Dice

                let scores =
                    [
                        for pair in 0 .. pairs - 1 do
                            let name k = card.Test[k % card.Test.Length]
                            let fixedPair = subject (name pair)
                            let image, labels = subject (name (pair * 7 + 3))
                            let map = motion (Random(pair + 1)) image.Grid.Centre
                            let image', labels' = under map image, under map labels

                            dice Prealignment.Default fixedPair (image, labels),
                            dice Prealignment.Auto fixedPair (image', labels'),
                            dice
                                Prealignment.Auto
                                fixedPair
                                (upright Interpolation.Linear image', upright Interpolation.Nearest labels')
                    ]

                let mean of' = scores |> List.averageBy of'
                let usual = mean (fun (a, _, _) -> a)
                let header, resampled = mean (fun (_, b, _) -> b), mean (fun (_, _, c) -> c)

                if pairs > 6 then
                    eprintfn
                        $"{pairs} pairs: Dice %.4f{usual}, by headers %.4f{header}, resampled %.4f{resampled}"

                Expect.isGreaterThan header (usual - 0.02) $"by headers, from {usual}"
                Expect.isGreaterThan resampled (usual - 0.02) $"resampled, from {usual}"
        ]
