/// Which subjects `evaluate` scores on.
module Ldr.Cli.Verbs.EvaluateSubjects

open System.IO
open FsToolkit.ErrorHandling
open Ldr

/// The data that are scored on.
[<NoEquality; NoComparison>]
type EvaluatedData =
    {
        Dataset: Dataset
        /// The parts and the data of an experiment that names the data set.
        Experiment: (SplitSubjects * DataOptions) option
    }

let private alone (dataset: Dataset) =
    { Dataset = dataset; Experiment = None }

let private ofExperiment (file: string) : Result<EvaluatedData, Error> =
    result {
        let! experiment = Experiment.read file []
        let! dataset = Dataset.load experiment.Data
        let! split = Dataset.split experiment.Data.Split dataset

        return
            {
                Dataset = dataset
                Experiment = Some(split, experiment.Data)
            }
    }

/// Reads what --data names.
let read (data: string) : Result<EvaluatedData, Error> =
    let data = Dataset.meant data

    match Dataset.tryOfFile data with
    | Some dataset -> dataset |> Result.map alone
    | None when File.Exists data -> ofExperiment data
    | None when Directory.Exists data -> Dataset.ofFolder data |> Result.map alone
    | None ->
        Error(
            BadFile(
                data,
                "no such folder or file",
                "give a folder with a dataset.json, a data set's description, a table of pairs, or an experiment's file"
            )
        )

/// The subjects of a part: those of the model's split, of a data set or an experiment that names its parts, or all.
let group (part: string) (card: ModelCard option) (data: EvaluatedData) : Result<SubjectGroup, Error> =
    let dataset = data.Dataset

    let named names =
        Dataset.named names dataset |> Result.map SubjectGroup.free

    let ofSplit (split: SplitSubjects) =
        match part with
        | "test" -> SubjectGroup.together split.TestGroups
        | "val" -> split.ValidationGroup
        | _ -> split.TrainGroup

    match part, data.Experiment, card with
    | "all", Some(_, { Split = Cut _ }), _ -> Ok(SubjectGroup.free dataset.Subjects)
    // A data set that names its parts says itself what is tested on.
    | _, None, _ when not dataset.Parts.IsEmpty ->
        let own = Map [ "test", "test"; "val", "validation"; "train", "training" ]
        Dataset.partOrAll (own.TryFind part) dataset
    | ("test" | "val" | "train"), Some(split, { Split = Parts _ }), _ -> Ok(ofSplit split)
    | "test", _, Some card -> named card.Test
    | "val", _, Some card -> named card.Validation
    | "train", _, Some card -> named card.Train
    | ("test" | "val" | "train"), Some(split, _), None -> Ok(ofSplit split)
    | ("test" | "val" | "train"), None, None ->
        Error(
            BadInput
                $"--split {part}: without a model nobody says which scans these are; give an experiment's file to --data, or --split all"
        )
    | _ -> Ok(SubjectGroup.free dataset.Subjects)
