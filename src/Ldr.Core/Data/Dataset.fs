namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry

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
    /// A description of recursive cascaded networks (`liver.json`, `brain.json`), below the data root.
    | Rcn of file: string
    /// Made by the program.
    | Synthetic of Anatomy

/// How many subjects are for what: the people in a random order (by the seed) are shared out among three parts, each with all
/// of his or her scans to the first part that has room for them. A part has two subjects or more, because all that is done with
/// it is done with pairs.
type Cut =
    {
        Train: int
        Validation: int
        Test: int
        Seed: int
    }

/// A part that the data set names, and how its scans are paired where not as the data set says.
type PartChoice =
    {
        Part: string
        Pairing: Pairing option
        /// From which to which of its scans, in its order, as shares of them from 0 to 1; nothing: all.
        Scans: (float * float) option
    }

/// What is trained on, validated on and tested on.
type Split =
    | Cut of Cut
    /// Parts that the data set names; a table is made for each of the test parts.
    | Parts of train: PartChoice * validation: PartChoice * tests: PartChoice list

/// The data of an experiment, and how scans are prepared.
type DataOptions =
    {
        Source: DataSource
        /// The folder that `Source` is below.
        Root: string
        /// Who is behind the scans, where the data set does not say.
        People: People option
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

/// Subjects that are used together, and which pairs are made of them.
[<NoEquality; NoComparison>]
type SubjectGroup =
    {
        /// The name of the data set's part; nothing where a random cut made it.
        Part: string
        Members: Subject list
        Shares: Share list
    }

/// The subjects of the parts of a split.
[<NoEquality; NoComparison>]
type SplitSubjects =
    {
        TrainGroup: SubjectGroup
        ValidationGroup: SubjectGroup
        /// One or more.
        TestGroups: SubjectGroup list
    }

module PartChoice =
    /// A part as the data set says it.
    let whole (part: string) : PartChoice =
        {
            Part = part
            Pairing = None
            Scans = None
        }

module SubjectGroup =
    /// Subjects all of which may be paired with each other.
    let free (subjects: Subject list) : SubjectGroup =
        {
            Part = ""
            Members = subjects
            Shares =
                [
                    {
                        Subjects = subjects |> List.map _.Name
                        Fraction = 1.0
                        Pairing = AllOrdered
                    }
                ]
        }

    /// Several groups as one, with all their pairs.
    let together (groups: SubjectGroup list) : SubjectGroup =
        {
            Part = groups |> List.map _.Part |> String.concat ", "
            Members = groups |> List.collect _.Members |> List.distinctBy _.Name
            Shares = groups |> List.collect _.Shares
        }

module DataSource =
    let private bids: Fields<string * BidsQuery, string * BidsQuery> =
        let standard = BidsQuery()

        fields {
            let! folder = required "folder" Codec.string fst
            and! suffix = optional "suffix" Codec.string standard.Suffix (fun (_, q) -> q.Suffix)
            and! space = maybe "space" Codec.string (fun (_, q) -> Option.ofObj q.Space)
            and! desc = maybe "desc" Codec.string (fun (_, q) -> Option.ofObj q.Desc)
            and! labels = optional "labels" Codec.string standard.Labels (fun (_, q) -> q.Labels)

            and! labelsDesc =
                maybe "labels_desc" Codec.string (fun (_, q) -> Option.ofObj q.LabelsDesc)

            return
                folder,
                BidsQuery(
                    Suffix = suffix,
                    Space = Option.toObj space,
                    Desc = Option.toObj desc,
                    Labels = labels,
                    LabelsDesc = Option.toObj labelsDesc
                )
        }

    let codec: Codec<DataSource> =
        let one key = required key Codec.string id

        Union.codec
            "kind"
            [
                Union.case "msd" (one "folder") Msd (function
                    | Msd folder -> Some folder
                    | _ -> None)
                Union.case
                    "nnunet"
                    (fields {
                        let! folder = required "folder" Codec.string fst
                        and! channel = optional "channel" Codec.countingInt 0 snd

                        return folder, channel
                    })
                    NnUnet
                    (function
                     | NnUnet(folder, channel) -> Some(folder, channel)
                     | _ -> None)
                Union.case "learn2reg" (one "file") Learn2Reg (function
                    | Learn2Reg file -> Some file
                    | _ -> None)
                Union.case "csv" (one "file") Csv (function
                    | Csv file -> Some file
                    | _ -> None)
                Union.case "rcn" (one "file") Rcn (function
                    | Rcn file -> Some file
                    | _ -> None)
                Union.case "bids" bids Bids (function
                    | Bids(folder, query) -> Some(folder, query)
                    | _ -> None)
                Union.case "synthetic" Anatomy.fields Synthetic (function
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

    let private cut: Codec<Cut> =
        codec {
            let! train = required "train" Codec.atLeastTwo _.Train
            and! validation = required "validation" Codec.atLeastTwo _.Validation
            and! test = required "test" Codec.atLeastTwo _.Test
            and! seed = optional "seed" Codec.int 1 _.Seed

            return
                {
                    Train = train
                    Validation = validation
                    Test = test
                    Seed = seed
                }
        }

    let private isObject (element: Text.Json.JsonElement) =
        element.ValueKind = Text.Json.JsonValueKind.Object

    /// Pairings that are said by a word, and those with a value.
    let private pairing: Codec<Pairing> =
        let words = Codec.choice [ "all", AllOrdered; "consecutive", Consecutive ]

        let valued =
            codec {
                let! atlas =
                    maybe "atlas" Codec.string (function
                        | Some(Atlas atlas) -> Some atlas
                        | _ -> None)

                and! random =
                    maybe "random" Codec.count (function
                        | Some(RandomPerSubject count) -> Some count
                        | _ -> None)

                return
                    match atlas, random with
                    | Some atlas, None -> Some(Atlas atlas)
                    | None, Some count -> Some(RandomPerSubject count)
                    | _ -> None
            }
            |> Codec.where "\"all\", \"consecutive\", {\"atlas\": NAME} or {\"random\": COUNT}" _.IsSome
            |> Codec.map Option.get Some

        Codec.either
            isObject
            (function
            | AllOrdered
            | Consecutive -> false
            | _ -> true)
            words
            valued

    let private sharesOfScans: Codec<float * float> =
        Codec.list Codec.fraction
        |> Codec.where "two rising numbers from 0 to 1" (function
            | [ first; last ] -> first < last
            | _ -> false)
        |> Codec.map (fun shares -> shares[0], shares[1]) (fun (first, last) -> [ first; last ])

    /// A part by its name alone, or with a pairing, or some of it.
    let private choice: Codec<PartChoice> =
        let full: Codec<PartChoice> =
            codec {
                let! part = required "part" Codec.string (fun (c: PartChoice) -> c.Part)
                and! pairing = maybe "pairing" pairing (fun (c: PartChoice) -> c.Pairing)
                and! scans = maybe "scans" sharesOfScans (fun (c: PartChoice) -> c.Scans)

                return
                    ({
                        Part = part
                        Pairing = pairing
                        Scans = scans
                    }
                    : PartChoice)
            }

        let name =
            Codec.string |> Codec.map PartChoice.whole (fun (c: PartChoice) -> c.Part)

        Codec.either isObject (fun (c: PartChoice) -> c <> PartChoice.whole c.Part) name full

    let private parts: Codec<PartChoice * PartChoice * PartChoice list> =
        codec {
            let! train = required "train" choice (fun (train, _, _) -> train)
            and! validation = required "validation" choice (fun (_, validation, _) -> validation)

            and! tests =
                required
                    "test"
                    (Codec.list choice
                     |> Codec.where "different parts, one or more" (fun tests ->
                         let names = tests |> List.map (fun (c: PartChoice) -> c.Part)
                         not names.IsEmpty && List.distinct names = names))
                    (fun (_, _, tests) -> tests)

            return train, validation, tests
        }

    let private split: Codec<Split> =
        let namesParts (element: Text.Json.JsonElement) =
            isObject element
            && match element.TryGetProperty "train" with
               | true, train -> train.ValueKind = Text.Json.JsonValueKind.String || isObject train
               | _ -> false

        Codec.either
            namesParts
            _.IsParts
            (cut
             |> Codec.map Cut (function
                 | Cut cut -> cut
                 | Parts _ -> invalidOp "is written as parts"))
            (parts
             |> Codec.map Parts (function
                 | Parts(train, validation, tests) -> train, validation, tests
                 | Cut _ -> invalidOp "is written as a cut"))

    /// Synthetic scans, which need no files.
    let standard: DataOptions =
        {
            Source = Synthetic Anatomy.standard
            Root = defaultRoot ()
            People = None
            Split =
                Cut
                    {
                        Train = 60
                        Validation = 4
                        Test = 16
                        Seed = 1
                    }
            Size = 32, 48, 32
            Spacing = 1.0, 1.0, 1.0
            Intensity = IntensityRule.Percentiles(0.5, 99.5)
            Alignment = Alignment.World
            IgnoredLabels = []
        }

    let codec: Codec<DataOptions> =
        codec {
            let! source = required "source" DataSource.codec _.Source

            and! root =
                surrounding "root" Codec.string "`LDR_DATA`, or \"../shared/data\"" standard.Root _.Root

            and! people = maybe "people" People.codec _.People
            and! split = required "split" split _.Split
            and! size = required "size" RuntimeCodecs.gridSize _.Size
            and! spacing = optional "spacing" RuntimeCodecs.spacing standard.Spacing _.Spacing

            and! intensity =
                optional "intensity" RuntimeCodecs.intensity standard.Intensity _.Intensity

            and! alignment =
                optional "alignment" RuntimeCodecs.alignment standard.Alignment _.Alignment

            and! ignoredLabels =
                optional "ignored_labels" (Codec.list Codec.int) standard.IgnoredLabels _.IgnoredLabels

            return
                {
                    Source = source
                    Root = root
                    People = people
                    Split = split
                    Size = size
                    Spacing = spacing
                    Intensity = intensity
                    Alignment = alignment
                    IgnoredLabels = ignoredLabels
                }
        }

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

    let private isNnUnet (keys: Text.Json.JsonElement) =
        keys.ValueKind = Text.Json.JsonValueKind.Object
        && (fst (keys.TryGetProperty "channel_names")
            || fst (keys.TryGetProperty "file_ending"))

    /// The data set in a folder: MSD or nnU-Net by its `dataset.json`, BIDS by its `dataset_description.json`.
    let ofFolder (folder: string) : Result<Dataset, Error> =
        Error.guardResult (fun () ->
            let file = Path.Combine(folder, "dataset.json")

            if File.Exists file then
                result {
                    let! keys = Codec.ofFile file Codec.any

                    return!
                        if isNnUnet keys then
                            NnUnetForm.read 0 file
                        else
                            MsdForm.read file
                }
            elif File.Exists(Path.Combine(folder, "dataset_description.json")) then
                BidsForm.read (BidsQuery()) folder
            else
                noDescription folder)

    /// The data set that a file describes: a table of pairs by its name, `liver.json` and `*_dataset.json` by their keys;
    /// nothing for any other file, such as an experiment.
    let tryOfFile (file: string) : Result<Dataset, Error> option =
        let named (ending: string) =
            file.EndsWith(ending, StringComparison.OrdinalIgnoreCase)

        let ofKeys () =
            match Codec.ofFile file Codec.any with
            | Ok keys when keys.ValueKind = Text.Json.JsonValueKind.Object ->
                let has (key: string) = fst (keys.TryGetProperty key)

                if has "schemes" && has "subsets" then
                    Some(Error.guardResult (fun () -> RcnForm.read file))
                elif has "training" && not (has "train") then
                    Some(Error.guardResult (fun () -> Learn2RegForm.read file))
                else
                    None
            | _ -> None

        if not (File.Exists file) then
            None
        elif named ".csv" then
            Some(Error.guardResult (fun () -> CsvForm.read file))
        elif named ".json" then
            ofKeys ()
        else
            None

    /// The subjects that a share's pairs are made of.
    let private usedBy (share: Share) : string list =
        match share.Pairing with
        | Atlas atlas -> atlas :: share.Subjects
        | Listed pairs -> pairs |> List.collect (fun (f, m) -> [ f; m ])
        | AllOrdered
        | Consecutive
        | RandomPerSubject _ -> share.Subjects

    /// The scans of a share from one to another, as shares of them, and the listed pairs that are among these.
    let private some (scans: (float * float) option) (share: Share) : Share =
        match scans with
        | None -> share
        | Some(first, last) ->
            let at part =
                int (floor (part * float share.Subjects.Length))

            let own = share.Subjects[at first .. at last - 1]
            let isOwn name = List.contains name own

            { share with
                Subjects = own
                Pairing =
                    match share.Pairing with
                    | Listed pairs -> Listed(pairs |> List.filter (fun (f, m) -> isOwn f && isOwn m))
                    | other -> other
            }

    let private groupOf (dataset: Dataset) (at: string) (choice: PartChoice) : Result<SubjectGroup, Error> =
        let byName = dataset.Subjects |> List.map (fun s -> s.Name, s) |> Map.ofList

        let wrong problem = Error(BadInput $"{at}: {problem}")

        match dataset.Parts |> List.tryFind (fun part -> part.Name = choice.Part) with
        | None when dataset.Parts.IsEmpty ->
            wrong $"{dataset.Name} names no parts; give numbers of subjects: train, validation, test"
        | None ->
            wrong
                $"{dataset.Name} has no part \"{choice.Part}\"; {Suggestion.among (dataset.Parts |> List.map _.Name) choice.Part}"
        | Some { Problem = Some problem } -> Error problem
        | Some part ->
            let shares =
                part.Shares
                |> List.map (fun share ->
                    { share with
                        Pairing = choice.Pairing |> Option.defaultValue share.Pairing
                    }
                    |> some choice.Scans)

            let names = shares |> List.collect usedBy |> List.distinct

            match names |> List.tryFind (byName.ContainsKey >> not) with
            | Some stranger -> wrong $"{dataset.Name} has no scan \"{stranger}\"; name one of its scans"
            | None when names.Length < 2 -> wrong $"part \"{part.Name}\" has fewer than two scans"
            | None ->
                Ok
                    {
                        Part = part.Name
                        Members = names |> List.map (fun name -> byName[name])
                        Shares = shares
                    }

    /// A part, or all parts together, of a data set that names its own; of another one all its subjects.
    let partOrAll (name: string option) (dataset: Dataset) : Result<SubjectGroup, Error> =
        let wanted =
            match name with
            | Some name -> [ name ]
            | None -> dataset.Parts |> List.map _.Name

        if dataset.Parts.IsEmpty then
            Ok(SubjectGroup.free dataset.Subjects)
        else
            wanted
            |> List.traverseResultM (fun part -> groupOf dataset dataset.Name (PartChoice.whole part))
            |> Result.map SubjectGroup.together

    let private isFolder (path: string) = Directory.Exists path
    let private isFile (path: string) = File.Exists path

    /// What lies beside a path that is not there, and has nearly its name.
    let private misspelt (exists: string -> bool) (path: string) : string option =
        let path = Path.TrimEndingDirectorySeparator path
        let folder, name = DataFiles.folderOf path, string (Path.GetFileName path)

        if Directory.Exists folder then
            let names =
                [
                    for entry in Directory.EnumerateFileSystemEntries folder do
                        if exists entry then
                            string (Path.GetFileName entry)
                ]

            Suggestion.slip (List.except [ name ] names) name
        else
            None

    /// Reads what lies below the data root, if it is there.
    let private below
        (advice: string)
        (exists: string -> bool)
        (root: string)
        (path: string)
        (read: string -> Result<Dataset, Error>)
        =
        let full = Path.Combine(root, path)

        Error.guardResult (fun () ->
            if exists full then
                read full
            else
                match misspelt exists full with
                | Some name ->
                    Error(BadInput $"{full}: no such data set; did you mean \"{name}\"? Else {advice}")
                | None -> Error(BadFile(full, "no such data set", advice)))

    let private described (read: string -> Result<Dataset, Error>) (folder: string) =
        let file = Path.Combine(folder, "dataset.json")
        if File.Exists file then read file else noDescription folder

    let private synthetic (anatomy: Anatomy) : Dataset =
        let make = lazy (Anatomy.subject anatomy)

        [
            for index in 0 .. anatomy.Subjects - 1 do
                let both = lazy (make.Value index)

                { Subject.ofImage $"synthetic-%03d{index}" (Stored.made (fun () -> fst both.Value)) with
                    Labels = Some(Stored.made (fun () -> snd both.Value))
                }
        ]
        |> DataFiles.dataset "synthetic anatomy" "MIT" Map.empty []

    let private setRoot =
        "set the folder of the data with --set data.root=FOLDER or LDR_DATA"

    let private getRcn =
        "get this file and the HDF5 files (.h5) that it names from the authors of the recursive cascaded networks (RCN) and put them there, or set the folder with --set data.root=FOLDER"

    let private ofSource (root: string) (source: DataSource) : Result<Dataset, Error> =
        match source with
        | Msd folder -> below setRoot isFolder root folder (described MsdForm.read)
        | NnUnet(folder, channel) -> below setRoot isFolder root folder (described (NnUnetForm.read channel))
        | Learn2Reg file -> below setRoot isFile root file Learn2RegForm.read
        | Csv file -> below setRoot isFile root file CsvForm.read
        | Rcn file -> below getRcn isFile root file RcnForm.read
        | Bids(folder, query) -> below setRoot isFolder root folder (BidsForm.read query)
        | Synthetic anatomy -> Ok(synthetic anatomy)

    /// The data set of an experiment.
    let load (options: DataOptions) : Result<Dataset, Error> =
        let people file =
            CsvForm.people (Path.Combine(options.Root, file))

        result {
            let! dataset = ofSource options.Root options.Source
            return! People.apply people options.People dataset
        }

    /// A data set whose subjects may be cut anywhere and paired in any way; an error for one that lists its own pairs.
    let splittable (dataset: Dataset) : Result<Dataset, Error> =
        let listed =
            dataset.Parts
            |> List.tryFind (fun part ->
                part.Shares |> List.exists (fun share -> share.Pairing <> AllOrdered))

        match listed with
        | Some part ->
            let names =
                dataset.Parts |> List.map (fun part -> $"\"{part.Name}\"") |> String.concat ", "

            Error(
                BadInput
                    $"$.data.split: {dataset.Name} lists the pairs of its part \"{part.Name}\"; name its parts instead of numbers of subjects ({names})"
            )
        | None -> Ok dataset

    /// Shares people out among three parts, each with all scans to the first part that has room; nobody of a data set whose
    /// subjects are all their own person is ever left over.
    let private cutGroups (cut: Cut) (dataset: Dataset) : Result<SplitSubjects, Error> =
        let people = dataset.Subjects |> List.groupBy _.Person |> Array.ofList
        let wanted = [| cut.Train; cut.Validation; cut.Test |]
        let total = Array.sum wanted

        if total > dataset.Subjects.Length then
            Error(
                BadInput
                    $"$.data.split: asks for {total} subjects, {dataset.Name} has {dataset.Subjects.Length}; ask for fewer"
            )
        else
            let parts = wanted |> Array.map (fun _ -> ResizeArray<Subject>())

            for place in Seed.permutation people.Length (Seed.ofInt cut.Seed |> Seed.split "split") do
                let own = snd people[place]

                Array.zip wanted parts
                |> Array.tryFind (fun (size, part) -> part.Count + own.Length <= size)
                |> Option.iter (fun (_, part) -> part.AddRange own)

            let names = [| "train"; "validation"; "test" |]

            let tooFew =
                Array.zip wanted parts
                |> Array.tryFindIndex (fun (size, part) -> part.Count < min 2 size)

            match tooFew with
            | Some index ->
                Error(
                    BadInput
                        $"$.data.split.{names[index]}: {wanted[index]} scans have no room for two whole people's; ask for more"
                )
            | None ->
                let group index =
                    parts[index] |> List.ofSeq |> List.sortBy _.Name |> SubjectGroup.free

                Ok
                    {
                        TrainGroup = group 0
                        ValidationGroup = group 1
                        TestGroups = [ group 2 ]
                    }

    /// The groups of a split, whatever the data set's subjects are; `split` refuses what may not be cut at random.
    let groups (split: Split) (dataset: Dataset) : Result<SplitSubjects, Error> =
        match split with
        | Cut cut -> cutGroups cut dataset
        | Parts(train, validation, tests) ->
            let group at choice =
                groupOf dataset $"$.data.split.{at}" choice

            result {
                let! trainGroup = group "train" train
                let! validationGroup = group "validation" validation

                let! testGroups =
                    List.indexed tests
                    |> List.traverseResultM (fun (i, test) -> group $"test[{i}]" test)

                return
                    {
                        TrainGroup = trainGroup
                        ValidationGroup = validationGroup
                        TestGroups = testGroups
                    }
            }

    /// The groups of a split. A random cut must fit the data set (`splittable`).
    let split (split: Split) (dataset: Dataset) : Result<SplitSubjects, Error> =
        match split with
        | Cut _ -> splittable dataset |> Result.bind (groups split)
        | Parts _ -> groups split dataset

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
