/// `train EXPERIMENT`: teacher, student, distillation.
module Ldr.Cli.Verbs.Train

open System
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Groups

type Arguments =
    | [<MainCommand; ExactlyOnce>] Experiment of file: string
    | [<Unique; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Resume
    | Only of name: string
    | [<Unique>] Shard of number: string
    | [<Unique>] Page of file: string
    | [<Unique; CustomCommandLine("--tensorboard")>] TensorBoard
    | Set of assignment: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Device of DeviceName
    | [<Unique>] Engine of EngineName
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Experiment _ ->
                "the experiment's file, such as experiments/quickstart.json; with --resume, a run's folder."
            | Output _ -> "the run's folder (default: runs/NAME)."
            | Resume ->
                "go on with the run that is in the folder: train --resume FOLDER alone, or with the experiment again, to which trainings may have been added."
            | Only _ ->
                "limit the run to this training, or this seed of it (NAME-SEED), and the earlier ones that it learns or starts from (may be repeated)."
            | Shard _ ->
                "do a part of the trainings, each seed counted: 3/8 for the third of eight processes on one folder (with --resume)."
            | Page _ -> "write the table into this Markdown file too, between its two comments."
            | TensorBoard -> "write event files for TensorBoard too, in the run's folder tensorboard."
            | Set _ ->
                "change a value of the experiment: PATH=VALUE, such as data.root=/data or train.0.steps=500 (trainings by place or name)."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Device _ -> "where to compute."
            | Engine _ -> "what trains: managed (ours, where it can; the default) or torch (libtorch alone)."
            | Json -> "print one JSON object to stdout: run, steps, model, table."
            | Verbose -> "show where a fault happened."

type private Options =
    {
        Experiment: string
        /// The run's folder.
        Output: string option
        Resume: bool
        /// The trainings to which the run is limited; empty: all.
        Only: string list
        /// The part of the trainings as it was given, and what it means.
        ShardText: string option
        Shard: CohortShard
        /// A Markdown file that gets the table too.
        Page: string option
        /// Whether event files of TensorBoard are written.
        TensorBoard: bool
        Assignments: string list
        /// Whether libtorch alone computes.
        ByTorch: bool
        Common: CommonOptions
    }

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! experiment =
            Usage.need "the experiment's file" (r.TryGetResult Arguments.Experiment)

        let text = r.TryGetResult Shard
        let! shard = text |> Option.traverseResult (Some >> CohortArguments.shard)

        return
            {
                Experiment = experiment
                Output = r.TryGetResult Output
                Resume = r.Contains Resume
                Only = r.GetResults Only
                ShardText = text
                Shard = defaultArg shard CohortShard.Whole
                Page = r.TryGetResult Page
                TensorBoard = r.Contains TensorBoard
                Assignments = r.GetResults Set
                ByTorch = (r.TryGetResult Arguments.Engine = Some EngineName.Torch)
                Common =
                    {
                        Threads = r.TryGetResult Threads
                        Cuda = (r.TryGetResult Device = Some Cuda)
                        Json = r.Contains Json
                        Verbose = r.Contains Verbose
                    }
            }
    }

/// The command that resumes a run.
let private resumeCommand (o: Options) (folder: string) =
    [
        "train"
        "--resume"
        if RunState.isRun folder then
            folder
        else
            o.Experiment
            "--output"
            folder

            for assignment in o.Assignments do
                "--set"
                assignment
        for name in o.Only do
            "--only"
            name
        for shard in Option.toList o.ShardText do
            "--shard"
            shard
        for page in Option.toList o.Page do
            "--page"
            page
        if o.TensorBoard then
            "--tensorboard"
        if o.ByTorch then
            "--engine"
            "torch"
        yield! CommonOptions.arguments o.Common
    ]
    |> Shell.command

/// The experiment and the folder of the run; of a run's folder alone both are its own.
let private experimentOf (o: Options) : Result<Experiment * string, Error> =
    result {
        if o.Resume && RunState.isRun o.Experiment then
            do!
                (o.Output.IsNone && o.Assignments.IsEmpty)
                |> Result.requireTrue (
                    BadInput
                        $"{o.Experiment} is a run, which goes on as it was begun; leave --output and --set out, or name the experiment's file"
                )

            let! run = RunState.read o.Experiment

            let! experiment =
                Experiment.runnable (Path.Combine(o.Experiment, "experiment.json")) run.Experiment

            return experiment, o.Experiment
        else
            let! resolved = Experiment.read o.Experiment o.Assignments
            let! experiment = Experiment.runnable o.Experiment resolved
            return experiment, o.Output |> Option.defaultValue (Path.Combine("runs", experiment.Name))
    }

