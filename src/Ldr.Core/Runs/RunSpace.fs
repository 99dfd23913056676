namespace Ldr

open System.IO

/// The disk space that a run takes.
module internal RunSpace =
    /// Checkpoints of a training that are on disk at once: two that are kept, and one that is being written.
    let private checkpoints = 3L

    /// A checkpoint's numbers for each parameter: the weight, and Adam's two moments.
    let private perParameter = 3L

    /// Further weights of the whole network that a checkpoint has: their average, and the best ones.
    let private copies (options: TrainingOptions) =
        Seq.sumBy
            (fun wanted -> if wanted then 1L else 0L)
            [ options.Average.IsSome; options.EarlyStopping.IsSome ]

    let private parametersOf (architecture: Architecture) =
        fst (ModelFile.sizeOf (ModelCard.untrained architecture))

    /// The discriminator of an adversarial training counts as the published one.
    let private discriminator = 2_800_000L

    /// Bytes of the fields of so many pairs: three numbers of 16 bits for each voxel.
    let fields (data: DataOptions) (pairs: int) : int64 =
        let x, y, z = data.Size
        6L * int64 pairs * int64 x * int64 y * int64 z

    /// Bytes of checkpoints, models and kept fields of an experiment, at most.
    let bytes (experiment: Experiment) : int64 =
        [
            for instance in Experiment.instances experiment do
                let options = instance.Options

                let learnt =
                    parametersOf options.Architecture
                    + (match options.Distillation with
                       | Some d when Objective.isAdversarial d.Objective -> discriminator
                       | _ -> 0L)

                let own = parametersOf options.Architecture
                let checkpoints = 4L * checkpoints * (perParameter * learnt + copies options * own)
                let model = 4L * own

                let fields =
                    match options.Distillation, options.Pairs with
                    | Some _, Some pairs -> fields experiment.Data pairs
                    | _ -> 0L

                checkpoints + model + fields
        ]
        |> List.sum

    /// What is to be said where a folder has not that much free space.
    let warning (folder: string) (needed: int64) : string option =
        let size (bytes: int64) =
            if bytes < 1_000_000_000L then
                $"{float bytes / 1e6:F1} MB"
            else
                $"{float bytes / 1e9:F1} GB"

        let free = DriveInfo(Path.GetFullPath folder).AvailableFreeSpace

        if free < needed then
            Some
                $"{folder} may take up to {size needed}, its disk has {size free} free; what is whole would be kept"
        else
            None
