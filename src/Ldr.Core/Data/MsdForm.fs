namespace Ldr

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

    /// Reads a `dataset.json`. Bad input is raised.
    let read (file: string) : Dataset =
        let found = DataFiles.readJson description file

        let images =
            found.Training
            |> List.mapi (fun i e -> DataFiles.inside file $"$.training[{i}].image" e.Image)

        [
            for i, (entry, image, name) in
                List.indexed (List.zip3 found.Training images (DataFiles.names file images)) do
                entry.Label
                |> Option.map (DataFiles.inside file $"$.training[{i}].label")
                |> Subject.ofFiles name image
        ]
        |> DataFiles.dataset
            (found.Name |> Option.defaultWith (fun () -> DataFiles.folderName file))
            (found.Licence |> Option.defaultValue "not stated")
            (DataFiles.labelNames found.Labels)
            []
