namespace Ldr

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Text.Json.Nodes
open System.Threading
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference

/// What is timed, and where.
type BenchmarkSetting =
    {
        /// A model's file.
        Model: string
        /// x, y, z.
        Size: int * int * int
        Threads: int
        /// How often each thing is measured; the median counts.
        Rounds: int
        AgainstTorch: bool
        /// A folder for scans.
        Folder: string
        /// The program (or the host of it) and its library: what a whole process is started from.
        Program: string option * string
    }

/// Milliseconds of network and warp, apart and together.
type Timing =
    {
        Network: float
        Warp: float
        Together: float
    }

/// libtorch with the same weights, on the same images, in turn with the engine.
type TorchTiming =
    {
        Times: Timing
        /// Of a product of two matrices 2048 × 2048.
        GemmGflops: float
        FieldDifference: float
        MovedDifference: float
        /// The whole process of `register --engine torch`.
        ProcessMs: float
    }

type Measured =
    {
        Setting: BenchmarkSetting
        Network: string
        Engine: Timing
        /// Name, milliseconds, GFLOP.
        Layers: (string * float * float) list
        Gflop: float
        /// The whole process of `register`, two `.nii` in, moved scan and field out.
        ProcessMs: float
        ProcessPeakMb: float
        Torch: TorchTiming option
    }

