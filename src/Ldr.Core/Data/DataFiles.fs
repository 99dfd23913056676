namespace Ldr

open System
open System.IO
open Ldr.Runtime.Formats

/// What the readers of data set forms share.
module internal DataFiles =
    /// Raises what is wrong at one place of a JSON file.
    let badAt (file: string) (path: string) (problem: string) =
        raise (Error.Raised(BadJson(file, [ { Path = path; Problem = problem } ])))

    let bad (file: string) problem remedy =
        raise (Error.Raised(BadFile(file, problem, remedy)))

    /// Reads a JSON file of somebody else's.
    let readJson (codec: Codec<'a>) (file: string) : 'a =
        Codec.ofFile file codec |> Error.orRaise

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
    let inside (file: string) (at: string) (path: string) : string =
        if path.Contains '\000' || path = "" then
            badAt file at "expected the path of a file"

        match tryInside (folderOf file) path with
        | Some full -> full
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
    let names (file: string) (images: string list) : string list =
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

    /// Landmarks of a point file in world millimetres. `bare`: a file of three columns without a header counts voxels.
    let landmarks (bare: bool) (image: string) (path: string) : Landmarks =
        let grid () = ImageFile.ReadGrid image

        let numbers (line: string) =
            line.Split(',')
            |> Array.map (fun word ->
                match Double.TryParse(word, Globalization.CultureInfo.InvariantCulture) with
                | true, value -> value
                | _ -> nan)

        let lines () =
            Error.guard (fun () -> File.ReadAllLines path) |> Error.orRaise

        let headerless =
            bare
            && lines ()
               |> Seq.truncate 1
               |> Seq.exists (fun line -> numbers line |> Array.forall Double.IsFinite)

        if headerless then
            let own = grid ()

            [|
                for index, line in Array.indexed (lines ()) do
                    if line.Trim() <> "" then
                        match numbers line with
                        | [| x; y; z |] when Double.IsFinite(x + y + z) ->
                            let struct (px, py, pz) = own.VoxelToWorld.Apply(x, y, z)
                            Some(px, py, pz)
                        | _ ->
                            bad path $"line {index + 1} is not a point" "write x,y,z in voxels on each line"
            |]
        else
            let points = PointFile.Read path

            let world =
                if points.Frame = PointFrame.Voxel then
                    points.ToWorld(grid ())
                else
                    points.ToWorld null

            [| for struct (x, y, z) in world -> Some(x, y, z) |]
