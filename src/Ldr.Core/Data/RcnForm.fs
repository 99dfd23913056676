namespace Ldr

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open PureHDF
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// The form of recursive cascaded networks (Zhao et al., 2019; the authors of ALDK use the same files): a description such as
/// `datasets/liver.json` and HDF5 files with one group for each case, which holds `volume`, and maybe `segmentation` and `point`.
/// The files' paths count from the folder above the description's. Volumes have no position and spacing: voxels count as
/// millimetres, array axis 0 is z.
module RcnForm =
    type private Description =
        {
            /// File aliases and paths.
            Files: (string * string) list
            /// Names and cases, each `ALIAS/CASE`.
            Subsets: (string * string list) list
            /// Names, and the share of a batch that each subset gives.
            Schemes: (string * (string * float) list) list
            Atlas: string option
            Labels: (string * int) list
        }

    /// An object with any keys, in their order.
    let private entries (value: Codec<'a>) : Codec<(string * 'a) list> =
        {
            Form =
                {
                    Type = "an object with any keys"
                    Keys = []
                }
            Encode =
                fun pairs ->
                    let node = JsonObject()

                    for name, v in pairs do
                        node.Add(name, value.Encode v)

                    node
            Decode =
                fun path element ->
                    if element.ValueKind <> JsonValueKind.Object then
                        Codec.expected "an object" path element
                    else
                        (element.EnumerateObject(), Ok [])
                        ||> Seq.foldBack (fun property rest ->
                            Codec.both
                                (value.Decode $"{path}.{property.Name}" property.Value
                                 |> Result.map (fun v others -> (property.Name, v) :: others))
                                rest)
        }

    /// A list of cases, or an object whose keys they are.
    let private cases: Codec<string list> =
        let listed = Codec.list Codec.string

        { listed with
            Decode =
                fun path element ->
                    if element.ValueKind = JsonValueKind.Object then
                        Ok [ for property in element.EnumerateObject() -> property.Name ]
                    else
                        listed.Decode path element
        }

    let private description: Codec<Description> =
        let file: Codec<string> = required "path" Codec.string id |> Fields.lenient

        lenient {
            let! files = required "files" (entries file) _.Files
            and! subsets = required "subsets" (entries cases) _.Subsets
            and! schemes = required "schemes" (entries (entries Codec.positive)) _.Schemes
            and! atlas = maybe "atlas" Codec.string _.Atlas
            and! labels = optional "segmentation_class_value" (entries Codec.int) [] _.Labels

            return
                {
                    Files = files
                    Subsets = subsets
                    Schemes = schemes
                    Atlas = atlas
                    Labels = labels
                }
        }

    /// The archives in which the authors give their files away.
    let private archives =
        [
            "\"SLIVER, LiTS, and LSPIG\"", [ "sliver_val.h5"; "lits_val.h5"; "lspig_val.h5" ]
            "\"MSD and BFH\"", [ "msd_dataset.h5"; "youyi_liver.h5" ]
            "\"LPBA\"", [ "lpba_val.h5" ]
            "\"ADNI, ABIDE, and ADHD\"", [ "adni.h5"; "abide.h5"; "abidef.h5"; "adhd.h5" ]
        ]

    let private missing (path: string) =
        let name = string (Path.GetFileName path)

        let what =
            match archives |> List.tryFind (fun (_, files) -> List.contains name files) with
            | Some(archive, _) -> $"get the archive {archive} of the recursive cascaded networks' authors"
            | None -> "get this file from the authors of the data set"

        BadFile(path, "is missing", $"{what} and put {name} into {DataFiles.folderOf path}")

    /// The bytes that compressed data may stand for, for each byte of a file: the most that deflate can do.
    let private mostExpanded = 1032L

    /// Reads a case of a file. Whatever PureHDF throws at a damaged file is bad input.
    let private reading
        (path: string)
        (case: string)
        (read: IH5Group -> Result<'a, Error>)
        : Result<'a, Error> =
        if not (File.Exists path) then
            Error(missing path)
        else
            try
                use file = Hdf5.openRead path

                if file.LinkExists case then
                    read (file.Group case)
                else
                    DataFiles.bad
                        path
                        $"has no case \"{case}\""
                        "get the file that belongs to the description"
            with
            | :? InvalidFileException as e -> Error(BadFile(e.Path, e.Problem, e.Remedy))
            | :? OutOfMemoryException ->
                DataFiles.bad path "is too large for this machine's memory" "get it again"
            | e ->
                DataFiles.bad
                    path
                    $"is a damaged HDF5 file ({e.Message}), read for case \"{case}\""
                    "copy or download it again"

    /// The numbers of a data set, whatever their type.
    let private valuesOf
        (path: string)
        (case: string)
        (name: string)
        (data: IH5Dataset)
        : Result<float32[], Error> =
        match data.Type.Class, data.Type.Size with
        | H5DataTypeClass.FloatingPoint, 4 -> Ok(data.Read<float32[]>())
        | H5DataTypeClass.FloatingPoint, 8 -> data.Read<float[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 1 when data.Type.FixedPoint.IsSigned ->
            data.Read<sbyte[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 1 -> data.Read<byte[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 2 when data.Type.FixedPoint.IsSigned ->
            data.Read<int16[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 2 -> data.Read<uint16[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 4 when data.Type.FixedPoint.IsSigned ->
            data.Read<int[]>() |> Array.map float32 |> Ok
        | H5DataTypeClass.FixedPoint, 8 when data.Type.FixedPoint.IsSigned ->
            data.Read<int64[]>() |> Array.map float32 |> Ok
        | kind, size ->
            DataFiles.bad
                path
                $"\"{name}\" of case \"{case}\" holds {kind} of {size} bytes"
                "write whole or floating-point numbers"

    /// A data set of numbers, last axis fastest, with its size along each axis.
    let private numbers
        (path: string)
        (case: string)
        (group: IH5Group)
        (name: string)
        : Result<float32[] * int[], Error> =
        if not (group.LinkExists name) then
            DataFiles.bad
                path
                $"case \"{case}\" has no \"{name}\""
                "get the file that belongs to the description"
        else
            let data = group.Dataset name
            let dimensions = data.Space.Dimensions
            let count = dimensions |> Array.fold (fun n size -> n * bigint size) 1I

            if
                count > bigint (FileInfo(path).Length * mostExpanded)
                || count > bigint Array.MaxLength
            then
                DataFiles.bad
                    path
                    $"case \"{case}\" declares {count} numbers in \"{name}\", more than the file can hold"
                    "copy or download it again"
            else
                valuesOf path case name data
                |> Result.map (fun values -> values, dimensions |> Array.map int)

    /// Refuses a case whose volume and segmentation differ in size, before either is read.
    let private checkSizes path case (group: IH5Group) : Result<unit, Error> =
        let sizes =
            [ "volume"; "segmentation" ]
            |> List.filter group.LinkExists
            |> List.map (fun name -> (group.Dataset name).Space.Dimensions)

        if (List.distinct sizes).Length <= 1 then
            Ok()
        else
            let shown =
                sizes
                |> List.map (Array.map string >> String.concat " × ")
                |> String.concat ", its segmentation of "

            DataFiles.bad
                path
                $"case \"{case}\" has a volume of {shown} voxels"
                "copy or download it again; both must be of one size"

    let private volume path case name (keep: float32 -> float32) : Result<Volume, Error> =
        reading path case (fun group ->
            result {
                do! checkSizes path case group

                match! numbers path case group name with
                | values, [| nz; ny; nx |] when nz > 0 && ny > 0 && nx > 0 ->
                    return Volume(Grid(nx, ny, nz, Affine.Identity), values |> Array.map keep)
                | _, size ->
                    return!
                        DataFiles.bad
                            path
                            $"\"{name}\" of case \"{case}\" has {size.Length} axes"
                            "a volume has three, with voxels along each"
            })

    /// The authors write −1 for a landmark that is not there.
    let private landmarks (count: int) (values: float32[]) : Landmarks =
        Array.init count (fun i ->
            let z, y, x = values[3 * i], values[3 * i + 1], values[3 * i + 2]

            if x < 0.0f || y < 0.0f || z < 0.0f then
                None
            else
                Some(float x, float y, float z))

    let private points path case : Result<Landmarks, Error> =
        reading path case (fun group ->
            result {
                // Some of the authors' files have no landmarks.
                let! values, size =
                    if group.LinkExists "point" then
                        numbers path case group "point"
                    else
                        Ok([||], [| 0; 3 |])

                match size with
                | [| count; 3 |] -> return landmarks count values
                | _ ->
                    return!
                        DataFiles.bad
                            path
                            $"\"point\" of case \"{case}\" is no list of points"
                            "points are N × 3 numbers"
            })

    /// A case of a description: its name, and where it lies.
    type private Case =
        {
            Name: string
            File: string
            Group: string
        }

    let private fileOf
        (file: string)
        (about: Description)
        (at: string)
        (alias: string)
        : Result<string, Error> =
        let above = Path.GetDirectoryName(DataFiles.folderOf file) |> string

        match about.Files |> List.tryFind (fun (name, _) -> name = alias) with
        | None -> DataFiles.badAt file at $"no file \"{alias}\" is described under \"files\""
        | Some(_, path) ->
            match DataFiles.tryInside above path with
            | Some full -> Ok full
            | None ->
                DataFiles.badAt
                    file
                    $"$.files.{alias}.path"
                    $"\"{path}\" leads out of the folder above the description's; give a path inside it, or an absolute one"

    /// The file and the group of a case. One whose prefix is no alias is looked up whole in the file "/".
    let private located
        (file: string)
        (about: Description)
        (entry: string, at: string)
        : Result<Case, Error> =
        let alias, group =
            match entry.IndexOf '/' with
            | slash when
                slash > 0
                && about.Files |> List.exists (fun (name, _) -> name = entry[.. slash - 1])
                ->
                entry[.. slash - 1], entry[slash + 1 ..]
            | _ -> "/", entry

        fileOf file about at alias
        |> Result.map (fun path ->
            {
                Name = entry
                File = path
                Group = group
            })

    /// Every case that a description names, with its place there.
    let private casesOf (about: Description) : (string * string) list =
        [
            for name, cases in about.Subsets do
                for index, case in List.indexed cases do
                    case, $"$.subsets.{name}[{index}]"

            match about.Atlas with
            | Some atlas -> atlas, "$.atlas"
            | None -> ()
        ]
        |> List.distinctBy fst

    let private subject (keep: float32 -> float32) (case: Case) : Subject =
        let stored (read: unit -> Result<'a, Error>) : Stored<'a> =
            {
                Where = Some $"{case.File}:{case.Group}"
                File = Some case.File
                Read = read >> Error.orRaise
            }

        { Subject.ofImage case.Name (stored (fun () -> volume case.File case.Group "volume" id)) with
            Labels = Some(stored (fun () -> volume case.File case.Group "segmentation" keep))
            Points = Some(stored (fun () -> points case.File case.Group))
        }

    /// The shares of a scheme.
    let private sharesOf
        (file: string)
        (about: Description)
        (name: string, shares: (string * float) list)
        : Result<Share list, Error> =
        let subsets = Map.ofList about.Subsets

        shares
        |> List.traverseResultM (fun (subset, fraction) ->
            match subsets.TryFind subset with
            | None ->
                DataFiles.badAt
                    file
                    $"$.schemes.{name}.{subset}"
                    $"no such subset; {Suggestion.among (List.map fst about.Subsets) subset}"
            | Some cases ->
                Ok
                    {
                        Subjects = cases
                        Fraction = fraction
                        Pairing = about.Atlas |> Option.map Atlas |> Option.defaultValue AllOrdered
                    })

    /// A scheme as a part, which cannot be used when a file of it is missing.
    let private part (about: Description) (cases: Case list) (name: string) (shares: Share list) : DataPart =
        let files = cases |> List.map (fun case -> case.Name, case.File) |> Map.ofList

        {
            Name = name
            Shares = shares
            Problem =
                (shares |> List.collect _.Subjects) @ Option.toList about.Atlas
                |> List.map (fun case -> files[case])
                |> List.distinct
                |> List.tryFind (File.Exists >> not)
                |> Option.map missing
        }

    /// Keeps the labels that are scored, all where the description names none.
    let private keepScored (about: Description) : float32 -> float32 =
        let scored = about.Labels |> List.map snd |> Set.ofList

        fun value ->
            if scored.IsEmpty || scored.Contains(int (round value)) then
                value
            else
                0.0f

    /// Reads a description; the HDF5 files are opened when a case is read.
    let read (file: string) : Result<Dataset, Error> =
        result {
            let! about = Codec.ofFile file description
            let! cases = casesOf about |> List.traverseResultM (located file about)

            let! parts =
                about.Schemes
                |> List.traverseResultM (fun scheme ->
                    sharesOf file about scheme |> Result.map (part about cases (fst scheme)))

            let labels =
                about.Labels |> List.map (fun (name, value) -> value, name) |> Map.ofList

            return
                cases
                |> List.map (subject (keepScored about))
                |> DataFiles.dataset
                    (string (Path.GetFileNameWithoutExtension file))
                    "not stated"
                    labels
                    parts
        }
