/// `register` on real scans, and what other programs make of its files.
module Ldr.Cli.Tests.RegisterTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.TestKit.Repository
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private pair () =
    let folder = needData "Task04_Hippocampus"

    let scan name =
        folder </> "imagesTr" </> $"hippocampus_{name}.nii.gz"

    let labels name =
        folder </> "labelsTr" </> $"hippocampus_{name}.nii.gz"
    // 35 × 51 × 35 and 36 × 48 × 40 voxels, with different origins.
    scan "001", scan "008", labels "008"

let private register (folder: string) =
    let fixedFile, moving, labels = pair ()
    writeModel (folder </> "model.safetensors")

    let outcome =
        ldr
            [
                "register"
                "--fixed"
                fixedFile
                "--moving"
                moving
                "--model"
                folder </> "model.safetensors"
                "--moved"
                folder </> "moved.nii.gz"
                "--transform"
                folder </> "field.nii.gz"
                "--labels"
                labels
                "--moved-labels"
                folder </> "labels.nii.gz"
                "--json"
            ]

    // The model has learnt nothing: its verdict may be that the registration failed.
    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
    fixedFile, moving, outcome

/// Where a voxel of the fixed scan is compared: away from the border, and where the moving scan has values.
let private compared (field: DisplacementField) (moving: Volume) margin =
    let grid = field.Grid
    let away v n = v >= margin && v < n - margin

    [
        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    if away x grid.Nx && away y grid.Ny && away z grid.Nz then
                        let i = (z * grid.Ny + y) * grid.Nx + x
                        let n = int grid.Count

                        let at axis v =
                            float v + float field.Vectors[axis * n + i]

                        let struct (wx, wy, wz) = grid.VoxelToWorld.Apply(at 0 x, at 1 y, at 2 z)
                        let struct (mx, my, mz) = moving.Grid.WorldToVoxel.Apply(wx, wy, wz)
                        let inside v n = v >= 0.0 && v <= float (n - 1)

                        if
                            inside mx moving.Grid.Nx && inside my moving.Grid.Ny && inside mz moving.Grid.Nz
                        then
                            i
    ]

let tests =
    testList
        "register"
        [
            testInFolder
                "two hippocampus scans: geometry, labels, field and the keys of --json"
                (fun folder ->
                    let fixedFile, moving, outcome = register folder
                    let fixedScan = Nifti.Read fixedFile
                    let moved = Nifti.Read(folder </> "moved.nii.gz")
                    Expect.equal moved.Grid fixedScan.Grid "the fixed image's geometry"
                    let labels = Nifti.Read(folder </> "labels.nii.gz")
                    Expect.equal labels.Grid fixedScan.Grid "also of the labels"

                    Expect.isTrue
                        (Overlap.Labels labels |> Seq.forall (fun l -> l = 1 || l = 2))
                        "no invented label"

                    Expect.isNonEmpty (Overlap.Labels labels) "labels"
                    let field = Nifti.ReadField(folder </> "field.nii.gz")
                    let again = Warp.Linear(Nifti.Read moving, field)
                    let range = moved.Range |> fun (struct (low, high)) -> high - low

                    let worst =
                        Array.map2 (fun a b -> abs (a - b)) again.Values moved.Values |> Array.max

                    Expect.isLessThan worst (1e-3f * range) "the written field gives the written image"
                    let node = (JsonNode.Parse outcome.Output |> nonNull).AsObject()

                    for key in
                        [
                            "moved"
                            "transform"
                            "similarity_before"
                            "similarity_after"
                            "folded_percent"
                            "mean_displacement_mm"
                            "milliseconds"
                            "verdict"
                            "reasons"
                        ] do
                        Expect.isTrue (node.ContainsKey key) key

                    Expect.equal (string node["initial_alignment"]) "centres" "alignment"
                    let inspected = ldr [ "inspect"; folder </> "field.nii.gz"; "--json" ]
                    let header = JsonNode.Parse inspected.Output
                    Expect.equal (string header["kind"]) "field" "what inspect calls it")

            testInFolder "plastimatch applies the field and gets the same moved image" (fun folder ->
                if not (has "plastimatch") then
                    skiptest "plastimatch is not installed"

                let _, moving, _ = register folder

                let outcome =
                    run
                        "plastimatch"
                        [
                            "convert"
                            "--input"
                            moving
                            "--xf"
                            folder </> "field.nii.gz"
                            "--output-img"
                            folder </> "theirs.nii.gz"
                            "--output-type"
                            "float"
                        ]

                Expect.equal outcome.Code 0 (outcome.Output + outcome.Errors)
                let ours = Nifti.Read(folder </> "moved.nii.gz")
                let theirs = Nifti.Read(folder </> "theirs.nii.gz")
                Expect.isTrue (ours.Grid.SameAs theirs.Grid) "one grid"
                let source = Nifti.Read moving
                let places = compared (Nifti.ReadField(folder </> "field.nii.gz")) source 4
                Expect.isGreaterThan places.Length 5000 "enough voxels to compare"
                let struct (low, high) = source.Range

                let difference =
                    places
                    |> List.averageBy (fun i -> abs (float ours.Values[i] - float theirs.Values[i]))

                Expect.isLessThan difference (0.005 * float (high - low)) "mean absolute difference")
        ]
