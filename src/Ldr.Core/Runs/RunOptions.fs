namespace Ldr

open System.Threading
open TorchSharp
open Ldr.Runtime.Groups

/// What a run tells while it goes on.
type RunEvent =
    | Loading of what: string
    /// Other processes have what is left to be done.
    | Waiting of trainings: string list
    /// Something that may end the run before it is done, or spoil what it says.
    | Cautioned of message: string
    | Training of TrainingEvent
    | Scoring of name: string * pair: int * pairs: int

/// How a run is to be done.
[<NoEquality; NoComparison>]
type RunOptions =
    {
        Folder: string
        Resume: bool
        /// Trainings, by name, to which the run is limited (with the earlier ones that they learn or start from); nothing: all.
        Only: string list
        /// The share of these trainings, each seed counted, that this process does.
        Shard: CohortShard
        /// A Markdown file whose table is written anew.
        Page: string option
        /// Whether the metrics are written as event files of TensorBoard too.
        TensorBoard: bool
        Device: torch.Device
        /// The step that each training repeats: `Trainer.step`, or one of one's own.
        Step: TrainingOptions -> Players -> Step<Iteration list>
        Sink: RunEvent -> unit
        Stop: CancellationToken
        /// The processes that train together; the first one writes the folder.
        Ranks: Ranks
    }

/// What a run left.
type RunResult =
    {
        Run: string
        /// The steps behind all weights of the run, this process's and those before.
        Steps: int
        /// Where the time of each training of this process went, at which step it ended.
        Times: (string * int * TrainingTimes) list
        Model: string
        Table: Summary list
        /// The file with the tests of pairs of rows; nothing where none was asked for, or could be made.
        PairedTests: string option
    }

/// How a run ended.
type RunEnd =
    | Done of RunResult
    /// Stopped from outside; `--resume` goes on.
    | Stopped of training: string * step: int
    /// The first rank has more to say.
    | Followed

module RunOptions =
    /// A new run in the folder `run`, on the processor, which tells nobody of its progress.
    let standard: RunOptions =
        {
            Folder = "run"
            Resume = false
            Only = []
            Shard = CohortShard.Whole
            Page = None
            TensorBoard = false
            Device = torch.CPU
            Step = Trainer.step
            Sink = ignore
            Stop = CancellationToken.None
            Ranks = Ranks.alone
        }
