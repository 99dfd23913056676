namespace Ldr

open System
open System.Collections.Concurrent
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open System.Text
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

/// Where decoded scans are kept, and how many bytes of them at most.
type VolumeCache = { Folder: string; MostBytes: int64 }

/// Decoded scans on disk, so that a data set that does not fit into memory is decoded once. A file is named by what it was made
/// of (the scan's path, size and time, and how it was prepared), so it is never out of date; it has a digest, so one that was
/// damaged is not used. It appears by a rename: a process that is killed leaves no part, and two processes that write the same
/// one do no harm. Only its own files are ever removed: temporary ones by `AtomicFile`, others by
/// the form of their names, and no links. Below the folder of temporary files its folder is private: it belongs to the user, and
/// nobody else may enter it; where that cannot be had, nothing is kept. Whatever goes wrong with the cache costs time and nothing else: the scan is decoded again.
module VolumeCache =
    /// Changes whenever the files' form or the decoding does.
    let private version = "LDRVOL01"

    /// Magic, sizes along x, y, z, twelve numbers of the affine map; a digest; the values.
    let private headBytes = 8 + 3 * 4 + 12 * 8

    let private digestBytes = SHA256.HashSizeInBytes

    /// Disk space that is left free.
    let private spareBytes = 1L <<< 30

    /// What this process has checked, and does not remove.
    let private known = ConcurrentDictionary<string, bool>()

    let private variable name =
        match Environment.GetEnvironmentVariable name with
        | null
        | "" -> None
        | text -> Some text

    let private gigabytes () : Result<float, Error> =
        match variable "LDR_CACHE_GB" with
        | None -> Ok 50.0
        | Some text ->
            match Double.TryParse(text, Globalization.CultureInfo.InvariantCulture) with
            | true, value when value >= 0.0 && value <= 1e6 -> Ok value
            | _ -> Error(BadInput $"LDR_CACHE_GB is \"{text}\"; give a number of gigabytes, 0 or more")

    /// By the environment variables `LDR_CACHE` (a folder, default `ldr-cache-USER` below that of temporary files) and
    /// `LDR_CACHE_GB` (default 50; 0: nothing is kept).
    let standard () : Result<VolumeCache, Error> =
        gigabytes ()
        |> Result.map (fun gigabytes ->
            {
                Folder =
                    variable "LDR_CACHE"
                    |> Option.defaultWith (fun () ->
                        Path.Combine(Path.GetTempPath(), $"ldr-cache-{Environment.UserName}"))
                MostBytes = int64 (gigabytes * 1e9)
            })

    /// The cache's file of a scan; nothing where its file cannot say whether it has changed.
    let private placeOf (cache: VolumeCache) (source: string) (what: string) : string option =
        let info = FileInfo source

        // These are headers of a file beside them.
        let isHeader =
            [ ".mhd"; ".nhdr" ] |> List.contains (info.Extension.ToLowerInvariant())

        if isHeader || not info.Exists then
            None
        else
            let key =
                $"{version}\n{info.FullName}\n{info.Length}\n{info.LastWriteTimeUtc.Ticks}\n{what}"
                |> Encoding.UTF8.GetBytes
                |> SHA256.HashData
                |> Convert.ToHexStringLower

            Some(Path.Combine(cache.Folder, key + ".vol"))

    let private encode (volume: Volume) : byte[] =
        let grid = volume.Grid
        let head = Array.zeroCreate headBytes
        use writer = new BinaryWriter(new MemoryStream(head))
        writer.Write(Encoding.ASCII.GetBytes version)

        for size in [ grid.Nx; grid.Ny; grid.Nz ] do
            writer.Write size

        for number in grid.VoxelToWorld.ToRows() |> Array.truncate 12 do
            writer.Write number

        head

    let private digestOf (head: byte[]) (values: float32[]) : byte[] =
        use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        hash.AppendData head
        hash.AppendData(MemoryMarshal.AsBytes(ReadOnlySpan values))
        hash.GetHashAndReset()

    /// Reads a file of the cache; nothing where it is not there or not whole.
    let private tryRead (place: string) : Volume option =
        try
            use file = File.OpenRead place
            let head = Array.zeroCreate headBytes
            file.ReadExactly(Span head)
            use reader = new BinaryReader(new MemoryStream(head))
            let magic = Encoding.ASCII.GetString(reader.ReadBytes 8)
            let nx, ny, nz = reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32()
            let rows = Array.init 12 (fun _ -> reader.ReadDouble())
            let digest = Array.zeroCreate digestBytes
            file.ReadExactly(Span digest)
            let count = (file.Length - int64 headBytes - int64 digestBytes) / 4L

            if magic <> version || bigint nx * bigint ny * bigint nz <> bigint count then
                None
            else
                let values = Array.zeroCreate<float32>(int count)
                file.ReadExactly(MemoryMarshal.AsBytes(Span values))

                if known.ContainsKey place || digestOf head values |> Array.forall2 (=) digest then
                    if known.TryAdd(place, true) then
                        // When it was used last, for whoever makes room.
                        File.SetLastWriteTimeUtc(place, DateTime.UtcNow)

                    Some(Volume(Grid(nx, ny, nz, Affine.FromRows rows), values))
                else
                    None
        with
        | :? IOException
        | :? UnauthorizedAccessException
        | :? ArgumentException -> None

    /// Folders that have been found usable.
    let private usable = ConcurrentDictionary<string, bool>()

    let private isTemporary (folder: string) =
        let within =
            Path.TrimEndingDirectorySeparator(FileNode.RealPath(Path.GetTempPath()))

        (FileNode.RealPath folder)
            .StartsWith(within + string Path.DirectorySeparatorChar, StringComparison.Ordinal)

    /// Makes the folder where it is not there; whether it may be used.
    let private prepare (folder: string) : bool =
        try
            (Directory.Exists folder && not (isTemporary folder))
            || PrivateFolder.TryMake folder
        with
        | :? InvalidFileException
        | :? IOException
        | :? UnauthorizedAccessException -> false

    let private isUsable (cache: VolumeCache) : bool =
        let found = usable.ContainsKey cache.Folder || prepare cache.Folder

        if found then
            usable[cache.Folder] <- true

        found

    /// The letters of a SHA-256.
    let private digits = 2 * SHA256.HashSizeInBytes

    /// Whether a file is of a cache: a SHA-256 is its name, and it is no link.
    let private isOwn (file: FileInfo) =
        file.Extension = ".vol"
        && file.Name.Length = digits + file.Extension.Length
        && file.Name |> Seq.take digits |> Seq.forall Char.IsAsciiHexDigitLower
        && isNull file.LinkTarget

    /// Removes what was used least lately until so many bytes more have room; whether they have.
    let private makeRoom (cache: VolumeCache) (bytes: int64) : bool =
        let files = DirectoryInfo(cache.Folder).GetFiles() |> Array.filter isOwn

        let others =
            files
            |> Array.filter (fun file -> not (known.ContainsKey file.FullName))
            |> Array.sortBy _.LastWriteTimeUtc

        let mutable excess = (files |> Array.sumBy _.Length) + bytes - cache.MostBytes

        for file in others do
            if excess > 0L then
                excess <- excess - file.Length
                file.Delete()

        excess <= 0L
        && DriveInfo(Path.GetFullPath cache.Folder).AvailableFreeSpace > bytes + spareBytes

    let private write (cache: VolumeCache) (place: string) (volume: Volume) : unit =
        try
            let folder = DirectoryInfo cache.Folder
            let bytes = 4L * volume.Grid.Count + int64 (headBytes + digestBytes)

            // It has been found usable before anything was read; it may have been removed meanwhile.
            let isThere = Directory.Exists cache.Folder || prepare cache.Folder

            if isThere && makeRoom { cache with Folder = folder.FullName } bytes then
                let head = encode volume

                AtomicFile.Write(
                    place,
                    fun stream ->
                        stream.Write(ReadOnlySpan head)
                        stream.Write(ReadOnlySpan(digestOf head volume.Values))
                        stream.Write(MemoryMarshal.AsBytes(ReadOnlySpan volume.Values))
                )

                known[place] <- true
        with
        | :? InvalidFileException
        | :? IOException
        | :? UnauthorizedAccessException -> ()

    /// Reads a scan from the cache, or decodes it and keeps it. `source` is the file that it comes from, `what` says which of its
    /// contents, and how it was prepared.
    let read (cache: VolumeCache) (source: string) (what: string) (decode: unit -> Volume) : Volume =
        match placeOf cache source what with
        | Some place when cache.MostBytes > 0L && isUsable cache ->
            match tryRead place with
            | Some volume -> volume
            | None ->
                known.TryRemove place |> ignore
                let volume = decode ()
                write cache place volume
                volume
        | _ -> decode ()
