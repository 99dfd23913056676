namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats

/// Which files of a BIDS derivatives folder are scans and label maps.
type BidsQuery =
    {
        /// The suffix of the scans, such as `T1w`.
        Suffix: string
        /// The `space` entity of scans, labels and masks; nothing: whatever the scans have.
        Space: string option
        /// The `desc` entity of the scans, such as `preproc`.
        Desc: string option
        /// The suffix of label maps.
        Labels: string
        /// The `desc` entity of label maps, such as `aseg`.
        LabelsDesc: string option
    }

module BidsQuery =
    /// T1-weighted scans and their `dseg`, of the only space and desc that there are.
    let standard: BidsQuery =
        {
            Suffix = "T1w"
            Space = None
            Desc = None
            Labels = "dseg"
            LabelsDesc = None
        }

/// A BIDS derivatives folder: `dataset_description.json` and
/// `sub-01[/ses-1]/anat/sub-01[_ses-1][_space-X][_desc-Y]_T1w.nii.gz`, label maps `…_dseg.nii.gz`, masks
/// `…_desc-brain_mask.nii.gz`. Source: the Brain Imaging Data Structure, 1.9, derivatives.
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

    /// A file with the entities of its name.
    type private Entry =
        {
            Path: string
            Entities: Map<string, string>
            Suffix: string
        }

    let private entry (path: string) : Entry option =
        let name = string (Path.GetFileName path)

        let isImage =
            [ ".nii"; ".nii.gz" ] |> List.exists (fun (e: string) -> name.EndsWith e)

        match (DataFiles.withoutEnding name).Split '_' |> List.ofArray |> List.rev with
        | suffix :: entities when isImage && entities |> List.forall _.Contains('-') ->
            Some
                {
                    Path = path
                    Suffix = suffix
                    Entities =
                        entities
                        |> List.map (fun e ->
                            let at = e.IndexOf '-'
                            e.Substring(0, at), e.Substring(at + 1))
                        |> Map.ofList
                }
        | _ -> None

    let private has key (value: string option) (entry: Entry) =
        value.IsNone || entry.Entities.TryFind key = value

    /// What tells one scan from the next: person, session and run.
    let private scanOf (entry: Entry) =
        [ "sub"; "ses"; "run" ]
        |> List.choose (fun key -> entry.Entities.TryFind key |> Option.map (fun v -> $"{key}-{v}"))
        |> String.concat "_"

    /// The only one of a scan's files of a kind.
    let private only (what: string) (narrow: string) (entries: Entry list) : Result<Entry option, Error> =
        match entries with
        | [] -> Ok None
        | [ one ] -> Ok(Some one)
        | first :: second :: _ ->
            DataFiles.bad
                first.Path
                $"is not the only {what} of {scanOf first}: there is {Path.GetFileName second.Path} too"
                $"choose by {narrow} in the experiment's data.source"

    /// The scan of a name with its label map and its brain mask; none where it has no image of the kind that is asked for.
    let private subject (query: BidsQuery) (name: string, own: Entry list) : Result<Subject option, Error> =
        result {
            let! image =
                own
                |> List.filter (fun e ->
                    e.Suffix = query.Suffix && has "space" query.Space e && has "desc" query.Desc e)
                |> only $"{query.Suffix} scan" "\"space\" and \"desc\""

            match image with
            | None -> return None
            | Some image ->
                // Labels and masks are in the scan's space; those without the entity are in the native one.
                let sameSpace (e: Entry) =
                    e.Entities.TryFind "space" = image.Entities.TryFind "space"

                let! labels =
                    own
                    |> List.filter (fun e ->
                        e.Suffix = query.Labels && sameSpace e && has "desc" query.LabelsDesc e)
                    |> only "label map" "\"labels\" and \"labels_desc\""

                let! mask =
                    own
                    |> List.filter (fun e -> e.Suffix = "mask" && sameSpace e && has "desc" (Some "brain") e)
                    |> only "brain mask" "\"space\""

                return
                    Some
                        { Subject.ofFiles name image.Path (labels |> Option.map _.Path) with
                            Person = "sub-" + image.Entities["sub"]
                            Mask = mask |> Option.map (fun e -> Stored.file ImageFile.Read e.Path)
                        }
        }

    /// Hidden files too.
    let private everything =
        EnumerationOptions(AttributesToSkip = enum 0, IgnoreInaccessible = false)

    let private entriesOf (folder: string) : Entry list =
        Directory.GetDirectories(folder, "sub-*")
        |> Seq.collect (DataFiles.filesBelow everything)
        |> Seq.choose entry
        |> Seq.filter (fun e -> e.Entities.ContainsKey "sub")
        |> Seq.sortBy _.Path
        |> List.ofSeq

    let private noScan (query: BidsQuery) (folder: string) =
        let words key value =
            value |> Option.map (fun v -> $", {key}-{v}") |> Option.defaultValue ""

        DataFiles.bad
            folder
            $"holds no scan sub-…_{query.Suffix}.nii.gz{words (nameof query.Space) query.Space}{words (nameof query.Desc) query.Desc}"
            "name the suffix, space and desc of the scans in data.source"

    /// Reads a derivatives folder.
    let read (query: BidsQuery) (folder: string) : Result<Dataset, Error> =
        result {
            let description = Path.Combine(folder, "dataset_description.json")

            let! found =
                if File.Exists description then
                    Codec.ofFile description about
                else
                    DataFiles.bad
                        folder
                        "has no dataset_description.json"
                        "give the folder of a BIDS data set or of its derivatives"

            let! subjects =
                entriesOf folder |> List.groupBy scanOf |> List.traverseResultM (subject query)

            match List.choose id subjects with
            | [] -> return! noScan query folder
            | subjects ->
                return
                    subjects
                    |> DataFiles.dataset
                        (found.Name |> Option.defaultWith (fun () -> DataFiles.folderName description))
                        (found.License |> Option.defaultValue "not stated")
                        Map.empty
                        []
        }
