/// Carries out `doctor`.
module Ldr.Cli.DoctorExecution

open System.IO
open System.Threading
open Ldr

/// What is meant by a path: a folder, the `dataset.json` in one, another description of a data set, or an experiment.
let private inventory (path: string) (assignments: string list) : Result<Inventory, Error> =
    let path = Dataset.meant path
    let isJson = path.EndsWith(".json", System.StringComparison.OrdinalIgnoreCase)

    match Inventory.tryOfFile path with
    | Some inventory -> inventory
    | None when not (File.Exists path) -> Inventory.ofFolder path
    | None when isJson ->
        Experiment.read path assignments
        |> Result.bind (fun experiment -> Inventory.ofOptions path experiment.Data)
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

/// Prints the report; 1 when something would spoil a training.
let run
    (json: bool)
    (reporter: Progress.Reporter)
    (path: string)
    (assignments: string list)
    : Result<int, Error> =
    inventory path assignments
    |> Result.map (fun inventory ->
        let diagnosis =
            Examination.run
                CancellationToken.None
                (fun read all ->
                    if all > shortFolder then
                        reporter.Change(float read / float all, $"looked at {read} of {all} subjects"))
                inventory

        reporter.Close()

        if json then
            printfn "%s" ((DoctorReport.toJson diagnosis).ToJsonString())
        else
            printfn "%s" (DoctorReport.toText diagnosis)

        if Examination.spoils diagnosis then 1 else 0)
