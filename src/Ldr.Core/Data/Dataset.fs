namespace Ldr

open System
open System.IO
open Ldr.Runtime

/// Where scans come from.
type DataSource =
    /// A folder with a `dataset.json` in the form of the Medical Segmentation Decathlon, below the data root.
    | Msd of folder: string
    /// A folder with a `dataset.json` of nnU-Net, version 2, below the data root, and the channel that is read.
    | NnUnet of folder: string * channel: int
    /// A `*_dataset.json` of Learn2Reg, below the data root.
    | Learn2Reg of file: string
    /// A table of pairs, below the data root.
    | Csv of file: string
    /// A BIDS derivatives folder, below the data root.
    | Bids of folder: string * BidsQuery
    /// Made by the program.
    | Synthetic of Anatomy

/// How many subjects are for what: a random order of all subjects (by the seed) is cut into three parts. A part has two
/// subjects or more, because all that is done with it is done with pairs.
type Split =
    {
        Train: int
        Validation: int
        Test: int
        Seed: int
    }

/// The data of an experiment, and how scans are prepared.
type DataOptions =
    {
        Source: DataSource
        /// The folder that `Source` is below.
        Root: string
        Split: Split
        /// The training grid: voxels along x, y, z, and their spacing in mm. Larger scans are cropped, smaller ones
        /// continued by their border.
        Size: int * int * int
        Spacing: float * float * float
        Intensity: IntensityRule
        Alignment: Alignment
        /// Labels that are left out of scores.
        IgnoredLabels: int list
    }

/// The subjects of the three parts of a split.
[<NoEquality; NoComparison>]
type SplitSubjects =
    {
        TrainSubjects: Subject list
        ValidationSubjects: Subject list
        TestSubjects: Subject list
    }

module DataSource =
    let private bids: Fields<string * BidsQuery, string * BidsQuery> =
        Codec.record (fun folder suffix space desc labels labelsDesc ->
            folder,
            {
                Suffix = suffix
                Space = space
                Desc = desc
                Labels = labels
                LabelsDesc = labelsDesc
            })
        |> Codec.required "folder" Codec.string fst
        |> Codec.optional "suffix" Codec.string BidsQuery.standard.Suffix (fun (_, q) -> q.Suffix)
        |> Codec.maybe "space" Codec.string (fun (_, q) -> q.Space)
        |> Codec.maybe "desc" Codec.string (fun (_, q) -> q.Desc)
        |> Codec.optional "labels" Codec.string BidsQuery.standard.Labels (fun (_, q) -> q.Labels)
        |> Codec.maybe "labels_desc" Codec.string (fun (_, q) -> q.LabelsDesc)

    let codec: Codec<DataSource> =
        let one key =
            Codec.record id |> Codec.required key Codec.string id

        Codec.union
            "kind"
            [
                Codec.case "msd" (one "folder") Msd (function
                    | Msd folder -> Some folder
                    | _ -> None)
                Codec.case
                    "nnunet"
                    (Codec.record (fun folder channel -> folder, channel)
                     |> Codec.required "folder" Codec.string fst
                     |> Codec.optional "channel" Codec.countingInt 0 snd)
                    NnUnet
                    (function
                     | NnUnet(folder, channel) -> Some(folder, channel)
                     | _ -> None)
                Codec.case "learn2reg" (one "file") Learn2Reg (function
                    | Learn2Reg file -> Some file
                    | _ -> None)
                Codec.case "csv" (one "file") Csv (function
                    | Csv file -> Some file
                    | _ -> None)
                Codec.case "bids" bids Bids (function
                    | Bids(folder, query) -> Some(folder, query)
                    | _ -> None)
                Codec.case "synthetic" Anatomy.fields Synthetic (function
                    | Synthetic anatomy -> Some anatomy
                    | _ -> None)
            ]

module DataOptions =
    /// The folder of the real scans: the environment variable `LDR_DATA`, or `../shared/data`.
    let defaultRoot () =
        match Environment.GetEnvironmentVariable "LDR_DATA" with
        | null
        | "" -> "../shared/data"
        | folder -> folder

    let private split: Codec<Split> =
        Codec.record (fun train validation test seed ->
            {
                Train = train
                Validation = validation
                Test = test
                Seed = seed
            })
        |> Codec.required "train" Codec.atLeastTwo _.Train
        |> Codec.required "validation" Codec.atLeastTwo _.Validation
        |> Codec.required "test" Codec.atLeastTwo _.Test
        |> Codec.optional "seed" Codec.int 1 _.Seed
        |> Codec.seal

    let codec: Codec<DataOptions> =
        Codec.record (fun source root split size spacing intensity alignment ignored ->
            {
                Source = source
                Root = root
                Split = split
                Size = size
                Spacing = spacing
                Intensity = intensity
                Alignment = alignment
                IgnoredLabels = ignored
            })
        |> Codec.required "source" DataSource.codec _.Source
        |> Codec.optional "root" Codec.string (defaultRoot ()) _.Root
        |> Codec.required "split" split _.Split
        |> Codec.required "size" RuntimeCodecs.gridSize _.Size
        |> Codec.optional "spacing" RuntimeCodecs.spacing (1.0, 1.0, 1.0) _.Spacing
        |> Codec.optional
            "intensity"
            RuntimeCodecs.intensity
            (IntensityRule.Percentiles(0.5, 99.5))
            _.Intensity
        |> Codec.optional "alignment" RuntimeCodecs.alignment Alignment.World _.Alignment
        |> Codec.optional "ignored_labels" (Codec.list Codec.int) [] _.IgnoredLabels
        |> Codec.seal

