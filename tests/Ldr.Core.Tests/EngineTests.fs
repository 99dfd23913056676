/// The managed engine against the networks of libtorch, and what it promises: one result for any number of threads, no
/// allocation, refusals of one line.
module Ldr.Core.Tests.EngineTests

open System
open System.Collections.Generic
open System.IO
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.TestKit
open Ldr.TestKit.Helpers

let private narrow =
    {
        Encoder = [ 4; 6; 8; 20 ]
        Decoder = [ 10; 16; 5 ]
    }

let private cascade affine stages stage =
    Architecture.Cascade
        {
            Affine = affine
            Stages = stages
            Stage = stage
        }

let internal systems =
    [
        "ldr-slim", Architecture.Single(Stage.Ldr StudentWidths.slim)
        "ldr", Architecture.Single(Stage.Ldr StudentWidths.published)
        "ldr-half", Architecture.Single(Stage.LdrHalf StudentWidths.slim)
        "ldr, odd widths", Architecture.Single(Stage.Ldr narrow)
        "ldr-half, odd widths", Architecture.Single(Stage.LdrHalf narrow)
        "ldr-velocity", Architecture.Single(Stage.LdrVelocity StudentWidths.slim)
        "affine-light + 2 × ldr-velocity, odd widths",
        cascade (Some(AffineLight 16)) 2 (Stage.LdrVelocity narrow)
        "2 × ldr-slim", cascade None 2 (Stage.Ldr StudentWidths.slim)
        "affine-light + 3 × ldr-half", cascade (Some(AffineLight 16)) 3 (Stage.LdrHalf StudentWidths.slim)
        "affine-light + ldr", cascade (Some(AffineLight 4)) 1 (Stage.Ldr narrow)
        "affine-light", cascade (Some(AffineLight 16)) 0 (Stage.Ldr narrow)
    ]

/// Random heads and biases, so that fields are several voxels long and the affine map is no identity.
let private enliven (network: Network) =
    use _ = torch.no_grad ()

    for struct (name, p) in network.named_parameters () do
        let generator = new torch.Generator(uint64 (name.Length + 7), torch.CPU)

        if name.EndsWith "bias" then
            p.uniform_ (-0.2, 0.2, generator) |> ignore
        elif name.StartsWith "affine" && (name.Contains "matrix" || name.Contains "shift") then
            p.normal_ (0.0, 0.02, generator) |> ignore
        elif name.Contains "flow" then
            p.normal_ (0.0, 0.5, generator) |> ignore

/// Writes a lively network and gives both forms of it.
let internal withModel (architecture: Architecture) (test: Network -> StudentModel -> unit) =
    inFolder
        (fun folder ->
            use network = Network.create (Seed.ofInt 3) architecture
            enliven network
            let path = folder </> "model.safetensors"

            ModelFile.write
                path
                {
                    Card = ModelCard.untrained architecture
                    Network = network
                }

            test network (StudentModel.Load path))
        ()

/// A smooth image in [0, 1] with some noise.
let internal picture (seed: int) (x, y, z) =
    let random = Random seed

    let a, b, c =
        random.NextDouble() * 0.5, random.NextDouble() * 0.5, random.NextDouble() * 0.5

    Array.init (x * y * z) (fun i ->
        let px, py, pz = float (i % x), float (i / x % y), float (i / x / y)
        let wave = 0.5 + 0.25 * sin (a * px + b * py) + 0.15 * cos (c * pz + b * px)
        float32 (wave + 0.1 * random.NextDouble()))

/// Field and moved image of the engine.
let internal predict (engine: StudentEngine) (x, y, z) fixedImage moving =
    let field = Array.zeroCreate<float32>(3 * x * y * z)
    let moved = Array.zeroCreate<float32>(x * y * z)

    engine.Predict(
        ReadOnlySpan<float32>(fixedImage: float32[]),
        ReadOnlySpan<float32>(moving: float32[]),
        struct (x, y, z),
        Span<float32> field,
        Span<float32> moved,
        null,
        CancellationToken.None
    )

    field, moved

let private byTorch (network: Network) (x, y, z) (fixedImage: float32[]) (moving: float32[]) =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    let shape = [| 1L; 1L; int64 z; int64 y; int64 x |]

    // The engine's own warp kernels serve tensors too: they would be compared with themselves.
    let prediction =
        OwnKernels.without (fun () ->
            network.Predict(
                Bridge.toTensor torch.CPU shape fixedImage,
                Bridge.toTensor torch.CPU shape moving
            ))

    Bridge.toArray prediction.Field, Bridge.toArray prediction.Moved

let private worst (a: float32[]) (b: float32[]) =
    Expect.equal a.Length b.Length "length"

    Array.fold2
        (fun w (x: float32) y ->
            let d = abs (float x - float y)
            if Double.IsNaN d || d > w then d else w)
        0.0
        a
        b

