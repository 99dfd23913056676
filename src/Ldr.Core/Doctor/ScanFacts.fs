namespace Ldr

open System
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open System.Text
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

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
        /// What all values are multiples of, where that is no whole number: the step of the scan's scaling, which two scans cut
        /// from one share.
        Quantum: float option
        /// The scan as a few numbers of mean 0 and length 1, to find nearly equal ones; empty for a scan of one value.
        Thumbnail: float32[]
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

    /// Scans with more different values than this are taken to have no quantum.
    let private mostSteps = 20_000

    let private quantum (volume: Volume) : float option =
        let values =
            volume.Values
            |> Array.filter (fun v -> Single.IsFinite v && v > 0.0f)
            |> Array.distinct

        if values.Length < 8 || values.Length > mostSteps then
            None
        else
            Array.sortInPlace values
            let values = values |> Array.map float
            let gaps = Array.pairwise values |> Array.map (fun (a, b) -> b - a)
            // Rounding makes gaps a little unequal: what most multiples agree on.
            let least = Array.min gaps
            let isStep gap = gap < 1.5 * least
            let step = gaps |> Array.filter isStep |> Array.average
            let steps = values |> Array.map (fun v -> round (v / step))
            let fitted = Array.sum values / Array.sum steps

            let fits =
                Array.forall2 (fun v n -> abs (v - n * fitted) < 0.02 * fitted) values steps

            if fits && abs (fitted - round fitted) > 1e-3 * fitted then
                Some fitted
            else
                None

    /// Along each side of a thumbnail.
    let private side = 12

    let private thumbnail (volume: Volume) : float32[] =
        let g = volume.Grid

        let values =
            Array.init (side * side * side) (fun i ->
                let at place size =
                    int ((float place + 0.5) * float size / float side)

                let x, y, z =
                    at (i % side) g.Nx, at (i / side % side) g.Ny, at (i / (side * side)) g.Nz

                let v = volume.Values[x + g.Nx * (y + g.Ny * z)]
                if Single.IsFinite v then float v else 0.0)

        let mean = Array.average values
        let rest = values |> Array.map (fun v -> v - mean)
        let length = sqrt (rest |> Array.sumBy (fun v -> v * v))

        if length > 0.0 then
            rest |> Array.map (fun v -> float32 (v / length))
        else
            [||]

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
            Quantum = quantum volume
            Thumbnail = thumbnail volume
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
