namespace Ldr

open System.IO
open System.Threading
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

/// What a store holds now: fields of so many pairs, some of them made just now. Fewer than wanted: it was stopped.
type TeachResult = { Pairs: int; Wanted: int; Made: int }

/// A teacher's fields for every pair that a training will see, made once, so that the student need not wait for its teacher.
module Teach =
    let private bad message = raise (Error.Raised(BadInput message))

    let private trainingOf (name: string option) (experiment: Experiment) =
        let learners =
            experiment.Train
            |> List.choose (fun t -> t.Distillation |> Option.map (fun d -> t, d))

        match name, learners with
        | Some name, _ ->
            learners
            |> List.tryFind (fun (t, _) -> t.Name = name)
            |> Option.defaultWith (fun () ->
                bad
                    $"\"{name}\" is no training with a \"distillation\"; {Codec.suggestion (learners |> List.map (fun (t, _) -> t.Name)) name}")
        | None, [ only ] -> only
        | None, [] -> bad "no training of this experiment learns from a teacher; give one a \"distillation\""
        | None, several ->
            let names = several |> List.map (fun (t, _) -> t.Name) |> String.concat ", "
            bad $"several trainings learn from a teacher ({names}); choose one by --training"

    /// Fills the store. What is there already stays; each field is a file of its own, so that an interruption loses one at
    /// most.
    let execute (options: TeachOptions) (experiment: Experiment) : Result<TeachResult, Error> =
        Error.guard (fun () ->
            let data = experiment.Data
            let training, distillation = trainingOf options.Training experiment

            if training.Augmentation |> Option.exists Augmentation.isGeometric then
                bad
                    $"the augmentation of {training.Name} moves the images, stored fields would not fit them; let the teacher run beside the student"

            if distillation.Teacher = KnownPairs.teacher then
                bad
                    $"the fields of \"{KnownPairs.teacher}\" are made anew at every step; {training.Name} needs no store of them"

            let optimises = distillation.Teacher = OptimisedField.teacher

            if not optimises && not (File.Exists distillation.Teacher) then
                bad
                    $"the teacher of {training.Name}, \"{distillation.Teacher}\", is no model file; name one by --set train.{training.Name}.distillation.teacher=FILE, or \"{OptimisedField.teacher}\""

            use network =
                if optimises then
                    null
                else
                    (ModelFile.read distillation.Teacher |> Error.orRaise).Network

            let teacher =
                match network with
                | null -> PairTeacher.optimisation
                | network ->
                    network.``to`` options.Device |> ignore
                    PairTeacher.network options.Device network

            let dataset = Dataset.load data |> Error.orRaise
            let split = Dataset.split data.Split dataset |> Error.orRaise
            let set = TrainingSet.load data split.TrainGroup

            let store =
                FieldStore.originOf data dataset.Name distillation.Teacher
                |> FieldStore.create options.Folder

            // Those of all its seeds.
            let pairs =
                Experiment.instances experiment
                |> List.filter (fun instance -> instance.Training = training.Name)
                |> List.collect (fun instance -> Batches.pairs training (Seed.ofInt instance.Seed) set.Group)
                |> List.distinct

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
            })
