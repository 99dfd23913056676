namespace Ldr

open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups

/// Which files of a BIDS folder are scans and label maps.
type BidsQuery = Ldr.Runtime.Groups.BidsQuery

/// A BIDS folder as a data set; `BidsFolder` says which files are scans, label maps and masks.
module BidsForm =
    type private About =
        {
            Name: string option
            License: string option
        }

    let private about: Codec<About> =
        lenient {
            let! name = maybe "Name" Codec.string _.Name
            and! license = maybe "License" Codec.string _.License

            return { Name = name; License = license }
        }

    let private subject (scan: BidsScan) : Subject =
        { Subject.ofFiles scan.Name scan.Scan.Image (Option.ofObj scan.Scan.Labels) with
            Person = scan.Participant
            Mask = Option.ofObj scan.Scan.Mask |> Option.map (Stored.file ImageFile.Read)
        }

    /// Where an experiment says what is to be chosen.
    let private inExperiment (error: Error) =
        match error with
        | BadFile(path, problem, remedy) when not (problem.Contains "dataset_description") ->
            BadFile(path, problem, $"{remedy}: suffix, space, desc, labels and labels_desc of data.source")
        | other -> other

    /// Reads a folder, raw or of derivatives.
    let read (query: BidsQuery) (folder: string) : Result<Dataset, Error> =
        result {
            let! scans =
                Error.guard (fun () -> BidsFolder.Read(folder, query))
                |> Result.mapError inExperiment

            let description = Path.Combine(folder, "dataset_description.json")
            let! found = Codec.ofFile description about

            return
                Seq.map subject scans
                |> List.ofSeq
                |> DataFiles.dataset
                    (found.Name |> Option.defaultWith (fun () -> DataFiles.folderName description))
                    (found.License |> Option.defaultValue "not stated")
                    Map.empty
                    []
        }
