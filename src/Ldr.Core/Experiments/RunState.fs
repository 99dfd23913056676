namespace Ldr

open System.IO

/// How far one training of a run is.
type TrainingProgress =
    /// Trained and scored on the test pairs.
    | Scored
    /// Trained; the test pairs are still to be scored.
    | Trained
    /// The step of its newest checkpoint.
    | After of step: int
    | NotBegun

/// What a run's folder holds.
[<NoEquality; NoComparison>]
type RunState =
    {
        Experiment: Experiment
        /// Its trainings in order, each with how far it is.
        Trainings: (Instance * TrainingProgress) list
        /// The model that the folder stands for: that of the last training, once there is a table.
        Model: string option
        /// The table of what is scored so far, as text.
        Table: string option
    }

module RunState =
    /// Whether a folder is a run's.
    let isRun (folder: string) =
        File.Exists(Path.Combine(folder, "experiment.json"))

    let private existing (path: string) =
        if File.Exists path then Some path else None

    /// Reads what a run's folder holds, whether it is finished or not; changes nothing.
    let read (folder: string) : Result<RunState, Error> =
        Error.guard (fun () ->
            let file = Path.Combine(folder, "experiment.json")

            let experiment =
                Codec.ofText file Experiment.codec (File.ReadAllText file) |> Error.orRaise

            let progress (instance: Instance) =
                if Run.isScored folder experiment instance.Name then
                    Scored
                elif File.Exists(Run.modelPath folder instance.Name) then
                    Trained
                else
                    match Checkpoint.tryStep folder instance.Name with
                    | Some step -> After step
                    | None -> NotBegun

            {
                Experiment = experiment
                Trainings = Experiment.instances experiment |> List.map (fun i -> i, progress i)
                Model = existing (Path.Combine(folder, "model.safetensors"))
                Table = existing (Path.Combine(folder, "table.md")) |> Option.map File.ReadAllText
            })
