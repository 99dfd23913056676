namespace Ldr

open FsToolkit.ErrorHandling

/// What a run is about: its experiment, and the data set's description. No scan is read yet.
[<NoEquality; NoComparison>]
type internal RunPlan =
    {
        Options: RunOptions
        Experiment: Experiment
        Dataset: Dataset
        Split: SplitSubjects
        /// All trainings with all their seeds, in order.
        Instances: Instance list
        /// Those to which the run is limited.
        Wanted: Instance list
    }

    member this.Folder = this.Options.Folder

    /// The subjects of all test parts.
    member this.TestSubjects =
        this.Split.TestGroups |> List.collect _.Members |> List.distinctBy _.Name

    /// The file of an instance's model.
    member this.ModelPath(instance: Instance) =
        RunFolder.modelPath this.Folder instance.Name

    member this.HasModel(instance: Instance) =
        RunFolder.hasModel this.Folder instance.Name

    member this.IsScored(instance: Instance) =
        RunFolder.isScored this.Folder this.Experiment instance.Name

module internal RunPlan =
    let private checkOnly (options: RunOptions) (experiment: Experiment) : Result<unit, Error> =
        let names =
            (experiment.Train |> List.map _.Name)
            @ (Experiment.instances experiment |> List.map _.Name)
            |> List.distinct

        match options.Only |> List.tryFind (fun name -> not (List.contains name names)) with
        | Some name -> Error(BadInput $"--only {name}: no such training; {Suggestion.among names name}")
        | None -> Ok()

    /// Whether the ranks can share the steps of all trainings.
    let private checkRanks (options: RunOptions) (experiment: Experiment) : Result<unit, Error> =
        experiment.Train
        |> List.traverseResultM (TrainingOptions.shared options.Ranks.Count)
        |> Result.ignore

    let private isWanted (options: RunOptions) (instance: Instance) =
        options.Only.IsEmpty
        || List.contains instance.Training options.Only
        || List.contains instance.Name options.Only

    let make (options: RunOptions) (experiment: Experiment) : Result<RunPlan, Error> =
        result {
            let! dataset = Dataset.load experiment.Data
            let! split = Dataset.split experiment.Data.Split dataset
            do! checkOnly options experiment
            do! checkRanks options experiment
            let instances = Experiment.instances experiment

            return
                {
                    Options = options
                    Experiment = experiment
                    Dataset = dataset
                    Split = split
                    Instances = instances
                    Wanted =
                        instances
                        |> List.filter (isWanted options)
                        |> List.indexed
                        |> List.filter (fst >> options.Shard.Has)
                        |> List.map snd
                }
        }

    /// The earlier trainings whose models an instance needs to be trained, and that are not there: its start and its teacher.
    let rec private needed (plan: RunPlan) (instance: Instance) : Instance list =
        let start = Experiment.startInstance plan.Experiment instance.Options
        let teacher = Experiment.teacherInstance plan.Experiment instance.Options

        [
            if not (plan.HasModel instance) then
                for earlier in List.choose id [ start; teacher ] do
                    if not (plan.HasModel earlier) then
                        yield! needed plan earlier
                        earlier
        ]

    /// Whether an instance has the models that it needs.
    let isReady (plan: RunPlan) (instance: Instance) : bool = (needed plan instance).IsEmpty

    /// The trainings that are still to be done or scored, in the order of their work.
    let remaining (plan: RunPlan) : Instance list =
        plan.Wanted
        |> List.filter (plan.IsScored >> not)
        |> List.collect (fun instance -> needed plan instance @ [ instance ])
        |> List.distinct

    /// Those of them that are still to be trained.
    let untrained (plan: RunPlan) : Instance list =
        remaining plan |> List.filter (plan.HasModel >> not)
