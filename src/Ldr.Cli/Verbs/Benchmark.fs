/// `benchmark`: times of network, warp and the whole program.
module Ldr.Cli.Verbs.Benchmark

open System
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli

type Opponent = | Torch

type StudentName =
    | [<CustomCommandLine("ldr")>] Ldr
    | [<CustomCommandLine("ldr-slim")>] LdrSlim
    | [<CustomCommandLine("ldr-half")>] LdrHalf

type Arguments =
    | [<Unique>] Size of voxels: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Against of Opponent
    | [<Unique>] Network of StudentName
    | [<Unique>] Model of name: string
    | [<Unique>] Training of name: string
    | [<Unique>] Experiment of file: string
    | Set of assignment: string
    | [<Unique>] Rounds of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Size _ -> "the images' size: N for N × N × N, or XxYxZ (default: 128)."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Against _ -> "measure libtorch in the same run, in turn."
            | Network _ -> "the network, with random weights (default: ldr-slim)."
            | Model _ -> "a model's file, or its name in models/, instead."
            | Training _ ->
                "time the steps of this training of an experiment instead, by both engines in turn (--experiment)."
            | Experiment _ -> "the experiment's file (default with --training: experiments/quickstart.json)."
            | Set _ -> "change a value of the experiment: PATH=VALUE (may be repeated)."
            | Rounds _ -> "how often each is measured; the median counts (default: 15)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

/// What is timed.
type private Options =
    {
        Size: int * int * int
        /// The network, with random weights, or a model's name.
        Network: Choice<Architecture, string>
        AgainstTorch: bool
        Rounds: int
    }

/// Which training is timed.
type private StepOptions =
    {
        Training: string
        Experiment: string
        Assignments: string list
        Rounds: int
    }

let private size (text: string) : Result<int * int * int, string> =
    let sides =
        text.Split 'x'
        |> Array.map (fun side ->
            match Int32.TryParse side with
            | true, n when n >= 8 && n <= 1024 -> n
            | _ -> 0)

    match sides with
    | [| n |] when n > 0 -> Ok(n, n, n)
    | [| x; y; z |] when x > 0 && y > 0 && z > 0 -> Ok(x, y, z)
    | _ -> Error $"--size {text}: give N or XxYxZ, whole numbers from 8 to 1024"

let private student (name: StudentName option) : Architecture =
    match name with
    | Some LdrHalf -> Stage.LdrHalf StudentWidths.slim
    | Some StudentName.Ldr -> Stage.Ldr StudentWidths.published
    | Some LdrSlim
    | None -> Stage.Ldr StudentWidths.slim
    |> Architecture.Single

let private rounds (r: ParseResults<Arguments>) : Result<int, string> =
    let rounds = r.GetResult(Rounds, 15)

    Usage.refuseIf (rounds < 1) "--rounds: give a whole number above 0"
    |> Result.map (fun () -> rounds)

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! size = size (r.GetResult(Size, "128"))
        let! rounds = rounds r

        return
            {
                Size = size
                Network =
                    match r.TryGetResult Model with
                    | Some name -> Choice2Of2 name
                    | None -> Choice1Of2(student (r.TryGetResult Network))
                AgainstTorch = r.Contains Against
                Rounds = rounds
            }
    }

let private model (folder: string) (network: Choice<Architecture, string>) : Result<string, Error> =
    match network with
    | Choice1Of2 architecture -> Ok(Benchmark.writeModel folder architecture)
    | Choice2Of2 name -> ModelFile.resolve name

let private measure (o: Options) (threads: int option) (folder: string) (model: string) =
    Error.guard (fun () ->
        Benchmark.run
            {
                Model = model
                Size = o.Size
                Threads = threads |> Option.defaultValue Environment.ProcessorCount
                Rounds = o.Rounds
                AgainstTorch = o.AgainstTorch
                Folder = folder
                Program =
                    Environment.ProcessPath |> Option.ofObj,
                    Path.Combine(AppContext.BaseDirectory, "ldr-fs.dll")
            })

/// The architecture of a teacher that is a network: of an earlier training, or of a model.
let private teacher
    (experiment: Experiment)
    (training: TrainingOptions)
    : Result<Architecture option, Error> =
    match training.Distillation with
    | Some { Teacher = name } when name <> KnownPairs.teacher ->
        match experiment.Train |> List.tryFind (fun own -> own.Name = name) with
        | Some own -> Ok(Some own.Architecture)
        | None -> ModelFile.inspect name |> Result.map (fun (card, _) -> Some card.Architecture)
    | _ -> Ok None

let private runTraining (o: StepOptions) (context: Context) =
    result {
        do! Libtorch.check ()
        let! experiment = Experiment.read o.Experiment o.Assignments

        let! training =
            experiment.Train
            |> List.tryFind (fun training -> training.Name = o.Training)
            |> Result.requireSome (
                BadInput
                    $"--training {o.Training}: no such training in {o.Experiment}; {Suggestion.among (experiment.Train |> List.map _.Name) o.Training}"
            )

        let! teacher = teacher experiment training

        let! measured =
            TrainingBenchmark.run
                {
                    Data = experiment.Data
                    Seed = experiment.Seed
                    Training = training
                    Teacher = teacher
                    Threads = context.Threads |> Option.defaultValue Environment.ProcessorCount
                    Rounds = o.Rounds
                }

        return Said.both (TrainingBenchmark.toText measured) (TrainingBenchmark.toJson measured)
    }

let private run (o: Options) (context: Context) =
    let folder = Directory.CreateTempSubdirectory "ldr-benchmark-"

    try
        result {
            do! Libtorch.check ()
            let! model = model folder.FullName o.Network
            let! measured = measure o context.Threads folder.FullName model
            return Said.both (Benchmark.toText measured) (Benchmark.toJson measured)
        }
    finally
        folder.Delete true

/// Options that would do nothing.
let private refuseIdle (r: ParseResults<Arguments>) : Result<unit, string> =
    result {
        let isTraining = r.Contains Training

        for name, isGiven, isOfTraining in
            [
                "--experiment", r.Contains Experiment, true
                "--set", r.Contains Set, true
                "--size", r.Contains Size, false
                "--network", r.Contains Network, false
                "--model", r.Contains Model, false
                "--against", r.Contains Against, false
            ] do
            let belongs = if isOfTraining then "belongs to" else "does not go with"
            do! Usage.refuseIf (isGiven && isTraining <> isOfTraining) $"{name} {belongs} --training"
    }

let private call (r: ParseResults<Arguments>) : Result<Context -> Result<Said, Error>, string> =
    result {
        do! refuseIdle r

        match r.TryGetResult Training with
        | None ->
            let! options = options r
            return run options
        | Some training ->
            let! rounds = rounds r

            return
                runTraining
                    {
                        Training = training
                        Experiment = r.GetResult(Experiment, Path.Combine("experiments", "quickstart.json"))
                        Assignments = r.GetResults Set
                        Rounds = rounds
                    }
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Time the engine, and libtorch beside it."
        More = "A network and a whole registration, or the steps of a training (--training)."
        Groups =
            [
                "A network", [ "--size"; "--network"; "--model"; "--against" ]
                "A training", [ "--training"; "--experiment"; "--set" ]
                "Measuring", [ "--rounds" ]
            ]
        Examples = [ "ldr-fs benchmark --size 128 --against torch" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! call = call r

        return!
            Call.create
                { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                call
    }
