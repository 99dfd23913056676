namespace Ldr

open System.IO
open FsToolkit.ErrorHandling

/// What a run's trainings start from, and what the cards of their models say.
module internal RunCard =
    /// The training with the file of the earlier one that it starts from, if it does.
    let located (plan: RunPlan) (training: TrainingOptions) : TrainingOptions =
        match Experiment.startInstance plan.Experiment training with
        | Some earlier ->
            { training with
                Start = Some(plan.ModelPath earlier)
            }
        | None -> training

    /// What a training starts from, as its experiment names it, and the card of that model.
    let private startOf
        (plan: RunPlan)
        (training: TrainingOptions)
        : Result<(string * ModelCard) option, Error> =
        match training.Start, (located plan training).Start with
        | Some name, Some start ->
            StartModel.check start training.Architecture
            |> Result.map (fun (card, _) -> Some(name, card))
        | _ -> Ok None

    /// What a model started from, and what that one itself started from. A card is passed on: of a whole path it tells the file's
    /// name alone.
    let private originsOf (start: string, card: ModelCard) : string list =
        let start =
            if Path.IsPathRooted start then
                Path.GetFileName start
            else
                start

        $"{StartModel.origin}{start}: {card.Steps} steps on {card.Data} ({card.Licence}), experiment {card.Experiment}"
        :: (card.Notes |> List.filter _.StartsWith(StartModel.origin))

    /// The card of a training's model after all its steps.
    let ofTraining (plan: RunPlan) (training: TrainingOptions) : Result<ModelCard, Error> =
        result {
            let! start = startOf plan training
            let data = plan.Experiment.Data

            return
                {
                    Architecture = training.Architecture
                    Intensity = data.Intensity
                    Spacing = data.Spacing
                    Size = data.Size
                    Alignment = data.Alignment
                    Data = plan.Dataset.Name
                    Licence = plan.Dataset.Licence
                    Train = plan.Split.TrainGroup.Members |> List.map _.Name
                    Validation = plan.Split.ValidationGroup.Members |> List.map _.Name
                    Test = plan.TestSubjects |> List.map _.Name
                    IgnoredLabels = data.IgnoredLabels
                    Steps = training.Steps
                    Experiment = Experiment.digest plan.Experiment
                    Notes = start |> Option.map originsOf |> Option.defaultValue []
                    Verdict = None
                    Figures = []
                }
        }

    /// The first of the trainings that each start from the one before, up to this one.
    let rec private first (plan: RunPlan) (training: TrainingOptions) : TrainingOptions =
        match Experiment.startInstance plan.Experiment training with
        | Some earlier -> first plan earlier.Options
        | None -> training

    /// What is to be said where a model has learnt from the subjects that a training is scored on: `how` the training uses it.
    let cautionOf (plan: RunPlan) (how: string) (card: ModelCard) : string option =
        let unseen =
            plan.Split.ValidationGroup.Members @ plan.TestSubjects
            |> List.map _.Name
            |> Set.ofList

        match (Set.intersect unseen (Set.ofList card.Train)).Count with
        | seen when card.Data = plan.Dataset.Name && seen > 0 ->
            Some
                $"{how}, which has learnt from {seen} of the {unseen.Count} validation and test subjects: their scores say nothing of unseen ones"
        | _ -> None

    /// What is to be said where a training starts from a model that has learnt from the subjects that it is scored on.
    let caution (plan: RunPlan) (training: TrainingOptions) : Result<string option, Error> =
        startOf plan (first plan training)
        |> Result.map (
            Option.bind (fun (start, card) ->
                cautionOf plan $"training {training.Name} starts from {start}" card)
        )
