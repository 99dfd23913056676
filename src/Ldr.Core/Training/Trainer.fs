namespace Ldr

open System
open System.Diagnostics
open System.Threading
open TorchSharp
open Ldr.Runtime

/// One training of an experiment.
type TrainingOptions =
    {
        Name: string
        Architecture: Architecture
        Steps: int
        Batch: int
        LearningRate: LearningRate
        Loss: LossWeights
        Distillation: Distillation option
        /// Steps between two validations, and between two checkpoints.
        ValidateEvery: int
        CheckpointEvery: int
    }

/// What a training tells while it runs.
type TrainingEvent =
    | Started of training: string * steps: int * parameters: int64 * resumedAt: int
    | Progressed of
        training: string *
        step: int *
        steps: int *
        Metrics *
        stepsPerSecond: float *
        left: TimeSpan
    | Validated of training: string * step: int * Metrics
    | Saved of training: string * step: int * path: string
    | Warned of training: string * step: int * message: string

/// How a training ended.
[<NoEquality; NoComparison>]
type TrainingEnd =
    | Finished of Network
    /// Stopped from outside after so many steps, with a checkpoint.
    | Interrupted of step: int

/// All that a training needs from outside.
[<NoEquality; NoComparison>]
type TrainingJob =
    {
        Options: TrainingOptions
        Seed: Seed
        /// The prepared images of the training subjects, and their training grid.
        Scans: Volume[]
        GridOf: Volume -> Grid
        Alignment: Alignment
        Teacher: Network option
        Device: torch.Device
        /// The run's folder, and whether its checkpoints are taken up.
        Run: string
        Resume: bool
        /// Scores on the validation pairs.
        Validate: Network -> Metrics
        Sink: TrainingEvent -> unit
        Stop: CancellationToken
    }

module TrainingOptions =
    let codec: Codec<TrainingOptions> =
        Codec.record (fun name architecture steps batch rate loss distillation validate checkpoint ->
            {
                Name = name
                Architecture = architecture
                Steps = steps
                Batch = batch
                LearningRate = rate
                Loss = loss
                Distillation = distillation
                ValidateEvery = validate
                CheckpointEvery = checkpoint
            })
        |> Codec.required "name" Codec.fileName _.Name
        |> Codec.required "architecture" Architecture.codec _.Architecture
        |> Codec.required "steps" Codec.positiveInt _.Steps
        |> Codec.optional "batch" Codec.positiveInt 2 _.Batch
        |> Codec.optional
            "learning_rate"
            LearningRate.codec
            { Initial = 1e-4; Decay = Constant }
            _.LearningRate
        |> Codec.optional
            "loss"
            LossWeights.codec
            {
                Smoothness = 1.0
                Determinant = 0.1
                Orthogonality = 0.1
            }
            _.Loss
        |> Codec.maybe "distillation" Distillation.codec _.Distillation
        |> Codec.optional "validate_every" Codec.positiveInt 500 _.ValidateEvery
        |> Codec.optional "checkpoint_every" Codec.positiveInt 500 _.CheckpointEvery
        |> Codec.seal

