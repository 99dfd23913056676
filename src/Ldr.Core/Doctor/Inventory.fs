namespace Ldr

open System
open System.IO
open System.Text.Json
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// How much something that was found matters.
type Severity =
    /// A training or an evaluation would stop at it, or learn or score nonsense.
    | Spoils
    /// It can be used, but probably not as it was meant.
    | Doubtful
    /// Good to know.
    | Remark

/// One thing that was found in a data set.
type Finding =
    {
        Severity: Severity
        /// A word for findings of one kind, such as `missing-file`.
        Kind: string
        /// The subject or file; empty for the whole data set.
        Where: string
        What: string
        /// What would be done about it, or what would mend it.
        Action: string
    }

/// One subject as the doctor looks at it.
[<NoEquality; NoComparison>]
type Case =
    {
        Name: string
        Person: string
        /// The part of the data set that it belongs to; empty when nothing is said.
        Part: string
        Image: ScanSource
        Labels: ScanSource option
        /// Whether scores need its labels.
        NeedsLabels: bool
    }

/// What the doctor is to look at.
[<NoEquality; NoComparison>]
type Inventory =
    {
        Name: string
        /// What kind of data set it is, in words.
        Kind: string
        Path: string
        Licence: string
        Cases: Case list
        /// A folder of files of which nothing is said: which are label maps is told by their content.
        Plain: bool
        LabelNames: Map<int, string>
        IgnoredLabels: int list
        /// The data of the experiment, if it is one.
        Options: DataOptions option
        /// What was found without reading a scan.
        Found: Finding list
    }

