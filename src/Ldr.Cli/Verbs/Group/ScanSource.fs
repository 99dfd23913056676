/// The scans of a group: files, a table, a folder, or a data set.
module Ldr.Cli.Verbs.ScanSource

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Runtime.Groups
open Ldr.Runtime.Formats

/// The text of --help.
let usage =
    "a table (.csv, .tsv; columns scan, and labels, mask, weight, id), a folder of scans, or a data set's folder or description"

let private isTable (path: string) =
    [ ".csv"; ".tsv" ]
    |> List.exists (fun ending -> path.EndsWith(ending, StringComparison.OrdinalIgnoreCase))

/// Whether a source can be nothing but a scan's own file.
let isScan (source: string) =
    not (
        isTable source
        || Directory.Exists source
        || source.EndsWith(".json", StringComparison.OrdinalIgnoreCase)
    )

let private isDescribed (source: string) =
    let meant = Dataset.meant source

    [ "dataset.json"; "dataset_description.json" ]
    |> List.exists (fun name -> File.Exists(Path.Combine(meant, name)))

let private ofFolder (folder: string) : TemplateScan list =
    Directory.EnumerateFiles folder
    |> Seq.map Path.GetFullPath
    |> Seq.filter (fun file ->
        ImageFile.CanWrite file
        && not ((nonNull (Path.GetFileName file)).StartsWith '.'))
    |> Seq.sortWith (fun a b -> String.CompareOrdinal(a, b))
    |> Seq.map (fun file -> TemplateScan("", file))
    |> List.ofSeq

let private ofDataset (source: string) (dataset: Dataset) : Result<TemplateScan list, Error> =
    dataset.Subjects
    |> List.traverseResultM (fun subject ->
        CohortSource.scan source subject
        |> Result.map (fun scan ->
            TemplateScan(PairNames.Clean subject.Name, scan.Image, Labels = scan.Labels, Mask = scan.Mask)))

/// One argument: a scan's own file is a source too.
let private one (source: string) : Result<TemplateScan list, Error> =
    if isTable source then
        Error.guard (fun () -> List.ofSeq (ScanTable.Read source))
    elif Directory.Exists source && not (isDescribed source) then
        Error.guard (fun () -> ofFolder source)
    elif Directory.Exists source then
        Dataset.ofFolder (Dataset.meant source) |> Result.bind (ofDataset source)
    elif not (File.Exists source) then
        Error(BadFile(source, "does not exist", $"name scans, or {usage}"))
    elif source.EndsWith(".json", StringComparison.OrdinalIgnoreCase) then
        match Dataset.tryOfFile source with
        | Some dataset -> dataset |> Result.bind (ofDataset source)
        | None -> Error(BadFile(source, "describes no data set that is known", $"name scans, or {usage}"))
    else
        Ok [ TemplateScan("", Path.GetFullPath source) ]

/// Reads sources, in their order; every scan gets a name of its own.
let read (sources: string list) : Result<TemplateScan list, Error> =
    result {
        let! scans = sources |> List.traverseResultM one
        let scans = List.concat scans

        if scans.IsEmpty then
            return! Error(BadFile(List.head sources, "holds no scan", $"name scans, or {usage}"))
        else
            let! named =
                Error.guard (fun () -> ScanTable.Named(List.head sources, Array.ofList scans))

            return List.ofSeq named
    }