module Trainer =
    /// Steps between two reports of progress.
    let private reportEvery = 25

    /// Fields shorter than this on average (voxels) count as near identity.
    let private nearIdentity = 0.05

    let private adam (rate: float) (network: torch.nn.Module) =
        torch.optim.Adam(network.parameters (), rate)

    /// The images of one step, as arrays.
    let private batch (job: TrainingJob) (index: int) : PreparedPair list =
        [
            for item in 0 .. job.Options.Batch - 1 do
                let fixedIndex, movingIndex =
                    Pairs.training job.Seed job.Scans.Length (index * job.Options.Batch + item)

                let fixedImage, movingImage = job.Scans[fixedIndex], job.Scans[movingIndex]

                let alignment =
                    InitialAlignment.Choose(fixedImage.Grid, movingImage.Grid, job.Alignment)

                let initial =
                    InitialAlignment.FixedToMoving(fixedImage.Grid, movingImage.Grid, alignment)

                Pairs.prepare (job.GridOf fixedImage) initial fixedImage movingImage
        ]

    let private tensor (device: torch.Device) (pairs: PreparedPair list) (pick: PreparedPair -> float32[]) =
        let grid = pairs.Head.Grid

        let shape =
            [| int64 pairs.Length; 1L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]

        pairs |> List.map pick |> Array.concat |> Bridge.toTensor device shape

    let private iteration
        (job: TrainingJob)
        (student: Network)
        (gamma: float)
        (pairs: PreparedPair list)
        : Iteration =
        let fixedImage = tensor job.Device pairs _.Fixed
        let moving = tensor job.Device pairs _.Moving

        {
            Gamma = gamma
            Fixed = fixedImage
            Moving = moving
            Mask = tensor job.Device pairs _.Inside
            Student = lazy student.Predict(fixedImage, moving)
            TeacherField =
                lazy
                    (match job.Teacher with
                     | None -> invalidOp "a training without a teacher asked for its field"
                     | Some teacher ->
                         use _ = torch.no_grad ()
                         teacher.Predict(fixedImage, moving).Field)
        }

    let private setRate (rate: float) (optimiser: Modules.Adam) =
        for group in optimiser.ParamGroups do
            group.LearningRate <- rate

    /// The means of the metrics of several steps, in the order of their first appearance.
    let private average (reports: Metrics seq) : Metrics =
        let all = Seq.concat reports |> List.ofSeq

        [
            for name in all |> List.map fst |> List.distinct do
                name, all |> List.filter (fun (n, _) -> n = name) |> List.averageBy snd
        ]

    /// Runs a training to its end, or until it is stopped. A loss that is not finite ends it with bad input: the last
    /// checkpoint is kept.
    let run (job: TrainingJob) : TrainingEnd =
        let options = job.Options
        let student = Network.create (job.Seed |> Seed.split "network") options.Architecture
        student.``to`` job.Device |> ignore

        let learner: Learner<Network> =
            {
                Network = student
                Optimiser = adam options.LearningRate.Initial student
            }

        let adversary =
            match options.Distillation, job.Teacher with
            | Some distillation, Some teacher ->
                let discriminator =
                    Discriminator.create (job.Seed |> Seed.split "discriminator") distillation.Discriminator

                discriminator.``to`` job.Device |> ignore
                teacher.eval ()

                for parameter in teacher.parameters () do
                    parameter.requires_grad <- false

                Some
                    {
                        TeacherNetwork = teacher
                        Judge =
                            {
                                Network = discriminator
                                Optimiser = adam distillation.DiscriminatorRate discriminator
                            }
                        Distillation = distillation
                    }
            | _ -> None

        let savables =
            [
                {
                    Name = "network"
                    Module = learner.Network
                    Optimiser = learner.Optimiser
                }
                match adversary with
                | Some a ->
                    {
                        Name = "discriminator"
                        Module = a.Judge.Network
                        Optimiser = a.Judge.Optimiser
                    }
                | None -> ()
            ]

        let first =
            if job.Resume then
                let skipped step message =
                    job.Sink(Warned(options.Name, step, message))

                Checkpoint.tryRestore job.Run options.Name skipped savables
                |> Option.defaultValue 0
            else
                0

        let parameters = Network.parameterCount student
        job.Sink(Started(options.Name, options.Steps, parameters, first))
        let step = Aldk.step learner options.Loss adversary

        let gamma index =
            match adversary with
            | Some a -> Schedule.gamma a.Distillation.Schedule index
            | None -> 1.0

        let save index =
            let path = Checkpoint.write job.Run options.Name index savables
            job.Sink(Saved(options.Name, index, path))

        let clock = Stopwatch.StartNew()
        let mutable reports: Metrics list = []
        let mutable index = first

        while index < options.Steps && not job.Stop.IsCancellationRequested do
            let pairs = batch job index

            setRate (LearningRate.at options.Steps index options.LearningRate) learner.Optimiser

            let report =
                use _ = torch.NewDisposeScope()
                // The images come first: they alone would use up what a protected call may allocate.
                let iteration = iteration job student (gamma index) pairs

                NativeCalls.protect (fun () ->
                    let report = step index iteration
                    let length = iteration.Student.Value.Field.detach().norm(1).mean()
                    report @ [ "length", float (length.item<float32>()) ])

            match report |> List.tryFind (fun (_, value) -> not (Double.IsFinite value)) with
            | Some(name, _) ->
                raise (
                    Error.Raised(
                        BadInput
                            $"training {options.Name}: {name} is not finite at step {index}; the last checkpoint is kept, try a lower learning_rate or a higher smoothness"
                    )
                )
            | None -> ()

            reports <- report :: reports
            index <- index + 1

            if index % reportEvery = 0 || index = options.Steps then
                let speed = float (index - first) / clock.Elapsed.TotalSeconds
                let left = TimeSpan.FromSeconds(float (options.Steps - index) / speed)
                let means = average (List.rev reports)
                job.Sink(Progressed(options.Name, index, options.Steps, means, speed, left))
                reports <- []

            if index % options.ValidateEvery = 0 || index = options.Steps then
                let scores = job.Validate student
                job.Sink(Validated(options.Name, index, scores))

                match report |> List.tryFind (fun (name, _) -> name = "length") with
                | Some(_, length) when length < nearIdentity ->
                    job.Sink(
                        Warned(
                            options.Name,
                            index,
                            $"the predicted fields are near identity: {length:F3} voxels long on average; the network does not deform anything yet"
                        )
                    )
                | _ -> ()

            if index % options.CheckpointEvery = 0 && index < options.Steps then
                save index

        if index < options.Steps then
            save index
            Interrupted index
        else
            save index
            Finished student
