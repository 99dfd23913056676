namespace Ldr

open System
open System.IO
open Ldr.Runtime

/// Where scans come from.
type DataSource =
    /// A folder with a `dataset.json` in the form of the Medical Segmentation Decathlon, below the data root.
    | Msd of folder: string
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

/// One subject of a data set: its scan and its label map, read when they are needed.
[<NoEquality; NoComparison>]
type Subject =
    {
        Name: string
        /// The scan, as stored.
        Image: unit -> Volume
        Labels: (unit -> Volume) option
    }

/// The subjects of a data set, in the order of their names.
[<NoEquality; NoComparison>]
type Dataset =
    {
        Name: string
        Licence: string
        Subjects: Subject list
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
    let codec: Codec<DataSource> =
        Codec.union
            "kind"
            [
                Codec.case "msd" (Codec.record id |> Codec.required "folder" Codec.string id) Msd (function
                    | Msd folder -> Some folder
                    | Synthetic _ -> None)
                Codec.case "synthetic" Anatomy.fields Synthetic (function
                    | Synthetic anatomy -> Some anatomy
                    | Msd _ -> None)
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

module Dataset =
    type private Entry = { Image: string; Label: string option }

    type private Description =
        {
            Name: string
            Licence: string
            Training: Entry list
        }

    /// The parts of an MSD `dataset.json` that are used; it has more keys, and they vary.
    let private readDescription (file: string) : Result<Description, Error> =
        let text = Error.guard (fun () -> File.ReadAllText file)

        let pick key (codec: Codec<'a>) path (element: System.Text.Json.JsonElement) =
            match element.TryGetProperty(key: string) with
            | true, value -> codec.Decode $"{path}.{key}" value |> Result.map Some
            | _ -> Ok None

        let need key codec path element =
            match pick key codec path element with
            | Ok(Some value) -> Ok value
            | Ok None ->
                Error
                    [
                        {
                            Path = $"{path}.{key}"
                            Problem = "is missing"
                        }
                    ]
            | Error problems -> Error problems

        let entry: Codec<Entry> =
            {
                Encode = fun e -> Codec.string.Encode e.Image
                Decode =
                    fun path element ->
                        if element.ValueKind <> System.Text.Json.JsonValueKind.Object then
                            Codec.expected "an object with \"image\" and \"label\"" path element
                        else
                            match
                                need "image" Codec.string path element, pick "label" Codec.string path element
                            with
                            | Ok image, Ok label -> Ok { Image = image; Label = label }
                            | Error a, Error b -> Error(a @ b)
                            | Error a, Ok _
                            | Ok _, Error a -> Error a
            }

        text
        |> Result.bind (Codec.parse file)
        |> Result.bind (fun element ->
            if element.ValueKind <> System.Text.Json.JsonValueKind.Object then
                Error(
                    BadFile(
                        file,
                        "is not a data set's description",
                        "see the Medical Segmentation Decathlon's dataset.json"
                    )
                )
            else
                match need "training" (Codec.list entry) "$" element with
                | Error problems -> Error(BadJson(file, problems))
                | Ok training ->
                    let word key fallback =
                        match pick key Codec.string "$" element with
                        | Ok(Some value) -> value
                        | _ -> fallback

                    Ok
                        {
                            Name =
                                word
                                    "name"
                                    (Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath file)) |> string)
                            Licence = word "licence" "not stated"
                            Training = training
                        })

    let private withoutEnding (name: string) =
        [ ".gz"; ".nii" ]
        |> List.fold
            (fun (n: string) (ending: string) ->
                if n.EndsWith(ending, StringComparison.OrdinalIgnoreCase) then
                    n.Substring(0, n.Length - ending.Length)
                else
                    n)
            name

    /// The subjects' names: those of their files; with the folder below the data set's where that is not enough.
    let private names (file: string) (folder: string) (images: string list) : string list =
        let short (path: string) =
            Path.GetFileName path |> string |> withoutEnding

        let long path =
            (Path.GetRelativePath(folder, path) |> withoutEnding).Replace('\\', '/')

        let repeated pick =
            images
            |> List.countBy pick
            |> List.filter (fun (_, count) -> count > 1)
            |> List.map fst
            |> Set.ofList

        match Seq.tryHead (repeated long) with
        | Some name ->
            raise (Error.Raised(BadFile(file, $"lists the image {name} twice", "list each image once")))
        | None ->
            let clashing = repeated short

            images
            |> List.map (fun path ->
                if clashing.Contains(short path) then
                    long path
                else
                    short path)

    /// A path of a description, which must stay inside the data set's folder unless it is absolute on purpose.
    let private inside (file: string) (folder: string) (path: string) =
        if path.Contains '\000' then
            raise (Error.Raised(BadFile(file, "names a file with a null character in it", "mend that path")))

        let full = Path.GetFullPath(Path.Combine(folder, path))
        let root = Path.GetFullPath folder + string Path.DirectorySeparatorChar

        if Path.IsPathRooted path || full.StartsWith(root, StringComparison.Ordinal) then
            full
        else
            raise (
                Error.Raised(
                    BadFile(
                        file,
                        $"\"{path}\" leads out of the data set's folder",
                        "give a path inside it, or an absolute one"
                    )
                )
            )

    /// The data set in a folder with an MSD `dataset.json`.
    let ofFolder (folder: string) : Result<Dataset, Error> =
        let file = Path.Combine(folder, "dataset.json")

        if not (File.Exists file) then
            Error(
                BadFile(
                    folder,
                    "has no dataset.json",
                    "give the folder of a data set in the form of the Medical Segmentation Decathlon"
                )
            )
        else
            readDescription file
            |> Result.bind (fun description ->
                Error.guard (fun () ->
                    let images = description.Training |> List.map (fun e -> inside file folder e.Image)

                    {
                        Name = description.Name
                        Licence = description.Licence
                        Subjects =
                            [
                                for entry, image, name in
                                    List.zip3 description.Training images (names file folder images) do
                                    let labels = entry.Label |> Option.map (inside file folder)

                                    {
                                        Name = name
                                        Image = fun () -> Nifti.Read image
                                        Labels =
                                            labels |> Option.map (fun path -> fun () -> Nifti.Read path)
                                    }
                            ]
                            |> List.sortBy _.Name
                    }))

    /// The data set of an experiment.
    let load (options: DataOptions) : Result<Dataset, Error> =
        match options.Source with
        | Msd folder ->
            let path = Path.Combine(options.Root, folder)

            if Directory.Exists path then
                ofFolder path
            else
                Error(
                    BadFile(
                        path,
                        "no such data set",
                        "set the folder of the data with --set data.root=FOLDER or LDR_DATA"
                    )
                )
        | Synthetic anatomy ->
            let make = Anatomy.subject anatomy

            Ok
                {
                    Name = "synthetic anatomy"
                    Licence = "MIT"
                    Subjects =
                        [
                            for index in 0 .. anatomy.Subjects - 1 do
                                let both = lazy make index

                                {
                                    Name = $"synthetic-%03d{index}"
                                    Image = fun () -> fst both.Value
                                    Labels = Some(fun () -> snd both.Value)
                                }
                        ]
                }

    /// Cuts the subjects into training, validation and test.
    let split (split: Split) (dataset: Dataset) : Result<SplitSubjects, Error> =
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
