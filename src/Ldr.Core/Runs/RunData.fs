namespace Ldr

open FsToolkit.ErrorHandling

/// The scans that a run works on.
[<NoEquality; NoComparison>]
type internal RunData =
    {
        Training: TrainingSet
        Validation: EvaluationSet
        /// Every test part by its name.
        Tests: (string * EvaluationSet) list
    }

module internal RunData =
    let private announce (plan: RunPlan) =
        let train, validation =
            plan.Split.TrainGroup.Members.Length, plan.Split.ValidationGroup.Members.Length

        plan.Options.Sink(
            Loading
                $"{train} training, {validation} validation and {plan.TestSubjects.Length} test subjects of {plan.Dataset.Name}"
        )

    /// Reads the scans of all parts. Label maps that a loss needs are read too, so that a missing one costs no training.
    let read (plan: RunPlan) : Result<RunData, Error> =
        announce plan
        let data, evaluation = plan.Experiment.Data, plan.Experiment.Evaluation

        let seed = Seed.ofInt evaluation.Seed

        let labelled pairs known group =
            Evaluator.load seed pairs known data.IgnoredLabels group

        result {
            let! validation = labelled evaluation.ValidationPairs None plan.Split.ValidationGroup

            let! tests =
                plan.Split.TestGroups
                |> List.traverseResultM (fun group ->
                    labelled evaluation.Pairs (evaluation.KnownField |> Option.map (fun _ -> seed)) group
                    |> Result.map (fun set -> group.Part, set))

            let! training = TrainingSet.load data plan.Split.TrainGroup

            let weights = plan.Experiment.Train |> List.map _.Loss

            if weights |> List.exists (fun loss -> loss.Dice > 0.0) then
                training.Labels.Force() |> ignore

            if weights |> List.exists (fun loss -> loss.LabelDistance > 0.0) then
                training.Depths.Force() |> ignore

            return
                {
                    Training = training
                    Validation = { validation with Surface = false }
                    Tests = tests
                }
        }