module Benchmark =
    let internal timed (action: unit -> unit) =
        let start = Stopwatch.GetTimestamp()
        action ()
        Stopwatch.GetElapsedTime(start).TotalMilliseconds

    /// A model with random weights whose fields are several voxels long, in a folder; its path.
    let writeModel (folder: string) (architecture: Architecture) : string =
        use network = Network.create (Seed.ofInt 1) architecture
        use _ = torch.no_grad ()

        for struct (name, parameter) in network.named_parameters () do
            if name.Contains "flow" && name.EndsWith "weight" then
                use generator = new torch.Generator(1UL, torch.CPU)
                parameter.normal_ (0.0, 0.5, generator) |> ignore

        let path = Path.Combine(folder, "model.safetensors")

        ModelFile.write
            path
            {
                Network = network
                Card = ModelCard.untrained architecture
            }

        path

    /// Two smooth scans in [0, 1], somewhat apart.
    let private scans (x, y, z) =
        let grid = Grid(x, y, z, Affine.Identity)
        let random = Random 1

        let scan phase =
            Volume(
                grid,
                Array.init (x * y * z) (fun i ->
                    let px, py, pz = float (i % x), float (i / x % y), float (i / x / y)

                    let wave = sin (0.11 * px + 0.07 * py + phase) * cos (0.09 * pz - 0.05 * py + phase)

                    float32 (0.5 + 0.4 * wave + 0.1 * random.NextDouble()))
            )

        scan 0.0, scan 0.4

    /// libtorch on the model's network, whose scalars need protection from collections.
    let private torchNetwork (path: string) =
        let model = ModelFile.read path |> Error.orRaise
        model.Network

    let private worst (a: float32[]) (b: float32[]) =
        Array.fold2 (fun w x y -> max w (abs (float x - float y))) 0.0 a b

    /// Runs `register` as a process; its milliseconds and its peak memory in MB.
    let private processOf (setting: BenchmarkSetting) (engine: string) =
        let file name = Path.Combine(setting.Folder, name)
        let host, library = setting.Program

        let arguments =
            [
                match host with
                | Some program when Path.GetFileNameWithoutExtension program <> "dotnet" -> ()
                | _ -> library
                yield! [ "register"; "--fixed"; file "fixed.nii"; "--moving"; file "moving.nii" ]
                yield! [ "--model"; setting.Model; "--moved"; file "moved.nii" ]
                yield! [ "--transform"; file "field.nii"; "--engine"; engine ]
                yield! [ "--threads"; string setting.Threads; "--json" ]
            ]

        let info =
            ProcessStartInfo(
                host |> Option.defaultValue "dotnet",
                arguments,
                RedirectStandardOutput = true,
                RedirectStandardError = true
            )

        let clock = Stopwatch.StartNew()
        use running = Process.Start info |> nonNull
        let errors = running.StandardError.ReadToEndAsync()
        let output = running.StandardOutput.ReadToEnd()
        running.WaitForExit()
        let elapsed = clock.Elapsed.TotalMilliseconds

        // 3 is a verdict on random weights, not a failure.
        if running.ExitCode <> 0 && running.ExitCode <> 3 then
            Error.raiseInput $"register --engine {engine} failed: {errors.Result.Trim()}"

        let peak =
            match JsonNode.Parse output with
            | null -> nan
            | node ->
                node["peak_mb"]
                |> Option.ofObj
                |> Option.map _.GetValue<float>()
                |> Option.defaultValue nan

        elapsed, peak

    /// How often whole processes are measured.
    let private processRounds = 5

    /// What is measured: a pair of scans, and where the engine writes.
    [<NoEquality; NoComparison>]
    type private Bench =
        {
            Setting: BenchmarkSetting
            Engine: StudentEngine
            Fixed: Volume
            Moving: Volume
            Field: DisplacementField
            Moved: Volume
        }

        /// The field, and the moved image where there is room for it.
        member this.Predict(moved: float32[]) =
            this.Engine.Predict(
                ReadOnlySpan<float32> this.Fixed.Values,
                ReadOnlySpan<float32> this.Moving.Values,
                this.Setting.Size.ToValueTuple(),
                Span<float32> this.Field.Vectors,
                Span<float32> moved,
                null,
                CancellationToken.None
            )

        member this.Profile() =
            this.Engine.Profile(
                ReadOnlySpan<float32> this.Fixed.Values,
                ReadOnlySpan<float32> this.Moving.Values,
                this.Setting.Size.ToValueTuple(),
                Span<float32> this.Field.Vectors,
                Span<float32> this.Moved.Values
            )

    /// The network, the warp, and both together.
    let private managedActions (bench: Bench) : (unit -> unit) list =
        [
            fun () -> bench.Predict Array.empty
            fun () -> Warp.Linear(bench.Moving, bench.Field, bench.Moved, bench.Setting.Threads)
            fun () -> bench.Predict bench.Moved.Values
        ]

    /// The median milliseconds of every action; in each round each of them is done once.
    let private medians (rounds: int) (actions: (unit -> unit) list) : float list =
        let warmUp = min 3 rounds

        let times =
            [
                for round in 1 .. warmUp + rounds do
                    let times = actions |> List.map timed

                    if round > warmUp then
                        times
            ]

        times |> List.transpose |> List.map Statistics.median

    /// Every layer of several profiles: its name, the typical of its milliseconds, its operations in billions.
    let internal layersOf
        (typical: float list -> float)
        (profiles: struct (string * float * float)[] list)
        : (string * float * float) list =
        [
            for i, struct (name, _, operations) in Array.indexed profiles.Head do
                let time =
                    profiles
                    |> List.map (fun p ->
                        let struct (_, ms, _) = p[i]
                        ms)
                    |> typical

                name, time, operations / 1e9
        ]

    /// The side of the matrices whose product is a measure of the machine.
    let private gemmSide = 2048L

    /// Something that multiplies two of them.
    let internal gemm () : unit -> unit =
        let a, b = torch.rand (gemmSide, gemmSide), torch.rand (gemmSide, gemmSide)
        fun () -> torch.mm(a, b).Dispose()

    /// Its rate by its milliseconds, GFLOP/s.
    let internal gemmRate (milliseconds: float) =
        2.0 * float gemmSide ** 3.0 / milliseconds / 1e6

    let private timing (times: float list) =
        {
            Network = times[0]
            Warp = times[1]
            Together = times[2]
        }

    /// The engine's times and libtorch's, measured in turn.
    let private againstTorch (bench: Bench) =
        let setting = bench.Setting
        let x, y, z = setting.Size
        torch.set_num_threads setting.Threads
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        use theirs = torchNetwork setting.Model
        let shape = [| 1L; 1L; int64 z; int64 y; int64 x |]
        let f = Bridge.toTensor torch.CPU shape bench.Fixed.Values
        let m = Bridge.toTensor torch.CPU shape bench.Moving.Values
        let ownField = OwnKernels.without(fun () -> theirs.Predict(f, m)).Field
        let multiply = gemm ()

        let quietly (action: unit -> unit) () =
            NativeCalls.protect (fun () ->
                use _ = torch.NewDisposeScope()
                OwnKernels.without action)

        let predicting = quietly (fun () -> theirs.Predict(f, m) |> ignore)
        let warping = quietly (fun () -> Field.warp ownField m |> ignore)
        let multiplying = quietly multiply

        let times =
            managedActions bench @ [ predicting; warping; multiplying ]
            |> medians setting.Rounds

        let prediction = OwnKernels.without (fun () -> theirs.Predict(f, m))
        bench.Predict bench.Moved.Values

        timing times,
        {
            Times =
                {
                    Network = times[3] - times[4]
                    Warp = times[4]
                    Together = times[3]
                }
            GemmGflops = gemmRate times[5]
            FieldDifference = worst bench.Field.Vectors (Bridge.toArray prediction.Field)
            MovedDifference = worst bench.Moved.Values (Bridge.toArray prediction.Moved)
            ProcessMs = nan
        }

    /// `register` as a process, by the engine and (else not a number) by libtorch: milliseconds and peak memory.
    let private processes (bench: Bench) : ((float * float) * float) list =
        let setting = bench.Setting
        Nifti.Write(Path.Combine(setting.Folder, "fixed.nii"), bench.Fixed)
        Nifti.Write(Path.Combine(setting.Folder, "moving.nii"), bench.Moving)

        [
            for _ in 1..processRounds do
                processOf setting "managed",
                if setting.AgainstTorch then
                    fst (processOf setting "torch")
                else
                    nan
        ]

    /// Measures a model: engine and libtorch in turn, after some rounds that do not count.
    let run (setting: BenchmarkSetting) : Measured =
        let x, y, z = setting.Size
        let fixedScan, moving = scans setting.Size
        let model = StudentModel.Load setting.Model
        use engine = new StudentEngine(model, setting.Threads)

        let bench =
            {
                Setting = setting
                Engine = engine
                Fixed = fixedScan
                Moving = moving
                Field = DisplacementField.Zero fixedScan.Grid
                Moved = Volume(fixedScan.Grid, Array.zeroCreate<float32>(x * y * z))
            }

        let engineTimes, torchTimes =
            if setting.AgainstTorch then
                let own, theirs = againstTorch bench
                own, Some theirs
            else
                managedActions bench |> medians setting.Rounds |> timing, None

        let layers =
            [ for _ in 1 .. setting.Rounds -> bench.Profile() |> Array.ofSeq ]
            |> layersOf Statistics.median

        let processes = processes bench
        let card = ModelFile.inspect setting.Model |> Error.orRaise |> fst

        {
            Setting = setting
            Network = Architecture.describe card.Architecture
            Engine = engineTimes
            Layers = layers
            Gflop = layers |> List.sumBy (fun (_, _, gflop) -> gflop)
            ProcessMs = processes |> List.map (fst >> fst) |> Statistics.median
            ProcessPeakMb = processes |> List.map (fst >> snd) |> Statistics.median
            Torch =
                torchTimes
                |> Option.map (fun t ->
                    { t with
                        ProcessMs = processes |> List.map snd |> Statistics.median
                    })
        }

    let private gflops (measured: Measured) =
        measured.Gflop / measured.Engine.Network * 1e3

    /// The keys of `benchmark --json`; those of libtorch are null when it was not measured.
    let toJson (measured: Measured) : JsonObject =
        let number (value: float) =
            JsonNumber.finiteOrNull (Math.Round(value, 6))

        let torch pick =
            measured.Torch |> Option.map pick |> Option.defaultValue nan |> number

        let x, y, z = measured.Setting.Size
        let ours = measured.Engine
        let node = JsonObject()

        node.Add(
            "size",
            if x = y && y = z then
                JsonValue.Create x :> JsonNode
            else
                JsonArray(JsonValue.Create x, JsonValue.Create y, JsonValue.Create z)
        )

        node.Add("threads", JsonValue.Create measured.Setting.Threads)
        node.Add("network", JsonValue.Create measured.Network)
        node.Add("rounds", JsonValue.Create measured.Setting.Rounds)
        node.Add("engine_ms", number ours.Together)
        node.Add("torch_ms", torch _.Times.Together)
        node.Add("ratio", torch (fun t -> t.Times.Together / ours.Together))
        node.Add("engine_network_ms", number ours.Network)
        node.Add("torch_network_ms", torch _.Times.Network)
        node.Add("network_ratio", torch (fun t -> t.Times.Network / ours.Network))
        node.Add("engine_warp_ms", number ours.Warp)
        node.Add("torch_warp_ms", torch _.Times.Warp)
        node.Add("warp_ratio", torch (fun t -> t.Times.Warp / ours.Warp))
        node.Add("network_gflops", number (gflops measured))
        node.Add("gemm_gflops", torch _.GemmGflops)
        node.Add("gemm_share", torch (fun t -> gflops measured / t.GemmGflops))
        node.Add("max_field_difference", torch _.FieldDifference)
        node.Add("max_moved_difference", torch _.MovedDifference)
        node.Add("process_ms", number measured.ProcessMs)
        node.Add("torch_process_ms", torch _.ProcessMs)
        node.Add("process_ratio", torch (fun t -> t.ProcessMs / measured.ProcessMs))
        node.Add("peak_mb", number measured.ProcessPeakMb)

        let layers =
            [|
                for name, ms, gflop in measured.Layers ->
                    let layer = JsonObject()
                    layer.Add("name", JsonValue.Create name)
                    layer.Add("ms", number ms)
                    layer.Add("gflop", number gflop)
                    layer.Add("gflops", number (gflop / ms * 1e3))
                    layer :> JsonNode
            |]

        node.Add("layers", JsonArray layers)
        node

    /// A table for people.
    let toText (measured: Measured) : string =
        let show (digits: int) (value: float) =
            value.ToString("F" + string digits, CultureInfo.InvariantCulture)

        let x, y, z = measured.Setting.Size
        let ours = measured.Engine

        let row (name: string) (own: float) (pick: TorchTiming -> float) =
            match measured.Torch with
            | Some t -> $"{name, -16} {show 1 own, 9} ms {show 1 (pick t), 9} ms {show 2 (pick t / own), 7}"
            | None -> $"{name, -16} {show 1 own, 9} ms"

        [
            $"{measured.Network}; {x} × {y} × {z}, {measured.Setting.Threads} threads, medians of {measured.Setting.Rounds}"
            if measured.Torch.IsSome then
                "                     engine      libtorch   ratio"
            row "network" ours.Network _.Times.Network
            row "warp" ours.Warp _.Times.Warp
            row "network + warp" ours.Together _.Times.Together
            row "whole process" measured.ProcessMs _.ProcessMs
            match measured.Torch with
            | Some t ->
                $"arithmetic       {show 0 (gflops measured)} GFLOP/s, {show 0 (100.0 * gflops measured / t.GemmGflops)} %% of libtorch's 2048² matrix product ({show 0 t.GemmGflops})"

                $"differences      field {t.FieldDifference:E1} voxels, moved {t.MovedDifference:E1} of the range"
            | None -> $"arithmetic       {show 0 (gflops measured)} GFLOP/s"
            $"peak memory      {show 0 measured.ProcessPeakMb} MB (whole process)"
            ""
            for name, ms, gflop in measured.Layers do
                $"  {name, -18} {show 2 ms, 8} ms {show 0 (gflop / ms * 1e3), 6} GFLOP/s"
        ]
        |> String.concat "\n"
