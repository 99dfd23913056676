/// `doctor DATASET`: what is in a data set, and what would spoil a training.
module Ldr.Cli.Verbs.Doctor

open System
open System.IO
open System.Threading
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli

type Arguments =
    | [<MainCommand; ExactlyOnce>] Dataset of folder: string
    | Set of assignment: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Dataset _ ->
                "the folder of a data set (MSD, nnU-Net, BIDS), a folder of scans, or an experiment's file, whose data are looked at."
            | Set _ -> "change a value of the experiment: PATH=VALUE, such as data.root=/data."
            | Json ->
                "print one JSON object to stdout: subjects, spoils, doubtful, remarks, findings, labels, scans."
            | Verbose -> "show where a fault happened."

/// What is meant by a path: a folder, the `dataset.json` in one, another description of a data set, or an experiment.
let private inventory (path: string) (assignments: string list) : Result<Inventory, Error> =
    let path = Ldr.Dataset.meant path
    let isJson = path.EndsWith(".json", StringComparison.OrdinalIgnoreCase)

    match Inventory.tryOfFile path with
    | Some inventory -> inventory
    | None when not (File.Exists path) -> Inventory.ofFolder path
    | None when isJson ->
        result {
            let! experiment = Experiment.read path assignments
            return! Inventory.ofOptions path experiment.Data
        }
    | None ->
        Error(
            BadFile(
                path,
                "is one file",
                "give the folder of a data set or of scans, or an experiment's file; ldr-fs inspect looks at one scan"
            )
        )

/// Folders of so few subjects are looked at without a word.
let private shortFolder = 20

let private examine (progress: Progress.Reporter) (inventory: Inventory) =
    Examination.run
        CancellationToken.None
        (fun read all ->
            if all > shortFolder then
                progress.Change(float read / float all, $"looked at {read} of {all} subjects"))
        inventory

let private run (path: string) (assignments: string list) (context: Context) =
    result {
        let! inventory = inventory path assignments
        let diagnosis = examine context.Speaker.Progress inventory

        let said = Said.both (DoctorReport.toText diagnosis) (DoctorReport.toJson diagnosis)

        return
            if Examination.spoils diagnosis then
                { said with Code = ExitCode.badInput }
            else
                said
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Look at every scan of a data set before time is spent."
        More = "It tells what is there, what would spoil a training, and what is doubtful."
        Groups = []
        Examples = [ "ldr-fs doctor Task04_Hippocampus" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! path = Usage.need "the data set" (r.TryGetResult Dataset)

        return!
            Call.create
                (CommonOptions.plain (r.Contains Json) (r.Contains Verbose))
                (run path (r.GetResults Set))
    }
