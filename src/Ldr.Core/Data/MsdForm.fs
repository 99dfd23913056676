namespace Ldr

open FsToolkit.ErrorHandling

/// The Medical Segmentation Decathlon's form: a folder with `dataset.json`, whose `training` lists images and labels.
/// Source: medicaldecathlon.com, Antonelli et al. 2022.
module MsdForm =
    type private Entry = { Image: string; Label: string option }

    type private Description =
        {
            Name: string option
            Licence: string option
            Labels: System.Text.Json.JsonElement option
            Training: Entry list
        }

    let private entry: Codec<Entry> =
        lenient {
            let! image = required "image" Codec.string _.Image
            and! label = maybe "label" Codec.string _.Label

            return { Image = image; Label = label }
        }

    let private description: Codec<Description> =
        lenient {
            let! name = maybe "name" Codec.string _.Name
            and! licence = maybe "licence" Codec.string _.Licence
            and! labels = maybe "labels" Codec.any _.Labels
            and! training = required "training" (Codec.list entry) _.Training

            return
                {
                    Name = name
                    Licence = licence
                    Labels = labels
                    Training = training
                }
        }

    let private subject (file: string) (index: int) (entry: Entry, image: string, name: string) =
        entry.Label
        |> Option.traverseResult (DataFiles.inside file $"$.training[{index}].label")
        |> Result.map (Subject.ofFiles name image)

    /// Reads a `dataset.json`.
    let read (file: string) : Result<Dataset, Error> =
        result {
            let! found = Codec.ofFile file description

            let! images =
                List.indexed found.Training
                |> List.traverseResultM (fun (i, entry) ->
                    DataFiles.inside file $"$.training[{i}].image" entry.Image)

            let! names = DataFiles.names file images

            let! subjects =
                List.zip3 found.Training images names
                |> List.indexed
                |> List.traverseResultM (fun (i, entry) -> subject file i entry)

            return
                subjects
                |> DataFiles.dataset
                    (found.Name |> Option.defaultWith (fun () -> DataFiles.folderName file))
                    (found.Licence |> Option.defaultValue "not stated")
                    (DataFiles.labelNames found.Labels)
                    []
        }
