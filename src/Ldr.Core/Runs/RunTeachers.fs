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

    /// Whether stored fields, or a model's, fit the experiment's data.
    let private fits (plan: RunPlan) (teacher: string) : Result<bool, Error> =
        let data = plan.Experiment.Data

        if Directory.Exists teacher then
            FieldStore.openFolder teacher
            |> Result.map (fun store ->
                match store.Origin with
                | Some origin ->
                    origin.Data = plan.Dataset.Name
                    && origin.Intensity = data.Intensity
                    && origin.Spacing = data.Spacing
                    && origin.Size = data.Size
                    && origin.Alignment = data.Alignment
                | None -> true)
        else
            ModelFile.inspect teacher
            |> Result.map (fun (card, _) -> card.Intensity = data.Intensity && card.Spacing = data.Spacing)

    /// Teachers from outside must fit; those of this experiment do.
    let check (plan: RunPlan) : Result<unit, Error> =
        result {
            for training in plan.Experiment.Train do
                match training.Distillation with
                | Some { Teacher = teacher } when isForeign plan.Experiment teacher ->
                    let! fits = fits plan teacher

                    if not fits then
                        return!
                            Error(
                                BadInput
                                    $"training {training.Name}: its teacher {teacher} was made for other data, another intensity rule or training grid; give both the same \"data\""
                            )
                | _ -> ()
        }

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
        | None when Directory.Exists teacher ->
            FieldStore.openFolder teacher
            |> Result.map (PairTeacher.stored set >> Fields >> withoutNetwork)
        | None ->
            // Models of several runs have one name.
            let name = string (Path.GetFileNameWithoutExtension teacher)
            ofModel plan set training (fun origin -> $"{name}-{origin.Teacher[..7]}") teacher

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
