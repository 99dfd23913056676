namespace Ldr

open FsToolkit.ErrorHandling

/// What a run leaves when its trainings are done.
module internal RunReport =
    /// The model that the run stands for, that of the last training, and its picture.
    let private writeFinal (plan: RunPlan) (data: RunData) : Result<unit, Error> =
        result {
            match plan.Instances |> List.tryFindBack plan.HasModel with
            | None -> ()
            | Some last ->
                let! model = ModelFile.readTo plan.Options.Device (plan.ModelPath last)
                use _ = model.Network
                ModelFile.write (RunFolder.finalModelPath plan.Folder) model
                RunPicture.write plan data model
        }

    /// The steps behind the weights of an instance. One that stopped early has fewer than it was given.
    let private stepsOf (plan: RunPlan) (instance: Instance) : Result<int, Error> =
        if plan.HasModel instance then
            ModelFile.inspect (plan.ModelPath instance)
            |> Result.map (fun (card, _) -> card.Steps)
        elif plan.IsScored instance then
            Ok instance.Options.Steps
        else
            Ok 0

    /// Writes the table, the model and the picture.
    let write (plan: RunPlan) (data: RunData) (journal: RunJournal) : Result<RunResult, Error> =
        result {
            use _ = RunClaims.table plan.Folder plan.Options.Stop
            let! rows, isTested = RunTable.write plan data
            do! writeFinal plan data
            let! steps = plan.Instances |> List.traverseResultM (stepsOf plan)

            return
                {
                    Run = plan.Folder
                    Steps = List.sum steps
                    Times = journal.Times
                    Model = RunFolder.finalModelPath plan.Folder
                    Table = rows
                    PairedTests =
                        if isTested then
                            Some(RunFolder.tablePath plan.Folder)
                        else
                            None
                }
        }
