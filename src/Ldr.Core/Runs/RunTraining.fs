namespace Ldr

open System
open System.Threading
open FsToolkit.ErrorHandling

/// One training of a run.
module internal RunTraining =
    /// Scores a network on the validation pairs.
    let private validate (plan: RunPlan) (data: RunData) (card: ModelCard) (network: Network) : Metrics =
        let model: Model = { Card = card; Network = network }

        let scores =
            Evaluator.model plan.Options.Device model data.Validation CancellationToken.None (fun _ _ -> ())

        let summary = Scores.summarise "" (0L, 0.0) scores scores

        [
            "dice", summary.Dice
            if not (Double.IsNaN summary.TreMm) then
                "tre_mm", summary.TreMm
            "folded_percent", summary.FoldedPercent
        ]

    let private write (path: string) (card: ModelCard) (network: Network, steps: int) =
        use network = network

        ModelFile.write
            path
            {
                Card = { card with Steps = steps }
                Network = network
            }

    /// The first rank writes the model.
    let private keep (plan: RunPlan) (card: ModelCard) (instance: Instance) (result: Network * int) =
        if plan.Options.Ranks.IsFirst then
            write (plan.ModelPath instance) card result
            RunFolder.noteModel plan.Folder plan.Experiment instance
        else
            (fst result).Dispose()
            Ok()

    /// Trains; at which step it was stopped, if it was.
    let run
        (plan: RunPlan)
        (data: RunData)
        (journal: RunJournal)
        (instance: Instance)
        : Result<int option, Error> =
        result {
            let options = plan.Options
            let! card = RunCard.ofTraining plan instance.Options
            let! teacher = RunTeachers.ofTraining plan data.Training instance.Options

            let job: TrainingJob =
                {
                    Options = RunCard.located plan instance.Options
                    Seed = Seed.ofInt instance.Seed
                    Set = data.Training
                    Teacher = teacher |> Option.map _.Teacher
                    Device = options.Device
                    Run = options.Folder
                    // The folder may be used; what it has of this training may come from a process that died.
                    Resume = true
                    Validate = validate plan data card
                    Sink = if options.Ranks.IsFirst then journal.Add else ignore
                    Stop = options.Stop
                    Ranks = options.Ranks
                }

            try
                match! Trainer.run (options.Step instance.Options) job with
                | Interrupted step -> return Some step
                | Finished(network, steps) ->
                    do! keep plan card instance (network, steps)
                    // The others may learn from it.
                    Ranks.meet options.Ranks
                    return None
            finally
                teacher |> Option.iter (fun teacher -> (teacher :> IDisposable).Dispose())
        }
