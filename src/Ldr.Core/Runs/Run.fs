namespace Ldr

open System
open System.IO
open System.Text
open System.Threading
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats

/// Runs experiments; what they leave is a folder, see `RunFolder`.
module Run =
    /// Where the time of a training went, as in a line of `times.jsonl`.
    let timesNode (training: string, step: int, times: TrainingTimes) =
        JournalLines.ofTimes (training, step, times)

    let private cautions (plan: RunPlan) : Result<string list, Error> =
        result {
            let! starts = plan.Experiment.Train |> List.traverseResultM (RunCard.caution plan)
            let! teachers = RunTeachers.cautions plan (RunPlan.untrained plan)
            let space = RunSpace.warning plan.Folder (RunSpace.bytes plan.Experiment)
            return teachers @ List.choose id (starts @ [ space ])
        }

    /// The data set of an experiment, which its split fits, and so do teachers that are not the experiment's own, where all
    /// models are there.
    let check (experiment: Experiment) : Result<Dataset, Error> =
        result {
            let! plan = RunPlan.make RunOptions.standard experiment

            if (Experiment.missingModels experiment).IsEmpty then
                do! RunTeachers.check plan plan.Instances

            return plan.Dataset
        }

    /// Makes the folder a run's, or joins the one that is there.
    let private enter (plan: RunPlan) : Result<unit, Error> =
        try
            Directory.CreateDirectory plan.Folder |> ignore

            RunClaims.alone plan.Folder (fun () ->
                // Another process may have made a run of the folder while the scans were read.
                RunFolder.check plan.Options plan.Experiment
                |> Result.bind (fun () -> RunFolder.prepare plan.Folder plan.Experiment))
        with :? UnauthorizedAccessException ->
            Error(
                BadFile(
                    plan.Folder,
                    "may not be written",
                    "check the folder's permissions or choose another one by --output"
                )
            )

    let private checkJournals (folder: string) : Result<unit, Error> =
        [ RunFolder.metricsPath folder; RunFolder.timesPath folder ]
        |> List.traverseResultM JournalLines.check
        |> Result.ignore

    /// Reads everything before the first step and before the folder is made: bad input costs no training, and leaves nothing
    /// behind.
    let private prepare (plan: RunPlan) : Result<RunData, Error> =
        let ranks = plan.Options.Ranks

        result {
            if ranks.IsFirst then
                do! RunFolder.check plan.Options plan.Experiment
                do! checkJournals plan.Folder

            let! data = RunData.read plan
            do! RunTeachers.check plan (RunPlan.untrained plan)

            if ranks.IsFirst then
                do! enter plan
                let! cautions = cautions plan
                cautions |> List.iter (Cautioned >> plan.Options.Sink)

            Ranks.meet ranks
            return data
        }

    /// What a process, or its ranks together, does next.
    [<NoEquality; NoComparison>]
    type private Next =
        /// The claim is the first rank's.
        | Train of Instance * FileClaim option
        | Finish
        | Stop of training: string

    let private score (plan: RunPlan) (data: RunData) (instance: Instance) : Result<unit, Error> =
        if plan.IsScored instance then
            Ok()
        else
            RunScoring.run plan data instance

    /// A plan whose work stops when its claim is lost.
    let private held (plan: RunPlan) (stop: CancellationToken) : RunPlan =
        { plan with
            Options = { plan.Options with Stop = stop }
        }

    /// What is left to be done, and nobody else has; waits as long as others have all of it. What is trained and not scored is scored
    /// on the way.
    let rec private choose (plan: RunPlan) (data: RunData) (waitedFor: string list) : Result<Next, Error> =
        let remaining = RunPlan.remaining plan

        let free =
            remaining
            |> Seq.filter (RunPlan.isReady plan)
            |> Seq.tryPick (fun instance ->
                RunClaims.tryTraining plan.Folder instance.Name
                |> Option.map (fun claim -> instance, claim))

        match remaining, free with
        | [], _ -> Ok Finish
        | _, Some(instance, claim) when plan.HasModel instance ->
            let scored =
                use _ = claim
                score plan data instance

            scored |> Result.bind (fun () -> choose plan data waitedFor)
        | _, Some(instance, claim) -> Ok(Train(instance, Some claim))
        | first :: _, None ->
            let names = remaining |> List.map _.Name

            if names <> waitedFor then
                plan.Options.Sink(Waiting names)

            if plan.Options.Stop.WaitHandle.WaitOne 500 then
                Ok(Stop first.Name)
            else
                choose plan data names

    /// What the first rank chooses, told to all.
    let private next (plan: RunPlan) (data: RunData) : Result<Next, Error> =
        let ranks = plan.Options.Ranks

        let said (next: Next) =
            match next with
            | Train(instance, _) -> "train " + instance.Name
            | Stop name -> "stop " + name
            | Finish -> "finish"

        let heard (said: string) =
            match said.Split ' ' with
            | [| "train"; name |] -> Train(plan.Instances |> List.find (fun i -> i.Name = name), None)
            | [| "stop"; name |] -> Stop name
            | _ -> Finish

        if ranks.Count = 1 then
            choose plan data []
        elif ranks.IsFirst then
            choose plan data []
            |> Result.map (fun next ->
                ranks.Gather(Encoding.UTF8.GetBytes(said next)) |> ignore
                next)
        else
            ranks.Gather [||] |> List.head |> Encoding.UTF8.GetString |> heard |> Ok

    /// Trains and scores one training, unless another process takes it for dead meanwhile; the step at which it was stopped, if
    /// it was.
    let private one
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        (instance: Instance)
        (claim: FileClaim option)
        : Result<int option, Error> =
        let lost = claim |> Option.map _.Lost |> Option.defaultValue CancellationToken.None

        use stop = CancellationTokenSource.CreateLinkedTokenSource(plan.Options.Stop, lost)
        let own = held plan stop.Token

        let isTaken () =
            lost.IsCancellationRequested && not plan.Options.Stop.IsCancellationRequested

        try
            result {
                match! RunTraining.run own data journal instance with
                | Some step ->
                    let isTaken = Ranks.any plan.Options.Ranks (isTaken ())
                    return if isTaken then None else Some step
                | None ->
                    if plan.Options.Ranks.IsFirst then
                        do! score own data instance

                    return None
            }
        with :? OperationCanceledException when plan.Options.Ranks.IsFirst && isTaken () ->
            Ok None

    /// Trains and scores what is left to be done and nobody else has, until all of it is done; the training that was stopped, if
    /// one was, and at which step.
    let rec private train
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        : Result<(string * int) option, Error> =
        match next plan data with
        | Error error -> Error error
        | Ok Finish -> Ok None
        | Ok(Stop name) -> Ok(Some(name, 0))
        | Ok(Train(instance, claim)) ->
            let ended =
                use _ = Option.toObj claim
                one plan data journal instance claim

            match ended with
            | Error error -> Error error
            | Ok(Some step) -> Ok(Some(instance.Name, step))
            | Ok None -> train plan data journal

    /// Runs an experiment: its trainings in order, then the table on the test pairs. Any number of processes may run one
    /// experiment in one folder.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guardResult (fun () ->
            result {
                let! plan = RunPlan.make options experiment
                let! data = prepare plan
                let journal = RunJournal options

                try
                    match! train plan data journal with
                    | Some(training, step) -> return Stopped(training, step)
                    | None when not options.Ranks.IsFirst -> return Followed
                    | None -> return! RunReport.write plan data journal |> Result.map Done
                finally
                    if options.Ranks.IsFirst then
                        RunClaims.tidy options.Folder
            })
