namespace Ldr

open System
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open System.Text
open Ldr.Runtime

/// Where one scan or label map comes from.
[<NoEquality; NoComparison>]
type ScanSource =
    | ScanFile of path: string
    /// Not a file of its own: made by the program, or a part of a collection.
    | ScanMade of read: (unit -> Volume)

/// What was found in one scan or label map; its voxels are gone.
[<NoEquality; NoComparison>]
type ScanFacts =
    {
        Grid: Grid
        StoredAs: string
        /// What the file's header leaves unclear.
        FormsDisagree: bool
        NoPosition: bool
        /// Smallest and largest finite value.
        Low: float
        High: float
        NotFinite: int64
        Census: LabelCensus
        /// SHA-256 of sizes and values.
        Digest: string
    }

/// Why nothing could be found: the kind of a finding, what is wrong and what would be right.
type Unreadable =
    {
        Kind: string
        Problem: string
        Remedy: string
    }

module ScanFacts =
    /// Millimetres along x, y, z.
    let spacing (facts: ScanFacts) : float * float * float =
        let struct (x, y, z) = facts.Grid.Spacing
        x, y, z

    let private digest (volume: Volume) =
        let grid = volume.Grid
        use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        hash.AppendData(Encoding.ASCII.GetBytes $"{grid.Nx} {grid.Ny} {grid.Nz} ")
        hash.AppendData(MemoryMarshal.AsBytes(ReadOnlySpan volume.Values))
        Convert.ToHexStringLower(hash.GetHashAndReset())

    let private ofVolume (disagree: bool) (noPosition: bool) (stored: string) (volume: Volume) : ScanFacts =
        let struct (low, high) = volume.Range
        let mutable notFinite = 0L

        for value in volume.Values do
            if not (Single.IsFinite value) then
                notFinite <- notFinite + 1L

        {
            Grid = volume.Grid
            StoredAs = stored
            FormsDisagree = disagree
            NoPosition = noPosition
            Low = float low
            High = float high
            NotFinite = notFinite
            Census = LabelMap.census volume
            Digest = digest volume
        }

    /// Reads one file, and forgets its voxels. A file with several volumes, or that is a field, is not read.
    let ofFile (path: string) : Result<ScanFacts, Unreadable> =
        let refuse kind problem remedy =
            Error
                {
                    Kind = kind
                    Problem = problem
                    Remedy = remedy
                }

        try
            if not (File.Exists path || Directory.Exists path) then
                refuse "missing-file" "is not there" "get it, or take it out of the list"
            else

                let header =
                    if ImageFile.IsNifti path then
                        Some(Nifti.ReadHeader path)
                    else
                        None

                let volumes = ImageFile.CountVolumes path

                if header |> Option.exists _.IsField then
                    refuse
                        "displacement-field"
                        "is a displacement field, not a scan"
                        "take it out of the list"
                elif volumes > 1L then
                    refuse
                        "several-volumes"
                        $"holds {volumes} volumes (or numbers per voxel) where one is wanted"
                        "write the one that is meant as a 3-D file"
                else
                    let volume = ImageFile.Read path

                    let stored =
                        match header with
                        | Some header -> header.StoredAs
                        | None -> volume.StoredAs

                    Ok(
                        ofVolume
                            (header |> Option.exists _.FormsDisagree)
                            (header |> Option.exists (fun h -> h.AffineSource = "pixdim"))
                            (string stored |> _.ToLowerInvariant())
                            volume
                    )
        with :? InvalidFileException as error ->
            refuse "unreadable" error.Problem error.Remedy

    let read (source: ScanSource) : Result<ScanFacts, Unreadable> =
        match source with
        | ScanFile path -> ofFile path
        | ScanMade make ->
            match Error.guard make with
            | Ok volume -> Ok(ofVolume false false (string volume.StoredAs |> _.ToLowerInvariant()) volume)
            | Error error ->
                Error
                    {
                        Kind = "unreadable"
                        Problem = String.concat "; " (Error.lines error)
                        Remedy = "mend the file"
                    }
