namespace Ldr

open System
open System.IO
open System.Text.Json
open FsToolkit.ErrorHandling

/// nnU-Net's raw form, version 2: a folder with `dataset.json` (`channel_names`, `labels`, `file_ending`), `imagesTr` with a file
/// `CASE_0000.nii.gz` for each channel, and `labelsTr/CASE.nii.gz`; or the cases listed under `dataset`.
/// Source: nnU-Net's documentation, dataset_format.md.
module NnUnetForm =
    type private Case = { Images: string list; Label: string }

    type private Description =
        {
            Name: string option
            Licence: string option
            Labels: JsonElement option
            Ending: string
            Cases: JsonElement option
        }

    let private case: Codec<Case> =
        lenient {
            let! images = required "images" (Codec.list Codec.string) _.Images
            and! label = required "label" Codec.string _.Label

            return { Images = images; Label = label }
        }

    let private description: Codec<Description> =
        lenient {
            let! name = maybe "name" Codec.string _.Name
            and! licence = maybe "licence" Codec.string _.Licence
            and! labels = maybe "labels" Codec.any _.Labels
            and! ending = optional "file_ending" Codec.string ".nii.gz" _.Ending
            and! cases = maybe "dataset" Codec.any _.Cases

            return
                {
                    Name = name
                    Licence = licence
                    Labels = labels
                    Ending = ending
                    Cases = cases
                }
        }

    /// A case that a description lists itself.
    let private listedCase (file: string) (channel: int) (property: JsonProperty) : Result<Subject, Error> =
        result {
            let at = $"$.dataset.{property.Name}"

            let! found =
                case.Decode at property.Value
                |> Result.mapError (fun problems -> BadJson(file, problems))

            let! image =
                if channel < found.Images.Length then
                    DataFiles.inside file $"{at}.images[{channel}]" found.Images[channel]
                else
                    DataFiles.badAt
                        file
                        $"{at}.images"
                        $"has no channel {channel}; expected {channel + 1} images or more"

            let! label = DataFiles.inside file $"{at}.label" found.Label
            return Subject.ofFiles property.Name image (Some label)
        }

    let private listed (file: string) (channel: int) (cases: JsonElement) : Result<Subject list, Error> =
        if cases.ValueKind = JsonValueKind.Object then
            cases.EnumerateObject()
            |> List.ofSeq
            |> List.traverseResultM (listedCase file channel)
        else
            DataFiles.badAt file "$.dataset" "expected an object with a case under each name"

    /// The cases that are found in `imagesTr`.
    let private found (file: string) (channel: int) (ending: string) : Result<Subject list, Error> =
        let folder = DataFiles.folderOf file
        let images = Path.Combine(folder, "imagesTr")
        let last = $"_%04d{channel}{ending}"

        let subject (name: string) =
            let labels = Path.Combine(folder, "labelsTr", name + ending)

            Subject.ofFiles
                name
                (Path.Combine(images, name + last))
                (if File.Exists labels then Some labels else None)

        if not (Directory.Exists images) then
            DataFiles.bad folder "has no imagesTr" "put the images of the cases there"
        else
            let cases =
                Directory.GetFiles images
                |> Seq.map (Path.GetFileName >> string)
                |> Seq.filter _.EndsWith(last, StringComparison.Ordinal)
                |> Seq.map (fun name -> name.Substring(0, name.Length - last.Length))
                |> List.ofSeq

            if cases.IsEmpty then
                DataFiles.bad
                    images
                    $"holds no file CASE{last}"
                    $"the names of channel {channel} end in that; see file_ending in dataset.json"
            else
                Ok(cases |> List.map subject)

    /// Reads one channel of the cases of a `dataset.json`.
    let read (channel: int) (file: string) : Result<Dataset, Error> =
        result {
            let! about = Codec.ofFile file description

            let! subjects =
                match about.Cases with
                | Some cases -> listed file channel cases
                | None -> found file channel about.Ending

            return
                subjects
                |> DataFiles.dataset
                    (about.Name |> Option.defaultWith (fun () -> DataFiles.folderName file))
                    (about.Licence |> Option.defaultValue "not stated")
                    (DataFiles.labelNames about.Labels)
                    []
        }