[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Dataset =
    let private noDescription folder =
        DataFiles.bad
            folder
            "has no dataset.json"
            "give the folder of a data set in the form of the Medical Segmentation Decathlon or of nnU-Net, or a BIDS folder"

    /// A path as it is; of the `dataset.json` in a folder, that folder.
    let meant (path: string) : string =
        if Path.GetFileName path = "dataset.json" && File.Exists path then
            DataFiles.folderOf path
        else
            path

    /// The data set in a folder: MSD or nnU-Net by its `dataset.json`, BIDS by its `dataset_description.json`.
    let ofFolder (folder: string) : Result<Dataset, Error> =
        Error.guard (fun () ->
            let file = Path.Combine(folder, "dataset.json")

            if File.Exists file then
                let keys = DataFiles.readJson Codec.any file

                let isNnUnet =
                    keys.ValueKind = System.Text.Json.JsonValueKind.Object
                    && (fst (keys.TryGetProperty "channel_names")
                        || fst (keys.TryGetProperty "file_ending"))

                if isNnUnet then
                    NnUnetForm.read 0 file
                else
                    MsdForm.read file
            elif File.Exists(Path.Combine(folder, "dataset_description.json")) then
                BidsForm.read BidsQuery.standard folder
            else
                noDescription folder)

    /// The data set of an experiment.
    let load (options: DataOptions) : Result<Dataset, Error> =
        let below exists (path: string) (read: string -> Dataset) =
            let full = Path.Combine(options.Root, path)

            if exists full then
                Error.guard (fun () -> read full)
            else
                Error(
                    BadFile(
                        full,
                        "no such data set",
                        "set the folder of the data with --set data.root=FOLDER or LDR_DATA"
                    )
                )

        let described read folder =
            let file = Path.Combine(folder, "dataset.json")
            if File.Exists file then read file else noDescription folder

        let isFolder (path: string) = Directory.Exists path
        let isFile (path: string) = File.Exists path

        match options.Source with
        | Msd folder -> below isFolder folder (described MsdForm.read)
        | NnUnet(folder, channel) -> below isFolder folder (described (NnUnetForm.read channel))
        | Learn2Reg file -> below isFile file Learn2RegForm.read
        | Csv file -> below isFile file CsvForm.read
        | Bids(folder, query) -> below isFolder folder (BidsForm.read query)
        | Synthetic anatomy ->
            let make = Anatomy.subject anatomy

            [
                for index in 0 .. anatomy.Subjects - 1 do
                    let both = lazy make index

                    { Subject.ofImage $"synthetic-%03d{index}" (Stored.made (fun () -> fst both.Value)) with
                        Labels = Some(Stored.made (fun () -> snd both.Value))
                    }
            ]
            |> DataFiles.dataset "synthetic anatomy" "MIT" Map.empty []
            |> Ok

    /// A data set whose subjects a split may cut anywhere and pair in any way; an error for one that lists its own pairs, or
    /// has several scans of a person, which would come into two parts.
    let splittable (dataset: Dataset) : Result<Dataset, Error> =
        let listed =
            dataset.Parts
            |> List.tryFind (fun part ->
                part.Shares |> List.exists (fun share -> share.Pairing <> AllOrdered))

        let twice =
            dataset.Subjects
            |> List.countBy _.Person
            |> List.tryFind (fun (_, count) -> count > 1)

        match listed, twice with
        | Some part, _ ->
            Error(
                BadInput
                    $"$.data.source: {dataset.Name} lists the pairs of its part \"{part.Name}\"; only data sets whose scans may all be paired can be trained on yet"
            )
        | None, Some(person, count) ->
            Error(
                BadInput
                    $"$.data.source: {dataset.Name} has {count} scans of {person}; only data sets with one scan of each person can be split yet"
            )
        | None, None -> Ok dataset

    /// Cuts the subjects into training, validation and test, whatever they are; `split` refuses what may not be cut.
    let cut (split: Split) (dataset: Dataset) : Result<SplitSubjects, Error> =
        let subjects = Array.ofList dataset.Subjects
        let wanted = split.Train + split.Validation + split.Test

        if wanted > subjects.Length then
            Error(
                BadInput
                    $"$.data.split: asks for {wanted} subjects, {dataset.Name} has {subjects.Length}; ask for fewer"
            )
        else
            let order =
                Seed.permutation subjects.Length (Seed.ofInt split.Seed |> Seed.split "split")

            let part first count =
                [ for i in first .. first + count - 1 -> subjects[order[i]] ]
                |> List.sortBy _.Name

            Ok
                {
                    TrainSubjects = part 0 split.Train
                    ValidationSubjects = part split.Train split.Validation
                    TestSubjects = part (split.Train + split.Validation) split.Test
                }

    /// Cuts the subjects of a data set that may be cut (`splittable`) into training, validation and test.
    let split (split: Split) (dataset: Dataset) : Result<SplitSubjects, Error> =
        splittable dataset |> Result.bind (cut split)

    /// The subjects of the given names, in that order.
    let named (names: string list) (dataset: Dataset) : Result<Subject list, Error> =
        let byName = dataset.Subjects |> List.map (fun s -> s.Name, s) |> Map.ofList

        match names |> List.tryFind (fun n -> not (Map.containsKey n byName)) with
        | Some missing ->
            Error(
                BadInput
                    $"{dataset.Name}: subject {missing} of the model's split is not in the data set; use --split all, or the data that the model was trained on"
            )
        | None -> Ok(names |> List.map (fun n -> byName[n]))
