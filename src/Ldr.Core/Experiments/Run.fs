namespace Ldr

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open System.Threading
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// What a run tells while it goes on.
type RunEvent =
    | Loading of what: string
    /// Something that may end the run before it is done, or spoil what it says.
    | Cautioned of message: string
    | Training of TrainingEvent
    | Scoring of name: string * pair: int * pairs: int

/// How a run is to be done.
[<NoEquality; NoComparison>]
type RunOptions =
    {
        Folder: string
        Resume: bool
        /// Trainings, by name, to which the run is limited (with the earlier ones that they learn or start from); nothing: all.
        Only: string list
        /// A Markdown file whose table is written anew.
        Page: string option
        /// Whether the metrics are written as event files of TensorBoard too.
        TensorBoard: bool
        Device: torch.Device
        Sink: RunEvent -> unit
        Stop: CancellationToken
    }

/// What a run left.
type RunResult =
    {
        Run: string
        /// The steps behind all weights of the run, this process's and those before.
        Steps: int
        /// Where the time of each training of this process went, at which step it ended.
        Times: (string * int * TrainingTimes) list
        Model: string
        Table: Summary list
    }

/// How a run ended.
type RunEnd =
    | Done of RunResult
    /// Stopped from outside; `--resume` goes on.
    | Stopped of training: string * step: int