let private train
    (o: Options)
    (reporter: Progress.Reporter)
    (folder: string)
    device
    (ranks: Ranks)
    experiment
    =
    use stop = new Stopping()

    try
        Run.execute
            { RunOptions.standard with
                Ranks = ranks
                Folder = folder
                Resume = o.Resume
                Only = o.Only
                Shard = o.Shard
                Page = o.Page
                TensorBoard = o.TensorBoard
                Device = device
                Sink = if ranks.IsFirst then reporter.Show else ignore
                Stop = stop.Token
            }
            experiment
    // Ranks do not agree on it: see below.
    with :? OperationCanceledException when ranks.Count = 1 ->
        Ok(Stopped("the table", 0))

let private sayStopped (o: Options) (folder: string) (training: string) (step: int) =
    let where =
        if step > 0 then
            $"in {training} after step {step}"
        else
            $"in {training}"

    Said.stopped $"Stopped {where}; go on with: {resumeCommand o folder}"

let private sayDone (result: RunResult) =
    let tables =
        result.Table
        |> List.groupBy _.Part
        |> List.map (fun (part, rows) -> (if part = "" then "" else $"{part}:\n\n") + Scores.toTable rows)
        |> String.concat "\n\n"

    let tests =
        match result.PairedTests with
        | Some file -> $" Paired tests of its rows are in {file}."
        | None -> ""

    Said.both
        $"{tables}\n\nThe run is in {result.Run}; its model is {result.Model}.{tests}"
        (Json.object
            [
                "run", Json.text result.Run
                "steps", Json.integer result.Steps
                "times", Json.list [ for times in result.Times -> Run.timesNode times ]
                "model", Json.text result.Model
                "table", Json.list [ for row in result.Table -> Scores.toJson row ]
            ])

/// Carries the run out with the other ranks; the first one speaks for all.
let private runWith (ranks: Ranks) (o: Options) (context: Context) : Result<Said, Error> =
    result {
        let! experiment, folder = experimentOf o
        let! device = Device.choose context
        let reporter = context.Speaker.Progress

        if
            o.Resume
            && ranks.IsFirst
            && not (File.Exists(Path.Combine(folder, "experiment.json")))
        then
            reporter.Line $"{folder} holds no run to go on with (--resume): a new one begins."

        let! ending =
            let training () =
                train o reporter folder device ranks experiment

            if o.ByTorch then
                OwnKernels.without training
            else
                training ()

        return
            match ending with
            | Stopped(training, step) when ranks.IsFirst -> sayStopped o folder training step
            | Stopped _ -> Said.nothing ExitCode.interrupted
            | Followed -> Said.nothing ExitCode.ok
            | Done result -> sayDone result
    }

/// Threads of each of several ranks on one machine, unless they are given.
let private shareThreads (context: Context) =
    let share = max 1 (Environment.ProcessorCount / MpiRanks.onThisMachine ())

    { context with
        Threads = context.Threads |> Option.orElse (Some share)
    }

/// Ends all ranks if this one cannot go on. The first one has a moment to say what all of them found.
let private orAbort (ranks: Ranks) (context: Context) (run: unit -> Result<Said, Error>) =
    let moment = TimeSpan.FromSeconds 2.0

    let abort (result: Result<Said, Error>) =
        if not ranks.IsFirst then
            Threading.Thread.Sleep moment

        context.Speaker.Print result |> ranks.Abort
        result

    try
        match run () with
        | Error _ as failed -> abort failed
        | said -> said
    with :? OperationCanceledException ->
        abort (Ok(Said.stopped "Stopped."))

let private run (o: Options) (context: Context) : Result<Said, Error> =
    result {
        let! ranks = MpiRanks.find ()

        if ranks.Count = 1 then
            return! runWith ranks o context
        else
            let! said = orAbort ranks context (fun () -> runWith ranks o (shareThreads context))
            MpiRanks.leave ranks
            return said
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Run an experiment: train a teacher, a student, or both, and score them."
        More =
            "The run's folder gets models, scores and a table; a run that was stopped goes on with --resume."
        Groups =
            [
                "What is run", [ "--only"; "--set"; "--resume" ]
                "Outputs", [ "--output"; "--page"; "--tensorboard" ]
            ]
        Examples =
            [
                "ldr-fs train experiments/quickstart.json"
                "ldr-fs train --resume runs/quickstart"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r
        return! Call.create options.Common (run options)
    }
