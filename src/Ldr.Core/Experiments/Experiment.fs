namespace Ldr

open System
open System.IO
open System.Security.Cryptography
open System.Text
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats

/// How the models of an experiment are scored.
type EvaluationOptions =
    {
        /// Pairs of test subjects, drawn by the seed, and of validation subjects.
        Pairs: int
        Seed: int
        ValidationPairs: int
        /// The mean length (mm) of the known fields that test scans are tried with (`Evaluator.knownFields`); none: not tried.
        KnownField: float option
        /// Trainings, by name, whose Dice is compared pair by pair (Wilcoxon's signed-rank test), first against second.
        Compare: (string * string) list
    }

/// A training with one of its seeds.
type Instance =
    {
        /// The training's name, with the seed where it has several.
        Name: string
        /// The training's own name.
        Training: string
        Seed: int
        Options: TrainingOptions
    }

/// An experiment: data, trainings in their order (a later one may learn from an earlier one), and scores.
type Experiment =
    {
        Name: string
        Seed: int
        Data: DataOptions
        Train: TrainingOptions list
        Evaluation: EvaluationOptions
    }

module EvaluationOptions =
    let standard =
        {
            Pairs = 200
            Seed = 1
            ValidationPairs = 20
            KnownField = None
            Compare = []
        }

    let codec: Codec<EvaluationOptions> =
        let two =
            Codec.list Codec.string
            |> Codec.where "a list of two names" (fun names -> names.Length = 2)
            |> Codec.map (fun names -> names[0], names[1]) (fun (a, b) -> [ a; b ])

        codec {
            let! pairs = optional "pairs" Codec.count standard.Pairs _.Pairs
            and! seed = optional "seed" Codec.int standard.Seed _.Seed

            and! validationPairs =
                optional "validation_pairs" Codec.count standard.ValidationPairs _.ValidationPairs

            and! knownField = maybe "known_field" RuntimeCodecs.millimetres _.KnownField
            and! compare = optional "compare" (Codec.list two) standard.Compare _.Compare

            return
                {
                    Pairs = pairs
                    Seed = seed
                    ValidationPairs = validationPairs
                    KnownField = knownField
                    Compare = compare
                }
        }

