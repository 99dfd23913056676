namespace Ldr

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
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

    let private reading (path: string) (case: string) (read: IH5Group -> 'a) : 'a =
        if not (File.Exists path) then
            raise (Error.Raised(missing path))

        try
            use file = Hdf5.openRead path

            if not (file.LinkExists case) then
                DataFiles.bad path $"has no case \"{case}\"" "get the file that belongs to the description"

            read (file.Group case)
        with
        | Error.Raised _
        | :? InvalidFileException -> reraise ()
        | :? OutOfMemoryException ->
            DataFiles.bad path "is too large for this machine's memory" "get it again"
        | e ->
            DataFiles.bad
                path
                $"is a damaged HDF5 file ({e.Message}), read for case \"{case}\""
                "copy or download it again"

    /// A data set of numbers, whatever their type, last axis fastest, with its size along each axis.
    let private numbers (path: string) (case: string) (group: IH5Group) (name: string) : float32[] * int[] =
        if not (group.LinkExists name) then
            DataFiles.bad
                path
                $"case \"{case}\" has no \"{name}\""
                "get the file that belongs to the description"

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

        let values =
            match data.Type.Class, data.Type.Size with
            | H5DataTypeClass.FloatingPoint, 4 -> data.Read<float32[]>()
            | H5DataTypeClass.FloatingPoint, 8 -> data.Read<float[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 1 when data.Type.FixedPoint.IsSigned ->
                data.Read<sbyte[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 1 -> data.Read<byte[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 2 when data.Type.FixedPoint.IsSigned ->
                data.Read<int16[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 2 -> data.Read<uint16[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 4 when data.Type.FixedPoint.IsSigned ->
                data.Read<int[]>() |> Array.map float32
            | H5DataTypeClass.FixedPoint, 8 when data.Type.FixedPoint.IsSigned ->
                data.Read<int64[]>() |> Array.map float32
            | kind, size ->
                DataFiles.bad
                    path
                    $"\"{name}\" of case \"{case}\" holds {kind} of {size} bytes"
                    "write whole or floating-point numbers"

        values, dimensions |> Array.map int

    /// Refuses a case whose volume and segmentation differ in size, before either is read.
    let private checkSizes path case (group: IH5Group) =
        let sizes =
            [ "volume"; "segmentation" ]
            |> List.filter group.LinkExists
            |> List.map (fun name -> (group.Dataset name).Space.Dimensions)

        if (List.distinct sizes).Length > 1 then
            let shown =
                sizes
                |> List.map (Array.map string >> String.concat " × ")
                |> String.concat ", its segmentation of "

            DataFiles.bad
                path
                $"case \"{case}\" has a volume of {shown} voxels"
                "copy or download it again; both must be of one size"

    let private volume path case name (keep: float32 -> float32) : Volume =
        reading path case (fun group ->
            checkSizes path case group
            let values, size = numbers path case group name

            match size with
            | [| nz; ny; nx |] when nz > 0 && ny > 0 && nx > 0 ->
                Volume(Grid(nx, ny, nz, Affine.Identity), values |> Array.map keep)
            | _ ->
                DataFiles.bad
                    path
                    $"\"{name}\" of case \"{case}\" has {size.Length} axes"
                    "a volume has three, with voxels along each")

    let private points path case : Landmarks =
        reading path case (fun group ->
            // Some of the authors' files have no landmarks.
            let values, size =
                if group.LinkExists "point" then
                    numbers path case group "point"
                else
                    [||], [| 0; 3 |]

            match size with
            | [| count; 3 |] ->
                Array.init count (fun i ->
                    let z, y, x = values[3 * i], values[3 * i + 1], values[3 * i + 2]

                    // The authors write −1 for a landmark that is not there.
                    if x < 0.0f || y < 0.0f || z < 0.0f then
                        None
                    else
                        Some(float x, float y, float z))
            | _ ->
                DataFiles.bad
                    path
                    $"\"point\" of case \"{case}\" is no list of points"
                    "points are N × 3 numbers")

    /// Reads a description; the HDF5 files are opened when a case is read. Bad input is raised.
    let read (file: string) : Dataset =
        let about = DataFiles.readJson description file
        let above = Path.GetDirectoryName(DataFiles.folderOf file) |> string
        let paths = Map.ofList about.Files

        let pathOf (at: string) (alias: string) =
            match paths.TryFind alias with
            | None -> DataFiles.badAt file at $"no file \"{alias}\" is described under \"files\""
            | Some path ->
                match DataFiles.tryInside above path with
                | Some full -> full
                | None ->
                    DataFiles.badAt
                        file
                        $"$.files.{alias}.path"
                        $"\"{path}\" leads out of the folder above the description's; give a path inside it, or an absolute one"

        /// The file and the group of a case. One whose prefix is no alias is looked up whole in the file "/".
        let located at (entry: string) =
            match entry.IndexOf '/' with
            | slash when slash > 0 && paths.ContainsKey entry[.. slash - 1] ->
                pathOf at entry[.. slash - 1], entry[slash + 1 ..]
            | _ -> pathOf at "/", entry

        let all =
            [
                for name, cases in about.Subsets do
                    for index, case in List.indexed cases do
                        case, $"$.subsets.{name}[{index}]"

                match about.Atlas with
                | Some atlas -> atlas, "$.atlas"
                | None -> ()
            ]
            |> List.distinctBy fst

        let scored = about.Labels |> List.map snd |> Set.ofList

        let label (value: float32) =
            if scored.IsEmpty || scored.Contains(int (round value)) then
                value
            else
                0.0f

        let located = all |> List.map (fun (entry, at) -> entry, located at entry)

        let fileOf =
            located |> List.map (fun (entry, (path, _)) -> entry, path) |> Map.ofList

        let subjects =
            [
                for entry, (path, case) in located do
                    let stored read : Stored<'a> =
                        {
                            Where = Some $"{path}:{case}"
                            File = Some path
                            Read = read
                        }

                    { Subject.ofImage entry (stored (fun () -> volume path case "volume" id)) with
                        Labels = Some(stored (fun () -> volume path case "segmentation" label))
                        Points = Some(stored (fun () -> points path case))
                    }
            ]

        let pairing =
            match about.Atlas with
            | Some atlas -> Atlas atlas
            | None -> AllOrdered

        let subsets = Map.ofList about.Subsets

        let parts =
            [
                for name, shares in about.Schemes do
                    let shares =
                        [
                            for subset, fraction in shares ->
                                match subsets.TryFind subset with
                                | None ->
                                    DataFiles.badAt
                                        file
                                        $"$.schemes.{name}.{subset}"
                                        $"no such subset; {Suggestion.among (List.map fst about.Subsets) subset}"
                                | Some cases ->
                                    {
                                        Subjects = cases
                                        Fraction = fraction
                                        Pairing = pairing
                                    }
                        ]

                    {
                        Name = name
                        Shares = shares
                        Problem =
                            [
                                for share in shares do
                                    yield! share.Subjects
                                yield! Option.toList about.Atlas
                            ]
                            |> List.map (fun case -> fileOf[case])
                            |> List.distinct
                            |> List.tryFind (File.Exists >> not)
                            |> Option.map missing
                    }
            ]

        let labels =
            about.Labels |> List.map (fun (name, value) -> value, name) |> Map.ofList

        subjects
        |> DataFiles.dataset (string (Path.GetFileNameWithoutExtension file)) "not stated" labels parts
