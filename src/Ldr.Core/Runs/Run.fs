namespace Ldr

open System
open System.IO
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
            let space = RunSpace.warning plan.Folder (RunSpace.bytes plan.Experiment)
            return List.choose id (starts @ [ space ])
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

    /// Reads everything before the first step and before the folder is made: bad input costs no training, and leaves nothing
    /// behind.
    let private prepare (plan: RunPlan) : Result<RunData, Error> =
        result {
            do! RunFolder.check plan.Options plan.Experiment

            for journal in [ RunFolder.metricsPath plan.Folder; RunFolder.timesPath plan.Folder ] do
                do! JournalLines.check journal

            let! data = RunData.read plan
            do! RunTeachers.check plan
            do! enter plan
            let! cautions = cautions plan
            cautions |> List.iter (Cautioned >> plan.Options.Sink)
            return data
        }

    /// Trains and scores one training, unless another process takes it for dead meanwhile; the step at which it was stopped, if
    /// it was.
    let private one
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        (instance: Instance)
        (claim: FileClaim)
        : Result<int option, Error> =
        use stop =
            CancellationTokenSource.CreateLinkedTokenSource(plan.Options.Stop, claim.Lost)

        let own =
            { plan with
                Options = { plan.Options with Stop = stop.Token }
            }

        let isTaken () =
            claim.Lost.IsCancellationRequested
            && not plan.Options.Stop.IsCancellationRequested

        try
            result {
                match! RunTraining.run own data journal instance with
                | Some _ when isTaken () -> return None
                | Some step -> return Some step
                | None ->
                    if not (plan.IsScored instance) then
                        do! RunScoring.run own data instance

                    return None
            }
        with :? OperationCanceledException when isTaken () ->
            Ok None

    /// Trains and scores what is left to be done and nobody else has, until all of it is done; the training that was stopped, if
    /// one was, and at which step.
    let rec private train
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        (waitedFor: string list)
        : Result<(string * int) option, Error> =
        let remaining = RunPlan.remaining plan

        let free =
            remaining
            |> Seq.filter (RunPlan.isReady plan)
            |> Seq.tryPick (fun instance ->
                RunClaims.tryTraining plan.Folder instance.Name
                |> Option.map (fun claim -> instance, claim))

        match remaining, free with
        | [], _ -> Ok None
        | _, Some(instance, claim) ->
            use _ = claim

            one plan data journal instance claim
            |> Result.bind (function
                | Some step -> Ok(Some(instance.Name, step))
                | None ->
                    (claim :> IDisposable).Dispose()
                    train plan data journal waitedFor)
        | first :: _, None ->
            let names = remaining |> List.map _.Name

            if names <> waitedFor then
                plan.Options.Sink(Waiting names)

            if plan.Options.Stop.WaitHandle.WaitOne 500 then
                Ok(Some(first.Name, 0))
            else
                train plan data journal names

    /// Runs an experiment: its trainings in order, then the table on the test pairs. Any number of processes may run one
    /// experiment in one folder.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guardResult (fun () ->
            result {
                let! plan = RunPlan.make options experiment
                let! data = prepare plan
                let journal = RunJournal options

                try
                    match! train plan data journal [] with
                    | Some(training, step) -> return Stopped(training, step)
                    | None -> return! RunReport.write plan data journal |> Result.map Done
                finally
                    RunClaims.tidy options.Folder
            })
