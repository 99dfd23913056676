namespace Ldr

open System
open System.IO
open PureHDF
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// Transforms in every format: those of `TransformFile`, and ITK's composite `.h5`.
module TransformStore =
    /// The first spelling is today's, the second that of ITK before 4.13.
    let private parameterKeys = [ "TransformParameters"; "TranformParameters" ]

    let private fixedKeys = [ "TransformFixedParameters"; "TranformFixedParameters" ]

    let private bad path problem remedy =
        raise (InvalidFileException(path, problem, remedy))

    /// PureHDF trusts sizes: what a file of this length cannot hold is refused before memory is taken.
    let private numbers (path: string) (length: int64) (group: IH5Group) (keys: string list) read =
        match keys |> List.tryFind group.LinkExists with
        | None -> None
        | Some key ->
            let dataset = group.Dataset key

            let count =
                dataset.Space.Dimensions |> Array.fold (fun n size -> n * bigint size) 1I

            if count * 4I > bigint length * 1032I || count > bigint Array.MaxLength then
                bad
                    path
                    $"declares {count} numbers in {key}, more than it can hold"
                    "copy or download it again"

            Some(read dataset)

    let private asDoubles (dataset: IH5Dataset) =
        if dataset.Type.Size = 4 then
            dataset.Read<float32[]>() |> Array.map float
        else
            dataset.Read<float[]>()

    let private asFloats (dataset: IH5Dataset) =
        if dataset.Type.Size = 4 then
            dataset.Read<float32[]>()
        else
            dataset.Read<float[]>() |> Array.map float32

    let private readPart path length (group: IH5Group) : Transform option =
        let name = group.Dataset "TransformType"

        let kind =
            if name.Space.Dimensions.Length = 0 then
                Some(name.Read<string>())
            else
                name.Read<string[]>() |> Array.tryHead

        match kind with
        | None -> bad path "has a transform without a type" "write it again with ITK"
        | Some kind ->
            let fixedParameters =
                numbers path length group fixedKeys asDoubles |> Option.defaultValue [||]

            let head = ItkTransform(kind, [||], fixedParameters)

            if head.IsComposite then
                None
            elif head.IsField then
                let grid = ItkTransform.FieldGrid(path, fixedParameters)

                match numbers path length group parameterKeys asFloats with
                | Some vectors -> Some(Transform.Dense(ItkTransform.ToField(path, grid, vectors)))
                | None -> bad path "has a field without vectors" "write it again with ITK"
            else
                let parameters =
                    numbers path length group parameterKeys asDoubles |> Option.defaultValue [||]

                Some(Transform.Linear(ItkTransform(kind, parameters, fixedParameters).ToAffine path))

    let private readHdf5 (path: string) : Transform =
        try
            let length = FileInfo(path).Length
            use file = Hdf5.openRead path

            if not (file.LinkExists "TransformGroup") then
                bad path "is an HDF5 file without transforms" "ITK writes them in a group 'TransformGroup'"

            let group = file.Group "TransformGroup"

            let parts =
                Seq.initInfinite string
                |> Seq.takeWhile group.LinkExists
                |> Seq.choose (fun name -> readPart path length (group.Group name))
                |> List.ofSeq

            if parts.IsEmpty then
                bad path "holds no transform" "write it again with ITK"

            Transform.Compose parts
        with
        | :? InvalidFileException -> reraise ()
        | :? OutOfMemoryException ->
            bad path "is too large for this machine's memory" "crop or resample it first"
        | e -> bad path $"is a damaged HDF5 file ({e.Message})" "copy or download it again"

    let private writeHdf5 (path: string) (transform: Transform) =
        let group kind =
            let g = H5Group()
            g["TransformType"] <- H5Dataset [| kind |]
            g

        let parts =
            match transform with
            | :? Transform.Sequence as sequence -> List.ofSeq sequence.Parts
            | single -> [ single ]

        let groups = H5Group()
        groups["0"] <- group "CompositeTransform_double_3_3"

        parts
        |> List.iteri (fun i part ->
            let name = string (i + 1)

            match part with
            | :? Transform.Linear as linear ->
                let itk = ItkTransform.Of linear.World
                let g = group itk.Type
                g[fixedKeys.Head] <- H5Dataset itk.Fixed
                g[parameterKeys.Head] <- H5Dataset itk.Parameters
                groups[name] <- g
            | :? Transform.Dense as dense ->
                let g = group "DisplacementFieldTransform_float_3_3"
                g[fixedKeys.Head] <- H5Dataset(ItkTransform.FieldGrid dense.Field.Grid)
                g[parameterKeys.Head] <- H5Dataset(ItkTransform.Vectors dense.Field)
                groups[name] <- g
            | _ -> invalidArg (nameof transform) "inverses are written as fields")

        let file = H5File()
        file["ITKVersion"] <- H5Dataset [| "5.0.0" |]
        file["HDFVersion"] <- H5Dataset [| "1.10.4" |]
        file["OSName"] <- H5Dataset [| "Linux" |]
        file["OSVersion"] <- H5Dataset [| "" |]
        file["TransformGroup"] <- groups
        AtomicFile.Write(path, (fun stream -> file.Write stream))

    /// Whether a composite can be written under this name.
    let isCompositeName (path: string) =
        path.EndsWith(".h5", StringComparison.OrdinalIgnoreCase)
        || path.EndsWith(".hdf5", StringComparison.OrdinalIgnoreCase)

    /// Whether a transform can be written under this name.
    let canWrite path =
        isCompositeName path
        || TransformFile.IsFieldName path
        || TransformFile.IsAffineName path

    /// Reads a transform; the grids are those of the fixed and the moving scan, which only FSL's matrices need.
    let read (fixedGrid: Grid option) (movingGrid: Grid option) (path: string) : Transform =
        if TransformFile.IsHdf5 path then
            readHdf5 path
        else
            TransformFile.Read(path, Option.toObj fixedGrid, Option.toObj movingGrid)

    /// The grid on which a transform is made dense when none is given: that of its field that meets points of the fixed scan
    /// first.
    let rec ownGrid (transform: Transform) : Grid option =
        match transform with
        | :? Transform.Dense as dense -> Some dense.Field.Grid
        | :? Transform.Inverted as inverted -> Some inverted.Field.Grid
        | :? Transform.Sequence as sequence ->
            sequence.Parts |> Seq.rev |> Seq.tryPick (fun part -> ownGrid part)
        | _ -> None

    let private dense path (grid: Grid option) (transform: Transform) =
        match grid |> Option.orElse (ownGrid transform) with
        | Some grid ->
            Budget.CheckField(path, grid)
            transform.ToField grid
        | None ->
            bad
                path
                "is to hold a displacement field, and an affine map has no grid of its own"
                "give one with --reference, or let the name end in .txt, .tfm, .mat or .h5"

    /// Writes a transform in the format of the name: an affine map, a field on the grid (the transform's own when none is
    /// given), or a list; `voxels` for the layout of Learn2Reg.
    let write (grid: Grid option) (voxels: bool) (path: string) (transform: Transform) : unit =
        if isCompositeName path then
            let rec writable (part: Transform) : Transform =
                match part with
                | :? Transform.Inverted -> Transform.Dense(dense path grid part)
                | :? Transform.Sequence as sequence ->
                    Transform.Compose(sequence.Parts |> Seq.map (fun part -> writable part))
                | other -> other

            writeHdf5
                path
                (match grid, ownGrid transform with
                 | Some _, Some _ -> Transform.Dense(dense path grid transform) :> Transform
                 | _ -> writable transform)
        elif TransformFile.IsAffineName path then
            match transform with
            | :? Transform.Linear as linear -> TransformFile.WriteAffine(path, linear.World)
            | _ ->
                bad
                    path
                    "can hold an affine map only, and this transform has a displacement field"
                    $"let the name end in .h5, or for a field in {TransformFile.FieldExtensions}"
        else
            TransformFile.WriteField(path, dense path grid transform, voxels)
