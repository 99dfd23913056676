namespace Ldr

open System.IO
open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp

/// How a store of a teacher's fields is to be filled.
[<NoEquality; NoComparison>]
type TeachOptions =
    {
        /// The store's folder.
        Folder: string
        /// The training whose pairs are meant; nothing: the only one that learns from a teacher.
        Training: string option
        Device: torch.Device
        /// Told after every field: how many of how many there are.
        Progress: int -> int -> unit
        /// Told of what may end the work before it is done.
        Caution: string -> unit
        Stop: CancellationToken
    }

module TeachOptions =
    /// A store in the folder `fields`, filled on the processor.
    let standard: TeachOptions =
        {
            Folder = "fields"
            Training = None
            Device = torch.CPU
            Progress = fun _ _ -> ()
            Caution = ignore
            Stop = CancellationToken.None
        }

/// What a store holds now: fields of so many pairs, some of them made just now. Fewer than wanted: it was stopped.
type TeachResult = { Pairs: int; Wanted: int; Made: int }

/// A teacher's fields for every pair that a training will see, made once, so that the student need not wait for its teacher.
module Teach =
    let private bad message = Error(BadInput message)

    let private trainingOf
        (name: string option)
        (experiment: Experiment)
        : Result<TrainingOptions * Distillation, Error> =
        let learners =
            experiment.Train
            |> List.choose (fun t -> t.Distillation |> Option.map (fun d -> t, d))

        let names = learners |> List.map (fun (t, _) -> t.Name)

        match name, learners with
        | Some name, _ ->
            match learners |> List.tryFind (fun (t, _) -> t.Name = name) with
            | Some learner -> Ok learner
            | None -> bad $"\"{name}\" is no training with a \"distillation\"; {Suggestion.among names name}"
        | None, [ only ] -> Ok only
        | None, [] -> bad "no training of this experiment learns from a teacher; give one a \"distillation\""
        | None, _ ->
            let names = String.concat ", " names
            bad $"several trainings learn from a teacher ({names}); choose one by --training"

    /// Whether a training's teacher can fill a store.
    let private check (training: TrainingOptions) (teacher: string) : Result<unit, Error> =
        if training.Augmentation |> Option.exists Augmentation.isGeometric then
            bad
                $"the augmentation of {training.Name} moves the images, stored fields would not fit them; let the teacher run beside the student"
        elif teacher = KnownPairs.teacher then
            bad
                $"the fields of \"{KnownPairs.teacher}\" are made anew at every step; {training.Name} needs no store of them"
        else
            Ok()

    /// The file of the model that is asked, or `OptimisedField.teacher`.
    let private fileOf
        (experiment: Experiment)
        (training: TrainingOptions)
        (teacher: string)
        : Result<string, Error> =
        let refuse what file =
            bad
                $"the teacher of {training.Name}, \"{teacher}\", is {what}, no model file; name one by --set train.{training.Name}.distillation.teacher={file}, or \"{OptimisedField.teacher}\""

        if teacher = OptimisedField.teacher then
            Ok teacher
        elif (Experiment.teacherInstance experiment training).IsSome then
            refuse "a training" $"RUN/models/{teacher}.safetensors"
        else
            match TeacherSource.find teacher with
            | Ok(TeacherModel file) -> Ok file
            | Ok(TeacherFields _) -> refuse "a folder of fields" "FILE"
            | Error error -> Error error

    /// The teacher, and its network, if it is one.
    let private teacherOf
        (device: torch.Device)
        (teacher: string)
        : Result<PairTeacher * Network option, Error> =
        if teacher = OptimisedField.teacher then
            Ok(PairTeacher.optimisation, None)
        else
            ModelFile.readTo device teacher
            |> Result.map (fun model -> PairTeacher.network device model.Network, Some model.Network)

    /// The pairs that a training sees with all its seeds.
    let private pairsOf (experiment: Experiment) (training: TrainingOptions) (group: SubjectGroup) =
        Experiment.instances experiment
        |> List.filter (fun instance -> instance.Training = training.Name)
        |> List.collect (fun instance -> Batches.pairs training (Seed.ofInt instance.Seed) group)
        |> List.distinct

    /// Asks the teacher for every pair that a store lacks, until it is stopped.
    let private fill
        (options: TeachOptions)
        (data: DataOptions)
        (set: TrainingSet)
        (store: FieldStore)
        (teacher: PairTeacher)
        (pairs: (int * int) list)
        : TeachResult =
        let missing =
            pairs |> List.filter (fun pair -> not (PairTeacher.isKept set store pair))

        let before = pairs.Length - missing.Length

        RunSpace.fields data missing.Length
        |> RunSpace.warning options.Folder
        |> Option.iter options.Caution

        let made =
            missing
            |> Seq.takeWhile (fun _ -> not options.Stop.IsCancellationRequested)
            |> Seq.mapi (fun index own ->
                PairTeacher.keep set store teacher own (TrainingSet.pair set own)
                options.Progress (before + index + 1) pairs.Length)
            |> Seq.length

        {
            Pairs = before + made
            Wanted = pairs.Length
            Made = made
        }

    /// Fills the store. What is there already stays; each field is a file of its own, so that an interruption loses one at
    /// most.
    let execute (options: TeachOptions) (experiment: Experiment) : Result<TeachResult, Error> =
        Error.guardResult (fun () ->
            result {
                let data = experiment.Data
                let! training, distillation = trainingOf options.Training experiment
                do! check training distillation.Teacher
                let! file = fileOf experiment training distillation.Teacher
                let! teacher, network = teacherOf options.Device file
                use _ = Option.toObj network
                let! dataset = Dataset.load data
                let! split = Dataset.split data.Split dataset
                let! set = TrainingSet.load data split.TrainGroup
                let origin = FieldStore.originOf data dataset.Name file
                let! store = FieldStore.create options.Folder origin
                return fill options data set store teacher (pairsOf experiment training set.Group)
            })
