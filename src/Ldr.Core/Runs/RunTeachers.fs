namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling

/// A training's teacher, with the network behind it, which is released with it.
[<NoEquality; NoComparison>]
type internal OwnedTeacher =
    {
        Teacher: Teacher
        Network: Network option
    }

    interface IDisposable with
        member this.Dispose() = this.Network |> Option.iter _.Dispose()

/// The teachers of a run's trainings.
module internal RunTeachers =
    /// Whether a teacher is neither a training of the experiment nor made on the way.
    let private isForeign (experiment: Experiment) (teacher: string) =
        (Experiment.tryInstance experiment teacher).IsNone
        && teacher <> OptimisedField.teacher
        && teacher <> KnownPairs.teacher

    let private differs key codec theirs ours =
        if theirs = ours then
            None
        else
            Some $"its \"{key}\" is {Codec.toLine codec theirs}, here it is {Codec.toLine codec ours}"

    let private made (training: TrainingOptions) (teacher: string) (differences: string option list) =
        match List.choose id differences with
        | [] -> Ok()
        | all ->
            let all = String.concat "; " all

            Error(
                BadInput
                    $"training {training.Name}: its teacher {teacher} was made for other data: {all}; give both the same, or name another distillation.teacher"
            )

    /// Whether a folder has a field for every pair that a training sees.
    let private hasAll (plan: RunPlan) (training: TrainingOptions) (store: FieldStore) : Result<unit, Error> =
        let group = plan.Split.TrainGroup
        let names = group.Members |> List.map _.Name |> Array.ofList

        let pairs =
            plan.Wanted
            |> List.filter (fun instance -> instance.Training = training.Name)
            |> List.collect (fun instance -> Batches.pairs training (Seed.ofInt instance.Seed) group)
            |> List.distinct
            |> List.map (fun (f, m) -> names[f], names[m])

        match pairs |> List.filter (FieldStore.holds store >> not) with
        | [] -> Ok()
        | (f, m) :: _ as missing ->
            Error(
                BadFile(
                    store.Folder,
                    $"has a field for {pairs.Length - missing.Length} of the {pairs.Length} pairs of training {training.Name}; the first that is missing is of {f} (fixed) and {m} (moving)",
                    $"run ldr-fs teach with the same split, seed and pairs, or put {f}--{m}.nii.gz there"
                )
            )

    /// Whether stored fields, or a model's, fit the experiment's data.
    let private fits (plan: RunPlan) (training: TrainingOptions) (teacher: string) : Result<unit, Error> =
        let data = plan.Experiment.Data

        result {
            match! TeacherSource.find teacher with
            | TeacherFields folder ->
                let! store = FieldStore.openFolder folder

                match store.Origin with
                | Some origin ->
                    do!
                        made
                            training
                            teacher
                            [
                                differs "source" Codec.string origin.Data plan.Dataset.Name
                                differs "intensity" RuntimeCodecs.intensity origin.Intensity data.Intensity
                                differs "spacing" RuntimeCodecs.spacing origin.Spacing data.Spacing
                                differs "size" RuntimeCodecs.gridSize origin.Size data.Size
                                differs "alignment" RuntimeCodecs.alignment origin.Alignment data.Alignment
                            ]
                | None -> ()

                return! hasAll plan training store
            | TeacherModel file ->
                let! card, _ = ModelFile.inspect file

                return!
                    made
                        training
                        teacher
                        [
                            differs "intensity" RuntimeCodecs.intensity card.Intensity data.Intensity
                            differs "spacing" RuntimeCodecs.spacing card.Spacing data.Spacing
                        ]
        }

    /// The trainings that learn from something outside the experiment.
    let private foreign (plan: RunPlan) : (TrainingOptions * string) list =
        [
            for training in plan.Experiment.Train do
                match training.Distillation with
                | Some { Teacher = teacher } when isForeign plan.Experiment teacher -> training, teacher
                | _ -> ()
        ]

    /// Teachers from outside must fit; those of this experiment do.
    let check (plan: RunPlan) : Result<unit, Error> =
        foreign plan
        |> List.traverseResultM (fun (training, teacher) -> fits plan training teacher)
        |> Result.ignore

    /// What is to be said where a teacher has learnt from the subjects that its student is scored on.
    let cautions (plan: RunPlan) : Result<string list, Error> =
        foreign plan
        |> List.traverseResultM (fun (training, teacher) ->
            result {
                match! TeacherSource.find teacher with
                | TeacherFields _ -> return None
                | TeacherModel file ->
                    let! card, _ = ModelFile.inspect file
                    return RunCard.cautionOf plan $"training {training.Name} learns from {teacher}" card
            })
        |> Result.map (List.choose id)

    /// A teacher that is asked once for every pair; `path` is its model file, `nameOf` tells the name of the folder
    /// where its fields are kept.
    let private remembered
        (plan: RunPlan)
        (set: TrainingSet)
        (nameOf: StoreOrigin -> string)
        (path: string)
        (teacher: PairTeacher)
        : Result<Teacher, Error> =
        let origin = FieldStore.originOf plan.Experiment.Data plan.Dataset.Name path
        let folder = RunFolder.fieldsPath plan.Folder (nameOf origin)

        FieldStore.create folder origin
        |> Result.map (fun store -> Fields(PairTeacher.kept set store teacher))

    let private ofModel
        (plan: RunPlan)
        (set: TrainingSet)
        (training: TrainingOptions)
        (nameOf: StoreOrigin -> string)
        (path: string)
        : Result<OwnedTeacher, Error> =
        result {
            let device = plan.Options.Device
            let! model = ModelFile.readTo device path
            let network = model.Network
            let varied = training.Augmentation |> Option.exists Augmentation.isGeometric

            // A teacher of few pairs is asked once for each.
            let! teacher =
                if training.Pairs.IsSome && not varied then
                    remembered plan set nameOf path (PairTeacher.network device network)
                else
                    Ok(Online network)

            return
                {
                    Teacher = teacher
                    Network = Some network
                }
        }

    let private withoutNetwork (teacher: Teacher) : OwnedTeacher = { Teacher = teacher; Network = None }

    let private find
        (plan: RunPlan)
        (set: TrainingSet)
        (training: TrainingOptions)
        (teacher: string)
        : Result<OwnedTeacher, Error> =
        match Experiment.tryInstance plan.Experiment teacher with
        | Some own -> ofModel plan set training (fun _ -> own.Name) (plan.ModelPath own)
        | None when teacher = OptimisedField.teacher ->
            remembered plan set (fun _ -> teacher) teacher PairTeacher.optimisation
            |> Result.map withoutNetwork
        | None ->
            TeacherSource.find teacher
            |> Result.bind (fun source ->
                match source with
                | TeacherFields folder ->
                    FieldStore.openFolder folder
                    |> Result.map (PairTeacher.stored set >> Fields >> withoutNetwork)
                | TeacherModel file ->
                    // Models of several runs have one name.
                    let name = string (Path.GetFileNameWithoutExtension file)
                    ofModel plan set training (fun origin -> $"{name}-{origin.Teacher[..7]}") file)

    /// The teacher of a training, if it has one that is asked.
    let ofTraining
        (plan: RunPlan)
        (set: TrainingSet)
        (training: TrainingOptions)
        : Result<OwnedTeacher option, Error> =
        match training.Distillation with
        | Some { Teacher = teacher } when teacher <> KnownPairs.teacher ->
            find plan set training teacher |> Result.map Some
        | _ -> Ok None