module Inventory =
    let private source (stored: Stored<Volume>) : ScanSource =
        match stored.Where with
        | Some path when ImageFile.CanWrite path -> ScanFile path
        | _ -> ScanMade stored.Read

    let private ofSubject part needsLabels (subject: Subject) : Case =
        {
            Name = subject.Name
            Person = subject.Person
            Part = part
            Image = source subject.Image
            Labels = subject.Labels |> Option.map source
            NeedsLabels = needsLabels
        }

    /// A path as it is shown: below the data set's folder.
    let shown (root: string) (path: string) =
        let relative = Path.GetRelativePath(root, path)

        if relative.StartsWith("..", StringComparison.Ordinal) then
            path
        else
            relative

    let private remark kind what action =
        {
            Severity = Remark
            Kind = kind
            Where = ""
            What = what
            Action = action
        }

    /// The images below a folder, hidden ones left out, by name.
    let private imagesBelow (folder: string) =
        FileNode.FilesBelow(folder, EnumerationOptions())
        |> Seq.filter ImageFile.CanWrite
        |> Seq.sortWith (fun a b -> String.CompareOrdinal(a, b))
        |> List.ofSeq

    /// The path of the image that an entry of a list of test scans means.
    let private testImage (folder: string) (entry: JsonElement) : string option =
        let name =
            if entry.ValueKind = JsonValueKind.Object then
                match entry.TryGetProperty "image" with
                | true, image -> DataFiles.textOf image
                | _ -> None
            else
                DataFiles.textOf entry

        name |> Option.bind (DataFiles.tryInside folder)

    let private testCase (path: string) : Case =
        let name = DataFiles.withoutEnding (string (Path.GetFileName path))

        {
            Name = name
            Person = name
            Part = "test"
            Image = ScanFile path
            Labels = None
            NeedsLabels = false
        }

    let private testCases (folder: string) (root: JsonElement) : Case list =
        match root.TryGetProperty "test" with
        | true, list when list.ValueKind = JsonValueKind.Array ->
            list.EnumerateArray()
            |> Seq.choose (testImage folder)
            |> Seq.map testCase
            |> List.ofSeq
        | _ -> []

    /// The images of a folder that no case has.
    let private unlistedImages (folder: string) (cases: Case list) : string list =
        let listed =
            cases
            |> List.collect (fun c -> c.Image :: Option.toList c.Labels)
            |> List.choose (function
                | ScanFile path -> Some(Path.GetFullPath path)
                | ScanMade _ -> None)
            |> Set.ofList

        imagesBelow folder |> List.filter (fun path -> not (listed.Contains path))

    /// What is to be said of the keys of a `dataset.json` that are not read.
    let private ofKeys (training: Case list) (root: JsonElement) : Finding list =
        [
            match root.TryGetProperty "numTraining" with
            | true, count when count.ValueKind = JsonValueKind.Number ->
                match count.TryGetInt32() with
                | true, n when n <> training.Length ->
                    { remark
                          "count"
                          $"numTraining says {n}, {training.Length} subjects are there"
                          "the number is ignored" with
                        Severity = Doubtful
                    }
                | _ -> ()
            | _ -> ()

            match root.TryGetProperty "labels" with
            | true, labels ->
                match DataFiles.textOf labels with
                | Some name ->
                    remark
                        "label-names"
                        $"the names of the labels are in a file of their own, {name}, which is not read"
                        "labels go by their numbers"
                | None -> ()
            | _ -> ()
        ]

    /// What a `dataset.json` says beside its training subjects: its test scans, and how many it means to have.
    let private described (file: string) (training: Case list) : Case list * Finding list =
        use document = JsonDocument.Parse(TextFile.read file)
        let folder = DataFiles.folderOf file
        let tests = testCases folder document.RootElement

        tests,
        [
            yield! ofKeys training document.RootElement

            match unlistedImages folder (training @ tests) with
            | [] -> ()
            | first :: _ as unlisted ->
                remark
                    "unlisted"
                    $"{unlisted.Length} images lie in the folder and are not listed, such as {shown folder first}"
                    "ignored"
        ]

    /// The subjects of a data set, with the parts that it names itself.
    let private ofDataset kind path (dataset: Dataset) : Inventory =
        let partOf =
            [
                for part in dataset.Parts do
                    for share in part.Shares do
                        for name in share.Subjects -> name, part.Name
            ]
            |> List.groupBy fst
            |> List.map (fun (name, parts) -> name, snd parts.Head)
            |> Map.ofList

        let labelled = dataset.Subjects |> List.exists _.Labels.IsSome

        {
            Name = dataset.Name
            Kind = kind
            Path = path
            Licence = dataset.Licence
            Cases =
                [
                    for subject in dataset.Subjects ->
                        ofSubject
                            (partOf |> Map.tryFind subject.Name |> Option.defaultValue "")
                            (labelled && dataset.Parts.IsEmpty)
                            subject
                ]
            Plain = false
            LabelNames = dataset.LabelNames
            IgnoredLabels = []
            Options = None
            Found = []
        }

    let private ofDescription (folder: string) : Result<Inventory, Error> =
        let file = Path.Combine(folder, "dataset.json")

        Dataset.ofFolder folder
        |> Result.map (fun dataset ->
            if not (File.Exists file) then
                ofDataset "BIDS derivatives" folder dataset
            else
                let inventory = ofDataset "described by its dataset.json" folder dataset
                let cases = inventory.Cases
                let tests, found = described file cases

                { inventory with
                    Cases =
                        (if tests.IsEmpty then
                             cases
                         else
                             cases
                             |> List.map (fun c -> if c.Part = "" then { c with Part = "training" } else c))
                        @ tests
                    Found = found
                })

    let private ofScans (folder: string) : Result<Inventory, Error> =
        match imagesBelow folder with
        | [] ->
            let inside =
                Directory.EnumerateDirectories folder
                |> Seq.truncate 3
                |> Seq.map (fun inner -> string (Path.GetFileName inner))
                |> String.concat ", "

            Error(
                BadFile(
                    folder,
                    "holds no scans" + (if inside = "" then "" else $" (its folders: {inside}, …)"),
                    "give a folder with a dataset.json or with NIfTI, MetaImage or NRRD files, or an experiment's file"
                )
            )
        | images ->
            Ok
                {
                    Name =
                        Path.GetFileName(Path.GetFullPath(folder).TrimEnd Path.DirectorySeparatorChar)
                        |> string
                    Kind = "a folder of scans"
                    Path = folder
                    Licence = "not stated"
                    Cases =
                        [
                            for path in images ->
                                {
                                    Name = shown folder path
                                    Person = ""
                                    Part = ""
                                    Image = ScanFile path
                                    Labels = None
                                    NeedsLabels = false
                                }
                        ]
                    Plain = true
                    LabelNames = Map.empty
                    IgnoredLabels = []
                    Options = None
                    Found =
                        [
                            remark
                                "no-description"
                                "there is no dataset.json: every image is looked at by itself, and told to be a scan or a label map by its content"
                                "register takes any two scans; train and evaluate need a description"
                        ]
                }

    /// The data of an experiment, with its split.
    let ofOptions (path: string) (data: DataOptions) : Result<Inventory, Error> =
        result {
            let! dataset = Dataset.load data
            let! split = Dataset.groups data.Split dataset
            let inventory = ofDataset "the data of an experiment" path dataset

            let parts =
                [
                    "training", split.TrainGroup.Members
                    "validation", split.ValidationGroup.Members
                    "test", split.TestGroups |> List.collect _.Members |> List.distinctBy _.Name
                ]

            let used = parts |> List.sumBy (fun (_, subjects) -> subjects.Length)

            return
                { inventory with
                    Cases =
                        [
                            for part, subjects in parts do
                                for subject in subjects -> ofSubject part (part <> "training") subject
                        ]
                    IgnoredLabels = data.IgnoredLabels
                    Options = Some data
                    Found =
                        [
                            if used < dataset.Subjects.Length then
                                remark
                                    "unused"
                                    $"the split takes {used} of {dataset.Subjects.Length} subjects"
                                    "the others are ignored"
                        ]
                }
        }

    /// What a file describes that is no experiment; nothing for any other file.
    let tryOfFile (file: string) : Result<Inventory, Error> option =
        Dataset.tryOfFile file
        |> Option.map (Result.map (ofDataset $"described by {Path.GetFileName file}" file))

    /// What lies in a folder: a data set with a description, or scans.
    let ofFolder (folder: string) : Result<Inventory, Error> =
        let has name = File.Exists(Path.Combine(folder, name))

        if not (Directory.Exists folder) then
            Error(
                BadFile(
                    folder,
                    "no such folder",
                    "give the folder of a data set or of scans, or an experiment's file"
                )
            )
        elif has "dataset.json" || has "dataset_description.json" then
            ofDescription folder
        else
            Error.guardResult (fun () -> ofScans folder)
