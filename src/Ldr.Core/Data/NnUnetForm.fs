namespace Ldr

open System
open System.IO

/// nnU-Net's raw form, version 2: a folder with `dataset.json` (`channel_names`, `labels`, `file_ending`), `imagesTr` with a file
/// `CASE_0000.nii.gz` for each channel, and `labelsTr/CASE.nii.gz`; or the cases listed under `dataset`.
/// Source: nnU-Net's documentation, dataset_format.md.
module NnUnetForm =
    type private Case = { Images: string list; Label: string }

    type private Description =
        {
            Name: string option
            Licence: string option
            Labels: System.Text.Json.JsonElement option
            Ending: string
            Cases: System.Text.Json.JsonElement option
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

    /// The cases that a description lists itself.
    let private listed file (channel: int) (cases: System.Text.Json.JsonElement) : Subject list =
        if cases.ValueKind <> System.Text.Json.JsonValueKind.Object then
            DataFiles.badAt file "$.dataset" "expected an object with a case under each name"

        [
            for property in cases.EnumerateObject() do
                let at = $"$.dataset.{property.Name}"

                match case.Decode at property.Value with
                | Error problems -> raise (Error.Raised(BadJson(file, problems)))
                | Ok found ->
                    if channel >= found.Images.Length then
                        DataFiles.badAt
                            file
                            $"{at}.images"
                            $"has no channel {channel}; expected {channel + 1} images or more"

                    Subject.ofFiles
                        property.Name
                        (DataFiles.inside file $"{at}.images[{channel}]" found.Images[channel])
                        (Some(DataFiles.inside file $"{at}.label" found.Label))
        ]

    /// The cases that are found in `imagesTr`.
    let private found (file: string) (channel: int) (ending: string) : Subject list =
        let folder = DataFiles.folderOf file
        let images = Path.Combine(folder, "imagesTr")
        let last = $"_%04d{channel}{ending}"

        if not (Directory.Exists images) then
            DataFiles.bad folder "has no imagesTr" "put the images of the cases there"

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

        [
            for name in cases do
                let labels = Path.Combine(folder, "labelsTr", name + ending)

                Subject.ofFiles
                    name
                    (Path.Combine(images, name + last))
                    (if File.Exists labels then Some labels else None)
        ]

    /// Reads one channel of the cases of a `dataset.json`. Bad input is raised.
    let read (channel: int) (file: string) : Dataset =
        let about = DataFiles.readJson description file

        (match about.Cases with
         | Some cases -> listed file channel cases
         | None -> found file channel about.Ending)
        |> DataFiles.dataset
            (about.Name |> Option.defaultWith (fun () -> DataFiles.folderName file))
            (about.Licence |> Option.defaultValue "not stated")
            (DataFiles.labelNames about.Labels)
            []
