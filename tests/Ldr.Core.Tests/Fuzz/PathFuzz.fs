/// Random trees of files and links, and pairs of header and voxels: what is written is what is read again, no input and no
/// stranger's file changes, and nothing is read from elsewhere. `LDR_FUZZ` as for `FuzzTests`.
module Ldr.Core.Tests.Fuzz.PathFuzz

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.IO.Compression
open System.Text
open System.Threading.Tasks
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.Fuzz.FuzzTests

/// A finding, which ends its trial.
exception Wrong of string

let wrong text = raise (Wrong text)

/// Runs so many trials of a kind, each with random numbers and a folder of its own. What a trial raises is a finding.
let trials (inMemory: bool) (name: string) (count: int) (trial: Random -> string -> unit) =
    testCase
        name
        (inFolder (fun own ->
            // Files in memory where there are such: each write waits for its disk.
            let root =
                if inMemory && Directory.Exists "/dev/shm" then
                    $"/dev/shm/ldr-fuzz-{Guid.NewGuid():N}"
                else
                    own

            Directory.CreateDirectory root |> ignore

            use _ =
                { new IDisposable with
                    member _.Dispose() =
                        if root <> own then
                            Directory.Delete(root, true)
                }

            let clock = Stopwatch.StartNew()
            let findings = ResizeArray<int * string>()
            let mutable slowest = 0.0

            for index in 0 .. count - 1 do
                let folder = root </> string index
                Directory.CreateDirectory folder |> ignore
                let began = clock.Elapsed.TotalSeconds

                let work = Task.Run(fun () -> trial (Random(seedFor name index)) folder)

                try
                    // Processes beside busy ones take their time.
                    if work.Wait(if inMemory then 30_000 else 300_000) then
                        Directory.Delete(folder, true)
                    else
                        findings.Add(index, "hangs")
                with :? AggregateException as e ->
                    let error = e.GetBaseException()

                    findings.Add(
                        index,
                        match error with
                        | Wrong text -> text
                        | _ -> $"{error.GetType().Name}: {error.Message} {error.StackTrace}"
                    )

                slowest <- max slowest (clock.Elapsed.TotalSeconds - began)

            if total > 2000 then
                printfn
                    "%-16s %d cases, %d findings, %.0f s, at most %.2f s"
                    name
                    count
                    findings.Count
                    clock.Elapsed.TotalSeconds
                    slowest

            let kinds =
                findings
                |> Seq.groupBy (fun (_, what) -> what[.. min what.Length 50 - 1])
                |> Seq.map (fun (_, alike) ->
                    let index, what = Seq.head alike
                    $"{Seq.length alike} like number {index}: {what[.. min what.Length 2500 - 1]}")
                |> List.ofSeq

            Expect.isEmpty kinds (String.concat "\n" kinds)))

