module Ldr.Tests.Core.PairTeacherTests

open System
open System.Collections.Concurrent
open System.IO
open Expecto
open Ldr
open Ldr.Runtime
open Ldr.Tests.Runtime.Helpers

let private count = 5

/// Scans that lie apart in the world, laid over each other by their centres.
let private set: TrainingSet =
    let scans =
        [|
            for i in 0 .. count - 1 ->
                let corner = Affine.Translation(30.0 * float i, -7.0 * float i, 5.0)
                Volume(Grid(12, 10, 8, corner), Array.init (12 * 10 * 8) (fun k -> float32 (k % 7)))
        |]

    {
        Names = Array.init count (sprintf "s%d")
        Group =
            [
                for i in 0 .. count - 1 -> Subject.ofImage $"s{i}" (Stored.made (fun () -> scans[i]))
            ]
            |> SubjectGroup.free
        Scans = scans |> Array.map (fun scan () -> scan)
        Masks = Array.create count None
        Labels = lazy [||]
        GridOf = fun scan -> ModelGrid.Canvas(scan.Grid, struct (1.0, 1.0, 1.0), struct (16, 16, 16))
        Alignment = Alignment.Centres
        Affine = ConcurrentDictionary()
    }

/// How each subject's shape differs from one that all have in common: linear maps that do not commute.
let private shapes =
    let random = Random 3

    [|
        for _ in 1..count ->
            Affine.FromRows
                [|
                    for row in 0..2 do
                        for column in 0..3 do
                            let noise =
                                if column < 3 then
                                    0.1 * (random.NextDouble() - 0.5)
                                else
                                    0.0

                            if row = column then 1.0 + noise else noise
                |]
    |]

/// What the teacher is wrong by, voxels.
let private errors =
    let random = Random 4

    Array2D.init count count (fun _ _ -> Array.init 3 (fun _ -> random.NextDouble() - 0.5))

/// From one subject's points to another's, from the grid's centre.
let private between f m (v: float[]) =
    let struct (x, y, z) = shapes[f].Inverse().Then(shapes[m]).Apply(v[0], v[1], v[2])
    [| x; y; z |]

let private plus = Array.map2 (+)

/// The field of a map of the points of the 16³ grid, from its centre.
let private fieldOf (map: float[] -> float[]) =
    let field = Array.zeroCreate<float32>(3 * 4096)

    for z in 0..15 do
        for y in 0..15 do
            for x in 0..15 do
                let q = [| float x - 7.5; float y - 7.5; float z - 7.5 |]
                let moved = map q

                for c in 0..2 do
                    field[c * 4096 + (z * 16 + y) * 16 + x] <- float32 (moved[c] - q[c])

    field

/// Where no way leaves the grid.
let private inner =
    [|
        for c in 0..2 do
            for z in 4..11 do
                for y in 4..11 do
                    for x in 4..11 -> c * 4096 + (z * 16 + y) * 16 + x
    |]

let private origin through : StoreOrigin =
    {
        Teacher = "digest"
        Through = through
        Data = "data"
        Size = 16, 16, 16
        Spacing = 1.0, 1.0, 1.0
        Intensity = IntensityRule.Percentiles(0.5, 99.5)
        Alignment = Alignment.Centres
    }

[<Tests>]
let tests =
    testList
        "pair teacher"
        [
            testInFolder
                "a consensus is the mean of the direct way and of those through others"
                (fun folder ->
                    let asked = ResizeArray()

                    let teacher: PairTeacher =
                        fun (f, m) _ ->
                            asked.Add(f, m)
                            fieldOf (fun q -> plus (between f m q) errors[f, m])

                    let consensus, store =
                        PairTeacher.withStore set (folder </> "store") (origin (Some count)) teacher

                    let kept = PairTeacher.kept set store consensus
                    let f, m = 1, 3
                    let field = kept (f, m) (TrainingSet.pair set (f, m))

                    let expected =
                        fieldOf (fun q ->
                            let errorsOf =
                                errors[f, m]
                                :: [ for c in [ 0; 2; 4 ] -> plus (between c m errors[f, c]) errors[c, m] ]

                            let mean = errorsOf |> List.reduce plus |> Array.map (fun e -> e / 4.0)
                            plus (between f m q) mean)

                    let worst = inner |> Array.map (fun i -> abs (field[i] - expected[i])) |> Array.max

                    // Half precision: two fields of up to two voxels are added, and kept again.
                    Expect.isLessThan worst 0.004f "by hand"
                    Expect.hasLength asked 7 "the pair, and two for each way"
                    Expect.equal (kept (f, m) (TrainingSet.pair set (f, m))) field "the same from the store"
                    kept (m, f) (TrainingSet.pair set (m, f)) |> ignore
                    Expect.hasLength asked 14 "nothing twice"

                    let files part =
                        Directory.GetFiles(folder </> part, "*.safetensors").Length

                    Expect.equal (files "store", files ("store" </> "legs")) (2, 14) "the store"

                    Expect.throws
                        (fun () -> FieldStore.create store.Folder (origin None) |> ignore)
                        "a teacher without its consensus has another store")

            testInFolder "a consensus through fewer subjects than there are" (fun folder ->
                let teacher: PairTeacher = fun (f, m) _ -> fieldOf (between f m)

                let consensus, _ =
                    PairTeacher.withStore set (folder </> "store") (origin (Some 2)) teacher

                for f, m in [ 0, 1; 1, 2; 2, 3; 3, 4 ] do
                    let field = consensus (f, m) (TrainingSet.pair set (f, m))
                    let expected = fieldOf (between f m)

                    Expect.isLessThan
                        (inner |> Array.map (fun i -> abs (field[i] - expected[i])) |> Array.max)
                        0.004f
                        "a teacher without errors is its own consensus"

                let legs = Directory.GetFiles(folder </> "store" </> "legs", "*.safetensors").Length
                // Two for each way of each pair would be 16 beside the four direct ones, if two subjects were between all of them.
                Expect.isLessThanOrEqual legs 20 "two subjects between"
                Expect.isGreaterThan legs 8 "there are ways")
        ]