let private meanLength (field: float32[]) =
    field |> Array.averageBy (fun v -> abs (float v))

let private sizes = [ 16, 16, 16; 32, 48, 32; 33, 21, 17; 8, 9, 40 ]

let private parity =
    testList
        "agrees with libtorch"
        [
            for name, architecture in systems ->
                testCase name (fun () ->
                    withModel architecture (fun network model ->
                        Expect.equal model.Parameters (Network.parameterCount network) "parameters"
                        use engine = new StudentEngine(model, 2)

                        for x, y, z in sizes do
                            let f, m = picture 1 (x, y, z), picture 2 (x, y, z)
                            let field, moved = predict engine (x, y, z) f m
                            let field', moved' = byTorch network (x, y, z) f m

                            Expect.isGreaterThan
                                (meanLength field')
                                0.15
                                $"the field at {x}×{y}×{z} does something"

                            Expect.isLessThan (worst field field') 1e-3 $"field at {x}×{y}×{z}"
                            Expect.isLessThan (worst moved moved') 1e-4 $"moved at {x}×{y}×{z}"))
        ]

let private identity =
    testCase "one result for any number of threads" (fun () ->
        for name, architecture in systems do
            withModel architecture (fun _ model ->
                let size = 37, 26, 41
                let f, m = picture 3 size, picture 4 size

                let of' threads =
                    use engine = new StudentEngine(model, threads)
                    let first = predict engine size f m
                    // Again with another size in between: nothing is left over from a call.
                    predict engine (16, 16, 16) (picture 5 (16, 16, 16)) (picture 6 (16, 16, 16))
                    |> ignore

                    Expect.equal (predict engine size f m) first $"{name}: the second call"
                    first

                let one = of' 1

                for threads in [ 2; 3; 7 ] do
                    Expect.equal (of' threads) one $"{name} on {threads} threads"))

let private allocation =
    testCase "later calls allocate nothing" (fun () ->
        withModel (cascade (Some(AffineLight 16)) 2 (Stage.LdrHalf StudentWidths.slim)) (fun _ model ->
            let size = 32, 32, 32

            let scan seed =
                Volume(gridOf 32 32 32, picture seed size)

            let fixedScan, moving = scan 1, scan 2
            use predictor = new StudentPredictor(model, 2)

            let away =
                Volume(Grid(30, 28, 31, Affine.Translation(0.3, 0.2, 300.)), picture 7 (30, 28, 31))

            for other in [ moving; away ] do
                let field = DisplacementField.Zero fixedScan.Grid

                let moved =
                    Volume(fixedScan.Grid, Array.zeroCreate<float32>(int fixedScan.Grid.Count))

                let call () =
                    predictor.PredictInto(
                        fixedScan,
                        other,
                        field,
                        moved,
                        Nullable(),
                        null,
                        CancellationToken.None
                    )

                for _ in 1..3 do
                    call ()

                // The least of several: the runtime's own threads allocate now and then.
                let least =
                    Seq.init 5 (fun _ ->
                        let before = GC.GetTotalAllocatedBytes true
                        call ()
                        GC.GetTotalAllocatedBytes true - before)
                    |> Seq.min

                Expect.isLessThan least 1024L "bytes"))

let private memory =
    testCase "activations take the bytes per voxel that docs/lab/performance.md states" (fun () ->
        let standard = StudentWidths.slim

        for architecture, stated in
            [
                Architecture.Single(Stage.Ldr standard), 24.0
                Architecture.Single(Stage.LdrHalf standard), 26.0
                Architecture.Single(Stage.LdrVelocity standard), 27.5
                cascade None 2 (Stage.LdrHalf standard), 42.0
                cascade (Some(AffineLight 16)) 3 (Stage.LdrHalf standard), 42.0
            ] do
            withModel architecture (fun _ model ->
                let size = 96, 96, 96
                use engine = new StudentEngine(model, 1)
                predict engine size (picture 1 size) (picture 2 size) |> ignore
                let bytes = float engine.ActivationBytes / float (96 * 96 * 96)
                Expect.isLessThan bytes (stated + 1.5) "bytes per voxel, with the borders"
                Expect.isGreaterThan bytes (stated - 1.5) "and the statement is no exaggeration"))

let private pipeline =
    testCase
        "the managed engine predicts what libtorch predicts, and the registrar goes on from there"
        (fun () ->
            withModel (Architecture.Single(Stage.LdrHalf StudentWidths.slim)) (fun network student ->
                let model =
                    {
                        Card = ModelCard.untrained network.Architecture.Value
                        Network = network
                    }

                use predictor = new StudentPredictor(student, 2)
                use registrar = new Registrar(predictor)
                let libtorch: IFieldPredictor = TorchPredictor(torch.CPU, model)
                let oblique = obliqueAffine (Random 4) true

                let scans =
                    [
                        gridOf 32 32 32, gridOf 32 32 32
                        gridOf 12 20 31, gridOf 30 26 9
                        Grid(32, 30, 28, oblique), Grid(30, 30, 30, oblique)
                        gridOf 24 24 24, Grid(24, 24, 24, Affine.Translation(500., 0., 0.))
                    ]

                for fixedGrid, movingGrid in scans do
                    let scan seed (grid: Grid) =
                        Volume(
                            grid,
                            picture seed (grid.Nx, grid.Ny, grid.Nz) |> Array.map (fun v -> 900.0f * v)
                        )

                    let fixedScan, moving = scan 1 fixedGrid, scan 2 movingGrid

                    let theirs =
                        OwnKernels.without (fun () ->
                            libtorch.Predict(fixedScan, moving, Nullable(), null, CancellationToken.None))

                    let ours =
                        predictor.Predict(fixedScan, moving, Nullable(), null, CancellationToken.None)

                    Expect.equal ours.Alignment theirs.Alignment "alignment"
                    Expect.isTrue (ours.Initial.IsCloseTo(theirs.Initial, 0.0)) "initial"
                    Expect.isLessThan (worst ours.Field.Vectors theirs.Field.Vectors) 1e-3 "field"

                    Expect.isLessThan
                        (worst ours.Deformation.Vectors theirs.Deformation.Vectors)
                        1e-3
                        "deformation"

                    Expect.isLessThan
                        (worst ours.Moved.Values theirs.Moved.Values)
                        0.2
                        "moved, of a range of 900"

                    let field = DisplacementField.Zero fixedGrid
                    let moved = Volume(fixedGrid, Array.zeroCreate<float32>(int fixedGrid.Count))

                    predictor.PredictInto(
                        fixedScan,
                        moving,
                        field,
                        moved,
                        Nullable(),
                        null,
                        CancellationToken.None
                    )

                    Expect.equal field.Vectors ours.Field.Vectors "the field, in the caller's memory"
                    Expect.equal moved.Values ours.Moved.Values "the moved scan, in the caller's memory"

                    let unfolded =
                        registrar.Register(
                            fixedScan,
                            moving,
                            RegistrationOptions(Diffeomorphic = JacobianBounds.NoFolds)
                        )

                    let expected = (DiffeomorphicFit.To ours.Deformation).Field
                    Expect.equal unfolded.Deformation.Vectors expected.Vectors "the nearest without folds"

                    Expect.isLessThan
                        (worst unfolded.Field.Vectors (expected.After ours.Initial).Vectors)
                        1e-4
                        "total"

                    Expect.equal (Folding.Measure unfolded.Field).FoldedPercent 0.0 "no fold"

                    Expect.equal
                        unfolded.Moved.Values
                        (Warp.Linear(moving, unfolded.Field)).Values
                        "moved by it"))

let private half =
    testInFolder "half-precision weights are read" (fun folder ->
        let architecture = Architecture.Single(Stage.Ldr narrow)

        withModel architecture (fun network _ ->
            let full, half = folder </> "full.safetensors", folder </> "half.safetensors"

            ModelFile.write
                full
                {
                    Card = ModelCard.untrained architecture
                    Network = network
                }

            let file = Safetensors.Read full
            let metadata = Dictionary file.Metadata

            let rounded =
                [|
                    for t in file.Tensors ->
                        SafeTensor.FromFloats(t.Name, t.Shape, ReadOnlySpan(t.ToFloats()), true)
                |]

            Safetensors.Write(half, metadata, rounded)
            let size = 32, 32, 32
            let f, m = picture 1 size, picture 2 size

            let of' path =
                use engine = new StudentEngine(StudentModel.Load path, 1)
                predict engine size f m

            let (exact, _), (near, _) = of' full, of' half
            let difference = worst exact near
            Expect.isGreaterThan difference 0.0 "weights are rounded"
            Expect.isLessThan difference 0.1 "the field is nearly the same"

            Expect.isLessThan
                (FileInfo(half).Length * 10L)
                (FileInfo(full).Length * 6L)
                "the file is smaller"))

let private concurrent =
    testCase "several threads may use one predictor" (fun () ->
        withModel (Architecture.Single(Stage.LdrHalf narrow)) (fun _ model ->
            use predictor = new StudentPredictor(model, 2)

            let pairs =
                [|
                    for k in 0..7 ->
                        let size = (if k % 2 = 0 then 20, 24, 28 else 33, 18, 16)
                        let x, y, z = size
                        let volume seed = Volume(gridOf x y z, picture seed size)
                        volume k, volume (k + 50)
                |]

            let register (f, m) =
                predictor.Predict(f, m, Nullable(), null, CancellationToken.None).Field.Vectors

            let alone = pairs |> Array.map register
            let together = pairs |> Array.Parallel.map register
            Expect.equal together alone "fields"))

/// Hears progress at once, unlike Progress<T>.
type private Ear(hear: float -> unit) =
    interface IProgress<float> with
        member _.Report value = hear value

let private stopping =
    testCase "progress rises to 1, and a call can be stopped" (fun () ->
        withModel (cascade (Some(AffineLight 4)) 2 (Stage.Ldr narrow)) (fun _ model ->
            use predictor = new StudentPredictor(model, 2)

            let volume seed =
                Volume(gridOf 32 32 32, picture seed (32, 32, 32))

            let heard = List<float>()

            predictor.Predict(volume 1, volume 2, Nullable(), Ear heard.Add, CancellationToken.None)
            |> ignore

            Expect.equal (Seq.last heard) 1.0 "the end"
            Expect.isTrue (heard |> Seq.pairwise |> Seq.forall (fun (a, b) -> a <= b)) "it rises"
            use source = new CancellationTokenSource()
            let after = List<float>()

            let listen value =
                after.Add value

                if value > 0.3 then
                    source.Cancel()

            Expect.throwsT<OperationCanceledException>
                (fun () ->
                    predictor.Predict(volume 1, volume 2, Nullable(), Ear listen, source.Token)
                    |> ignore)
                "stopped"

            Expect.isLessThan (Seq.last after) 1.0 "before the end"

            predictor.Predict(volume 1, volume 2, Nullable(), null, CancellationToken.None)
            |> ignore))

let private refusals =
    testInFolder "models that it cannot run are refused with one line" (fun folder ->
        let path = folder </> "model.safetensors"

        let write architecture change =
            use network = Network.create (Seed.ofInt 1) architecture

            ModelFile.write
                path
                {
                    Card = ModelCard.untrained architecture
                    Network = network
                }

            let file = Safetensors.Read path
            let metadata = Dictionary file.Metadata
            let tensors = List file.Tensors
            change metadata tensors
            Safetensors.Write(path, metadata, tensors)

        let single = Architecture.Single(Stage.Ldr narrow)

        let refused text architecture change =
            write architecture change
            let mutable model = Unchecked.defaultof<StudentModel | null>
            let mutable problem = Unchecked.defaultof<string | null>
            Expect.isFalse (StudentModel.TryLoad(path, &model, &problem)) "TryLoad"
            let message = invalid path (fun () -> StudentModel.Load path)
            Expect.equal problem message "the same line"
            Expect.stringContains message text "the message"

        let keep _ _ = ()

        refused "\"vtn\"" (Architecture.Single(Stage.Vtn { Levels = 3; Channels = 4 })) keep

        refused "\"affine\"" (cascade (Some(AffineStem.Affine 2)) 1 (Stage.Ldr narrow)) keep

        refused "\"stage1.conv2.bias\" is missing" single (fun _ t ->
            t.RemoveAll(fun x -> x.Name = "stage1.conv2.bias") |> ignore)

        refused "\"other.weight\" does not belong" single (fun _ t ->
            t.Add(SafeTensor.FromFloats("other.weight", [| 1L |], ReadOnlySpan [| 1.0f |])))

        refused "its architecture needs 4×2×4×4×4" single (fun _ t ->
            t.RemoveAll(fun x -> x.Name = "stage1.conv1.weight") |> ignore
            t.Add(SafeTensor.FromFloats("stage1.conv1.weight", [| 1L |], ReadOnlySpan [| 1.0f |])))

        refused "$.architecture.encoder" single (fun m _ ->
            m["architecture"] <- """{"kind":"ldr","encoder":[1,2]}""")

        refused "$.spacing" single (fun m _ -> m["spacing"] <- "[1,0,1]")
        refused "$.alignment" single (fun m _ -> m["alignment"] <- "7")
        refused "metadata are damaged" single (fun m _ -> m["size"] <- "[1,")
        refused "its format is" single (fun m _ -> m["format"] <- "other")

        invalid (folder </> "absent") (fun () -> StudentModel.Load(folder </> "absent"))
        |> ignore)

/// Said by the runs of `narrower` alone.
let private lanes =
    testCase "the vectors are as wide as asked" (fun () ->
        match Machines.expectedLanes () with
        | None -> Tests.skiptest "only runs with a narrower machine say what they expect"
        | Some expected -> Expect.equal StudentGraph.Lanes expected "lanes")

/// The engine on a machine with less.
let private narrower =
    Machines.narrower
        typeof<Ear>.Assembly.Location
        StudentGraph.Lanes
        [ "ldr/core/engine"; "ldr/core/trunks" ]

let tests =
    testList
        "engine"
        [
            parity
            identity
            allocation
            memory
            pipeline
            half
            concurrent
            stopping
            refusals
            lanes
            narrower
        ]
