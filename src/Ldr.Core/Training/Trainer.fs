namespace Ldr

open System
open FsToolkit.ErrorHandling
open TorchSharp

/// Runs trainings: steps, reports, validations, checkpoints.
module Trainer =
    /// Steps between two reports of progress.
    let private reportEvery = 25

    /// What a training holds while it runs.
    [<NoEquality; NoComparison>]
    type private Session =
        {
            Job: TrainingJob
            Players: Players
            /// The average of the weights, where the training has one.
            Average: Network option
            /// The weights of the best validation, where the training may stop early.
            Best: Network option
            Clock: StepClock
        }

        member this.Options = this.Job.Options
        member this.Student = this.Players.Student

        /// What is validated and saved.
        member this.Judged = this.Average |> Option.defaultValue this.Student.Network

    let private setRate (rate: float) (optimiser: Modules.Adam) =
        for group in optimiser.ParamGroups do
            group.LearningRate <- rate

    let private freeze (network: Network) =
        network.eval ()

        for parameter in network.parameters () do
            parameter.requires_grad <- false

    let private newStudent (job: TrainingJob) : Result<Network, Error> =
        match job.Options.Start with
        | None -> Ok(Network.create (job.Seed |> Seed.split "network") job.Options.Architecture)
        | Some start -> StartModel.read start job.Options.Architecture |> Result.map _.Network
        |> Result.map (fun student ->
            student.train ()
            student.``to`` job.Device |> ignore
            student)

    let private learner (job: TrainingJob) rate network : Learner<_> =
        { Learner.adam rate network with
            Ranks = job.Ranks
        }

    let private adversaryOf (job: TrainingJob) : Adversary option =
        let judge (distillation: Distillation) : Learner<Discriminator> option =
            if Objective.isAdversarial distillation.Objective then
                let discriminator =
                    Discriminator.create (job.Seed |> Seed.split "discriminator") distillation.Discriminator

                discriminator.``to`` job.Device |> ignore
                Some(learner job distillation.DiscriminatorRate discriminator)
            else
                None

        job.Options.Distillation
        |> Option.map (fun distillation ->
            {
                Judge = judge distillation
                Distillation = distillation
            })

    let private openSession (job: TrainingJob) (student: Network) : Session =
        match job.Teacher with
        | Some(Online teacher) -> freeze teacher
        | Some(Fields _)
        | None -> ()

        /// A network beside the student, with the weights that this starts from.
        let beside wanted =
            if wanted then
                let network = Network.create (Seed.ofInt 0) job.Options.Architecture
                network.``to`` job.Device |> ignore
                freeze network
                WeightAverage.copy student network
                Some network
            else
                None

        {
            Job = job
            Players =
                {
                    Student = learner job job.Options.LearningRate.Initial student
                    Adversary = adversaryOf job
                }
            Average = beside job.Options.Average.IsSome
            Best = beside job.Options.EarlyStopping.IsSome
            Clock = StepClock()
        }

    let private savables (session: Session) : Savable list =
        let learner name (network: torch.nn.Module) optimiser =
            {
                Name = name
                Module = network
                Optimiser = Some optimiser
            }

        let weights name (network: Network) =
            {
                Name = name
                Module = network
                Optimiser = None
            }

        [
            learner "network" session.Student.Network session.Student.Optimiser
            match session.Players.Adversary with
            | Some { Judge = Some judge } -> learner "discriminator" judge.Network judge.Optimiser
            | _ -> ()
            yield! session.Average |> Option.map (weights "average") |> Option.toList
            yield! session.Best |> Option.map (weights "best") |> Option.toList
        ]

    let private restore (session: Session) : Result<TrainingState, Error> =
        let job = session.Job

        let skipped step message =
            job.Sink(Warned(job.Options.Name, step, message))

        if job.Resume then
            Checkpoint.tryRestore job.Run job.Options.Name skipped (savables session)
        else
            Ok None
        |> Result.map (Option.defaultValue { Step = 0; Pending = []; Best = None })

    let private save (session: Session) (state: TrainingState) : Result<unit, Error> =
        let job = session.Job

        if job.Ranks.IsFirst then
            session.Clock.Measure StepPart.Saving (fun () ->
                Checkpoint.write job.Run job.Options.Name state (savables session))
            |> Result.map (fun path -> job.Sink(Saved(job.Options.Name, state.Step, path)))
        else
            Ok()

    /// A number that is not finite ends the training.
    let private demandFinite (options: TrainingOptions) (index: int) (report: Metrics) : Result<unit, Error> =
        match report |> List.tryFind (fun (_, value) -> not (Double.IsFinite value)) with
        | Some(name, _) ->
            Error(
                BadInput
                    $"training {options.Name}: {name} is not finite at step {index}; the last checkpoint is kept, try a lower learning_rate or a higher smoothness"
            )
        | None -> Ok()

    let private average (session: Session) (index: int) =
        match session.Options.Average, session.Average with
        | Some decay, Some average ->
            session.Clock.Measure StepPart.Optimiser (fun () ->
                WeightAverage.update (WeightAverage.decayAt decay index) session.Student.Network average)
        | _ -> ()

    /// The step that a training's options say: the discriminator, if there is one, moves, then the student does.
    let step (options: TrainingOptions) (players: Players) : Step<Iteration list> =
        Aldk.step players.Student options.Loss options.Clip players.Adversary

    /// A step: the learners move, then the average of the weights does.
    let private advance
        (step: Players -> Step<Iteration list>)
        (session: Session)
        : int -> Result<Metrics, Error> =
        let options = session.Options
        let student = session.Student.Network
        let step = step session.Players

        let schedule =
            session.Players.Adversary
            |> Option.map _.Distillation.Schedule
            |> Option.defaultValue []

        let subjects = Batches.drawn options session.Job.Seed session.Job.Set.Group

        fun index ->
            setRate (LearningRate.at options.Steps index options.LearningRate) session.Student.Optimiser
            use _ = torch.NewDisposeScope()
            // The images come first: they alone would use up what a protected call may allocate.
            let batches =
                Batches.ofStep
                    session.Job
                    session.Clock
                    student
                    index
                    (Schedule.at schedule index)
                    (subjects index)

            NativeCalls.protect (fun () ->
                let report = step index batches

                demandFinite options index report
                |> Result.map (fun () ->
                    average session index
                    report))

    /// Where a training stands.
    type private Progress =
        {
            State: TrainingState
            /// The kinds of warnings that were given.
            Warned: Set<string>
        }

    /// The means of the steps since the last report, and what is wrong with them.
    let private report (session: Session) (first: int) (progress: Progress) : Progress =
        let options, sink, state = session.Options, session.Job.Sink, progress.State
        let speed = float (state.Step - first) / session.Clock.Seconds
        let left = TimeSpan.FromSeconds(float (options.Steps - state.Step) / speed)
        let means = Metrics.average (List.rev state.Pending)
        sink (Progressed(options.Name, state.Step, options.Steps, means, speed, left))

        // Every network starts near identity: until the first validation that is no news.
        let news =
            Watchdog.warnings means
            |> List.filter (fun (kind, _) ->
                not (progress.Warned.Contains kind)
                && state.Step >= min options.ValidateEvery options.Steps)

        for _, message in news do
            sink (Warned(options.Name, state.Step, message))

        {
            State = { state with Pending = [] }
            Warned = Set.union progress.Warned (news |> List.map fst |> Set.ofList)
        }

    /// The best validation after one more; its weights are kept.
    let private keepBest (session: Session) (best: Network) (scores: Metrics) (state: TrainingState) =
        match scores |> List.tryFind (fun (name, _) -> name = "dice") with
        | Some(_, dice) when Double.IsFinite dice ->
            let found = EarlyStopping.after state.Step dice state.Best

            if found.Since = 0 then
                WeightAverage.copy session.Judged best

            Ok { state with Best = Some found }
        | _ ->
            Error(
                BadInput
                    $"training {session.Options.Name}: \"early_stopping\" goes by the validation's Dice, and no validation pair has labels; leave the key out"
            )

    /// Scores what would be saved; the best weights are kept, where the training may stop early.
    let private validate (session: Session) (state: TrainingState) : Result<TrainingState, Error> =
        let scores =
            session.Clock.Measure StepPart.Validation (fun () ->
                Ranks.ofFirst session.Job.Ranks (fun () -> session.Job.Validate session.Judged))

        session.Job.Sink(Validated(session.Options.Name, state.Step, scores))

        match session.Best with
        | None -> Ok state
        | Some best -> keepBest session best scores state

    /// The network that the training was for; the others are gone.
    let private finish (session: Session) (state: TrainingState) : TrainingEnd =
        let result, steps =
            match session.Best, state.Best with
            | Some network, Some best -> network, best.Step
            | _ -> session.Judged, state.Step

        for network in session.Student.Network :: List.choose id [ session.Average; session.Best ] do
            if not (obj.ReferenceEquals(network, result)) then
                network.Dispose()

        Finished(result, steps)

    let private isOver (options: TrainingOptions) (state: TrainingState) =
        state.Step >= options.Steps
        || EarlyStopping.isOver options.EarlyStopping state.Best

    /// What is due after a step: a report, a validation, a checkpoint.
    let private afterStep (session: Session) (first: int) (progress: Progress) : Result<Progress, Error> =
        let options = session.Options

        let isDue every =
            progress.State.Step % every = 0 || progress.State.Step = options.Steps

        result {
            let progress =
                if isDue reportEvery then
                    report session first progress
                else
                    progress

            let! state =
                if isDue options.ValidateEvery then
                    validate session progress.State
                else
                    Ok progress.State

            if isDue options.CheckpointEvery && not (isOver options state) then
                do! save session state

            return { progress with State = state }
        }

    /// Steps until the training is over or stopped.
    let rec private steps
        (session: Session)
        (step: int -> Result<Metrics, Error>)
        (first: int)
        (progress: Progress)
        : Result<Progress, Error> =
        if
            isOver session.Options progress.State
            || Ranks.any session.Job.Ranks session.Job.Stop.IsCancellationRequested
        then
            Ok progress
        else
            let state = progress.State

            let next =
                step state.Step
                |> Result.map (fun metrics ->
                    { progress with
                        State =
                            { state with
                                Step = state.Step + 1
                                Pending = metrics :: state.Pending
                            }
                    })
                |> Result.bind (afterStep session first)

            match next with
            | Ok next -> steps session step first next
            | Error error -> Error error

    /// The last report and the last checkpoint, and where the time went.
    let private close (session: Session) (first: int) (progress: Progress) : Result<TrainingState, Error> =
        let job = session.Job

        let state =
            if isOver job.Options progress.State && not progress.State.Pending.IsEmpty then
                (report session first progress).State
            else
                progress.State

        save session state
        |> Result.map (fun () ->
            if state.Step > first then
                job.Sink(
                    Timed(
                        job.Options.Name,
                        state.Step,
                        TrainingTimes.read (state.Step - first) session.Clock
                    )
                )

            state)

    /// The steps of a training one at a time, from the first, and the clock of their parts: for measurements. Nothing is validated
    /// or saved.
    let stepper
        (step: Players -> Step<Iteration list>)
        (job: TrainingJob)
        : Result<(int -> Result<Metrics, Error>) * StepClock, Error> =
        newStudent job
        |> Result.map (fun student ->
            let session = openSession job student
            advance step session, session.Clock)

    /// Runs a training to its end, or until it is stopped: repeats the step that is made for its players (`Trainer.step`, or one of
    /// one's own, such as `Aldk.stepBy` with another loss). Rates, clipping and schedule are the options'. A loss that is not finite ends it with bad input: the last
    /// checkpoint is kept.
    let run (step: Players -> Step<Iteration list>) (job: TrainingJob) : Result<TrainingEnd, Error> =
        result {
            let! options = TrainingOptions.shared job.Ranks.Count job.Options
            let job = { job with Options = options }
            let! student = newStudent job
            let session = openSession job student
            let! start = restore session
            let parameters = Network.parameterCount session.Student.Network

            let engine = TrainingEngine.describe job.Device options.Architecture job.Set.Size

            job.Sink(Started(options.Name, options.Steps, parameters, engine, start.Step))

            let! progress =
                steps session (advance step session) start.Step { State = start; Warned = Set.empty }

            let! state = close session start.Step progress

            return
                if isOver options state then
                    finish session state
                else
                    Interrupted state.Step
        }
