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
    let private differs key codec theirs ours =
        if theirs = ours then
            None
        else
            Some $"its \"{key}\" is {Codec.toLine codec theirs}, here it is {Codec.toLine codec ours}"

    let private made (instance: Instance) (teacher: string) (differences: string option list) =
        match List.choose id differences with
        | [] -> Ok()
        | all ->
            let all = String.concat "; " all

            Error(
                BadInput
                    $"training {instance.Name}: its teacher {teacher} was made for other data: {all}; give both the same data, or name another distillation.teacher"
            )

    /// Whether a folder has a field for every pair that a training asks for.
    let private hasAll (plan: RunPlan) (instance: Instance) (store: FieldStore) : Result<unit, Error> =
        let group = plan.Split.TrainGroup
        let names = group.Members |> List.map _.Name |> Array.ofList

        let pairs =
            Batches.asked instance.Options (Seed.ofInt instance.Seed) group
            |> List.map (fun (f, m) -> names[f], names[m])

        match pairs |> List.filter (FieldStore.holds store >> not) with
        | [] -> Ok()
        | (f, m) :: _ as missing ->
            Error(
                BadFile(
                    store.Folder,
                    $"has a field for {pairs.Length - missing.Length} of the {pairs.Length} pairs of training {instance.Name}; the first that is missing is of {f} (fixed) and {m} (moving)",
                    FieldStore.remedy (f, m)
                )
            )

    /// Whether stored fields, or a model's, fit the experiment's data.
    let private fits (plan: RunPlan) (instance: Instance) (teacher: string) : Result<unit, Error> =
        let data = plan.Experiment.Data

        result {
            match! TeacherSource.find teacher with
            | TeacherFields folder ->
                let! store = FieldStore.openFolder folder

                match store.Origin with
                | Some origin ->
                    do!
                        made
                            instance
                            teacher
                            [
                                differs "data" Codec.string origin.Data plan.Dataset.Name
                                differs "intensity" RuntimeCodecs.intensity origin.Intensity data.Intensity
                                differs "spacing" RuntimeCodecs.spacing origin.Spacing data.Spacing
                                differs "size" RuntimeCodecs.gridSize origin.Size data.Size
                                differs "alignment" RuntimeCodecs.alignment origin.Alignment data.Alignment
                            ]
                | None -> ()

                return! hasAll plan instance store
            | TeacherModel file ->
                let! card, _ = ModelFile.inspect file

                return!
                    made
                        instance
                        teacher
                        [
                            differs "intensity" RuntimeCodecs.intensity card.Intensity data.Intensity
                            differs "spacing" RuntimeCodecs.spacing card.Spacing data.Spacing
                        ]
        }

    /// Those of some trainings that learn from something outside the experiment.
    let private foreign (plan: RunPlan) (instances: Instance list) : (Instance * string) list =
        [
            for instance in instances do
                match Experiment.foreignTeacher plan.Experiment instance.Options with
                | Some teacher -> instance, teacher
                | None -> ()
        ]

    /// Teachers from outside must fit the trainings that are to be done; those of this experiment do.
    let check (plan: RunPlan) (instances: Instance list) : Result<unit, Error> =
        foreign plan instances
        |> List.traverseResultM (fun (instance, teacher) -> fits plan instance teacher)
        |> Result.ignore

    /// What is to be said where a teacher has learnt from the subjects that its student is scored on.
    let cautions (plan: RunPlan) (instances: Instance list) : Result<string list, Error> =
        foreign plan instances
        |> List.distinctBy (fun (instance, _) -> instance.Training)
        |> List.traverseResultM (fun (instance, teacher) ->
            result {
                match! TeacherSource.find teacher with
                | TeacherFields _ -> return None
                | TeacherModel file ->
                    let! card, _ = ModelFile.inspect file
                    return RunCard.cautionOf plan $"training {instance.Training} learns from {teacher}" card
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
        match Experiment.teacherInstance plan.Experiment training with
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