/// A run is a folder: `experiment.json` (as resolved), `metrics.jsonl`, `times.jsonl` (where the time went), `checkpoints/`, `tensorboard/` (if asked for), `models/NAME.safetensors` of every
/// finished training, `scores/NAME.json` of its test pairs, `fields/TEACHER/`
/// (the fields of teachers that are asked once for each pair), `model.safetensors` (the last one), `table.md` and `table.json`,
/// `pairs.png`. A training with scores is done, whether its model is still there or not, unless another learns or starts from it.
module Run =
    /// Test pairs in the picture.
    let private picturePairs = 3

    let internal modelPath (folder: string) (training: string) =
        Path.Combine(folder, "models", training + ".safetensors")

    /// The scores of a training on a test part, whose name is nothing where a random cut made it.
    let private scorePath (folder: string) (training: string) (part: string) =
        let part = if part = "" then "" else "." + FieldStore.fileName part
        Path.Combine(folder, "scores", training + part + ".json")

    /// Whether a training of an experiment has scores of every test part.
    let internal isScored (folder: string) (experiment: Experiment) (training: string) =
        let parts =
            match experiment.Data.Split with
            | Cut _ -> [ "" ]
            | Parts(_, _, tests) -> tests |> List.map _.Part

        parts |> List.forall (scorePath folder training >> File.Exists)

    let private experimentPath (folder: string) = Path.Combine(folder, "experiment.json")

    /// Whether a run's folder can be used: a new one, or one of the same data and trainings with
    /// `--resume`. Makes nothing yet.
    let private checkFolder (options: RunOptions) (experiment: Experiment) =
        let file = experimentPath options.Folder

        let bad problem remedy =
            raise (Error.Raised(BadFile(options.Folder, problem, remedy)))

        if File.Exists file then
            if not options.Resume then
                bad "holds a run already" "go on with it by --resume, or choose another folder by --output"

            let before =
                Codec.ofText file Experiment.codec (File.ReadAllText file) |> Error.orRaise

            // The data may lie elsewhere by now.
            let shared (e: Experiment) =
                e.Seed, { e.Data with Root = "" }, { e.Evaluation with Compare = [] }

            if shared before <> shared experiment then
                bad
                    "holds a run with other data, another seed or another evaluation"
                    "choose another folder by --output"

            // Trainings may come and go; those that were there must be the same.
            for training in experiment.Train do
                match before.Train |> List.tryFind (fun t -> t.Name = training.Name) with
                // One seed more or less leaves those that were there; a single one has no place of its own.
                | Some old when
                    { old with Seeds = training.Seeds } <> training
                    || ((old.Seeds.Length < 2 || training.Seeds.Length < 2)
                        && old.Seeds <> training.Seeds)
                    ->
                    bad
                        $"holds a run in which training {training.Name} was another"
                        "give it a new name, or choose another folder by --output"
                | _ -> ()

    /// Makes a run's folder.
    let private openFolder (options: RunOptions) (experiment: Experiment) =
        for part in [ "models"; "scores" ] do
            Directory.CreateDirectory(Path.Combine(options.Folder, part)) |> ignore

        AtomicFile.WriteText(experimentPath options.Folder, Codec.toText Experiment.codec experiment + "\n")

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
        | Timed _
        | Warned _ -> None

    /// Where the time of a training went, as in a line of `times.jsonl`.
    let timesNode (training: string, step: int, times: TrainingTimes) : JsonObject =
        let node = JsonObject()
        node.Add("training", JsonValue.Create(training: string))
        node.Add("step", JsonValue.Create(step: int))
        node.Add("steps", JsonValue.Create times.Steps)

        for name, value in
            ("seconds", times.Seconds) :: times.Shares
            @ [ "managed_mb", times.ManagedMb; "peak_mb", times.PeakMb ] do
            node.Add(name, Codec.rounded value)

        node.Add("live_tensors", JsonValue.Create times.LiveTensors)
        node

    /// Drops what a file of lines such as `metrics.jsonl` says of a training beyond the step that it goes on from, and a line that was cut off.
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

    /// The instances that a run is limited to.
    let private wantedOf (options: RunOptions) (experiment: Experiment) (all: Instance list) =
        let names = experiment.Train |> List.map _.Name

        for name in options.Only do
            if not (List.contains name names) then
                raise (
                    Error.Raised(BadInput $"--only {name}: no such training; {Codec.suggestion names name}")
                )

        all
        |> List.filter (fun instance -> options.Only.IsEmpty || List.contains instance.Training options.Only)

    let private pageStart, private pageEnd =
        "<!-- table: made by ldr-fs train -->", "<!-- end of the table -->"

    /// Writes a report into a page, between two comments; at the end of a page that lacks them.
    let private writePage (report: string) (path: string) =
        let text = if File.Exists path then File.ReadAllText path else ""
        let made = $"{pageStart}\n{report}\n{pageEnd}"
        let first = text.IndexOf(pageStart, StringComparison.Ordinal)
        let last = text.IndexOf(pageEnd, StringComparison.Ordinal)

        AtomicFile.WriteText(
            path,
            if first >= 0 && last > first then
                text[.. first - 1] + made + text[last + pageEnd.Length ..]
            else
                text + (if text = "" then "" else "\n") + made + "\n"
        )

    /// Error codes of a file that another process holds: EAGAIN of Linux and macOS, ERROR_SHARING_VIOLATION of Windows.
    let private sharingViolations = [ 11; 35; 0x80070020 ]

    /// Keeps a run's folder for this process, until the result is disposed of or the process ends, however it ends.
    let private hold (folder: string) : IDisposable | null =
        let path = Path.Combine(folder, ".lock")

        try
            new FileStream(
                path,
                FileMode.OpenOrCreate,
                FileAccess.ReadWrite,
                FileShare.None,
                1,
                FileOptions.DeleteOnClose
            )
        with
        | :? UnauthorizedAccessException ->
            raise (
                Error.Raised(
                    BadFile(
                        folder,
                        "may not be written",
                        "check the folder's permissions or choose another one by --output"
                    )
                )
            )
        | :? IOException as e when List.contains e.HResult sharingViolations ->
            raise (
                Error.Raised(
                    BadFile(
                        folder,
                        "is in use by another run",
                        "wait for its end, or choose another folder by --output"
                    )
                )
            )

    let private withoutSurface (set: EvaluationSet) = { set with Surface = false }

    /// Runs an experiment: its trainings in order, then the table on the test pairs.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guard (fun () ->
            let data = experiment.Data
            let dataset = Dataset.load data |> Error.orRaise
            let split = Dataset.split data.Split dataset |> Error.orRaise
            // A run that is there is held at once, a new folder is made when all has been read.
            let held = Directory.Exists options.Folder
            use _ = if held then hold options.Folder else null
            checkFolder options experiment

            let testSubjects =
                split.TestGroups |> List.collect _.Members |> List.distinctBy _.Name

            let metrics = Path.Combine(options.Folder, "metrics.jsonl")
            let times = Path.Combine(options.Folder, "times.jsonl")
            let digest = Experiment.digest experiment

            // Everything is read before the first step and before the folder is made: bad input costs no training, and
            // leaves nothing behind.
            options.Sink(
                Loading
                    $"{split.TrainGroup.Members.Length} training, {split.ValidationGroup.Members.Length} validation and {testSubjects.Length} test subjects of {dataset.Name}"
            )

            let labelled pairs group =
                Evaluator.load (Seed.ofInt experiment.Evaluation.Seed) pairs data.IgnoredLabels group

            let validation =
                labelled experiment.Evaluation.ValidationPairs split.ValidationGroup
                |> withoutSurface

            let tests =
                [
                    for group in split.TestGroups -> group.Part, labelled experiment.Evaluation.Pairs group
                ]

            let trainingSet = TrainingSet.load data split.TrainGroup

            if
                experiment.Train
                |> List.exists (fun t -> t.Loss.Dice + t.Loss.LabelDistance > 0.0)
            then
                trainingSet.Labels.Force() |> ignore

            /// The training with the file of the earlier one that it starts from, if it does.
            let located (training: TrainingOptions) =
                match Experiment.startInstance experiment training with
                | Some earlier ->
                    { training with
                        Start = Some(modelPath options.Folder earlier.Name)
                    }
                | None -> training

            /// What a training starts from, as its experiment names it, and the card of that model.
            let startOf (training: TrainingOptions) =
                match training.Start, (located training).Start with
                | Some name, Some start ->
                    Some(name, StartModel.check start training.Architecture |> Error.orRaise |> fst)
                | _ -> None

            /// The card of a training's model after so many steps.
            let card (training: TrainingOptions) (steps: int) : ModelCard =
                {
                    Architecture = training.Architecture
                    Intensity = data.Intensity
                    Spacing = data.Spacing
                    Size = data.Size
                    Alignment = data.Alignment
                    Data = dataset.Name
                    Licence = dataset.Licence
                    Train = split.TrainGroup.Members |> List.map _.Name
                    Validation = split.ValidationGroup.Members |> List.map _.Name
                    Test = testSubjects |> List.map _.Name
                    IgnoredLabels = data.IgnoredLabels
                    Steps = steps
                    Experiment = digest
                    Notes =
                        match startOf training with
                        | Some(start, card) ->
                            // And what that model itself started from.
                            $"{StartModel.origin}{start}: {card.Steps} steps on {card.Data} ({card.Licence}), experiment {card.Experiment}"
                            :: (card.Notes |> List.filter _.StartsWith(StartModel.origin))
                        | None -> []
                    Verdict = None
                    Figures = []
                }

            let readModel path =
                let model = ModelFile.read path |> Error.orRaise
                model.Network.``to`` options.Device |> ignore
                model

            let own name = Experiment.tryInstance experiment name
            let isOwn name = (own name).IsSome

            /// A teacher that is asked once for every pair; `path` is its model file, `nameOf` tells the name of the folder
            /// where its fields are kept.
            let remembered (nameOf: StoreOrigin -> string) (path: string) (teacher: PairTeacher) =
                let origin = FieldStore.originOf data dataset.Name path
                let folder = Path.Combine(options.Folder, "fields", nameOf origin)
                Fields(PairTeacher.kept trainingSet (FieldStore.create folder origin) teacher)

            let networkOf (training: TrainingOptions) (nameOf: StoreOrigin -> string) (path: string) =
                let network = (readModel path).Network

                let varied = training.Augmentation |> Option.exists Augmentation.isGeometric

                // A teacher of few pairs is asked once for each.
                if training.Pairs.IsSome && not varied then
                    remembered nameOf path (PairTeacher.network options.Device network), Some network
                else
                    Online network, Some network

            /// The teacher of a training, and its network, which lives as long.
            let teacherOf (training: TrainingOptions) =
                training.Distillation
                |> Option.filter (fun d -> d.Teacher <> KnownPairs.teacher)
                |> Option.map (fun d ->
                    match own d.Teacher with
                    | Some teacher ->
                        networkOf training (fun _ -> teacher.Name) (modelPath options.Folder teacher.Name)
                    | None when d.Teacher = OptimisedField.teacher ->
                        remembered (fun _ -> d.Teacher) d.Teacher PairTeacher.optimisation, None
                    | None when Directory.Exists d.Teacher ->
                        Fields(PairTeacher.stored trainingSet (FieldStore.openFolder d.Teacher)), None
                    | None ->
                        // Models of several runs have one name.
                        let name = string (Path.GetFileNameWithoutExtension d.Teacher)
                        networkOf training (fun origin -> $"{name}-{origin.Teacher[..7]}") d.Teacher)

            // Teachers from outside must fit; those of this experiment do.
            for training in experiment.Train do
                match training.Distillation with
                | Some { Teacher = teacher } when
                    not (isOwn teacher)
                    && teacher <> OptimisedField.teacher
                    && teacher <> KnownPairs.teacher
                    ->
                    let fits =
                        if Directory.Exists teacher then
                            match (FieldStore.openFolder teacher).Origin with
                            | Some origin ->
                                origin.Data = dataset.Name
                                && origin.Intensity = data.Intensity
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
                                    $"training {training.Name}: its teacher {teacher} was made for other data, another intensity rule or training grid; give both the same \"data\""
                            )
                        )
                | _ -> ()

            Directory.CreateDirectory options.Folder |> ignore
            use _ = if held then null else hold options.Folder
            openFolder options experiment
            Checkpoint.clean options.Folder

            for training in experiment.Train do
                /// The first of the trainings that each start from the one before, up to this one.
                let rec first (training: TrainingOptions) =
                    match Experiment.startInstance experiment training with
                    | Some earlier -> first earlier.Options
                    | None -> training

                for start, card in Option.toList (startOf (first training)) do
                    let unseen =
                        Set.ofList (
                            (split.ValidationGroup.Members |> List.map _.Name)
                            @ (testSubjects |> List.map _.Name)
                        )

                    let seen = Set.intersect unseen (Set.ofList card.Train)

                    if card.Data = dataset.Name && not seen.IsEmpty then
                        options.Sink(
                            Cautioned
                                $"training {training.Name} starts from {start}, which has learnt from {seen.Count} of the {unseen.Count} validation and test subjects: their scores say nothing of unseen ones"
                        )

            RunSpace.warning options.Folder (RunSpace.bytes experiment)
            |> Option.iter (Cautioned >> options.Sink)

            let validate (training: TrainingOptions) (network: Network) : Metrics =
                let model =
                    {
                        Card = card training training.Steps
                        Network = network
                    }

                let scores =
                    Evaluator.model options.Device model validation CancellationToken.None (fun _ _ -> ())

                let summary = Scores.summarise training.Name (0L, 0.0) scores scores

                [
                    "dice", summary.Dice
                    if not (Double.IsNaN summary.TreMm) then
                        "tre_mm", summary.TreMm
                    "folded_percent", summary.FoldedPercent
                ]

            let events =
                if options.TensorBoard then
                    Some(EventFiles options.Folder)
                else
                    None

            let timed = ResizeArray()

            let sink (event: TrainingEvent) =
                match event with
                | Started(training, _, _, step) ->
                    if options.Resume then
                        for file in [ metrics; times ] do
                            trimMetrics file training step

                    events |> Option.iter (fun files -> files.Begin metrics training)
                | Timed(training, step, spent) ->
                    timed.Add(training, step, spent)
                    File.AppendAllText(times, (timesNode (training, step, spent)).ToJsonString() + "\n")
                | _ -> ()

                for line in Option.toList (metricsLine event) do
                    File.AppendAllText(metrics, line + "\n")
                    events |> Option.iter (fun files -> files.Add line)

                options.Sink(Training event)

            /// Trains, if it has not been; at which step it was stopped, if it was.
            let train (instance: Instance) : Result<unit, int> =
                let training = instance.Options
                let path = modelPath options.Folder instance.Name

                if options.Resume && File.Exists path then
                    Ok()
                else
                    let teacher = teacherOf training

                    let ending =
                        Trainer.run
                            {
                                Options = located training
                                Seed = Seed.ofInt instance.Seed
                                Set = trainingSet
                                Teacher = Option.map fst teacher
                                Device = options.Device
                                Run = options.Folder
                                Resume = options.Resume
                                Validate = validate training
                                Sink = sink
                                Stop = options.Stop
                            }

                    teacher |> Option.bind snd |> Option.iter _.Dispose()

                    match ending with
                    | Interrupted step -> Error step
                    | Finished(network, steps) ->
                        use network = network

                        ModelFile.write
                            path
                            {
                                Card = card training steps
                                Network = network
                            }

                        Ok()

            let score (instance: Instance) =
                let model = readModel (modelPath options.Folder instance.Name)
                use _ = model.Network
                let parameters, macs = ModelFile.sizeOf model.Card

                for part, test in tests do
                    let path = scorePath options.Folder instance.Name part

                    if not (File.Exists path) then
                        let name =
                            if part = "" then
                                instance.Name
                            else
                                $"{instance.Name}, {part}"

                        let sheet =
                            {
                                Parameters = parameters
                                Macs = macs
                                Scores =
                                    Evaluator.model options.Device model test options.Stop (fun pair pairs ->
                                        options.Sink(Scoring(name, pair, pairs)))
                            }

                        AtomicFile.WriteText(path, Codec.toLine Scores.sheet sheet + "\n")

            let all = Experiment.instances experiment

            let scored (instance: Instance) =
                isScored options.Folder experiment instance.Name

            let wanted = wantedOf options experiment all

            /// The earlier trainings whose models an instance needs to be trained, and that are not there: its start and its teacher.
            let rec needed (instance: Instance) : Instance list =
                let isThere (i: Instance) =
                    File.Exists(modelPath options.Folder i.Name)

                let teacher = instance.Options.Distillation |> Option.bind (fun d -> own d.Teacher)

                [
                    if not (isThere instance) then
                        for earlier in
                            List.choose id [ Experiment.startInstance experiment instance.Options; teacher ] do
                            if not (isThere earlier) then
                                yield! needed earlier
                                earlier
                ]

            let rec carryOut (instances: Instance list) =
                match instances with
                | [] -> Ok()
                | instance :: rest ->
                    match train instance with
                    | Error step -> Error(instance.Name, step)
                    | Ok() ->
                        if not (scored instance) then
                            score instance

                        carryOut rest

            let open' =
                wanted
                |> List.filter (scored >> not)
                |> List.collect (fun instance -> needed instance @ [ instance ])
                |> List.distinct

            match carryOut open' with
            | Error(training, step) -> Stopped(training, step)
            | Ok() ->
                /// The rows of one test part's table, and the table as text.
                let tableOf (part: string, test: EvaluationSet) : Summary list * string list =
                    let before = Evaluator.untouched data.Alignment test options.Stop

                    // Rows of what has scores so far: all seeds of a training together.
                    let sheets =
                        [
                            for training in experiment.Train do
                                let own =
                                    all
                                    |> List.filter (fun i -> i.Training = training.Name && scored i)
                                    |> List.map (fun i ->
                                        let path = scorePath options.Folder i.Name part

                                        Codec.ofText path Scores.sheet (File.ReadAllText path)
                                        |> Error.orRaise)

                                if not own.IsEmpty then
                                    training.Name, own
                        ]

                    let rows =
                        Scores.summarise "untouched" (0L, 0.0) before before
                        :: [
                            for name, own in sheets do
                                let size = own.Head.Parameters, own.Head.Macs
                                let scores = own |> List.map _.Scores |> Scores.overSeeds

                                { Scores.summarise name size before scores with
                                    Seeds = own.Length
                                }
                        ]

                    let comparisons =
                        [
                            for first, second in experiment.Evaluation.Compare do
                                let find name =
                                    sheets
                                    |> List.tryFind (fun (n, _) -> n = name)
                                    |> Option.map (fun (_, own) ->
                                        own |> List.map _.Scores |> Scores.overSeeds |> List.map _.Dice)

                                match find first, find second with
                                | Some a, Some b when Seq.forall Double.IsFinite (a @ b) ->
                                    $"{first} − {second}", Wilcoxon.test (List.zip a b)
                                | _ -> ()
                        ]

                    let what =
                        if part = "" then
                            $"{test.Scans.Length} test subjects"
                        else
                            $"{test.Scans.Length} scans of part {part}"

                    rows |> List.map (fun row -> { row with Part = part }),
                    [
                        $"{test.Pairs.Length} pairs of {what} of {dataset.Name}; mean ± deviation over the pairs; one seed unless a row says more."
                        ""
                        Scores.toTable rows
                        if not comparisons.IsEmpty then
                            ""
                            "Dice, paired (Wilcoxon's signed-rank test, two-sided):"
                            ""

                            for name, test in comparisons do
                                $"- {name}: {Scores.signed 4 test.MeanDifference}, {Scores.probability test.P}"
                    ]

                let tables = tests |> List.map tableOf

                let table =
                    JsonArray(
                        [|
                            for rows, _ in tables do
                                for row in rows -> Scores.toJson row :> JsonNode
                        |]
                    )

                AtomicFile.WriteText(Path.Combine(options.Folder, "table.json"), table.ToJsonString() + "\n")

                let report = tables |> List.map (snd >> String.concat "\n") |> String.concat "\n\n"

                AtomicFile.WriteText(
                    Path.Combine(options.Folder, "table.md"),
                    $"# {experiment.Name}\n\n{report}\n"
                )

                options.Page |> Option.iter (writePage report)

                let final = Path.Combine(options.Folder, "model.safetensors")

                match
                    all
                    |> List.rev
                    |> List.tryFind (fun i -> File.Exists(modelPath options.Folder i.Name))
                with
                | None -> ()
                | Some last ->
                    let model = readModel (modelPath options.Folder last.Name)
                    use _ = model.Network
                    ModelFile.write final model

                    let test = snd tests.Head

                    use registrar = new Registrar(TorchPredictor(options.Device, model))

                    let register = Evaluator.registering registrar (RegistrationOptions()) options.Stop

                    Picture.pairs
                        (Path.Combine(options.Folder, "pairs.png"))
                        [
                            for f, m in List.truncate picturePairs test.Pairs do
                                register test.Scans[f].Image test.Scans[m].Image
                        ]

                Done
                    {
                        Run = options.Folder
                        // One that stopped early has fewer than it was given.
                        Steps =
                            all
                            |> List.sumBy (fun instance ->
                                let path = modelPath options.Folder instance.Name

                                if File.Exists path then
                                    let card, _ = ModelFile.inspect path |> Error.orRaise
                                    card.Steps
                                elif scored instance then
                                    instance.Options.Steps
                                else
                                    0)
                        Times = List.ofSeq timed
                        Model = final
                        Table = tables |> List.collect fst
                    })
