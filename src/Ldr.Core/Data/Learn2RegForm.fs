namespace Ldr

open System
open System.IO
open System.Text.RegularExpressions
open FsToolkit.ErrorHandling
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

    /// A scan of a list with its place in the file and the full path of its image.
    type private Placed =
        { Scan: Scan; At: string; Path: string }

    let private placed (file: string) (key: string) (scans: Scan list) : Result<Placed list, Error> =
        List.indexed scans
        |> List.traverseResultM (fun (i, scan) ->
            let at = $"$.{key}[{i}]"

            DataFiles.inside file $"{at}.image" scan.Image
            |> Result.map (fun path -> { Scan = scan; At = at; Path = path }))

    let private subject (file: string) (placed: Placed, name: string) : Result<Subject, Error> =
        let inside key =
            Option.traverseResult (DataFiles.inside file $"{placed.At}.{key}")

        result {
            let! labels = inside "label" placed.Scan.Label
            let! mask = inside "mask" placed.Scan.Mask
            let! points = inside "keypoints" placed.Scan.Points

            return
                { Subject.ofImage name (Stored.file ImageFile.Read placed.Path) with
                    Person = personOf name
                    Labels = labels |> Option.map (Stored.file ImageFile.Read)
                    Mask = mask |> Option.map (Stored.file ImageFile.Read)
                    Points = points |> Option.map (pointFile >> DataFiles.storedLandmarks true placed.Path)
                }
        }

    /// The names of the scans of listed pairs.
    let private namedPairs
        (file: string)
        (byPath: Map<string, string>)
        (key: string)
        (pairs: Pair list)
        : Result<(string * string) list, Error> =
        let find at (path: string) =
            result {
                let! full = DataFiles.inside file at path

                match byPath.TryFind full with
                | Some name -> return name
                | None ->
                    return!
                        DataFiles.badAt
                            file
                            at
                            $"\"{path}\" is in neither \"training\" nor \"test\"; list the scan there"
            }

        List.indexed pairs
        |> List.traverseResultM (fun (i, pair) ->
            result {
                let! fixedName = find $"$.{key}[{i}].fixed" pair.Fixed
                let! moving = find $"$.{key}[{i}].moving" pair.Moving
                return fixedName, moving
            })

    let private listed (name: string) (pairs: (string * string) list) : DataPart list =
        if pairs.IsEmpty then
            []
        else
            let members = pairs |> List.collect (fun (f, m) -> [ f; m ]) |> List.distinct
            [ DataFiles.part name (Listed pairs) members ]

    /// The training part without the pairs and scans `held` for validation and test, which the challenges' lists repeat.
    let private trainingParts
        (about: Description)
        (held: Set<string * string>)
        (scans: string list)
        (pairs: (string * string) list)
        : DataPart list =
        if about.TrainingPairs.IsEmpty then
            let others = held |> Set.map fst |> Set.union (held |> Set.map snd)

            scans
            |> List.filter (others.Contains >> not)
            |> DataFiles.part "training" AllOrdered
            |> List.singleton
        else
            pairs |> List.filter (held.Contains >> not) |> listed "training"

    /// Reads a `*_dataset.json`.
    let read (file: string) : Result<Dataset, Error> =
        result {
            let! about = Codec.ofFile file description
            let! training = placed file "training" about.Training
            let! test = placed file "test" about.Test
            let scans = training @ test |> List.distinctBy _.Path

            if scans.IsEmpty then
                return! DataFiles.badAt file "$.training" "is missing; expected the list of scans"
            else
                let! names = scans |> List.map _.Path |> DataFiles.names file
                let! subjects = List.zip scans names |> List.traverseResultM (subject file)
                let byPath = List.zip (scans |> List.map _.Path) names |> Map.ofList
                let named = namedPairs file byPath
                let! validation = named "registration_val" about.ValidationPairs
                let! tests = named (fst testKeys) about.TestPairs
                let! trainingPairs = named "training_paired_images" about.TrainingPairs
                let trainingScans = training |> List.map (fun scan -> byPath[scan.Path])

                return
                    subjects
                    |> DataFiles.dataset
                        (about.Name
                         |> Option.defaultWith (fun () -> string (Path.GetFileNameWithoutExtension file)))
                        (about.Licence |> Option.defaultValue "not stated")
                        (DataFiles.labelNames about.Labels)
                        (trainingParts about (set (validation @ tests)) trainingScans trainingPairs
                         @ listed "validation" validation
                         @ listed "test" tests)
        }
