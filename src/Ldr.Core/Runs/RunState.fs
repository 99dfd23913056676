namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling

/// How far one training of a run is.
type TrainingProgress =
    /// Trained and scored on the test pairs.
    | Scored
    /// Trained; the test pairs are still to be scored.
    | Trained
    /// The step of its newest checkpoint.
    | After of step: int
    | NotBegun

/// A process that works on a training now.
type Worker =
    {
        /// Its number; nothing where it runs on another machine.
        Process: int option
        /// Since its last sign of life.
        Silent: TimeSpan
    }

/// What there is to tell of one training.
type TrainingLook =
    {
        Instance: Instance
        Progress: TrainingProgress
        /// Nothing: nobody works on it.
        Worker: Worker option
        /// The newest step that was noted.
        Last: int option
        /// The newest validation, and its step.
        Validation: (int * Metrics) option
    }

/// What a run's folder holds.
[<NoEquality; NoComparison>]
type RunState =
    {
        Experiment: Experiment
        /// Its trainings in order.
        Trainings: TrainingLook list
        /// The model that the folder stands for: that of the last training, once there is a table.
        Model: string option
        /// The table of what is scored so far, as text.
        Table: string option
    }

module RunState =
    /// Whether a folder is a run's.
    let isRun (folder: string) =
        File.Exists(RunFolder.experimentPath folder)

    let private existing (path: string) =
        if File.Exists path then Some path else None

    let private progressOf
        (folder: string)
        (experiment: Experiment)
        (instance: Instance)
        : Result<TrainingProgress, Error> =
        if RunFolder.isScored folder experiment instance.Name then
            Ok Scored
        elif RunFolder.hasModel folder instance.Name then
            Ok Trained
        else
            Checkpoint.tryStep folder instance.Name
            |> Result.map (Option.map After >> Option.defaultValue NotBegun)

    let private workerOn (folder: string) (instance: Instance) : Worker option =
        RunClaims.holderOf folder instance.Name
        |> Option.map (fun holder ->
            {
                Process = Option.ofNullable holder.Process
                Silent = holder.Silent
            })

    let private stateOf
        (folder: string)
        (experiment: Experiment)
        (newest: Map<string * string, int * Metrics>)
        (instance: Instance)
        =
        let last kind =
            Map.tryFind (instance.Name, kind) newest

        progressOf folder experiment instance
        |> Result.map (fun progress ->
            {
                Instance = instance
                Progress = progress
                Worker = workerOn folder instance
                Last = last "train" |> Option.map fst
                Validation = last "validation"
            })

    /// Reads what a run's folder holds, whether it is finished or not; changes nothing.
    let read (folder: string) : Result<RunState, Error> =
        Error.guardResult (fun () ->
            result {
                let! experiment = RunFolder.readExperiment folder
                let newest = JournalLines.newest (RunFolder.metricsPath folder)

                let! trainings =
                    Experiment.instances experiment
                    |> List.traverseResultM (stateOf folder experiment newest)

                return
                    {
                        Experiment = experiment
                        Trainings = trainings
                        Model = existing (RunFolder.finalModelPath folder)
                        Table = existing (RunFolder.tablePath folder) |> Option.map File.ReadAllText
                    }
            })
