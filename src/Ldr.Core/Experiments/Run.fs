namespace Ldr

open System
open System.IO
open System.Text
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

    /// Labels that a Dice loss takes: each is a channel of its own.
    let private mostLabels = 32

    let private write (path: string) (text: string) =
        AtomicFile.Write(path, (fun stream -> stream.Write(Encoding.UTF8.GetBytes text)))

    let private modelPath (folder: string) (training: string) =
        Path.Combine(folder, "models", training + ".safetensors")

    /// Opens a run's folder: a new one, or the one of the same experiment with `--resume`.
    let private openFolder (options: RunOptions) (experiment: Experiment) =
        let file = Path.Combine(options.Folder, "experiment.json")

        let bad problem remedy =
            raise (Error.Raised(BadFile(options.Folder, problem, remedy)))

        if File.Exists file then
            if not options.Resume then
                bad "holds a run already" "go on with it by --resume, or choose another folder by --output"

            match Codec.ofText file Experiment.codec (File.ReadAllText file) with
            | Ok before when Experiment.digest before = Experiment.digest experiment -> ()
            | Ok _ -> bad "holds a run of a different experiment" "choose another folder by --output"
            | Error error -> raise (Error.Raised error)
        else
            Directory.CreateDirectory(Path.Combine(options.Folder, "models")) |> ignore
            write file (Codec.toText Experiment.codec experiment + "\n")

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

    let private withoutSurface (set: EvaluationSet) = { set with Surface = false }

    /// Runs an experiment: its trainings in order, then the table on the test pairs.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guard (fun () ->
            let data = experiment.Data
            let dataset = Dataset.load data |> Error.orRaise
            let split = Dataset.split data.Split dataset |> Error.orRaise
            openFolder options experiment
            let seed = Seed.ofInt experiment.Seed
            let x, y, z = data.Size
            let sx, sy, sz = data.Spacing
            let metrics = Path.Combine(options.Folder, "metrics.jsonl")
            let digest = Experiment.digest experiment

            let scans =
                lazy
                    (options.Sink(
                        Loading $"{split.TrainSubjects.Length} training subjects of {dataset.Name}"
                     )

                     split.TrainSubjects
                     |> List.map (fun subject -> data.Intensity.Apply(subject.Image()))
                     |> Array.ofList)

            // A volume for each label of the training subjects, 1 where it is.
            let labels =
                lazy
                    (let maps =
                        split.TrainSubjects
                        |> List.map (fun subject ->
                            match subject.Labels with
                            | Some labels -> labels ()
                            | None ->
                                raise (
                                    Error.Raised(
                                        BadInput
                                            $"subject {subject.Name} has no label map; a loss with \"dice\" needs one for every training subject"
                                    )
                                ))

                     let all =
                         maps
                         |> Seq.collect Overlap.Labels
                         |> Seq.distinct
                         |> Seq.filter (fun label -> not (List.contains label data.IgnoredLabels))
                         |> Seq.sort
                         |> List.ofSeq

                     if all.Length > mostLabels then
                         raise (
                             Error.Raised(
                                 BadInput
                                     $"a loss with \"dice\" takes at most {mostLabels} labels, the training subjects have {all.Length}; list some under data.ignored_labels"
                             )
                         )

                     [|
                         for map in maps do
                             [|
                                 for label in all do
                                     let is (value: float32) =
                                         if value = float32 label then 1.0f else 0.0f

                                     Volume(map.Grid, Array.map is map.Values)
                             |]
                     |])

            let validation =
                lazy
                    (split.ValidationSubjects
                     |> Evaluator.load
                         (Seed.ofInt experiment.Evaluation.Seed)
                         experiment.Evaluation.ValidationPairs
                         data.IgnoredLabels
                     |> withoutSurface)

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

            let teacherOf (training: TrainingOptions) =
                training.Distillation
                |> Option.map (fun d ->
                    let own = modelPath options.Folder d.Teacher
                    let model = readModel (if File.Exists own then own else d.Teacher)

                    if model.Card.Intensity <> data.Intensity || model.Card.Spacing <> data.Spacing then
                        raise (
                            Error.Raised(
                                BadInput
                                    $"training {training.Name}: its teacher {d.Teacher} was trained with another intensity rule or spacing; give both the same \"data\""
                            )
                        )

                    model)

            let validate (training: TrainingOptions) (network: Network) : Metrics =
                let model =
                    {
                        Card = card training
                        Network = network
                    }

                let scores =
                    Evaluator.model options.Device model validation.Value CancellationToken.None (fun _ _ ->
                        ())

                let summary = Scores.summarise training.Name 0L scores scores
                [ "dice", summary.Dice; "folded_percent", summary.FoldedPercent ]

            let sink (event: TrainingEvent) =
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
                                Scans = scans.Value
                                Labels = if training.Loss.Dice > 0.0 then Some labels.Value else None
                                GridOf =
                                    fun scan ->
                                        ModelGrid.Canvas(scan.Grid, struct (sx, sy, sz), struct (x, y, z))
                                Alignment = data.Alignment
                                Teacher = teacher |> Option.map _.Network
                                Device = options.Device
                                Run = options.Folder
                                Resume = options.Resume
                                Validate = validate training
                                Sink = sink
                                Stop = options.Stop
                            }

                    teacher |> Option.iter (fun model -> model.Network.Dispose())

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

                let test =
                    Evaluator.load
                        (Seed.ofInt experiment.Evaluation.Seed)
                        experiment.Evaluation.Pairs
                        data.IgnoredLabels
                        split.TestSubjects

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

                let pairs =
                    [
                        for f, m in List.truncate picturePairs test.Pairs do
                            let fixedScan, moving = test.Scans[f].Image, test.Scans[m].Image
                            fixedScan, moving, Registration.run options.Device last None fixedScan moving
                    ]

                Picture.pairs (Path.Combine(options.Folder, "pairs.png")) pairs

                let table =
                    JsonArray(rows |> List.map (fun row -> Scores.toJson row :> JsonNode) |> Array.ofList)

                write (Path.Combine(options.Folder, "table.json")) (table.ToJsonString() + "\n")

                write
                    (Path.Combine(options.Folder, "table.md"))
                    $"# {experiment.Name}\n\n{test.Pairs.Length} pairs of {test.Scans.Length} test subjects of {dataset.Name}; mean ± deviation over the pairs, one seed.\n\n{Scores.toTable rows}\n"

                for _, model in models do
                    model.Network.Dispose()

                Done
                    {
                        Run = options.Folder
                        Steps = experiment.Train |> List.sumBy _.Steps
                        Model = final
                        Table = rows
                    })
