namespace Ldr

open FsToolkit.ErrorHandling

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

    let private checkJournals (folder: string) : Result<unit, Error> =
        [ RunFolder.metricsPath folder; RunFolder.timesPath folder ]
        |> List.traverseResultM JournalLines.check
        |> Result.ignore

    /// Holds the folder and makes it a run.
    let private settle (plan: RunPlan) (lock: RunLock) : Result<unit, Error> =
        result {
            do! lock.Hold()
            // Another process may have made a run of the folder while the scans were read.
            do! RunFolder.check plan.Options plan.Experiment
            do! RunFolder.prepare plan.Folder plan.Experiment
            let! cautions = cautions plan
            cautions |> List.iter (Cautioned >> plan.Options.Sink)
        }

    /// Reads everything before the first step and before the folder is made: bad input costs no training, and leaves nothing
    /// behind.
    let private prepare (plan: RunPlan) (lock: RunLock) : Result<RunData, Error> =
        let ranks = plan.Options.Ranks

        result {
            if ranks.IsFirst then
                // A run that is there is held at once.
                do! lock.HoldExisting()
                do! RunFolder.check plan.Options plan.Experiment
                do! checkJournals plan.Folder

            let! data = RunData.read plan
            do! RunTeachers.check plan

            if ranks.IsFirst then
                do! settle plan lock

            Ranks.meet ranks
            return data
        }

    /// Trains and scores one training after the other; the one that was stopped, if one was, and at which step.
    let rec private train
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        (instances: Instance list)
        : Result<(string * int) option, Error> =
        result {
            match instances with
            | [] -> return None
            | instance :: rest ->
                match! RunTraining.run plan data journal instance with
                | Some step -> return Some(instance.Name, step)
                | None ->
                    if plan.Options.Ranks.IsFirst && not (plan.IsScored instance) then
                        do! RunScoring.run plan data instance

                    return! train plan data journal rest
        }

    /// Runs an experiment: its trainings in order, then the table on the test pairs.
    let execute (options: RunOptions) (experiment: Experiment) : Result<RunEnd, Error> =
        Error.guardResult (fun () ->
            result {
                let! plan = RunPlan.make options experiment
                use lock = new RunLock(options.Folder)
                let! data = prepare plan lock
                let journal = RunJournal options

                match! train plan data journal (RunPlan.remaining plan) with
                | Some(training, step) -> return Stopped(training, step)
                | None when not options.Ranks.IsFirst -> return Followed
                | None -> return! RunReport.write plan data journal |> Result.map Done
            })
