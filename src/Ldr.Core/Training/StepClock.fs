namespace Ldr

open System.Collections.Generic
open System.Diagnostics

/// What the time of a training is spent on.
[<RequireQualifiedAccess>]
type StepPart =
    /// Waiting for the pairs of a step: resampling, augmentation.
    | Data
    /// The student's prediction, its loss and the gradient.
    | Student
    | Teacher
    | Discriminator
    /// The moves of both optimisers, and the average of the weights.
    | Optimiser
    | Validation
    /// Checkpoints.
    | Saving

/// How long the parts of a training take. Of parts within each other, each counts its own time only.
[<Sealed>]
type StepClock() =
    let spent = Dictionary<StepPart, int64>()
    let whole = Stopwatch.StartNew()
    let mutable within = 0L

    let spentOn part =
        match spent.TryGetValue part with
        | true, ticks -> ticks
        | _ -> 0L

    /// Does something for a part.
    member _.Measure (part: StepPart) (action: unit -> 'a) : 'a =
        let before = within
        within <- 0L
        let start = Stopwatch.GetTimestamp()

        try
            action ()
        finally
            let elapsed = Stopwatch.GetTimestamp() - start
            spent[part] <- spentOn part + elapsed - within
            within <- before + elapsed

    /// Seconds since the clock was made.
    member _.Seconds = whole.Elapsed.TotalSeconds

    /// Seconds of a part so far.
    member _.SecondsOf(part: StepPart) =
        float (spentOn part) / float Stopwatch.Frequency

/// The time of one training in one process, and the memory at its end.
type TrainingTimes =
    {
        /// Steps that this process did.
        Steps: int
        Seconds: float
        /// Shares of the time, from 0 to 1 together.
        Shares: (string * float) list
        /// Tensors that are alive on this thread.
        LiveTensors: int64
        /// The managed heap after a collection, and the largest working set of the process, MB.
        ManagedMb: float
        PeakMb: float
    }

module TrainingTimes =
    let private parts =
        [
            "data", StepPart.Data
            "student", StepPart.Student
            "teacher", StepPart.Teacher
            "discriminator", StepPart.Discriminator
            "optimiser", StepPart.Optimiser
            "validation", StepPart.Validation
            "checkpoints", StepPart.Saving
        ]

    /// What a clock shows after so many steps. Collects garbage.
    let read (steps: int) (clock: StepClock) : TrainingTimes =
        let seconds = max clock.Seconds 1e-9

        let shares =
            parts |> List.map (fun (name, part) -> name, clock.SecondsOf part / seconds)

        use own = Process.GetCurrentProcess()

        {
            Steps = steps
            Seconds = seconds
            Shares = shares @ [ "rest", max 0.0 (1.0 - (shares |> List.sumBy snd)) ]
            LiveTensors = TorchSharp.DisposeScopeManager.Statistics.ThreadTotalLiveCount
            ManagedMb = float (System.GC.GetTotalMemory true) / 1e6
            PeakMb = float own.PeakWorkingSet64 / 1e6
        }
