namespace Ldr

open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats

/// A model of a run, or one that was given to it, as a start or as a teacher.
type internal KnownModel =
    {
        /// A training with its seed; a model from outside as the experiment names it.
        Name: string
        Sha256: string
        /// What decides over a training, see `Experiment.instanceDigest`; nothing for a model from outside.
        MadeBy: string option
    }

/// A run is a folder: `experiment.json` (as resolved), `metrics.jsonl`, `times.jsonl` (where the time went), `checkpoints/`, `tensorboard/` (if asked for), `models/NAME.safetensors` of every
/// finished training, `models.json` (the digests of these and of models that were given), `scores/NAME.json` of its test pairs, `fields/TEACHER/`
/// (the fields of teachers that are asked once for each pair), `model.safetensors` (the last one), `table.md` and `table.json`,
/// `pairs.png`. A training with scores is done, whether its model is still there or not, unless another learns or starts from it.
module internal RunFolder =
    let experimentPath (folder: string) = Path.Combine(folder, "experiment.json")
    let metricsPath (folder: string) = Path.Combine(folder, "metrics.jsonl")
    let timesPath (folder: string) = Path.Combine(folder, "times.jsonl")

    let finalModelPath (folder: string) =
        Path.Combine(folder, "model.safetensors")

    let tablePath (folder: string) = Path.Combine(folder, "table.md")
    let tableJsonPath (folder: string) = Path.Combine(folder, "table.json")
    let picturePath (folder: string) = Path.Combine(folder, "pairs.png")

    /// Where the fields of a teacher are kept.
    let fieldsPath (folder: string) (teacher: string) = Path.Combine(folder, "fields", teacher)

    let modelPath (folder: string) (training: string) =
        Path.Combine(folder, "models", training + ".safetensors")

    /// The scores of a training on a test part, whose name is nothing where a random cut made it.
    let scorePath (folder: string) (training: string) (part: string) =
        let part = if part = "" then "" else "." + FieldStore.fileName part
        Path.Combine(folder, "scores", training + part + ".json")

    let private knownPath (folder: string) = Path.Combine(folder, "models.json")

    let private known: Codec<KnownModel> =
        codec {
            let! name = required "name" Codec.string _.Name
            and! sha256 = required "sha256" Codec.string _.Sha256
            and! madeBy = maybe "made_by" Codec.string _.MadeBy

            return
                {
                    Name = name
                    Sha256 = sha256
                    MadeBy = madeBy
                }
        }

    /// The models that a run knows; nothing where an older version made the run.
    let private knownModels (folder: string) : Result<KnownModel list option, Error> =
        if File.Exists(knownPath folder) then
            Codec.ofFile (knownPath folder) (Codec.list known) |> Result.map Some
        else
            Ok None

    let private writeKnown (folder: string) (models: KnownModel list) =
        AtomicFile.WriteText(knownPath folder, Codec.toText (Codec.list known) models + "\n")

    /// Whether a training has a model that the run knows: one that a kill left before it was noted is made again.
    let hasModel (folder: string) (training: string) =
        File.Exists(modelPath folder training)
        && (match knownModels folder with
            | Ok(Some models) ->
                models
                |> List.exists (fun model -> model.Name = training && model.MadeBy.IsSome)
            | Ok None
            | Error _ -> true)

    /// The digest of a model from outside, or of what a store of fields says of itself; nothing where there is none.
    let private tryDigestOf (name: string) : string option =
        let store = Path.Combine(name, "store.json")

        if File.Exists store then
            Some(Checkpoint.digest store)
        else
            match ModelFile.resolve name with
            | Ok path -> Some(Checkpoint.digest path)
            | Error _ -> None

    let private ownModels (folder: string) (experiment: Experiment) : KnownModel list =
        [
            for instance in Experiment.instances experiment do
                let path = modelPath folder instance.Name

                if File.Exists path then
                    {
                        Name = instance.Name
                        Sha256 = Checkpoint.digest path
                        MadeBy = Some(Experiment.instanceDigest experiment instance)
                    }
        ]

    let private givenModels (experiment: Experiment) : KnownModel list =
        [
            for name in Experiment.givenModels experiment do
                for sha256 in Option.toList (tryDigestOf name) do
                    {
                        Name = name
                        Sha256 = sha256
                        MadeBy = None
                    }
        ]

    let private isSame (a: KnownModel) (b: KnownModel) =
        a.Name = b.Name && a.MadeBy.IsSome = b.MadeBy.IsSome

    /// Notes the model that a training has just made.
    let noteModel (folder: string) (experiment: Experiment) (instance: Instance) : Result<unit, Error> =
        let own =
            {
                Name = instance.Name
                Sha256 = Checkpoint.digest (modelPath folder instance.Name)
                MadeBy = Some(Experiment.instanceDigest experiment instance)
            }

        RunClaims.alone folder (fun () ->
            knownModels folder
            |> Result.map (fun before ->
                let others = before |> Option.defaultValue [] |> List.filter (isSame own >> not)
                writeKnown folder (others @ [ own ])))

    /// Models that are no longer what the run made or was given are not taken for it.
    let private checkModels (folder: string) (experiment: Experiment) : Result<unit, Error> =
        result {
            let! models = knownModels folder

            for model in Option.defaultValue [] models do
                for now in ownModels folder experiment |> List.filter (isSame model) do
                    if now <> model then
                        return!
                            Error(
                                BadFile(
                                    modelPath folder model.Name,
                                    "is not the model that this run trained (its SHA-256 is not that of models.json)",
                                    "put that one back, or remove the file to train it again"
                                )
                            )

                for now in givenModels experiment |> List.filter (isSame model) do
                    if now <> model then
                        return!
                            Error(
                                BadFile(
                                    model.Name,
                                    $"is not the model that the run {folder} began with (its SHA-256 was {model.Sha256[..11]}…)",
                                    "put that one back, or choose another folder by --output"
                                )
                            )
        }

    /// The files of a training's scores, one for each test part.
    let private scorePaths (folder: string) (experiment: Experiment) (training: string) : string list =
        match experiment.Data.Split with
        | Cut _ -> [ "" ]
        | Parts(_, _, tests) -> tests |> List.map _.Part
        |> List.map (scorePath folder training)

    /// Whether a training of an experiment has scores of every test part.
    let isScored (folder: string) (experiment: Experiment) (training: string) =
        scorePaths folder experiment training |> List.forall File.Exists

    /// The experiment of the run that a folder holds.
    let readExperiment (folder: string) : Result<Experiment, Error> =
        Codec.ofFile (experimentPath folder) Experiment.codec

    /// Whether a training can go on from what the one of its name left; one seed more or less leaves those that were there, a
    /// single one has no place of its own.
    let private goesOn (before: TrainingOptions) (training: TrainingOptions) =
        { before with Seeds = training.Seeds } = training
        && (before.Seeds = training.Seeds
            || (before.Seeds.Length >= 2 && training.Seeds.Length >= 2))

    /// Whether a run can go on with an experiment. Trainings may come and go; those that were there must be the same.
    let private checkSame
        (folder: string)
        (before: Experiment)
        (experiment: Experiment)
        : Result<unit, Error> =
        // The data may lie elsewhere by now.
        let shared (e: Experiment) =
            e.Seed, { e.Data with Root = "" }, { e.Evaluation with Compare = [] }

        let changed =
            experiment.Train
            |> List.tryFind (fun training ->
                before.Train
                |> List.exists (fun old -> old.Name = training.Name && not (goesOn old training)))

        if shared before <> shared experiment then
            Error(
                BadFile(
                    folder,
                    "holds a run with other data, another seed or another evaluation",
                    "choose another folder by --output"
                )
            )
        else
            match changed with
            | Some training ->
                Error(
                    BadFile(
                        folder,
                        $"holds a run in which training {training.Name} was another",
                        "give it a new name, or choose another folder by --output"
                    )
                )
            | None -> Ok()

    /// Scores that another experiment made are not taken for this one's.
    let private checkScores (folder: string) (experiment: Experiment) : Result<unit, Error> =
        let made =
            [
                for instance in Experiment.instances experiment do
                    for path in scorePaths folder experiment instance.Name do
                        if File.Exists path then
                            path, Experiment.instanceDigest experiment instance
            ]

        result {
            for path, digest in made do
                let! sheet = Codec.ofFile path Scores.sheet

                if sheet.MadeBy |> Option.exists (fun by -> by <> digest) then
                    return!
                        Error(
                            BadFile(
                                path,
                                "holds scores that another experiment made",
                                "choose another folder by --output, or move the file away"
                            )
                        )
        }

    /// A file that a run of an experiment would write, and that is there already.
    let private tryOccupied (folder: string) (experiment: Experiment) : string option =
        let names = Experiment.instances experiment |> List.map _.Name

        [
            metricsPath folder
            timesPath folder
            finalModelPath folder
            tablePath folder
            tableJsonPath folder
            picturePath folder
            for name in names do
                modelPath folder name
                yield! scorePaths folder experiment name
        ]
        |> List.tryFind File.Exists
        |> Option.map (fun path -> Path.GetRelativePath(folder, path))
        |> Option.orElseWith (fun () ->
            Checkpoint.filesOf folder names
            |> List.tryHead
            |> Option.map (fun name -> Path.Combine("checkpoints", name)))

    /// Whether a run's folder can be used: a new one, or one of the same data and trainings with
    /// `--resume`. A folder without experiment.json is no run, and must not hold what a run would write. Makes nothing yet.
    let check (options: RunOptions) (experiment: Experiment) : Result<unit, Error> =
        if not (File.Exists(experimentPath options.Folder)) then
            match tryOccupied options.Folder experiment with
            | None -> Ok()
            | Some name ->
                Error(
                    BadFile(
                        options.Folder,
                        $"holds {name} but no experiment.json that says what made it",
                        "choose another folder by --output"
                    )
                )
        elif not options.Resume then
            Error(
                BadFile(
                    options.Folder,
                    "holds a run already",
                    "go on with it by --resume, or choose another folder by --output"
                )
            )
        else
            result {
                let! before = readExperiment options.Folder
                do! checkSame options.Folder before experiment
                do! checkScores options.Folder experiment
                do! checkModels options.Folder experiment
            }

    /// The names of the trainings that a folder was a run of.
    let private trainingsOf (folder: string) : Result<string list, Error> =
        if File.Exists(experimentPath folder) then
            readExperiment folder |> Result.map (Experiment.instances >> List.map _.Name)
        else
            Ok []

    /// Fills a folder that is there with what every run has, and removes the checkpoints that killed processes left in it. Only
    /// while no other process does so.
    let prepare (folder: string) (experiment: Experiment) : Result<unit, Error> =
        result {
            let! before = trainingsOf folder

            for part in [ "models"; "scores" ] do
                Directory.CreateDirectory(Path.Combine(folder, part)) |> ignore

            AtomicFile.WriteText(experimentPath folder, Codec.toText Experiment.codec experiment + "\n")
            let! models = knownModels folder
            // A run that an older version made has models that nobody has noted.
            let noted = models |> Option.defaultWith (fun () -> ownModels folder experiment)

            let given =
                givenModels experiment
                |> List.filter (fun model -> noted |> List.exists (isSame model) |> not)

            if models.IsNone || not given.IsEmpty then
                writeKnown folder (noted @ given)

            if not before.IsEmpty then
                do! Checkpoint.clean folder before
        }
