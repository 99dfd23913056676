namespace Ldr

open System
open System.Collections.Generic
open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// Displacement fields for pairs of a data set, one file each, in a folder: what a student learns from when its teacher is not
/// run beside it.
///
/// `FIXED--MOVING.safetensors` is written by `ldr-fs teach`: tensor `field` [3, Z, Y, X] in half precision, in voxels of the
/// training grid, after the initial alignment. `FIXED--MOVING.nii.gz` (or `.nii`) may come from any other program: a
/// displacement field from fixed to moving, mm, LPS, on any grid. `store.json` says what the former belong to.
[<NoComparison>]
type FieldStore =
    {
        Folder: string
        /// What the fields of `ldr-fs teach` were made for; nothing in a folder that was filled by other programs.
        Origin: StoreOrigin option
    }

/// Which teacher filled a store, and how its pairs were prepared.
and StoreOrigin =
    {
        /// The SHA-256 of the teacher's model file, or `OptimisedField.teacher`.
        Teacher: string
        Data: string
        Size: int * int * int
        Spacing: float * float * float
        Intensity: IntensityRule
        Alignment: Alignment
    }

module FieldStore =
    let private tensor = "field"

    let private origin: Codec<StoreOrigin> =
        codec {
            let! teacher = required "teacher" Codec.string _.Teacher
            and! data = required "data" Codec.string _.Data
            and! size = required "size" RuntimeCodecs.gridSize _.Size
            and! spacing = required "spacing" RuntimeCodecs.spacing _.Spacing
            and! intensity = required "intensity" RuntimeCodecs.intensity _.Intensity
            and! alignment = required "alignment" RuntimeCodecs.alignment _.Alignment

            return
                {
                    Teacher = teacher
                    Data = data
                    Size = size
                    Spacing = spacing
                    Intensity = intensity
                    Alignment = alignment
                }
        }

    let private originFile folder = Path.Combine(folder, "store.json")

    let private bad folder problem remedy = Error(BadFile(folder, problem, remedy))

    /// Opens a folder of fields.
    let openFolder (folder: string) : Result<FieldStore, Error> =
        let file = originFile folder

        if File.Exists file then
            Codec.ofFile file origin
            |> Result.map (fun origin ->
                {
                    Folder = folder
                    Origin = Some origin
                })
        else
            Ok { Folder = folder; Origin = None }

    /// Opens a folder of fields for writing, or makes it; one that holds fields of another teacher or data is refused.
    let create (folder: string) (wanted: StoreOrigin) : Result<FieldStore, Error> =
        result {
            Directory.CreateDirectory folder |> ignore
            let! store = openFolder folder

            match store.Origin with
            | Some found when found <> wanted ->
                return!
                    bad
                        folder
                        "holds the fields of another teacher, or for other data"
                        "choose another folder by --output"
            | Some _ -> return store
            | None ->
                AtomicFile.WriteText(originFile folder, Codec.toText origin wanted + "\n")
                return { store with Origin = Some wanted }
        }

    /// A name as a part of a file's: a slash of a name such as `sliver/1` becomes `%2F`.
    let fileName (name: string) =
        name.Replace("%", "%25").Replace("/", "%2F").Replace("\\", "%5C")

    let private path (store: FieldStore) (names: string * string) (ending: string) =
        Path.Combine(store.Folder, $"{fileName (fst names)}--{fileName (snd names)}{ending}")

    /// What to do where a pair has no field.
    let remedy (names: string * string) =
        $"run ldr-fs teach with the same data, split, seed and pairs, or put {fileName (fst names)}--{fileName (snd names)}.nii.gz there"

    /// What the fields of a teacher are for: of a model file, or of `OptimisedField.teacher`.
    let originOf (data: DataOptions) (dataset: string) (teacher: string) : StoreOrigin =
        {
            Teacher =
                if teacher = OptimisedField.teacher then
                    teacher
                else
                    Checkpoint.digest teacher
            Data = dataset
            Size = data.Size
            Spacing = data.Spacing
            Intensity = data.Intensity
            Alignment = data.Alignment
        }

    /// Whether there is a field of `ldr-fs teach` for a pair of subjects (fixed, moving).
    let has (store: FieldStore) (names: string * string) =
        File.Exists(path store names ".safetensors")

    /// The field of another program for a pair of subjects (fixed, moving).
    let private foreign (store: FieldStore) (names: string * string) : string option =
        [ ".nii.gz"; ".nii" ] |> List.map (path store names) |> List.tryFind File.Exists

    /// Whether there is a field for a pair of subjects (fixed, moving), by whatever program.
    let holds (store: FieldStore) (names: string * string) =
        has store names || (foreign store names).IsSome

    /// Writes a field [3, Z, Y, X] in voxels of the pair's training grid.
    let write (store: FieldStore) (names: string * string) (grid: Grid) (vectors: float32[]) =
        let shape = [| 3L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]

        Safetensors.Write(
            path store names ".safetensors",
            Dictionary<string, string>(),
            [| SafeTensor.FromFloats(tensor, shape, vectors, true) |]
        )

    let private readOwn (file: string) (grid: Grid) : Result<float32[], Error> =
        let shape = [| 3L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]

        match (Safetensors.Read file).Tensors |> Seq.tryFind (fun t -> t.Name = tensor) with
        | Some t when t.Shape = shape && t.IsFloatingPoint -> Ok(t.ToFloats())
        | _ ->
            let size = shape |> Array.map string |> String.concat "×"
            bad file $"holds no field of {size} numbers" "write it anew with ldr-fs teach"

    /// From a field of the world (fixed to moving) to the field that is left after the pair's initial alignment, in voxels of
    /// its grid: Initial(x + d(x)) = x + u(x).
    let private fromWorld (pair: PreparedPair) (field: DisplacementField) : float32[] =
        let grid = pair.Grid
        let back = pair.Initial.Inverse().Then grid.WorldToVoxel
        let count = int grid.Count
        let vectors = Array.zeroCreate (3 * count)

        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                for x in 0 .. grid.Nx - 1 do
                    let struct (wx, wy, wz) = grid.VoxelToWorld.Apply(float x, float y, float z)
                    let struct (mx, my, mz) = field.MapPoint(wx, wy, wz)
                    let struct (vx, vy, vz) = back.Apply(mx, my, mz)
                    let at = (z * grid.Ny + y) * grid.Nx + x
                    vectors[at] <- float32 (vx - float x)
                    vectors[count + at] <- float32 (vy - float y)
                    vectors[2 * count + at] <- float32 (vz - float z)

        vectors

    /// The field of a pair of subjects (fixed, moving), [3, Z, Y, X] in voxels of the pair's grid. A pair without one is bad
    /// input.
    let read (store: FieldStore) (names: string * string) (pair: PreparedPair) : Result<float32[], Error> =
        let own = path store names ".safetensors"

        if File.Exists own then
            readOwn own pair.Grid
        else
            match foreign store names with
            | Some file -> Ok(fromWorld pair (Nifti.ReadField file))
            | None ->
                bad
                    store.Folder
                    $"has no field for the pair of {fst names} (fixed) and {snd names} (moving)"
                    (remedy names)
