namespace Ldr

open System
open System.Diagnostics
open System.Globalization
open System.Text.Json.Nodes
open System.Threading
open FSharp.NativeInterop
open FsToolkit.ErrorHandling
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Graphs are lent memory.

/// Which training is timed.
type TrainingBenchmarkSetting =
    {
        Data: DataOptions
        Seed: int
        Training: TrainingOptions
        /// The architecture of the teacher, if a network is one; its weights are random.
        Teacher: Architecture option
        Threads: int
        /// How often each engine does a step, or each of the schedule's first cycle; the median counts.
        Rounds: int
    }

/// The median step of one engine, and the milliseconds of its parts; the mean over the steps of a cycle.
type EngineSteps =
    {
        Milliseconds: float
        Parts: (string * float) list
    }

type TrainingMeasured =
    {
        Setting: TrainingBenchmarkSetting
        /// What trains the network where libtorch is not asked for.
        Engine: string
        Managed: EngineSteps
        Torch: EngineSteps
        /// Multiplications and additions of the network's convolutions, forward and back, in a step.
        Gflop: float
        /// The rate of a product of two matrices 2048 × 2048 by libtorch.
        GemmGflops: float
        /// Layer, milliseconds, GFLOP: of the stages' convolutions.
        Layers: (string * float * float) list
        PeakMb: float
    }

