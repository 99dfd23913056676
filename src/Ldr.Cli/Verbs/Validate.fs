/// `validate EXPERIMENT`: whether an experiment is good.
module Ldr.Cli.Verbs.Validate

open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli

type Arguments =
    | [<MainCommand; ExactlyOnce>] Experiment of file: string
    | Set of assignment: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Experiment _ -> "the experiment's file."
            | Set _ -> "change a value of the experiment: PATH=VALUE."
            | Json -> "print the experiment as resolved, as one JSON object."
            | Verbose -> "show where a fault happened."

/// Data that still have to be fetched are no fault of the experiment; data that are there must fit it.
let private orAbsent (loaded: Result<Dataset, Error>) : Result<Result<Dataset, Error>, Error> =
    match loaded with
    | Ok dataset -> Ok(Ok dataset)
    | Error(BadFile(path, _, _) as absent) when not (File.Exists path || Directory.Exists path) ->
        Ok(Error absent)
    | Error other -> Error other

let private words (file: string) (data: Result<Dataset, Error>) (experiment: Experiment) =
    [
        match data with
        | Ok dataset -> $"{file}: good. {dataset.Subjects.Length} subjects of {dataset.Name}; trainings:"
        | Error absent ->
            $"{file}: good, but for its data, which are not there yet. Trainings:"

            for line in Error.lines absent do
                $"  not there yet: {line}"

        for training in experiment.Train do
            $"  {training.Name}: {Architecture.describe training.Architecture}, {training.Steps} steps"

            for distillation in Option.toList training.Distillation do
                $"    distillation: {Codec.toLine Distillation.codec distillation}"

        for missing in Experiment.missingModels experiment do
            $"  not there yet: {missing.Path}: {missing.Problem}"
    ]
    |> String.concat "\n"

let private run (file: string) (assignments: string list) =
    result {
        let! experiment = Experiment.read file assignments
        let! data = Run.check experiment |> orAbsent
        return Said.answer (words file data experiment) (lazy Codec.toLine Experiment.codec experiment)
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Check an experiment before time is spent."
        More = "Every error is told with its place in the JSON; what is left out is shown as it will be."
        Groups = []
        Examples = [ "ldr-fs validate experiments/quickstart.json" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! file = Usage.need "the experiment's file" (r.TryGetResult Arguments.Experiment)

        return!
            Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ ->
                run file (r.GetResults Set))
    }
