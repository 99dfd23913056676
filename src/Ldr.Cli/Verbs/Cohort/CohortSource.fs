/// The pairs of a cohort's source.
module Ldr.Cli.Verbs.CohortSource

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli.Verbs.CohortArguments
open Ldr.Runtime.Groups
open Ldr.Runtime.Formats

let private named (ending: string) (path: string) =
    path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)

/// The template with what belongs to it.
let template (o: CohortRequest) : CohortScan option =
    let full = Option.map Path.GetFullPath >> Option.toObj

    o.Template
    |> Option.map (fun file ->
        CohortScan(Path.GetFullPath file, Labels = full o.FixedLabels, Mask = full o.FixedMask))

/// A scan of a data set, which must lie in a file of its own.
let scan (source: string) (subject: Subject) : Result<CohortScan, Error> =
    let file (stored: Stored<'a> option) =
        match stored with
        | Some stored when stored.File = stored.Where -> Option.map Path.GetFullPath stored.File
        | _ -> None

    match file (Some subject.Image) with
    | Some image ->
        CohortScan(
            image,
            Labels = Option.toObj (file subject.Labels),
            Mask = Option.toObj (file subject.Mask),
            Landmarks = Option.toObj (file subject.Points)
        )
        |> Ok
    | None ->
        Error(
            BadFile(
                source,
                $"has scans that lie in no file of their own ({subject.Name})",
                "write them as NIfTI, and give their folder or a table"
            )
        )

let private pair (id: string) (fixedScan: CohortScan) (moving: CohortScan) = CohortPair(id, fixedScan, moving)

let private isTemplate (template: CohortScan) (scan: CohortScan) =
    FileNode.RealPath template.Image = FileNode.RealPath scan.Image

/// The pairs that a data set lists itself.
let private listed (source: string) (dataset: Dataset) : Result<(string * string) list, Error> =
    let pairs =
        dataset.Parts
        |> List.collect _.Shares
        |> List.collect (fun share ->
            match share.Pairing with
            | Listed pairs -> pairs
            | _ -> [])
        |> List.distinct

    match pairs with
    | [] ->
        Error(BadFile(source, "lists scans, not pairs", "add --template FILE, to which they are registered"))
    | pairs -> Ok pairs

let private ofDataset
    (source: string)
    (template: CohortScan option)
    (dataset: Dataset)
    : Result<CohortPlan, Error> =
    result {
        let! scans =
            dataset.Subjects
            |> List.traverseResultM (fun subject ->
                scan source subject |> Result.map (fun s -> subject.Name, s))

        let! pairs =
            match template with
            | Some template ->
                scans
                |> List.filter (fun (_, scan) -> not (isTemplate template scan))
                |> List.map (fun (name, scan) ->
                    // Landmarks of one scan alone measure nothing.
                    pair (PairNames.Clean name) template scan)
                |> Ok
            | None ->
                let scanOf = Map.ofList scans

                listed source dataset
                |> Result.map (
                    List.map (fun (f, m) -> pair (PairNames.Clean $"{m}_to_{f}") scanOf[f] scanOf[m])
                )

        let! named =
            Error.guard (fun () -> PairNames.Give(source, Array.ofList pairs, template.IsSome))

        return CohortPlan(named, [])
    }

/// The data set that a folder or a file describes; nothing where there is no description.
let private described (source: string) : Result<Dataset, Error> option =
    let meant = Dataset.meant source

    let hasDescription =
        [ "dataset.json"; "dataset_description.json" ]
        |> List.exists (fun name -> File.Exists(Path.Combine(meant, name)))

    if hasDescription then Some(Dataset.ofFolder meant)
    elif named ".json" source then Dataset.tryOfFile source
    else None

/// Reads a source.
let read (o: CohortRequest) (source: string) : Result<CohortPlan, Error> =
    let template = template o

    let unknown () =
        Error(
            BadFile(
                source,
                "is no table of pairs, no folder of scans and no data set",
                "name a .csv or .tsv file, a folder, or a data set's description"
            )
        )

    if Directory.Exists source || named ".json" source then
        match described source, template with
        | Some dataset, _ -> dataset |> Result.bind (ofDataset source template)
        | None, Some template when Directory.Exists source ->
            Error.guard (fun () -> ScanFolder.Read(source, template))
        | None, None when Directory.Exists source ->
            Error(
                BadFile(
                    source,
                    "is a folder of scans, and pairs are wanted",
                    "add --template FILE, or give a table of pairs"
                )
            )
        | _ -> unknown ()
    elif named ".csv" source || named ".tsv" source then
        Error.guard (fun () -> PairTable.Read(source, Option.toObj template))
    elif File.Exists source then
        unknown ()
    else
        Error(BadFile(source, "does not exist", "name a table of pairs, a folder of scans or a data set"))