module TrainingBenchmark =
    let private parts =
        [
            "data", StepPart.Data
            "student", StepPart.Student
            "teacher", StepPart.Teacher
            "discriminator", StepPart.Discriminator
            "optimiser", StepPart.Optimiser
        ]

    let private job (setting: TrainingBenchmarkSetting) (set: TrainingSet) : TrainingJob =
        { TrainingJob.create setting.Training set with
            Seed = Seed.ofInt setting.Seed
            Teacher =
                setting.Teacher
                |> Option.map (fun architecture -> Online(Network.create (Seed.ofInt 9) architecture))
        }

    /// Steps before anything counts: kernels are compiled, scans are read, memory is taken.
    let private warming = 3

    /// Steps after which a schedule's first phase begins anew.
    let private cycle (setting: TrainingBenchmarkSetting) =
        match setting.Training.Distillation with
        | Some { Schedule = phase :: _ } -> phase.Cycle.Length
        | _ -> 1

    /// Both engines in turn, step by step.
    let private inTurn (setting: TrainingBenchmarkSetting) (set: TrainingSet) =
        let stepper () =
            Trainer.stepper (Trainer.step setting.Training) (job setting set)
            |> Error.orRaise

        let measured (step: int -> Result<Metrics, Error>) index =
            Benchmark.timed (fun () -> step index |> Error.orRaise |> ignore)

        let own, ownClock = stepper ()
        let theirs, theirClock = OwnKernels.without stepper

        let spent (clock: StepClock) =
            parts |> List.map (snd >> clock.SecondsOf)

        let rounds =
            [
                for index in 0 .. warming + setting.Rounds * cycle setting - 1 do
                    let before = spent ownClock, spent theirClock
                    let own = measured own index
                    let theirs = OwnKernels.without (fun () -> measured theirs index)

                    let difference after before =
                        List.map2 (fun a b -> 1000.0 * (a - b)) after before

                    if index >= warming then
                        (own, difference (spent ownClock) (fst before)),
                        (theirs, difference (spent theirClock) (snd before))
            ]

        // Steps of a cycle differ: the median for each place, and then their mean.
        let typical (values: float list) =
            let places = cycle setting

            List.init places (fun place ->
                values
                |> List.indexed
                |> List.filter (fun (index, _) -> index % places = place)
                |> List.map snd
                |> Statistics.median)
            |> List.average

        let summary (steps: (float * float list) list) : EngineSteps =
            {
                Milliseconds = typical (List.map fst steps)
                Parts =
                    [
                        for index, (name, _) in List.indexed parts do
                            name, typical (steps |> List.map (fun (_, parts) -> parts[index]))
                    ]
            }

        summary (List.map fst rounds), summary (List.map snd rounds)

    /// The convolutions of one stage, layer by layer; the fastest of several runs.
    let private layers (setting: TrainingBenchmarkSetting) : (string * float * float) list =
        let x, y, z = setting.Data.Size
        let architecture = setting.Training.Architecture
        let multiple = Architecture.multiple architecture

        let padded n =
            (n + multiple - 1) / multiple * multiple

        let stage = (Architecture.asCascade architecture).Stage

        let trunk =
            match stage with
            | Stage.Ldr widths -> Some(StudentTrunk(widths, false))
            | Stage.LdrHalf widths
            | Stage.LdrVelocity widths -> Some(StudentTrunk(widths, true))
            | Stage.Vtn scale -> Some(VtnTrunk scale)
            | Stage.LdrReference
            | Stage.VoxelMorph -> None

        match trunk with
        | None -> []
        | Some trunk ->
            use _ = torch.NewDisposeScope()
            let samples = setting.Training.Batch

            let shape =
                [| int64 samples; 2L; int64 (padded z); int64 (padded y); int64 (padded x) |]

            use network = Network.create (Seed.ofInt 1) (Architecture.Single stage)

            let parameters =
                [ for parameter in network.parameters () -> parameter :> torch.Tensor ]

            let gradients = parameters |> List.map torch.empty_like
            use graph = TrunkGraphs.pool.Rent(trunk, shape)
            TrunkGraphs.lend graph parameters
            TrunkGraphs.lendGradients graph gradients
            let pairs, ofPairs = torch.rand shape, torch.empty shape
            let result = torch.empty (TrunkGraphs.resultShape trunk shape)

            [
                for _ in 1..8 do
                    let profile = Collections.Generic.List()
                    graph.Profile <- profile
                    graph.Forward(TrunkGraphs.pairMemory pairs, TensorMemory.start result, setting.Threads)
                    let byPairs = TrunkGraphs.pairMemory ofPairs |> Nullable
                    graph.Backward(TensorMemory.start result, byPairs, setting.Threads)
                    Array.ofSeq profile
            ]
            |> Benchmark.layersOf List.min

    let private gemmGflops () =
        use _ = torch.NewDisposeScope()
        let multiply = Benchmark.gemm ()
        [ for _ in 1..7 -> Benchmark.gemmRate (Benchmark.timed multiply) ] |> List.max

    /// Times the steps of a training by both engines in one process.
    let run (setting: TrainingBenchmarkSetting) : Result<TrainingMeasured, Error> =
        result {
            torch.set_num_threads setting.Threads
            let x, y, z = setting.Data.Size
            let! dataset = Dataset.load setting.Data
            let! split = Dataset.split setting.Data.Split dataset
            let! set = TrainingSet.load setting.Data split.TrainGroup
            let! managed, torch' = Error.guard (fun () -> inTurn setting set)
            use own = Process.GetCurrentProcess()
            let macs = Network.macs setting.Training.Architecture (z, y, x)
            let batch = setting.Training.Batch * setting.Training.Accumulate

            return
                {
                    Setting = setting
                    Engine = TrainingEngine.describe torch.CPU setting.Training.Architecture setting.Data.Size
                    Managed = managed
                    Torch = torch'
                    Gflop = 6.0 * macs * float batch / 1e9
                    GemmGflops = gemmGflops ()
                    Layers = layers setting
                    PeakMb = float own.PeakWorkingSet64 / 1e6
                }
        }

    let private number digits (value: float) =
        value.ToString("F" + string digits, CultureInfo.InvariantCulture)

    /// For people.
    let toText (m: TrainingMeasured) : string =
        let x, y, z = m.Setting.Data.Size

        let row name (steps: EngineSteps) =
            let parts =
                steps.Parts
                |> List.filter (fun (_, ms) -> ms >= 0.05)
                |> List.map (fun (part, ms) -> $"{part} {number 1 ms}")
                |> String.concat ", "

            $"  {name, -8} {number 2 (1000.0 / steps.Milliseconds)} steps/s, {number 1 steps.Milliseconds} ms ({parts})"

        let layer (name, ms: float, gflop: float) =
            let rate =
                if gflop > 0.0 then
                    $"{number 0 (1000.0 * gflop / ms)} GFLOP/s"
                else
                    ""

            $"  {name, -18} {number 2 ms} ms  {rate}"

        let rate = 1000.0 * m.Gflop / m.Managed.Milliseconds

        [
            $"{m.Setting.Training.Name}: {Architecture.describe m.Setting.Training.Architecture}, {x}×{y}×{z}, batch {m.Setting.Training.Batch}, {m.Setting.Threads} threads; engine: {m.Engine}"
            row "managed" m.Managed
            row "torch" m.Torch
            $"  managed is {number 2 (m.Torch.Milliseconds / m.Managed.Milliseconds)} times as fast"
            $"  convolutions: {number 2 m.Gflop} GFLOP a step, {number 0 rate} GFLOP/s over the whole step; a product of matrices: {number 0 m.GemmGflops} GFLOP/s"
            $"  peak memory, both engines: {number 0 m.PeakMb} MB"
            if not m.Layers.IsEmpty then
                ""
                "A stage by itself:"
                yield! m.Layers |> List.map layer
        ]
        |> String.concat "\n"

    /// For programs.
    let toJson (m: TrainingMeasured) : JsonNode =
        let steps (engine: EngineSteps) =
            let parts = JsonObject()

            for name, ms in engine.Parts do
                parts.Add(name, JsonValue.Create(Math.Round(ms, 3)))

            let node = JsonObject()
            node.Add("steps_per_second", JsonValue.Create(Math.Round(1000.0 / engine.Milliseconds, 3)))
            node.Add("ms", JsonValue.Create(Math.Round(engine.Milliseconds, 3)))
            node.Add("parts_ms", parts)
            node

        let layers =
            JsonArray(
                [|
                    for name, ms, gflop in m.Layers do
                        let node = JsonObject()
                        node.Add("name", JsonValue.Create name)
                        node.Add("ms", JsonValue.Create(Math.Round(ms, 4)))
                        node.Add("gflop", JsonValue.Create(Math.Round(gflop, 5)))
                        node :> JsonNode
                |]
            )

        let node = JsonObject()
        node.Add("training", JsonValue.Create m.Setting.Training.Name)
        node.Add("engine", JsonValue.Create m.Engine)
        node.Add("threads", JsonValue.Create m.Setting.Threads)
        node.Add("managed", steps m.Managed)
        node.Add("torch", steps m.Torch)
        node.Add("ratio", JsonValue.Create(Math.Round(m.Torch.Milliseconds / m.Managed.Milliseconds, 3)))
        node.Add("gflop", JsonValue.Create(Math.Round(m.Gflop, 4)))
        node.Add("gemm_gflops", JsonValue.Create(Math.Round(m.GemmGflops, 1)))
        node.Add("peak_mb", JsonValue.Create(Math.Round(m.PeakMb, 1)))
        node.Add("layers", layers)
        node
