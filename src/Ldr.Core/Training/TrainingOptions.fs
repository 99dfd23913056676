namespace Ldr

open System
open System.Threading
open TorchSharp

/// One training of an experiment.
type TrainingOptions =
    {
        Name: string
        /// The seeds that it is run with, once each; nothing: the experiment's.
        Seeds: int list
        Architecture: Architecture
        /// The model whose weights it starts from: a name, a file, a run; nothing: random weights.
        Start: string option
        /// Moves of the optimiser.
        Steps: int
        Batch: int
        /// Batches whose gradients are added up for one move.
        Accumulate: int
        /// How many different pairs are learnt from, over and over; nothing: new ones at every step.
        Pairs: int option
        /// How the pairs are varied, if they are.
        Augmentation: Augmentation option
        /// Pairs whose fields are known, mixed in, if any.
        Known: KnownPairs option
        LearningRate: LearningRate
        /// The norm to which the gradient of a step is cut, if any.
        Clip: float option
        /// The decay of the average of the weights, which is validated and saved, if there is one.
        Average: float option
        Loss: LossWeights
        Distillation: Distillation option
        /// Steps between two validations, and between two checkpoints.
        ValidateEvery: int
        CheckpointEvery: int
        /// Validations without a better Dice after which it ends, with the weights of the best one.
        EarlyStopping: int option
    }

/// What a training tells while it runs.
type TrainingEvent =
    /// `engine`: see `TrainingEngine`.
    | Started of training: string * steps: int * parameters: int64 * engine: string * resumedAt: int
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
    /// The end of its work in this process, after so many steps.
    | Timed of training: string * step: int * TrainingTimes

/// How a training ended.
[<NoEquality; NoComparison>]
type TrainingEnd =
    /// The network, and the steps that made its weights.
    | Finished of Network * steps: int
    /// Stopped from outside after so many steps, with a checkpoint.
    | Interrupted of step: int

/// Where the fields come from that a student learns from.
[<NoEquality; NoComparison>]
type Teacher =
    /// A network that runs beside the student, frozen, on the very pair that the student sees.
    | Online of Network
    /// Something that gives fields of pairs as they are, before a step begins.
    | Fields of PairTeacher

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
        /// The processes that share its batches.
        Ranks: Ranks
    }

/// Who moves in a training.
[<NoEquality; NoComparison>]
type Players =
    {
        Student: Learner<Network>
        Adversary: Adversary option
    }

module TrainingOptions =
    /// What is taken where an experiment says nothing, with a name, a network and a number of steps to begin with.
    let standard: TrainingOptions =
        {
            Name = "student"
            Seeds = []
            Architecture = Architecture.Single(Stage.Ldr StudentWidths.published)
            Start = None
            Steps = 1000
            Batch = 2
            Accumulate = 1
            Pairs = None
            Augmentation = None
            Known = None
            LearningRate = LearningRate.standard
            Clip = None
            Average = None
            Loss = LossWeights.standard
            Distillation = None
            ValidateEvery = 500
            CheckpointEvery = 500
            EarlyStopping = None
        }

    let codec: Codec<TrainingOptions> =
        codec {
            let! name = required "name" Codec.fileName _.Name

            and! seeds =
                optional
                    "seeds"
                    (Codec.list Codec.int
                     |> Codec.where "different whole numbers" (fun l -> List.distinct l = l))
                    []
                    _.Seeds

            and! architecture = required "architecture" Architecture.codec _.Architecture
            and! start = maybe "start" Codec.string _.Start
            and! steps = required "steps" Codec.positiveInt _.Steps
            and! batch = optional "batch" Codec.count standard.Batch _.Batch

            and! accumulate = optional "accumulate" Codec.count standard.Accumulate _.Accumulate

            and! pairs = maybe "pairs" Codec.count _.Pairs
            and! augmentation = maybe "augmentation" Augmentation.codec _.Augmentation
            and! known = maybe "known" KnownPairs.codec _.Known

            and! learningRate =
                optional "learning_rate" LearningRate.codec standard.LearningRate _.LearningRate

            and! clip = maybe "clip" Codec.positive _.Clip

            and! average =
                maybe
                    "ema"
                    (Codec.finite
                     |> Codec.where "a number between 0 and 1" (fun v -> v > 0.0 && v < 1.0))
                    _.Average

            and! loss = optional "loss" LossWeights.codec standard.Loss _.Loss
            and! distillation = maybe "distillation" Distillation.codec _.Distillation

            and! validateEvery =
                optional "validate_every" Codec.positiveInt standard.ValidateEvery _.ValidateEvery

            and! checkpointEvery =
                optional "checkpoint_every" Codec.positiveInt standard.CheckpointEvery _.CheckpointEvery

            and! earlyStopping = maybe "early_stopping" Codec.positiveInt _.EarlyStopping

            return
                {
                    Name = name
                    Seeds = seeds
                    Architecture = architecture
                    Start = start
                    Steps = steps
                    Batch = batch
                    Accumulate = accumulate
                    Pairs = pairs
                    Augmentation = augmentation
                    Known = known
                    LearningRate = learningRate
                    Clip = clip
                    Average = average
                    Loss = loss
                    Distillation = distillation
                    ValidateEvery = validateEvery
                    CheckpointEvery = checkpointEvery
                    EarlyStopping = earlyStopping
                }
        }

    /// The pairs with known fields that a training sees: what it says of them, and the standard ones of a teacher that knows.
    let known (options: TrainingOptions) : KnownPairs option =
        match options.Known, options.Distillation with
        | None, Some d when d.Teacher = KnownPairs.teacher -> Some KnownPairs.standard
        | known, _ -> known

    let rec private greatestDivisor a b =
        if b = 0 then a else greatestDivisor b (a % b)

    /// The same pairs in every step, in as many batches as so many ranks can share: where they do not divide `accumulate`, batches
    /// are cut.
    let shared (ranks: int) (options: TrainingOptions) : Result<TrainingOptions, Error> =
        let cut = ranks / greatestDivisor ranks options.Accumulate

        if options.Batch % cut = 0 then
            Ok
                { options with
                    Batch = options.Batch / cut
                    Accumulate = options.Accumulate * cut
                }
        else
            Error(
                BadInput
                    $"training {options.Name}: {ranks} ranks cannot share its steps of {options.Batch * options.Accumulate} pairs (\"batch\" {options.Batch}, \"accumulate\" {options.Accumulate}); make the product a multiple of {ranks}"
            )

module TrainingJob =
    /// A new training on the processor with seed 1, without a teacher; its checkpoints go into the folder `run`, nothing is
    /// validated, and nobody is told.
    let create (options: TrainingOptions) (set: TrainingSet) : TrainingJob =
        {
            Options = options
            Seed = Seed.ofInt 1
            Set = set
            Teacher = None
            Device = torch.CPU
            Run = "run"
            Resume = false
            Validate = fun _ -> []
            Sink = ignore
            Stop = CancellationToken.None
            Ranks = Ranks.alone
        }
