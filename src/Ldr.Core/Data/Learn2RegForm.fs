namespace Ldr

open System
open System.IO
open System.Text.RegularExpressions
open Ldr.Runtime.Formats

/// Learn2Reg's form: `NAME_dataset.json` with scans under `training` and `test`, and pairs under `training_paired_images`,
/// `registration_val` and `registration_test`. Source: the challenge's data sets (NLST, OASIS, AbdomenCTCT, ThoraxCBCT).
module Learn2RegForm =
    type private Scan =
        {
            Image: string
            Label: string option
            Mask: string option
            Points: string option
        }

    type private Pair = { Fixed: string; Moving: string }

    type private Description =
        {
            Name: string option
            Licence: string option
            Labels: Text.Json.JsonElement option
            Training: Scan list
            Test: Scan list
            TrainingPairs: Pair list
            ValidationPairs: Pair list
            TestPairs: Pair list
        }

    let private full: Codec<Scan> =
        lenient {
            let! image = required "image" Codec.string _.Image
            and! label = maybe "label" Codec.string _.Label
            and! mask = maybe "mask" Codec.string _.Mask
            and! keypoints = maybe "keypoints" Codec.string _.Points
            and! landmarks = maybe "landmarks" Codec.string (fun _ -> None)

            return
                {
                    Image = image
                    Label = label
                    Mask = mask
                    Points = landmarks |> Option.orElse keypoints
                }
        }

    /// A scan may also be the path of its image alone.
    let private scan: Codec<Scan> =
        { full with
            Decode =
                fun path element ->
                    if element.ValueKind = Text.Json.JsonValueKind.String then
                        Codec.string.Decode path element
                        |> Result.map (fun image ->
                            {
                                Image = image
                                Label = None
                                Mask = None
                                Points = None
                            })
                    else
                        full.Decode path element
        }

    let private pair: Codec<Pair> =
        lenient {
            let! fixedScan = required "fixed" Codec.string _.Fixed
            and! moving = required "moving" Codec.string _.Moving

            return { Fixed = fixedScan; Moving = moving }
        }

    let private testKeys = "registration_test", "test_paired_images"

    let private description: Codec<Description> =
        let pairs key = optional key (Codec.list pair) []
        let scans key = optional key (Codec.list scan) []

        lenient {
            let! name = maybe "name" Codec.string _.Name
            and! licence = maybe "licence" Codec.string _.Licence
            and! labels = maybe "labels" Codec.any _.Labels
            and! training = scans "training" _.Training
            and! test = scans "test" _.Test
            and! trainingPairs = pairs "training_paired_images" _.TrainingPairs
            and! validationPairs = pairs "registration_val" _.ValidationPairs
            and! testing = pairs (fst testKeys) _.TestPairs
            and! tested = pairs (snd testKeys) (fun _ -> [])

            return
                {
                    Name = name
                    Licence = licence
                    Labels = labels
                    Training = training
                    Test = test
                    TrainingPairs = trainingPairs
                    ValidationPairs = validationPairs
                    TestPairs = if List.isEmpty testing then tested else testing
                }
        }

    /// Challenges have listed point files as `.nii.gz` that are `.csv`.
    let private pointFile (path: string) =
        let csv =
            Path.Combine(
                string (Path.GetDirectoryName path),
                DataFiles.withoutEnding (string (Path.GetFileName path)) + ".csv"
            )

        let isImage =
            path.EndsWith(".nii.gz", StringComparison.OrdinalIgnoreCase)
            || path.EndsWith(".nii", StringComparison.OrdinalIgnoreCase)

        if isImage then csv else path

    /// `NLST_0001_0000` and `NLST_0001_0001` are scans of one person.
    let private personOf (name: string) =
        let found = Regex.Match(name, @"^(.*_\d{4})_\d{4}$")
        if found.Success then found.Groups[1].Value else name

    /// Reads a `*_dataset.json`. Bad input is raised.
    let read (file: string) : Dataset =
        let about = DataFiles.readJson description file

        /// The scans of a list, by their paths, each with its place in the file.
        let placed key (scans: Scan list) =
            scans
            |> List.mapi (fun i scan ->
                let at = $"$.{key}[{i}]"
                DataFiles.inside file $"{at}.image" scan.Image, at, scan)

        let scans =
            placed "training" about.Training @ placed "test" about.Test
            |> List.distinctBy (fun (path, _, _) -> path)

        if scans.IsEmpty then
            DataFiles.badAt file "$.training" "is missing; expected the list of scans"

        let names = scans |> List.map (fun (path, _, _) -> path) |> DataFiles.names file

        let byPath =
            List.zip (scans |> List.map (fun (path, _, _) -> path)) names |> Map.ofList

        let subjects =
            [
                for (image, at, scan), name in List.zip scans names do
                    let maps key path =
                        path
                        |> Option.map (DataFiles.inside file $"{at}.{key}" >> Stored.file ImageFile.Read)

                    { Subject.ofImage name (Stored.file ImageFile.Read image) with
                        Person = personOf name
                        Labels = maps "label" scan.Label
                        Mask = maps "mask" scan.Mask
                        Points =
                            scan.Points
                            |> Option.map (
                                DataFiles.inside file $"{at}.keypoints"
                                >> pointFile
                                >> Stored.file (DataFiles.landmarks true image)
                            )
                    }
            ]

        let named key (pairs: Pair list) =
            [
                for i, pair in List.indexed pairs do
                    let find role (path: string) =
                        let at = $"$.{key}[{i}].{role}"

                        match byPath.TryFind(DataFiles.inside file at path) with
                        | Some name -> name
                        | None ->
                            DataFiles.badAt
                                file
                                at
                                $"\"{path}\" is in neither \"training\" nor \"test\"; list the scan there"

                    find "fixed" pair.Fixed, find "moving" pair.Moving
            ]

        let validation = named "registration_val" about.ValidationPairs
        let test = named (fst testKeys) about.TestPairs
        let held = set (validation @ test)

        let listed name (pairs: (string * string) list) =
            if pairs.IsEmpty then
                []
            else
                let members = pairs |> List.collect (fun (f, m) -> [ f; m ]) |> List.distinct
                [ DataFiles.part name (Listed pairs) members ]

        // The challenges' training lists repeat the pairs and scans that they validate with.
        let training =
            if about.TrainingPairs.IsEmpty then
                let others = held |> Set.map fst |> Set.union (held |> Set.map snd)

                about.Training
                |> List.map (fun s -> byPath[DataFiles.inside file "$.training" s.Image])
                |> List.filter (others.Contains >> not)
                |> DataFiles.part "training" AllOrdered
                |> List.singleton
            else
                named "training_paired_images" about.TrainingPairs
                |> List.filter (held.Contains >> not)
                |> listed "training"

        subjects
        |> DataFiles.dataset
            (about.Name
             |> Option.defaultWith (fun () -> string (Path.GetFileNameWithoutExtension file)))
            (about.Licence |> Option.defaultValue "not stated")
            (DataFiles.labelNames about.Labels)
            (training @ listed "validation" validation @ listed "test" test)
