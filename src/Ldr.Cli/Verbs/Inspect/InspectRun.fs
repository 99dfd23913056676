/// What `inspect` says of a run's folder.
module Ldr.Cli.Verbs.InspectRun

open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats

let private state progress =
    match progress with
    | Scored -> "scored"
    | Trained -> "trained"
    | After _ -> "begun"
    | NotBegun -> "not begun"

let private step (instance: Instance) progress =
    match progress with
    | Scored
    | Trained -> instance.Options.Steps
    | After step -> step
    | NotBegun -> 0

let private isFinished (run: RunState) =
    run.Trainings |> List.forall (fun (_, progress) -> progress = Scored)

let private trainingNode (instance: Instance, progress) =
    Json.object
        [
            "name", Json.text instance.Name
            "architecture", Json.text (Architecture.describe instance.Options.Architecture)
            "state", Json.text (state progress)
            "step", Json.integer (step instance progress)
            "steps", Json.integer instance.Options.Steps
        ]

let private node (folder: string) (run: RunState) (model: (ModelCard * SafetensorsFile) option) =
    Json.object
        [
            "kind", Json.text "run"
            "run", Json.text folder
            "experiment", Json.text run.Experiment.Name
            "finished", Json.boolean (isFinished run)
            "trainings", run.Trainings |> List.map trainingNode |> Json.list
            match model with
            | Some model -> "model", InspectModel.node model
            | None -> ()
        ]

let private lines (folder: string) (run: RunState) (model: string list) =
    [
        if isFinished run then
            $"{folder}: run of experiment {run.Experiment.Name}, finished"
        else
            $"{folder}: run of experiment {run.Experiment.Name}, not finished: ldr-fs train --resume {folder} goes on"
        for instance, progress in run.Trainings do
            $"training    {instance.Name}: {Architecture.describe instance.Options.Architecture}, {state progress}, step {step instance progress} of {instance.Options.Steps}"
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
