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
        /// The seeds that it is run with, once each; nothing: the experiment's.
        Seeds: int list
        Architecture: Architecture
        Steps: int
        Batch: int
        /// How many different pairs are learnt from, over and over; nothing: new ones at every step.
        Pairs: int option
        /// How the pairs are varied, if they are.
        Augmentation: Augmentation option
        LearningRate: LearningRate
        /// The norm to which the gradient of a step is cut, if any.
        Clip: float option
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

/// Where the fields come from that a student learns from.
[<NoEquality; NoComparison>]
type Teacher =
    /// A network that runs beside the student, frozen, on the very pair that the student sees.
    | Online of Network
    /// Fields that were made before.
    | Stored of FieldStore
    /// A network that is asked once for every pair; its fields are kept in a store.
    | Remembered of Network * FieldStore
    /// `OptimisedField.ofPair`, once for every pair; kept in a store.
    | Optimising of FieldStore

/// All that a training needs from outside.
[<NoEquality; NoComparison>]
type TrainingJob =
    {
        Options: TrainingOptions
        Seed: Seed
        Set: TrainingSet
        Teacher: Teacher option
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
        Codec.record
            (fun
                name
                seeds
                architecture
                steps
                batch
                pairs
                augmentation
                rate
                clip
                loss
                distillation
                validate
                checkpoint ->
                {
                    Name = name
                    Seeds = seeds
                    Architecture = architecture
                    Steps = steps
                    Batch = batch
                    Pairs = pairs
                    Augmentation = augmentation
                    LearningRate = rate
                    Clip = clip
                    Loss = loss
                    Distillation = distillation
                    ValidateEvery = validate
                    CheckpointEvery = checkpoint
                })
        |> Codec.required "name" Codec.fileName _.Name
        |> Codec.optional
            "seeds"
            (Codec.list Codec.int
             |> Codec.where "different whole numbers" (fun l -> List.distinct l = l))
            []
            _.Seeds
        |> Codec.required "architecture" Architecture.codec _.Architecture
        |> Codec.required "steps" Codec.positiveInt _.Steps
        |> Codec.optional "batch" Codec.positiveInt 2 _.Batch
        |> Codec.maybe "pairs" Codec.positiveInt _.Pairs
        |> Codec.maybe "augmentation" Augmentation.codec _.Augmentation
        |> Codec.optional
            "learning_rate"
            LearningRate.codec
            {
                Initial = 1e-4
                Decay = Constant
                Cycles = 1
            }
            _.LearningRate
        |> Codec.maybe "clip" Codec.positive _.Clip
        |> Codec.optional "loss" LossWeights.codec LossWeights.standard _.Loss
        |> Codec.maybe "distillation" Distillation.codec _.Distillation
        |> Codec.optional "validate_every" Codec.positiveInt 500 _.ValidateEvery
        |> Codec.optional "checkpoint_every" Codec.positiveInt 500 _.CheckpointEvery
        |> Codec.seal

module Trainer =
    /// Steps between two reports of progress.
    let private reportEvery = 25

    let private adam (rate: float) (network: torch.nn.Module) =
        torch.optim.Adam(network.parameters (), rate)

    /// The pairs of a step, fixed and moving, as indices of subjects.
    let private drawn
        (options: TrainingOptions)
        (seed: Seed)
        (group: SubjectGroup)
        : int -> (int * int) list =
        let pairAt =
            match options.Pairs with
            | None -> Pairs.draw seed group
            | Some wanted ->
                let all = Pairs.several (seed |> Seed.split "pairs") wanted group |> Array.ofList
                fun index -> all[index % all.Length]

        fun step -> List.init options.Batch (fun item -> pairAt (step * options.Batch + item))

    /// All different pairs that a training sees, in the order of their first appearance, as indices of subjects.
    let pairs (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) : (int * int) list =
        Seq.init options.Steps (drawn options seed group)
        |> Seq.concat
        |> Seq.distinct
        |> List.ofSeq

    let private iteration
        (job: TrainingJob)
        (student: Network)
        (index: int)
        (turn: Turn)
        (subjects: (int * int) list)
        =
        let set = job.Set
        let pairs = subjects |> List.map (fun own -> own, TrainingSet.pair set own)
        let grid = (snd pairs.Head).Grid

        let tensor (channels: int) (values: float32[] list) =
            let shape =
                [|
                    int64 pairs.Length
                    int64 channels
                    int64 grid.Nz
                    int64 grid.Ny
                    int64 grid.Nx
                |]

            values |> Array.concat |> Bridge.toTensor job.Device shape

        let images pick =
            pairs |> List.map (snd >> pick) |> tensor 1

        let labels =
            if job.Options.Loss.Dice > 0.0 then
                let maps = pairs |> List.map (fun (own, pair) -> TrainingSet.labelsOf set own pair)
                let channels = set.Labels.Value[0].Length
                Some(maps |> List.map fst |> tensor channels, maps |> List.map snd |> tensor channels)
            else
                None

        let drawn = job.Seed |> Seed.split "augmentation" |> Seed.at index

        let vary change value =
            match job.Options.Augmentation with
            | Some augmentation -> change augmentation drawn value
            | None -> value

        // The teacher sees the pair deformed as the student does, but its intensities as they are.
        let plain: Augmentation.Batch =
            {
                Fixed = images _.Fixed
                Moving = images _.Moving
                Mask = images _.Inside
                Labels = labels
            }

        let clean =
            plain |> vary (fun options seed -> Augmentation.deform options seed grid)

        let seen name =
            vary (fun options seed -> Augmentation.intensities options seed name)

        let fixedImage = clean.Fixed |> seen "fixed"
        let moving = clean.Moving |> seen "moving"

        {
            Turn = turn
            Fixed = fixedImage
            Moving = moving
            Mask = clean.Mask
            Labels = clean.Labels
            Student = lazy student.Predict(fixedImage, moving)
            TeacherField =
                lazy
                    (let names (f, m) = set.Names[f], set.Names[m]

                     let ask (teacher: Network) =
                         use _ = torch.no_grad ()
                         teacher.Predict(clean.Fixed, clean.Moving).Field

                     let read store =
                         pairs
                         |> List.map (fun (own, pair) -> FieldStore.read store (names own) pair)
                         |> tensor 3

                     let has store =
                         pairs |> List.forall (fun (own, _) -> FieldStore.has store (names own))

                     match job.Teacher with
                     | None -> invalidOp "a training without a teacher asked for its field"
                     | Some(Online teacher) -> ask teacher
                     | Some(Stored store) -> read store
                     | Some(Remembered(_, store))
                     | Some(Optimising store) when has store -> read store
                     | Some(Optimising store) ->
                         for own, pair in pairs do
                             FieldStore.write store (names own) pair.Grid (OptimisedField.ofPair pair)

                         read store
                     | Some(Remembered(teacher, store)) ->
                         let fields = ask teacher

                         for index, (own, pair) in List.indexed pairs do
                             use field = fields[int64 index]
                             FieldStore.write store (names own) pair.Grid (Bridge.toArray field)

                         // What the store gives is rounded: the student learns from the same numbers each time.
                         read store)
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

        match job.Teacher with
        | Some(Online teacher)
        | Some(Remembered(teacher, _)) ->
            teacher.eval ()

            for parameter in teacher.parameters () do
                parameter.requires_grad <- false
        | Some(Stored _)
        | Some(Optimising _)
        | None -> ()

        let judge (distillation: Distillation) : Learner<Discriminator> option =
            if Objective.isAdversarial distillation.Objective then
                let discriminator =
                    Discriminator.create (job.Seed |> Seed.split "discriminator") distillation.Discriminator

                discriminator.``to`` job.Device |> ignore

                Some
                    {
                        Network = discriminator
                        Optimiser = adam distillation.DiscriminatorRate discriminator
                    }
            else
                None

        let adversary =
            options.Distillation
            |> Option.map (fun distillation ->
                {
                    Judge = judge distillation
                    Distillation = distillation
                })

        let savables =
            [
                {
                    Name = "network"
                    Module = learner.Network
                    Optimiser = learner.Optimiser
                }
                match adversary with
                | Some { Judge = Some judge } ->
                    {
                        Name = "discriminator"
                        Module = judge.Network
                        Optimiser = judge.Optimiser
                    }
                | _ -> ()
            ]

        let first, pending =
            if job.Resume then
                let skipped step message =
                    job.Sink(Warned(options.Name, step, message))

                Checkpoint.tryRestore job.Run options.Name skipped savables
                |> Option.defaultValue (0, [])
            else
                0, []

        let parameters = Network.parameterCount student
        job.Sink(Started(options.Name, options.Steps, parameters, first))
        let step = Aldk.step learner options.Loss options.Clip adversary

        let turn index =
            match adversary with
            | Some a -> Schedule.at a.Distillation.Schedule index
            | None -> Schedule.at [] index

        let subjects = drawn options job.Seed job.Set.Group

        let save index reports =
            let path = Checkpoint.write job.Run options.Name index (List.rev reports) savables
            job.Sink(Saved(options.Name, index, path))

        let clock = Stopwatch.StartNew()
        let mutable reports: Metrics list = List.rev pending
        let mutable index = first
        let mutable warned = Set.empty

        while index < options.Steps && not job.Stop.IsCancellationRequested do
            setRate (LearningRate.at options.Steps index options.LearningRate) learner.Optimiser

            let report =
                use _ = torch.NewDisposeScope()
                // The images come first: they alone would use up what a protected call may allocate.
                let iteration = iteration job student index (turn index) (subjects index)

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

                // Every network starts near identity: until the first validation that is no news.
                for kind, message in Watchdog.warnings means do
                    if not (warned.Contains kind) && index >= min options.ValidateEvery options.Steps then
                        warned <- warned.Add kind
                        job.Sink(Warned(options.Name, index, message))

            if index % options.ValidateEvery = 0 || index = options.Steps then
                let scores = job.Validate student
                job.Sink(Validated(options.Name, index, scores))

            if index % options.CheckpointEvery = 0 && index < options.Steps then
                save index reports

        save index reports

        if index < options.Steps then
            Interrupted index
        else
            Finished student
