namespace Ldr

open System
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
            Learner: Learner<Network>
            Adversary: Adversary option
            /// The average of the weights, where the training has one.
            Average: Network option
            /// The weights of the best validation, where the training may stop early.
            Best: Network option
            Clock: StepClock
        }

        member this.Options = this.Job.Options

        /// What is validated and saved.
        member this.Judged = this.Average |> Option.defaultValue this.Learner.Network

    let private adam (rate: float) (network: torch.nn.Module) =
        torch.optim.Adam(network.parameters (), rate)

    let private setRate (rate: float) (optimiser: Modules.Adam) =
        for group in optimiser.ParamGroups do
            group.LearningRate <- rate

    let private freeze (network: Network) =
        network.eval ()

        for parameter in network.parameters () do
            parameter.requires_grad <- false

    let private newStudent (job: TrainingJob) : Network =
        let student =
            match job.Options.Start with
            | None -> Network.create (job.Seed |> Seed.split "network") job.Options.Architecture
            | Some start ->
                let model = StartModel.read start job.Options.Architecture |> Error.orRaise
                model.Network

        student.train ()
        student.``to`` job.Device |> ignore
        student

    let private adversaryOf (job: TrainingJob) : Adversary option =
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

        job.Options.Distillation
        |> Option.map (fun distillation ->
            {
                Judge = judge distillation
                Distillation = distillation
            })

    let private openSession (job: TrainingJob) : Session =
        let student = newStudent job

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
            Learner =
                {
                    Network = student
                    Optimiser = adam job.Options.LearningRate.Initial student
                }
            Adversary = adversaryOf job
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
            learner "network" session.Learner.Network session.Learner.Optimiser
            match session.Adversary with
            | Some { Judge = Some judge } -> learner "discriminator" judge.Network judge.Optimiser
            | _ -> ()
            yield! session.Average |> Option.map (weights "average") |> Option.toList
            yield! session.Best |> Option.map (weights "best") |> Option.toList
        ]

    let private restore (session: Session) : TrainingState =
        let job = session.Job

        let skipped step message =
            job.Sink(Warned(job.Options.Name, step, message))

        if job.Resume then
            Checkpoint.tryRestore job.Run job.Options.Name skipped (savables session)
        else
            None
        |> Option.defaultValue { Step = 0; Pending = []; Best = None }

    let private save (session: Session) (state: TrainingState) =
        let job = session.Job

        let path =
            session.Clock.Measure StepPart.Saving (fun () ->
                Checkpoint.write job.Run job.Options.Name state (savables session))

        job.Sink(Saved(job.Options.Name, state.Step, path))

    /// A number that is not finite ends the training.
    let private demandFinite (options: TrainingOptions) (index: int) (report: Metrics) =
        match report |> List.tryFind (fun (_, value) -> not (Double.IsFinite value)) with
        | Some(name, _) ->
            raise (
                Error.Raised(
                    BadInput
                        $"training {options.Name}: {name} is not finite at step {index}; the last checkpoint is kept, try a lower learning_rate or a higher smoothness"
                )
            )
        | None -> ()

    /// A step: the learners move, then the average of the weights does.
    let private advance (session: Session) : int -> Metrics =
        let options = session.Options
        let student = session.Learner.Network
        let step = Aldk.step session.Learner options.Loss options.Clip session.Adversary

        let schedule =
            session.Adversary
            |> Option.map _.Distillation.Schedule
            |> Option.defaultValue []

        let subjects = Batches.drawn options session.Job.Seed session.Job.Set.Group

        fun index ->
            setRate (LearningRate.at options.Steps index options.LearningRate) session.Learner.Optimiser
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

                match options.Average, session.Average with
                | Some decay, Some average ->
                    session.Clock.Measure StepPart.Optimiser (fun () ->
                        WeightAverage.update (WeightAverage.decayAt decay index) student average)
                | _ -> ()

                report)

    /// The means of the steps since the last report, and what is wrong with them.
    let private report (session: Session) (first: int) (warned: Set<string>) (state: TrainingState) =
        let options, sink = session.Options, session.Job.Sink
        let speed = float (state.Step - first) / session.Clock.Seconds
        let left = TimeSpan.FromSeconds(float (options.Steps - state.Step) / speed)
        let means = Metrics.average (List.rev state.Pending)
        sink (Progressed(options.Name, state.Step, options.Steps, means, speed, left))

        // Every network starts near identity: until the first validation that is no news.
        let news =
            Watchdog.warnings means
            |> List.filter (fun (kind, _) ->
                not (warned.Contains kind)
                && state.Step >= min options.ValidateEvery options.Steps)

        for _, message in news do
            sink (Warned(options.Name, state.Step, message))

        { state with Pending = [] }, Set.union warned (news |> List.map fst |> Set.ofList)

    /// Scores what would be saved; the best weights are kept, where the training may stop early.
    let private validate (session: Session) (state: TrainingState) : TrainingState =
        let options = session.Options

        let scores =
            session.Clock.Measure StepPart.Validation (fun () -> session.Job.Validate session.Judged)

        session.Job.Sink(Validated(options.Name, state.Step, scores))

        match session.Best with
        | None -> state
        | Some network ->
            let dice = scores |> List.tryFind (fun (name, _) -> name = "dice") |> Option.map snd

            match dice with
            | Some dice when Double.IsFinite dice ->
                let best = EarlyStopping.after state.Step dice state.Best

                if best.Since = 0 then
                    WeightAverage.copy session.Judged network

                { state with Best = Some best }
            | _ ->
                raise (
                    Error.Raised(
                        BadInput
                            $"training {options.Name}: \"early_stopping\" goes by the validation's Dice, and no validation pair has labels; leave the key out"
                    )
                )

    /// The network that the training was for; the others are gone.
    let private finish (session: Session) (state: TrainingState) : TrainingEnd =
        let result, steps =
            match session.Best, state.Best with
            | Some network, Some best -> network, best.Step
            | _ -> session.Judged, state.Step

        for network in session.Learner.Network :: List.choose id [ session.Average; session.Best ] do
            if not (obj.ReferenceEquals(network, result)) then
                network.Dispose()

        Finished(result, steps)

    /// Runs a training to its end, or until it is stopped. A loss that is not finite ends it with bad input: the last
    /// checkpoint is kept.
    let run (job: TrainingJob) : TrainingEnd =
        let options = job.Options
        let session = openSession job
        let start = restore session
        let parameters = Network.parameterCount session.Learner.Network
        job.Sink(Started(options.Name, options.Steps, parameters, start.Step))
        let step = advance session

        let isOver (state: TrainingState) =
            state.Step >= options.Steps
            || EarlyStopping.isOver options.EarlyStopping state.Best

        let mutable state = start
        let mutable warned = Set.empty

        let reportNow () =
            let next, known = report session start.Step warned state
            state <- next
            warned <- known

        while not (isOver state || job.Stop.IsCancellationRequested) do
            let metrics = step state.Step

            state <-
                { state with
                    Step = state.Step + 1
                    Pending = metrics :: state.Pending
                }

            let isDue every =
                state.Step % every = 0 || state.Step = options.Steps

            if isDue reportEvery then
                reportNow ()

            if isDue options.ValidateEvery then
                state <- validate session state

            if isDue options.CheckpointEvery && not (isOver state) then
                save session state

        if isOver state && not state.Pending.IsEmpty then
            reportNow ()

        save session state

        if state.Step > start.Step then
            job.Sink(
                Timed(options.Name, state.Step, TrainingTimes.read (state.Step - start.Step) session.Clock)
            )

        if isOver state then
            finish session state
        else
            Interrupted state.Step
