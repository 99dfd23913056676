/// What `inspect` says of a run's folder.
module Ldr.Cli.Verbs.InspectRun

open System
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats

let private state (training: TrainingLook) =
    match training.Progress with
    | Scored -> "scored"
    | _ when training.Worker.IsSome -> "running"
    | Trained -> "trained"
    | After _ -> "begun"
    | NotBegun when training.Last.IsSome -> "begun"
    | NotBegun -> "not begun"

/// The step that a training would resume from.
let private checkpoint (training: TrainingLook) =
    match training.Progress with
    | After step -> step
    | _ -> 0

let private step (training: TrainingLook) =
    match training.Progress with
    | Scored
    | Trained -> training.Instance.Options.Steps
    | After _
    | NotBegun -> max (checkpoint training) (Option.defaultValue 0 training.Last)

let private isFinished (run: RunState) =
    run.Trainings |> List.forall (fun training -> training.Progress = Scored)

let private isRunning (run: RunState) =
    run.Trainings |> List.exists _.Worker.IsSome

let private trainingNode (training: TrainingLook) =
    Json.object
        [
            "name", Json.text training.Instance.Name
            "architecture", Json.text (Architecture.describe training.Instance.Options.Architecture)
            "state", Json.text (state training)
            "step", Json.integer (step training)
            "steps", Json.integer training.Instance.Options.Steps
            "checkpoint", Json.integer (checkpoint training)
            match training.Worker with
            | Some worker -> "silent_seconds", Json.number (Math.Round worker.Silent.TotalSeconds)
            | None -> ()
            match training.Validation with
            | Some(at, metrics) ->
                "validation",
                Json.object
                    [
                        "step", Json.integer at
                        for name, value in metrics do
                            name, Json.number value
                    ]
            | None -> ()
        ]

let private node (folder: string) (run: RunState) (model: (ModelCard * SafetensorsFile) option) =
    Json.object
        [
            "kind", Json.text "run"
            "run", Json.text folder
            "experiment", Json.text run.Experiment.Name
            "finished", Json.boolean (isFinished run)
            "running", Json.boolean (isRunning run)
            "trainings", run.Trainings |> List.map trainingNode |> Json.list
            match model with
            | Some model -> "model", InspectModel.node model
            | None -> ()
        ]

let private worker (training: TrainingLook) : string =
    match training.Worker with
    | None -> ""
    | Some worker ->
        let seconds = Scores.fixedPoint 0 worker.Silent.TotalSeconds

        match worker.Process with
        | Some number -> $", by process {number}"
        | None -> $", on another machine, whose last sign of life is {seconds} s old"

let private words (training: TrainingLook) : string =
    let steps = training.Instance.Options.Steps

    match state training with
    | "begun" -> $"stopped at step {step training} of {steps}, resumes from step {checkpoint training}"
    | "running" when training.Progress = Trained -> $"running (scoring){worker training}"
    | "running" when training.Last.IsNone && checkpoint training = 0 ->
        $"running (no step of {steps} is noted yet){worker training}"
    | state -> $"{state}, step {step training} of {steps}{worker training}"

let private validation (training: TrainingLook) : string list =
    match training.Progress, training.Validation with
    | (After _ | NotBegun), Some(at, metrics) ->
        let numbers =
            metrics
            |> List.map (fun (name, value) -> $"{name} {Scores.fixedPoint 4 value}")
            |> String.concat ", "

        [ $"            last validation, step {at}: {numbers}" ]
    | _ -> []

let private lines (folder: string) (run: RunState) (model: string list) =
    [
        if isFinished run then
            $"{folder}: run of experiment {run.Experiment.Name}, finished"
        elif isRunning run then
            $"{folder}: run of experiment {run.Experiment.Name}, running"
        else
            $"{folder}: run of experiment {run.Experiment.Name}, not finished: ldr-fs train --resume {folder} goes on"
        for training in run.Trainings do
            $"training    {training.Instance.Name}: {Architecture.describe training.Instance.Options.Architecture}, {words training}"
            yield! validation training
        match run.Table with
        | Some table ->
            ""
            table.TrimEnd()
            ""
        | None -> ()
        yield! model
    ]

let ofFolder (folder: string) : Result<Said, Error> =
    result {
        let! run = RunState.read folder
        let! model = run.Model |> Option.traverseResult ModelFile.inspect

        let ofModel =
            Option.map2 InspectModel.lines run.Model model |> Option.defaultValue []

        return Said.lines (lines folder run ofModel) (node folder run model)
    }
