namespace Ldr

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open System.Threading
open TorchSharp
open Ldr.Runtime

/// What a run tells while it goes on.
type RunEvent =
    | Loading of what: string
    | Training of TrainingEvent
    | Scoring of name: string * pair: int * pairs: int

/// How a run is to be done.
[<NoEquality; NoComparison>]
type RunOptions =
    {
        Folder: string
        Resume: bool
        Device: torch.Device
        Sink: RunEvent -> unit
        Stop: CancellationToken
    }

/// What a run left.
type RunResult =
    {
        Run: string
        Steps: int
        Model: string
        Table: Summary list
    }

/// How a run ended.
type RunEnd =
    | Done of RunResult
    /// Stopped from outside; `--resume` goes on.
    | Stopped of training: string * step: int

/// A run is a folder: `experiment.json` (as resolved), `metrics.jsonl`, `checkpoints/`, `models/NAME.safetensors` of every
/// finished training, `model.safetensors` (the last one), `table.md` and `table.json`, `pairs.png`.
module Run =
    /// Test pairs in the picture.
    let private picturePairs = 3

    let private modelPath (folder: string) (training: string) =
        Path.Combine(folder, "models", training + ".safetensors")

    let private experimentPath (folder: string) = Path.Combine(folder, "experiment.json")

    /// Whether a run's folder can be used: a new one, or the one of the same experiment with `--resume`. Makes nothing yet.
    let private checkFolder (options: RunOptions) (experiment: Experiment) =
        let file = experimentPath options.Folder

        let bad problem remedy =
            raise (Error.Raised(BadFile(options.Folder, problem, remedy)))

        if File.Exists file then
            if not options.Resume then
                bad "holds a run already" "go on with it by --resume, or choose another folder by --output"

            match Codec.ofText file Experiment.codec (File.ReadAllText file) with
            | Ok before when Experiment.digest before = Experiment.digest experiment -> ()
            | Ok _ -> bad "holds a run of a different experiment" "choose another folder by --output"
            | Error error -> raise (Error.Raised error)

    /// Makes a run's folder.
    let private openFolder (options: RunOptions) (experiment: Experiment) =
        Directory.CreateDirectory(Path.Combine(options.Folder, "models")) |> ignore
        let file = experimentPath options.Folder

        if not (File.Exists file) then
            AtomicFile.WriteText(file, Codec.toText Experiment.codec experiment + "\n")

    /// One line of `metrics.jsonl` for an event that has numbers.
    let private metricsLine (event: TrainingEvent) : string option =
        let line kind training step (metrics: Metrics) =
            let node = JsonObject()
            node.Add("kind", JsonValue.Create(kind: string))
            node.Add("training", JsonValue.Create(training: string))
            node.Add("step", JsonValue.Create(step: int))

            for name, value in metrics do
                node.Add(name, Codec.finiteOrNull value)

            Some(node.ToJsonString())

        match event with
        | Progressed(training, step, _, metrics, speed, _) ->
            line "train" training step (metrics @ [ "steps_per_second", speed ])
        | Validated(training, step, metrics) -> line "validation" training step metrics
        | Started _
        | Saved _
        | Warned _ -> None

    /// Drops what `metrics.jsonl` says of a training beyond the step that it goes on from, and a line that was cut off.
    let private trimMetrics (path: string) (training: string) (step: int) =
        let stays (line: string) =
            try
                let node = JsonDocument.Parse(line).RootElement

                (node.GetProperty "training").GetString() <> training
                || (node.GetProperty "step").GetInt32() <= step
            with
            | :? JsonException
            | :? InvalidOperationException
            | :? Collections.Generic.KeyNotFoundException -> false

        if File.Exists path then
            let text = File.ReadAllText path

            let kept =
                text.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                |> Seq.filter stays
                |> Seq.map (fun line -> line + "\n")
                |> String.concat ""

            if kept <> text then
                AtomicFile.WriteText(path, kept)

    let private withoutSurface (set: EvaluationSet) = { set with Surface = false }

    /// Runs an experiment: its trainings in order, then the table on the test pairs.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guard (fun () ->
            let data = experiment.Data
            let dataset = Dataset.load data |> Error.orRaise
            let split = Dataset.split data.Split dataset |> Error.orRaise
            checkFolder options experiment
            let seed = Seed.ofInt experiment.Seed
            let metrics = Path.Combine(options.Folder, "metrics.jsonl")
            let digest = Experiment.digest experiment

            // Everything is read before the first step and before the folder is made: bad input costs no training, and
            // leaves nothing behind.
            options.Sink(
                Loading
                    $"{split.TrainSubjects.Length} training, {split.ValidationSubjects.Length} validation and {split.TestSubjects.Length} test subjects of {dataset.Name}"
            )

            let labelled pairs subjects =
                Evaluator.load (Seed.ofInt experiment.Evaluation.Seed) pairs data.IgnoredLabels subjects

            let validation =
                labelled experiment.Evaluation.ValidationPairs split.ValidationSubjects
                |> withoutSurface

            let test = labelled experiment.Evaluation.Pairs split.TestSubjects

            let trainingSet = TrainingSet.load data split.TrainSubjects

            if experiment.Train |> List.exists (fun t -> t.Loss.Dice > 0.0) then
                trainingSet.Labels.Force() |> ignore

            let card (training: TrainingOptions) : ModelCard =
                {
                    Architecture = training.Architecture
                    Intensity = data.Intensity
                    Spacing = data.Spacing
                    Size = data.Size
                    Alignment = data.Alignment
                    Data = dataset.Name
                    Licence = dataset.Licence
                    Train = split.TrainSubjects |> List.map _.Name
                    Validation = split.ValidationSubjects |> List.map _.Name
                    Test = split.TestSubjects |> List.map _.Name
                    IgnoredLabels = data.IgnoredLabels
                    Steps = training.Steps
                    Experiment = digest
                }

            let readModel path =
                let model = ModelFile.read path |> Error.orRaise
                model.Network.``to`` options.Device |> ignore
                model

            let isOwn name =
                experiment.Train |> List.exists (fun t -> t.Name = name)

            let teacherOf (training: TrainingOptions) =
                training.Distillation
                |> Option.map (fun d ->
                    if isOwn d.Teacher then
                        Online((readModel (modelPath options.Folder d.Teacher)).Network)
                    elif Directory.Exists d.Teacher then
                        Stored(FieldStore.openFolder d.Teacher)
                    else
                        Online((readModel d.Teacher).Network))

            // Teachers from outside must fit; those of this experiment do.
            for training in experiment.Train do
                match training.Distillation with
                | Some { Teacher = teacher } when not (isOwn teacher) ->
                    let fits =
                        if Directory.Exists teacher then
                            match (FieldStore.openFolder teacher).Origin with
                            | Some origin ->
                                origin.Intensity = data.Intensity
                                && origin.Spacing = data.Spacing
                                && origin.Size = data.Size
                                && origin.Alignment = data.Alignment
                            | None -> true
                        else
                            let card, _ = ModelFile.inspect teacher |> Error.orRaise
                            card.Intensity = data.Intensity && card.Spacing = data.Spacing

                    if not fits then
                        raise (
                            Error.Raised(
                                BadInput
                                    $"training {training.Name}: its teacher {teacher} was made for another intensity rule or training grid; give both the same \"data\""
                            )
                        )
                | _ -> ()

            openFolder options experiment

            let validate (training: TrainingOptions) (network: Network) : Metrics =
                let model =
                    {
                        Card = card training
                        Network = network
                    }

                let scores =
                    Evaluator.model options.Device model validation CancellationToken.None (fun _ _ -> ())

                let summary = Scores.summarise training.Name 0L scores scores
                [ "dice", summary.Dice; "folded_percent", summary.FoldedPercent ]

            let sink (event: TrainingEvent) =
                match event with
                | Started(training, _, _, step) when options.Resume -> trimMetrics metrics training step
                | _ -> ()

                metricsLine event
                |> Option.iter (fun line -> File.AppendAllText(metrics, line + "\n"))

                options.Sink(Training event)

            /// The trained model, or where it was stopped.
            let train (training: TrainingOptions) =
                let path = modelPath options.Folder training.Name

                if options.Resume && File.Exists path then
                    Ok(readModel path)
                else
                    let teacher = teacherOf training

                    let ending =
                        Trainer.run
                            {
                                Options = training
                                Seed = seed
                                Set = trainingSet
                                Teacher = teacher
                                Device = options.Device
                                Run = options.Folder
                                Resume = options.Resume
                                Validate = validate training
                                Sink = sink
                                Stop = options.Stop
                            }

                    match teacher with
                    | Some(Online network) -> network.Dispose()
                    | Some(Stored _)
                    | None -> ()

                    match ending with
                    | Interrupted step -> Error step
                    | Finished network ->
                        let model =
                            {
                                Card = card training
                                Network = network
                            }

                        ModelFile.write path model
                        Ok model

            let rec trainAll models trainings =
                match trainings with
                | [] -> Ok(List.rev models)
                | (training: TrainingOptions) :: rest ->
                    match train training with
                    | Ok model -> trainAll ((training.Name, model) :: models) rest
                    | Error step -> Error(training.Name, step)

            match trainAll [] experiment.Train with
            | Error(training, step) -> Stopped(training, step)
            | Ok models ->
                let final = Path.Combine(options.Folder, "model.safetensors")
                let last = snd (List.last models)
                ModelFile.write final last

                let before = Evaluator.untouched data.Alignment test options.Stop

                let rows =
                    Scores.summarise "untouched" 0L before before
                    :: [
                        for name, model in models do
                            let scores =
                                Evaluator.model options.Device model test options.Stop (fun pair pairs ->
                                    options.Sink(Scoring(name, pair, pairs)))

                            Scores.summarise name (Network.parameterCount model.Network) before scores
                    ]

                let table =
                    JsonArray(rows |> List.map (fun row -> Scores.toJson row :> JsonNode) |> Array.ofList)

                AtomicFile.WriteText(Path.Combine(options.Folder, "table.json"), table.ToJsonString() + "\n")

                AtomicFile.WriteText(
                    Path.Combine(options.Folder, "table.md"),
                    $"# {experiment.Name}\n\n{test.Pairs.Length} pairs of {test.Scans.Length} test subjects of {dataset.Name}; mean ± deviation over the pairs, one seed.\n\n{Scores.toTable rows}\n"
                )

                let pairs =
                    [
                        for f, m in List.truncate picturePairs test.Pairs do
                            let fixedScan, moving = test.Scans[f].Image, test.Scans[m].Image
                            fixedScan, moving, Registration.run options.Device last None fixedScan moving
                    ]

                Picture.pairs (Path.Combine(options.Folder, "pairs.png")) pairs

                for _, model in models do
                    model.Network.Dispose()

                Done
                    {
                        Run = options.Folder
                        Steps = experiment.Train |> List.sumBy _.Steps
                        Model = final
                        Table = rows
                    })
