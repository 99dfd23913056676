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
        Codec.record (fun image label -> { Image = image; Label = label })
        |> Codec.required "image" Codec.string _.Image
        |> Codec.maybe "label" Codec.string _.Label
        |> Codec.lenient

    let private description: Codec<Description> =
        Codec.record (fun name licence labels training ->
            {
                Name = name
                Licence = licence
                Labels = labels
                Training = training
            })
        |> Codec.maybe "name" Codec.string _.Name
        |> Codec.maybe "licence" Codec.string _.Licence
        |> Codec.maybe "labels" Codec.any _.Labels
        |> Codec.required "training" (Codec.list entry) _.Training
        |> Codec.lenient

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