let pick (random: Random) (items: 'a list) = items[random.Next items.Length]

let private imageOf (value: int) =
    Volume(Grid(3, 2, 2, Affine.Identity), Array.create 12 (float32 value), VoxelType.Int16)

let private tryRead (path: string) : float32[] option =
    try
        Some (ImageFile.Read path).Values
    with :? InvalidFileException ->
        None

/// Every file below a folder by its path, links not followed; and every link with its target.
let private snapshot (root: string) =
    let files, links = Dictionary<string, byte[]>(), Dictionary<string, string>()

    let rec walk (folder: string) =
        for entry in DirectoryInfo(folder).EnumerateFileSystemInfos() do
            match entry.LinkTarget with
            | NonNull target -> links[entry.FullName] <- target
            | Null ->
                match entry with
                | :? DirectoryInfo -> walk entry.FullName
                | _ -> files[entry.FullName] <- File.ReadAllBytes entry.FullName

    walk root
    files, links

/// Names that a user may give, and that say something in a header, in a pattern or on a command line.
let private stems =
    [
        "a"
        "b"
        "a.1"
        "é"
        "名 前"
        "\U0001F9E0"
        "a%d"
        "LIST"
        "xLIST"
        "local"
        "-x"
        " lead"
        "trail "
        "a=b"
        "a: b"
        "#a"
        "a\nb"
        "a\rb"
        "a\tb"
        ".hidden"
        "a\\b"
    ]

let private endings =
    [ ".nii"; ".nii.gz"; ".mha"; ".mhd"; ".nrrd"; ".nhdr"; ".MHD"; ".mhd"; ".nhdr" ]

/// A tree of folders, images and links.
let private grow (random: Random) (root: string) : string list =
    let folders = ResizeArray [ root ]

    for i in 1 .. random.Next(1, 4) do
        let folder = pick random (List.ofSeq folders) </> $"d{i}"
        Directory.CreateDirectory folder |> ignore
        folders.Add folder

    let files = ResizeArray<string>()

    for i in 1 .. random.Next(1, 5) do
        let path =
            pick random (List.ofSeq folders)
            </> ((if random.Next 3 = 0 then pick random stems else $"f{i}") + pick random endings)

        try
            ImageFile.Write(path, imageOf i)
            files.Add path
        with :? InvalidFileException ->
            ()

    let names = ResizeArray(Seq.append folders files)

    for i in 1 .. random.Next(1, 6) do
        let folder = pick random (List.ofSeq folders)

        let path =
            folder </> (pick random [ $"l{i}"; $"l{i}.nii"; $"l{i}.mhd"; $"l{i}.nhdr" ])

        let target =
            match random.Next 8 with
            | 0 -> Path.GetFileName path |> string
            | 1 -> ".."
            | 2 -> "missing" + pick random endings
            | 3 -> folder </> "missing.nii"
            | _ ->
                let target = pick random (List.ofSeq names)

                if random.Next 2 = 0 then
                    target
                else
                    Path.GetRelativePath(folder, target)

        File.CreateSymbolicLink(path, target) |> ignore
        names.Add path

    List.ofSeq names

/// A way to something in the tree, or to something new there.
let private way (random: Random) (root: string) (names: string list) : string =
    let detour (path: string) =
        let folder, name =
            string (Path.GetDirectoryName path), string (Path.GetFileName path)

        match random.Next 4 with
        | 0 when folder.StartsWith root -> folder </> "." </> name
        | 1 when folder.StartsWith root && folder <> root ->
            folder </> ".." </> string (Path.GetFileName folder) </> name
        | _ -> path

    match random.Next 3 with
    | 0 ->
        let folder = names |> List.filter Directory.Exists |> pick random

        folder
        </> (pick random [ "f1"; "f2"; "new"; "l1"; pick random stems ] + pick random endings)
        |> detour
    | _ -> pick random names |> detour

let private accepts (inputs: string list) (outputs: string list) =
    try
        OutputFiles.CheckApart(inputs, outputs)
        Ok()
    with :? InvalidFileException as error ->
        Error error

/// A path without what a header's words cannot hold: the names of voxels lack it.
let private lettersOf (path: string) =
    path |> String.filter Char.IsAsciiLetterOrDigit

/// Writes outputs that are let through: inputs are as before, each output is what was written last under its name, links stay links,
/// and no other file changes.
let private checkWritten (root: string) (inputs: string list) (outputs: string list) =
    let read = inputs |> List.map (fun path -> path, tryRead path)
    let files, links = snapshot root
    let written = Dictionary<string, int>()

    for value, path in List.indexed outputs do
        try
            AtomicFile.CheckWritable path
            ImageFile.Write(path, imageOf (100 + value))
            written[path] <- 100 + value
        with :? InvalidFileException as error ->
            if error.Message.Contains '\n' then
                wrong $"a line break in {error.Message}"

    for path, before in read do
        if before.IsSome && tryRead path <> before then
            wrong $"the input {path} is not what it was after writing %A{outputs}"

    for KeyValue(path, value) in written do
        match tryRead path with
        | Some values when values = (imageOf value).Values -> ()
        | other -> wrong $"the output {path} is read as %A{other}"

    let after, linksAfter = snapshot root

    for KeyValue(link, target) in links do
        match linksAfter.TryGetValue link with
        | true, now when now = target -> ()
        | _ -> wrong $"the link {link} is gone"

    // Only files that the outputs' names lead to change, and the voxels that their headers named.
    let own = HashSet<string>()

    for KeyValue(path, _) in written do
        own.Add(FileNode.RealPath path) |> ignore

    let stemsOfOwn =
        own
        |> Seq.map (fun file ->
            string (Path.GetDirectoryName file)
            </> string (Path.GetFileNameWithoutExtension file))
        |> List.ofSeq

    for KeyValue(file, bytes) in files do
        let isOwn =
            own.Contains file
            || file.Contains "raw"
               && stemsOfOwn
                  |> List.exists (fun stem -> (lettersOf file).StartsWith(lettersOf stem))

        match after.TryGetValue file with
        | true, now when isOwn || now.AsSpan().SequenceEqual(ReadOnlySpan bytes) -> ()
        | false, _ when isOwn -> ()
        | _ -> wrong $"{file}, of nobody named, changed after writing %A{outputs}"

    for file in after.Keys do
        if file.EndsWith ".tmp" then
            wrong $"{file} is left"

/// An output that is refused because it is read: writing plainly under its name would change what an input's name gives.
let private checkRefused (inputs: string list) (path: string) =
    let content file =
        try
            if File.Exists file then
                Some(File.ReadAllBytes file)
            else
                None
        with :? IOException ->
            None

    let behind =
        inputs
        |> List.collect (fun input ->
            input
            :: [
                for file in Directory.EnumerateFiles(string (Path.GetDirectoryName(FileNode.RealPath input))) do
                    if file.Contains "raw" then
                        file
            ])

    let before = behind |> List.map content

    // The voxels of an output's own header are not written to; what is asked is whether the header's file itself is an input's.
    if
        not (
            path.EndsWith(".mhd", StringComparison.OrdinalIgnoreCase)
            || path.EndsWith ".nhdr"
        )
    then
        try
            File.WriteAllText(path, "changed by a test")

            if (behind |> List.map content) = before then
                wrong $"{path} was refused, and is none of %A{inputs}"
        with
        | :? IOException
        | :? UnauthorizedAccessException -> ()

/// Whether the system opens a file. What .NET says of a link to nothing is that it is there.
let private canOpen (path: string) =
    try
        (File.OpenRead path).Dispose()
        true
    with
    | :? IOException
    | :? UnauthorizedAccessException -> false

let private tree (random: Random) (root: string) =
    let names = grow random root

    let inputs =
        [
            for _ in 1 .. random.Next(1, 4) do
                let path = way random root names

                if canOpen path then
                    path
        ]

    let outputs = [ for _ in 1 .. random.Next(1, 4) -> way random root names ]

    match accepts inputs outputs with
    | Ok() -> checkWritten root inputs outputs
    | Error error when error.Message.Contains "is read too" -> checkRefused inputs error.Path
    | Error error when error.Message.Contains "circle" ->
        if canOpen error.Path then
            wrong $"{error.Path} is there, and told as a circle"
    | Error error when error.Message.Contains "two outputs" ->
        // A plain file under one name is there under the other; what leads in a circle is told later.
        let real = outputs |> List.filter canOpen |> List.map FileNode.RealPath

        let isHeader (path: string) =
            path.EndsWith("hd", StringComparison.OrdinalIgnoreCase) || path.EndsWith "hdr"

        if
            real.Length = outputs.Length
            && List.distinct real = real
            && not (List.exists isHeader outputs)
        then
            wrong $"%A{outputs} are no two names of one file"
    | Error error -> wrong $"refused: {error.Message}"

/// Headers and voxels that belong together, or do not: what is read are the voxels that the header's words say, from its own
/// folder; all else is refused in a line.
let private reading (random: Random) (root: string) =
    let folder = root </> "in"
    Directory.CreateDirectory(folder </> "sub") |> ignore
    let isNrrd = random.Next 2 = 0
    let header = folder </> (if isNrrd then "h.nhdr" else "h.mhd")
    let nx, ny, nz = random.Next(1, 4), random.Next(1, 4), random.Next(1, 4)
    let count = nx * ny * nz
    let big = random.Next 2 = 0
    let values = Array.init count (fun i -> int16 (100 + i))

    let bytes =
        values
        |> Array.collect (fun v ->
            if big then
                BitConverter.GetBytes v |> Array.rev
            else
                BitConverter.GetBytes v)

    let skip = pick random [ 0L; 0L; 0L; 0L; 5L; -1L; -5L; 9_000_000_000_000_000_000L ]
    let packed = random.Next 3 = 0

    let junk =
        if skip > 0L && skip < 100L then Array.create (int skip) 7uy
        elif skip = -1L then Array.create (random.Next 9) 7uy
        else [||]

    let pack (data: byte[]) =
        use result = new MemoryStream()

        (use stream: Stream =
            if isNrrd then
                new GZipStream(result, CompressionLevel.Fastest, true)
            else
                new ZLibStream(result, CompressionLevel.Fastest, true)

         stream.Write(data, 0, data.Length))

        result.ToArray()

    let missing = if random.Next 4 = 0 then random.Next(1, 12) else 0
    let body = if packed then pack bytes else bytes
    let body = body[.. body.Length - 1 - min missing body.Length]
    let data = Array.append junk body

    let stem =
        pick random (List.filter (fun (s: string) -> not (s.Contains '\n' || s.Contains '\r')) stems)

    // Where the voxels lie, and what the header calls them.
    let file, name, isInside =
        match random.Next 12 with
        | 0 -> root </> "out.raw", "../out.raw", false
        | 1 -> root </> "out.raw", root </> "out.raw", false
        | 2 ->
            File.CreateSymbolicLink(folder </> "link.raw", root </> "out.raw") |> ignore
            root </> "out.raw", "link.raw", false
        | 3 ->
            File.CreateSymbolicLink(folder </> "link.raw", "v.raw") |> ignore
            folder </> "v.raw", "link.raw", true
        | 4 ->
            Directory.CreateSymbolicLink(folder </> "up", "..") |> ignore
            root </> "out.raw", "up/out.raw", false
        | 5 -> folder </> "sub" </> "v.raw", "sub/v.raw", true
        | 6 -> folder </> "v.raw", "sub/../v.raw", true
        | 7 -> folder </> "v.raw", "./v.raw", true
        | 8 -> folder </> "v.raw", folder </> "v.raw", true
        | 9 -> folder </> (stem + ".raw"), stem + ".raw", true
        | _ -> folder </> "v.raw", "v.raw", true

    File.WriteAllBytes(file, data)

    let text =
        if isNrrd then
            let encoding, endian =
                (if packed then "gzip" else "raw"), (if big then "big" else "little")

            $"NRRD0004\ntype: short\ndimension: 3\nsizes: {nx} {ny} {nz}\nspace: right-anterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nendian: {endian}\nencoding: {encoding}\nbyte skip: {skip}\ndata file: {name}\n\n"
        else
            let yes b = if b then "True" else "False"

            $"ObjectType = Image\nNDims = 3\nBinaryData = True\nElementByteOrderMSB = {yes big}\nCompressedData = {yes packed}\nDimSize = {nx} {ny} {nz}\nElementType = MET_SHORT\nHeaderSize = {skip}\nElementDataFile = {name}\n"

    File.WriteAllText(header, text)

    let isPlain =
        isInside
        && missing = 0
        && (skip = 0L || (not packed && (skip = 5L || skip = -1L)))
        // Trimmed, a pattern, or a list.
        && name = name.Trim()
        && not (name.Contains '%' || name.EndsWith "LIST" || name.StartsWith "LIST")

    let before = GC.GetAllocatedBytesForCurrentThread()

    match
        (try
            Ok (ImageFile.Read header).Values
         with :? InvalidFileException as error ->
             Error error.Message)
    with
    | Ok read ->
        if not isInside then
            wrong $"{name} was read"

        // Of the last bytes, what is missing may be replaced by what stands before them.
        if read <> Array.map float32 values && not (skip = -1L && missing > 0) then
            wrong $"other voxels: %A{read}, header\n{text}"
    | Error message ->
        if isPlain then
            wrong $"refused: {message}, header\n{text}"

        if message.Contains '\n' || not (message.Contains folder) then
            wrong $"no clear line: {message}"

    if GC.GetAllocatedBytesForCurrentThread() - before > (16L <<< 20) then
        wrong "takes memory for a few bytes"

/// Pairs that are written over pairs, some of them written by others: every header has its voxels after it, and files of others stay.
let private writing (random: Random) (root: string) =
    let known = Dictionary<string, int>()

    for step in 1 .. random.Next(2, 6) do
        let path =
            root
            </> (pick random [ "a"; "a.1"; "b"; pick random stems ]
                 + pick random [ ".mhd"; ".nhdr" ])

        match random.Next 4 with
        | 0 when known.Count > 0 ->
            // A copy of a header, which has the voxels of the first one.
            let source = pick random (List.ofSeq known.Keys)

            if
                not (known.ContainsKey path)
                && Path.GetExtension source = Path.GetExtension path
            then
                File.Copy(source, path)
                known[path] <- known[source]
        | 1 ->
            // A stranger's file under a name that voxels would have.
            let file =
                Path.ChangeExtension(path, null)
                + pick random [ ".raw"; ".zraw"; ".raw.gz"; ".1.raw.gz"; ".1.zraw" ]

            if not (File.Exists file) then
                File.WriteAllText(file, "of the user")
        | _ ->
            try
                ImageFile.Write(path, imageOf step)
                known[path] <- step
            with :? InvalidFileException as error ->
                if error.Message.Contains '\n' then
                    wrong $"a line break in {error.Message}"

        for KeyValue(path, value) in known do
            match tryRead path with
            | Some values when values = (imageOf value).Values -> ()
            | other -> wrong $"{path} is read as %A{other} after step {step}, not {value}"

let tests =
    let share part = max 20 (int (float total * part))

    testList
        "paths"
        [
            if not (OperatingSystem.IsWindows()) then
                trials true "links" (share 0.3) tree
                trials true "header and voxels" (share 0.25) reading
                trials true "pairs over pairs" (share 0.15) writing
        ]
