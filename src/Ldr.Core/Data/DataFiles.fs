namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// What the readers of data set forms share.
module internal DataFiles =
    /// What is wrong at one place of a JSON file.
    let badAt (file: string) (path: string) (problem: string) : Result<'a, Error> =
        Error(BadJson(file, [ { Path = path; Problem = problem } ]))

    let bad (file: string) problem remedy : Result<'a, Error> = Error(BadFile(file, problem, remedy))

    /// The folder of a file, absolute.
    let folderOf (file: string) : string =
        Path.GetDirectoryName(Path.GetFullPath file) |> string

    /// The name of the folder of a file, for a data set that gives itself none.
    let folderName (file: string) : string =
        Path.GetFileName(folderOf file) |> string

    /// The full path of what a description in `folder` names, or nothing where that is no path, or leads out of the folder
    /// without being absolute.
    let tryInside (folder: string) (path: string) : string option =
        if path = "" || path.Contains '\000' then
            None
        else
            let full = Path.GetFullPath(Path.Combine(folder, path))
            let root = (Path.GetFullPath folder).TrimEnd(Path.DirectorySeparatorChar)

            if
                Path.IsPathRooted path
                || full.StartsWith(root + string Path.DirectorySeparatorChar, StringComparison.Ordinal)
            then
                Some full
            else
                None

    /// The same for a path at one place of a JSON file; a problem where it leads out.
    let inside (file: string) (at: string) (path: string) : Result<string, Error> =
        if path.Contains '\000' || path = "" then
            badAt file at "expected the path of a file"
        else
            match tryInside (folderOf file) path with
            | Some full -> Ok full
            | None ->
                badAt
                    file
                    at
                    $"\"{path}\" leads out of the data set's folder; give a path inside it, or an absolute one"

    /// A file's name without the ending of an image.
    let withoutEnding (name: string) =
        [ ".gz"; ".nii"; ".mha"; ".mhd"; ".nrrd" ]
        |> List.fold
            (fun (n: string) (ending: string) ->
                if n.EndsWith(ending, StringComparison.OrdinalIgnoreCase) then
                    n.Substring(0, n.Length - ending.Length)
                else
                    n)
            name

    /// The subjects' names: those of their files; with the folder below the data set's where that is not enough.
    let names (file: string) (images: string list) : Result<string list, Error> =
        let folder = folderOf file

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
        | Some name -> bad file $"lists the image {name} twice" "list each image once"
        | None ->
            let clashing = repeated short

            images
            |> List.map (fun path ->
                if clashing.Contains(short path) then
                    long path
                else
                    short path)
            |> Ok

    /// A text of a JSON file; nothing for anything else, also for one with half a character.
    let textOf (element: System.Text.Json.JsonElement) : string option =
        Codec.string.Decode "" element |> Result.toOption

    /// The names of labels from `"labels"` as MSD (`{"1": "liver"}`) and nnU-Net (`{"liver": 1}`) write them; what cannot be
    /// read so is left out, since no score depends on it.
    let labelNames (labels: System.Text.Json.JsonElement option) : Map<int, string> =
        match labels with
        | Some element when element.ValueKind = System.Text.Json.JsonValueKind.Object ->
            [
                for property in element.EnumerateObject() do
                    match Int32.TryParse property.Name, property.Value.ValueKind with
                    | (true, label), _ when (textOf property.Value).IsSome ->
                        label, (textOf property.Value).Value
                    | (false, _), System.Text.Json.JsonValueKind.Number ->
                        match property.Value.TryGetInt32() with
                        | true, label -> label, property.Name
                        | _ -> ()
                    | _ -> ()
            ]
            |> List.filter (fun (label, _) -> label <> 0)
            |> Map.ofList
        | _ -> Map.empty

    /// A data set of these subjects in the order of their names.
    let dataset name licence labels parts (subjects: Subject list) : Dataset =
        {
            Name = name
            Licence = licence
            Subjects = subjects |> List.sortWith (fun a b -> String.CompareOrdinal(a.Name, b.Name))
            Parts = parts
            LabelNames = labels
        }

    /// A part of one share.
    let part name pairing (subjects: string list) : DataPart =
        {
            Name = name
            Problem = None
            Shares =
                [
                    {
                        Subjects = subjects
                        Fraction = 1.0
                        Pairing = pairing
                    }
                ]
        }

    let private numbersOf (line: string) : float[] =
        line.Split(',')
        |> Array.map (fun word ->
            match Double.TryParse(word, Globalization.CultureInfo.InvariantCulture) with
            | true, value -> value
            | _ -> nan)

    /// The points of the lines of a file without a header, in voxels of a grid.
    let private voxelPoints (path: string) (lines: string[]) (grid: Grid) : Result<Landmarks, Error> =
        let point (index: int, line: string) =
            match numbersOf line with
            | [| x; y; z |] when Double.IsFinite(x + y + z) ->
                let struct (px, py, pz) = grid.VoxelToWorld.Apply(x, y, z)
                Ok(Some(px, py, pz))
            | _ -> bad path $"line {index + 1} is not a point" "write x,y,z in voxels on each line"

        Array.indexed lines
        |> Array.filter (fun (_, line) -> line.Trim() <> "")
        |> List.ofArray
        |> List.traverseResultM point
        |> Result.map Array.ofList

    let private readPoints (image: string) (path: string) : Landmarks =
        let points = PointFile.Read path

        let world =
            if points.Frame = PointFrame.Voxel then
                points.ToWorld(ImageFile.ReadGrid image)
            else
                points.ToWorld null

        [| for struct (x, y, z) in world -> Some(x, y, z) |]

    /// Landmarks of a point file in world millimetres. `bare`: a file of three columns without a header counts voxels.
    let landmarks (bare: bool) (image: string) (path: string) : Result<Landmarks, Error> =
        Error.guardResult (fun () ->
            let lines = if bare then TextFile.readLines path else [||]

            match Array.tryHead lines with
            | Some first when numbersOf first |> Array.forall Double.IsFinite ->
                voxelPoints path lines (ImageFile.ReadGrid image)
            | _ -> Ok(readPoints image path))

    /// The same, read when it is needed.
    let storedLandmarks (bare: bool) (image: string) (path: string) : Stored<Landmarks> =
        Stored.file (landmarks bare image >> Error.orRaise) path