module Experiment =
    let codec: Codec<Experiment> =
        codec {
            let! name = required "name" Codec.fileName _.Name
            and! seed = optional "seed" Codec.int 1 _.Seed
            and! data = required "data" DataOptions.codec _.Data

            and! train =
                required
                    "train"
                    (Codec.list TrainingOptions.codec
                     |> Codec.where "at least one training" (List.isEmpty >> not))
                    _.Train

            and! evaluation =
                optional "evaluation" EvaluationOptions.codec EvaluationOptions.standard _.Evaluation

            return
                {
                    Name = name
                    Seed = seed
                    Data = data
                    Train = train
                    Evaluation = evaluation
                }
        }

    /// Synthetic anatomy and one training, to start from.
    let standard: Experiment =
        {
            Name = "experiment"
            Seed = 1
            Data = DataOptions.standard
            Train = [ TrainingOptions.standard ]
            Evaluation = EvaluationOptions.standard
        }

    /// All trainings with all their seeds, in order.
    let instances (experiment: Experiment) : Instance list =
        [
            for training in experiment.Train do
                match training.Seeds with
                | []
                | [ _ ] ->
                    {
                        Name = training.Name
                        Training = training.Name
                        Seed = List.tryHead training.Seeds |> Option.defaultValue experiment.Seed
                        Options = training
                    }
                | seeds ->
                    for seed in seeds do
                        let name = $"{training.Name}-{seed}"

                        {
                            Name = name
                            Training = training.Name
                            Seed = seed
                            Options = { training with Name = name }
                        }
        ]

    let private named (name: string) (instances: Instance list) : Instance option =
        instances
        |> List.tryFind (fun i -> i.Name = name)
        |> Option.orElse (instances |> List.tryFind (fun i -> i.Training = name))

    /// The instance that a name means: its own, or its training's, which is the first seed's.
    let private tryInstance (experiment: Experiment) (name: string) : Instance option =
        instances experiment |> named name

    /// The instances that stand before a training (or an instance of it) in the list.
    let private before (experiment: Experiment) (own: Instance) : Instance list =
        instances experiment |> List.takeWhile (fun i -> i.Training <> own.Training)

    /// The earlier training that a training (or an instance of it) starts from, if it is none from outside: of several seeds
    /// its own where there is one, else the first.
    let startInstance (experiment: Experiment) (training: TrainingOptions) : Instance option =
        match training.Start, tryInstance experiment training.Name with
        | Some start, Some own ->
            let earlier = before experiment own

            earlier
            |> List.tryFind (fun i -> i.Training = start && i.Seed = own.Seed)
            |> Option.orElse (named start earlier)
        | _ -> None

    /// The earlier training that a training (or an instance of it) learns from, if it learns from one: of several seeds the
    /// first.
    let teacherInstance (experiment: Experiment) (training: TrainingOptions) : Instance option =
        match training.Distillation, tryInstance experiment training.Name with
        | Some { Teacher = teacher }, Some own -> before experiment own |> named teacher
        | _ -> None

    /// The SHA-256 of an experiment as it was resolved.
    let digest (experiment: Experiment) =
        Codec.toLine codec experiment
        |> Encoding.UTF8.GetBytes
        |> SHA256.HashData
        |> Convert.ToHexStringLower

    /// The digest of what decides over the scores of one training with one seed: not where the data lie, and not the other
    /// trainings beside it.
    let instanceDigest (experiment: Experiment) (instance: Instance) : string =
        digest
            { experiment with
                Name = $"seed-{instance.Seed}"
                Data = { experiment.Data with Root = "" }
                Train = [ { instance.Options with Seeds = [] } ]
                Evaluation =
                    { experiment.Evaluation with
                        Compare = []
                    }
            }

    /// The names of teachers that are made on the way.
    let private reservedTeachers = [ KnownPairs.teacher; OptimisedField.teacher ]

    /// What a training learns from, if that comes from outside: a model file or a folder of fields.
    let foreignTeacher (experiment: Experiment) (training: TrainingOptions) : string option =
        match training.Distillation, teacherInstance experiment training with
        | Some { Teacher = teacher }, None when not (List.contains teacher reservedTeachers) -> Some teacher
        | _ -> None

    /// The trainings that learn from something from outside: their place, and what they name.
    let private foreignTeachers (experiment: Experiment) : (int * string) list =
        let names = experiment.Train |> List.map _.Name

        List.indexed experiment.Train
        |> List.choose (fun (index, training) ->
            foreignTeacher experiment training
            // Of two trainings with one name, the second has its problem already.
            |> Option.filter (fun teacher -> not (List.contains teacher (List.take index names)))
            |> Option.map (fun teacher -> index, teacher))

    /// Whether a name is that of a model file or of a folder, there or not.
    let private isPlace (teacher: string) =
        teacher.IndexOfAny [| '/'; '\\' |] >= 0
        || teacher.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)

    let private isThere (teacher: string) =
        File.Exists teacher || Directory.Exists teacher || ModelFile.isShipped teacher

    let private isFields (teacher: string) =
        match TeacherSource.find teacher with
        | Ok(TeacherFields _) -> true
        | _ -> false

    let private startProblem (index: int) (error: Error) : JsonProblem =
        {
            Path = $"$.train[{index}].start"
            Problem = String.Join("; ", Error.lines error)
        }

    /// Models and stores of fields that come from outside: the names by which trainings start from them or learn from them.
    let givenModels (experiment: Experiment) : string list =
        [
            for training in experiment.Train do
                match training.Start, startInstance experiment training with
                | Some start, None -> start
                | _ -> ()

            yield! foreignTeachers experiment |> List.map snd
        ]
        |> List.distinct

    let private teacherProblem (index: int) (problem: string) : JsonProblem =
        {
            Path = $"$.train[{index}].distillation.teacher"
            Problem = problem
        }

    let private comparisonProblems (experiment: Experiment) : JsonProblem list =
        let names = experiment.Train |> List.map _.Name

        [
            for index, (first, second) in List.indexed experiment.Evaluation.Compare do
                for name in [ first; second ] do
                    if not (List.contains name names) then
                        {
                            Path = $"$.evaluation.compare[{index}]"
                            Problem = $"\"{name}\" is no training; {Suggestion.among names name}"
                        }
        ]

    /// Trainings with the name of an earlier one, or of a teacher that is no training.
    let private nameProblems (experiment: Experiment) : JsonProblem list =
        let names = experiment.Train |> List.map _.Name

        [
            for index, name in List.indexed names do
                let owner =
                    if List.contains name (List.take index names) then
                        Some "an earlier training"
                    elif List.contains name reservedTeachers then
                        Some "a teacher that is no training"
                    else
                        None

                match owner with
                | Some owner ->
                    {
                        Path = $"$.train[{index}].name"
                        Problem = $"\"{name}\" is the name of {owner}; choose another"
                    }
                | None -> ()
        ]

    /// Trainings with the name of another one's seed.
    let private seedNameProblems (experiment: Experiment) : JsonProblem list =
        let all = instances experiment

        [
            for index, training in List.indexed experiment.Train do
                let owner =
                    all
                    |> List.tryFind (fun i -> i.Name = training.Name && i.Training <> training.Name)

                match owner with
                | Some seed ->
                    {
                        Path = $"$.train[{index}].name"
                        Problem =
                            $"\"{training.Name}\" is the name of seed {seed.Seed} of training {seed.Training}; choose another"
                    }
                | None -> ()
        ]

    /// Trainings that move the images at every step, with a teacher that takes long.
    let private optimisationProblems (experiment: Experiment) : JsonProblem list =
        [
            for index, training in List.indexed experiment.Train do
                match training.Distillation, training.Augmentation with
                | Some { Teacher = teacher }, Some augmentation when
                    teacher = OptimisedField.teacher && Augmentation.isGeometric augmentation
                    ->
                    {
                        Path = $"$.train[{index}].augmentation"
                        Problem =
                            $"moves the images anew at every step, and \"{teacher}\" takes too long for that; leave flip, affine_probability and elastic_probability at 0"
                    }
                | _ -> ()
        ]

    /// What is wrong with the start of a training that is none of this experiment, if anything.
    let private foreignStartProblem
        (earlier: string list)
        (index: int)
        (training: TrainingOptions)
        (start: string)
        : JsonProblem option =
        match ModelFile.resolve start, StartModel.check start training.Architecture with
        | Ok _, Error problem -> Some(startProblem index problem)
        | Ok _, Ok _ -> None
        | Error _, _ when isPlace start || isThere start -> None
        | Error _, _ ->
            let known = earlier @ ModelFile.shipped ()

            Some
                {
                    Path = $"$.train[{index}].start"
                    Problem =
                        $"\"{start}\" is neither an earlier training nor a model; {Suggestion.among known start}"
                }

    let private startProblems (experiment: Experiment) : JsonProblem list =
        let names = experiment.Train |> List.map _.Name

        [
            for index, training in List.indexed experiment.Train do
                match training.Start, startInstance experiment training with
                | None, _ -> ()
                | Some start, Some earlier ->
                    match StartModel.fits start earlier.Options.Architecture training.Architecture with
                    | Ok() -> ()
                    | Error problem -> startProblem index problem
                | Some start, None ->
                    yield!
                        foreignStartProblem (List.take index names) index training start
                        |> Option.toList
        ]

    let private teacherProblems (experiment: Experiment) : JsonProblem list =
        let names = experiment.Train |> List.map _.Name

        [
            for index, teacher in foreignTeachers experiment do
                match experiment.Train[index].Augmentation with
                | Some augmentation when Augmentation.isGeometric augmentation && isFields teacher ->
                    {
                        Path = $"$.train[{index}].augmentation"
                        Problem =
                            $"moves the images, and the stored fields of \"{teacher}\" fit them as they are; leave flip, affine_probability and elastic_probability at 0, or name the teacher's model file"
                    }
                | _ -> ()

                let isLater = List.contains teacher (List.skip (index + 1) names)

                if isLater || not (isPlace teacher || isThere teacher) then
                    let hint =
                        if isLater then
                            "it stands later in the list: move it before this one"
                        else
                            Suggestion.among
                                (List.take index names @ reservedTeachers @ ModelFile.shipped ())
                                teacher

                    teacherProblem
                        index
                        $"\"{teacher}\" is neither an earlier training nor a model nor a folder of fields; {hint}"
        ]

    /// Problems that no single key shows: trainings of one name, teachers that are no training.
    let private problems (experiment: Experiment) : JsonProblem list =
        [
            comparisonProblems
            nameProblems
            seedNameProblems
            optimisationProblems
            startProblems
            teacherProblems
        ]
        |> List.collect (fun find -> find experiment)

    /// Teachers that are to be files or folders, and models to start from, that are not there. The experiment is good without
    /// them; it can't be run.
    let missingModels (experiment: Experiment) : JsonProblem list =
        [
            for index, training in List.indexed experiment.Train do
                match training.Start, startInstance experiment training with
                | Some start, None ->
                    match ModelFile.resolve start with
                    | Ok _ -> ()
                    | Error problem -> startProblem index problem
                | _ -> ()

            for index, teacher in foreignTeachers experiment do
                if isPlace teacher && not (isThere teacher) then
                    teacherProblem
                        index
                        $"\"{teacher}\" is not there; train it first, or name another with --set"
                elif isThere teacher then
                    match TeacherSource.find teacher with
                    | Ok _ -> ()
                    | Error problem -> teacherProblem index (String.Join("; ", Error.lines problem))
        ]

    /// Whether all is there that it is run with; `file` is named in the message.
    let runnable (file: string) (experiment: Experiment) : Result<Experiment, Error> =
        match missingModels experiment with
        | [] -> Ok experiment
        | missing -> Error(BadJson(file, missing))

    let private parseNode (text: string) : JsonNode | null =
        JsonNode.Parse(text, Nullable(), JsonText.reading)

    /// Levels of a path in --set; as deep as JSON is read.
    let private mostLevels = 64

    /// JSON, or a text without quotes.
    let private parseValue (text: string) : JsonNode | null =
        try
            parseNode text
        with :? System.Text.Json.JsonException ->
            JsonValue.Create text

    /// An assignment as it is told of.
    let private cut (assignment: string) =
        if assignment.Length <= 100 then
            assignment
        else
            assignment.Substring(0, 100) + "…"

    /// Sets the value at a path such as `data.root` or `train.student.steps` (an item of a list by its position or name).
    let private set (file: string) (root: JsonNode) (assignment: string) : Result<unit, Error> =
        let bad problem =
            Error(BadInput $"--set {cut assignment}: {problem}")

        match assignment.Split('=', 2) with
        | [| path; _ |] when (path.AsSpan().Count '.') >= mostLevels ->
            bad $"its path has {(path.AsSpan().Count '.') + 1} levels; an experiment has at most {mostLevels}"
        | [| path; value |] when path <> "" ->
            let parts = path.Split '.' |> List.ofArray

            let nameOf (item: JsonNode | null) =
                match item with
                | :? JsonObject as o when o.ContainsKey "name" -> Some(string o["name"])
                | _ -> None

            /// The names of a list's items, and that none of them is this one.
            let noItem (items: JsonNode) (part: string) =
                let names =
                    match items with
                    | :? JsonArray as items -> items |> Seq.choose nameOf |> List.ofSeq
                    | _ -> []

                let near =
                    if names.IsEmpty then
                        ""
                    else
                        $"; {Suggestion.among names part}"

                bad $"{file} has no item \"{part}\" there{near}"

            let child (node: JsonNode) (part: string) : (JsonNode | null) option =
                match node with
                | :? JsonArray as items ->
                    match Int32.TryParse part with
                    | true, index when index >= 0 && index < items.Count -> Some items[index]
                    | _ -> items |> Seq.tryFind (fun item -> nameOf item = Some part)
                | :? JsonObject as o ->
                    if not (o.ContainsKey part) then
                        o.Add(part, JsonObject())

                    Some o[part]
                | _ -> None

            let rec walk (node: JsonNode | null) (parts: string list) =
                match node, parts with
                | null, _ -> bad "there is nothing at that path"
                | (:? JsonObject as o), [ last ] ->
                    o[last] <- parseValue value
                    Ok()
                | (:? JsonArray as items), [ last ] ->
                    match Int32.TryParse last with
                    | true, index when index >= 0 && index < items.Count ->
                        items[index] <- parseValue value
                        Ok()
                    | _ -> noItem items last
                | n, part :: rest when not rest.IsEmpty ->
                    match child n part with
                    | Some next -> walk next rest
                    | None -> noItem n part
                | _ -> bad "there is no object at that path"

            walk root parts
        | _ -> bad "write PATH=VALUE, such as data.root=/data"

    let private another =
        "give the path of an experiment, such as experiments/quickstart.json"

    /// What is said of a file that is no JSON: what it is, where that can be told.
    let private wrongKind (file: string) (error: Error) =
        match FileContent.Describe file with
        | null -> error
        | what when what.Contains "text" -> error
        | what -> BadFile(file, $"is {what}, not an experiment", another)

    /// Refuses a data set's description, which is easily taken for an experiment.
    let private checkKind (file: string) (element: System.Text.Json.JsonElement) : Result<unit, Error> =
        let has (key: string) = fst (element.TryGetProperty key)

        if
            element.ValueKind = System.Text.Json.JsonValueKind.Object
            && not (has "train")
            && (has "training" || has "numTraining")
        then
            Error(BadFile(file, "is a data set's description, not an experiment", another))
        else
            Ok()

    /// The document after all assignments.
    let private assigned
        (file: string)
        (assignments: string list)
        (element: System.Text.Json.JsonElement)
        : Result<System.Text.Json.JsonElement, Error> =
        match
            (if assignments.IsEmpty then
                 null
             else
                 parseNode (element.GetRawText()))
        with
        | null -> Ok element
        | root ->
            result {
                let mutable text = ""

                for assignment in assignments do
                    try
                        do! set file root assignment
                        text <- root.ToJsonString()
                    with
                    // A key that is there twice, half a character, or lists in lists in lists.
                    | :? ArgumentException
                    | :? InvalidOperationException ->
                        return!
                            Error(
                                BadInput
                                    $"--set {cut assignment}: is no value that JSON can hold; write each key once, and whole characters"
                            )

                return! JsonText.parse file text
            }

    /// Reads an experiment and applies `--set` assignments. Every problem is reported at once.
    let read (file: string) (assignments: string list) : Result<Experiment, Error> =
        if not (File.Exists file) then
            Error(BadFile(file, "no such file", another))
        else
            result {
                let! text = Error.guard (fun () -> TextFile.read file)
                let! element = JsonText.parse file text |> Result.mapError (wrongKind file)
                do! checkKind file element
                let! element = assigned file assignments element
                let! experiment = Codec.decode file codec element

                match problems experiment with
                | [] -> return experiment
                | list -> return! Error(BadJson(file, list))
            }
