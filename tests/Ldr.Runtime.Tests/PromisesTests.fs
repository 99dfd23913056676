/// What the program promises about files: docs/reference/promises.md.
module Ldr.Runtime.Tests.PromisesTests

open System
open System.Diagnostics
open System.IO
open System.IO.Compression
open System.Threading
open System.Threading.Tasks
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration
open Ldr.Runtime.Reports
open Ldr.TestKit.Helpers

let private scan value =
    Volume(Grid(4, 3, 2, Affine.Identity), Array.create 24 value)

let private link (target: string) (path: string) =
    File.CreateSymbolicLink(path, target) |> ignore

let private soon (what: string) (action: unit -> unit) =
    let work = Task.Run action

    if not (obj.ReferenceEquals((Task.WhenAny(work, Task.Delay 10_000)).Result, work)) then
        failtest $"{what}: waits"

    work.GetAwaiter().GetResult()

let private refusesApart inputs outputs (words: string) =
    let error =
        try
            OutputFiles.CheckApart(inputs, outputs)
            None
        with :? InvalidFileException as e ->
            Some e.Message

    match error with
    | Some message -> Expect.stringContains message words "the reason"
    | None -> failtestf "%A onto %A was let through" outputs inputs

let private identity =
    testList
        "identity"
        [
            onUnix "a file is one file, whichever folder of its path is a link" (fun folder ->
                let file = folder </> "f.nii"
                scan 1f |> fun v -> ImageFile.Write(file, v)
                Directory.CreateDirectory(folder </> "a") |> ignore
                link folder (folder </> "d")
                link ".." (folder </> "a" </> "up")
                link "f.nii" (folder </> "same.nii")

                for name in [ "d/f.nii"; "a/up/f.nii"; "d/a/up/d/same.nii"; "a/../f.nii" ] do
                    Expect.equal (FileNode.RealPath(folder </> name)) (FileNode.RealPath file) name
                    refusesApart [ file ] [ folder </> name ] "is read too"

                refusesApart [] [ folder </> "new.nii"; folder </> "d/new.nii" ] "two outputs"
                OutputFiles.CheckApart([ file ], [ folder </> "d/g.nii"; "/dev/null"; "/dev/null" ])
                link "loop" (folder </> "loop")

                Expect.throwsT<InvalidFileException>
                    (fun () -> FileNode.RealPath(folder </> "loop") |> ignore)
                    "a circle")

            testInFolder "the voxels behind a header are an input, and are not overwritten" (fun folder ->
                let header, other = folder </> "mv.nhdr", folder </> "in.nhdr"
                ImageFile.Write(header, scan 1f)
                File.WriteAllText(other, File.ReadAllText header)
                File.Delete header
                // A new header of that name gets voxels of another name.
                ImageFile.Write(header, scan 2f)
                Expect.equal (ImageFile.Read other).Values (scan 1f).Values "the input"
                Expect.equal (ImageFile.Read header).Values (scan 2f).Values "the output"
                File.WriteAllText(header, File.ReadAllText other)
                refusesApart [ other ] [ header ] "is read too"
                refusesApart [ other ] [ folder </> "mv.raw.gz" ] "is read too")
        ]

let private pairs =
    testList
        "pairs of header and voxels"
        [
            for ending in [ ".nhdr"; ".mhd" ] do
                testInFolder
                    $"{ending}: the header changes last, and the old voxels go after it"
                    (fun folder ->
                        let path = folder </> $"a{ending}"

                        for value in [ 1f; 2f; 3f ] do
                            ImageFile.Write(path, scan value)
                            Expect.equal (ImageFile.Read path).Values (scan value).Values $"{value}"
                            Expect.hasLength (Directory.GetFiles folder) 2 "a header and its voxels"

                        // As a kill between the two leaves it: new voxels, old header.
                        let files () =
                            Directory.GetFiles folder |> Array.except [ path ]

                        let before = File.ReadAllBytes path
                        let old = files () |> Array.exactlyOne
                        let voxels = File.ReadAllBytes old
                        ImageFile.Write(path, scan 4f)
                        File.WriteAllBytes(path, before)
                        File.WriteAllBytes(old, voxels)

                        Expect.equal
                            (ImageFile.Read path).Values
                            (scan 3f).Values
                            "the old header has its voxels"

                        // Another's file of voxels is not ours to delete.
                        let foreign = folder </> "others.raw"
                        File.WriteAllBytes(foreign, File.ReadAllBytes old)

                        File.WriteAllText(
                            path,
                            File.ReadAllText(path).Replace(Path.GetFileName old |> nonNull, "others.raw")
                        )

                        ImageFile.Write(path, scan 5f)
                        Expect.isTrue (File.Exists foreign) "what another program made"
                        Expect.equal (ImageFile.Read path).Values (scan 5f).Values "the new one")
        ]

let private kinds =
    testList
        "kinds"
        [
            onUnix "a pipe or a device as input is refused at once, in every format" (fun folder ->
                for ending in
                    [
                        ".nii"
                        ".nii.gz"
                        ".mha"
                        ".nrrd"
                        ".txt"
                        ".mat"
                        ".lta"
                        ".csv"
                        ".safetensors"
                        ".h5"
                    ] do
                    let path = folder </> $"pipe{ending}"
                    fifo path

                    soon ending (fun () ->
                        refuses path "is a pipe or a device" (fun () ->
                            match ending with
                            | ".safetensors" -> Safetensors.Read path |> ignore
                            | ".csv" -> PointFile.Read(path, Nullable()) |> ignore
                            | ".txt"
                            | ".mat"
                            | ".lta"
                            | ".h5" -> TransformFile.Read path |> ignore
                            | _ -> ImageFile.Read path |> ignore))

                for device in [ "/dev/zero"; "/dev/null" ] do
                    soon device (fun () ->
                        refuses device "is a pipe or a device" (fun () -> ImageFile.Read device |> ignore))

                File.WriteAllBytes(folder </> "empty.nii", [||])

                refuses (folder </> "empty.nii") "is empty" (fun () ->
                    ImageFile.Read(folder </> "empty.nii") |> ignore))

            onUnix "an output that is a pipe is written into, and stays one" (fun folder ->
                let path = folder </> "pipe.nii"
                fifo path
                let read = Task.Run(fun () -> File.ReadAllBytes path)
                soon "writing" (fun () -> ImageFile.Write(path, scan 3f))
                Expect.equal (FileNode.KindOf path) NodeKind.Pipe "a pipe still"
                let bytes = read.Result
                ImageFile.Write(folder </> "file.nii", scan 3f)
                Expect.equal bytes (File.ReadAllBytes(folder </> "file.nii")) "what came through")

            onUnix "a file below /dev is a file" (fun _ ->
                if Directory.Exists "/dev/shm" then
                    let path = $"/dev/shm/ldr-test-{Guid.NewGuid():N}.nii"

                    try
                        ImageFile.Write(
                            path,
                            Volume(Grid(40, 30, 20, Affine.Identity), Array.create 24000 1f)
                        )

                        ImageFile.Write(path, scan 2f)
                        Expect.equal (ImageFile.Read path).Values (scan 2f).Values "read again"
                        Expect.isLessThan (FileInfo(path).Length) 1000L "no tail of the old one"
                    finally
                        File.Delete path)
        ]

let private references =
    testList
        "references"
        [
            onUnix "voxels are read from the header's folder only, unless that is allowed" (fun folder ->
                let inside = folder </> "in"
                Directory.CreateDirectory inside |> ignore
                ImageFile.Write(folder </> "out.nhdr", scan 1f)
                let header = File.ReadAllText(folder </> "out.nhdr")
                let path = inside </> "a.nhdr"
                link (folder </> "out.raw.gz") (inside </> "linked.raw.gz")

                for name in [ folder </> "out.raw.gz"; "../out.raw.gz"; "linked.raw.gz"; "/etc/hostname" ] do
                    File.WriteAllText(path, header.Replace("out.raw.gz", name))
                    refuses path "not in its folder" (fun () -> ImageFile.Read path |> ignore)

                // A header that is a link has its voxels where it leads, or where it stands.
                link (folder </> "out.nhdr") (inside </> "link.nhdr")
                File.Copy(folder </> "out.raw.gz", inside </> "out.raw.gz")

                Expect.equal
                    (ImageFile.Read(inside </> "link.nhdr")).Values
                    (scan 1f).Values
                    "beside the link")
        ]

let private ends =
    testList
        "ends"
        [
            testInFolder "a .nii.gz that lacks its last bytes is refused" (fun folder ->
                let whole, cut = folder </> "a.nii.gz", folder </> "cut.nii.gz"
                let random = Random 1

                ImageFile.Write(
                    whole,
                    Volume(Grid(20, 20, 20, Affine.Identity), Array.init 8000 (fun _ -> random.NextSingle()))
                )

                let bytes = File.ReadAllBytes whole

                for missing in 1..9 do
                    File.WriteAllBytes(cut, bytes[.. bytes.Length - 1 - missing])
                    refuses cut "cut off" (fun () -> ImageFile.Read cut |> ignore)

                // Two gzip files one after the other are one.
                let raw = folder </> "a.nii"
                ImageFile.Write(raw, ImageFile.Read whole)
                let plain = File.ReadAllBytes raw
                use both = new MemoryStream()

                for part in [ plain[..999]; plain[1000..] ] do
                    use packed = new GZipStream(both, CompressionLevel.Fastest, true)
                    packed.Write(part, 0, part.Length)

                let several = folder </> "several.nii.gz"
                File.WriteAllBytes(several, both.ToArray())
                Expect.equal (ImageFile.Read several).Values (ImageFile.Read whole).Values "two members")

            testInFolder "a skip of bytes that the file does not have is refused" (fun folder ->
                let path = folder </> "a.nrrd"
                ImageFile.Write(path, scan 1f)
                let text = Text.Encoding.Latin1.GetString(File.ReadAllBytes path)

                for skip in [ "-5"; "9e18"; "100000" ] do
                    let bad = folder </> "bad.nrrd"

                    File.WriteAllBytes(
                        bad,
                        Text.Encoding.Latin1.GetBytes(
                            text.Replace("encoding: gzip\n", $"encoding: raw\nbyte skip: {skip}\n")
                        )
                    )

                    refuses bad "skips" (fun () -> ImageFile.Read bad |> ignore))
        ]

let private temporaries =
    testList
        "temporary files"
        [
            testInFolder "what a dead process left goes, and nothing else does" (fun folder ->
                // The name of a temporary file, seen from within a write.
                let mutable own = ""

                AtomicFile.Write(
                    folder </> "a.txt",
                    fun stream ->
                        own <-
                            Directory.GetFiles(folder, "*.tmp")
                            |> Array.exactlyOne
                            |> Path.GetFileName
                            |> nonNull

                        stream.WriteByte 1uy
                )

                Expect.isEmpty (Directory.GetFiles(folder, "*.tmp")) "nothing stays"
                let maker = own.Split('.')[3]
                let parts = maker.Split '-'
                let named machine pid start = $".b.nii.{machine}-{pid}-{start}-1.tmp"
                let dead = named parts[0] "999999999" parts[2]
                let reused = named parts[0] parts[1] (string (int64 parts[2] - 100L))
                let alive = named parts[0] parts[1] parts[2]
                let elsewhere = named "00000000" "999999999" parts[2]
                let others = [ alive; elsewhere; "mine.tmp"; ".mine.tmp"; ".b.nii.x-1-2-3.tmp" ]
                let place = folder </> "place"
                Directory.CreateDirectory place |> ignore

                for name in dead :: reused :: others do
                    File.WriteAllText(place </> name, "x")

                AtomicFile.WriteText(place </> "c.txt", "text")

                let left =
                    Directory.GetFiles place
                    |> Array.map (Path.GetFileName >> nonNull)
                    |> Set.ofArray

                Expect.equal left (Set.ofList ("c.txt" :: others)) "only the dead ones went")

            testInFolder "a write that fails leaves nothing" (fun folder ->
                Expect.throws
                    (fun () -> AtomicFile.Write(folder </> "a", (fun _ -> failwith "no")))
                    "its own error"

                AtomicFile.CheckWritable(folder </> "b")
                Expect.isEmpty (Directory.GetFileSystemEntries folder) "an empty folder")
        ]

let private names =
    testList
        "names"
        [
            onUnix "a name of up to 255 bytes is written, and a longer one is told before" (fun folder ->
                for letter in [ "x"; "é"; "名"; "\U0001F9E0" ] do
                    for bytes in [ 247; 251; 255; 256; 260 ] do
                        let size = Text.Encoding.UTF8.GetByteCount letter
                        let stem = String.replicate ((bytes - 4) / size) letter
                        let pad = String('y', bytes - 4 - size * ((bytes - 4) / size))
                        let path = folder </> $"{stem}{pad}.nii"

                        if bytes <= 255 then
                            AtomicFile.CheckWritable path
                            ImageFile.Write(path, scan 1f)
                            Expect.equal (ImageFile.Read path).Values (scan 1f).Values $"{letter} {bytes}"
                            File.Delete path
                        else
                            for action in
                                [
                                    fun () -> AtomicFile.CheckWritable path
                                    fun () -> ImageFile.Write(path, scan 1f)
                                    fun () -> ImageFile.Read path |> ignore
                                ] do
                                refuses path $"has a name of {bytes} bytes" action

                Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing is left")

            testInFolder "a header's name leaves room for that of its voxels" (fun folder ->
                let path = folder </> String('x', 251) + ".mhd"
                refuses path "at most 250" (fun () -> AtomicFile.CheckWritable path)
                let path = folder </> String('x', 246) + ".mhd"

                for value in [ 1f; 2f ] do
                    ImageFile.Write(path, scan value)
                    Expect.equal (ImageFile.Read path).Values (scan value).Values "read again")
        ]

let private budgets =
    testList
        "budgets"
        [
            test "grids that cannot be held are refused in numbers" {
                let huge = Grid(2000, 1000, 1000, Affine.Identity)
                refuses "a" "6000000000 numbers" (fun () -> Budget.CheckField("a", huge))
                Budget.CheckField("a", Grid(100, 100, 100, Affine.Identity))
            }

            test "a network's grid is in proportion to the scan" {
                let spacing, size = struct (1.0, 1.0, 1.0), struct (48, 64, 48)

                for grid in
                    [
                        Grid(24, 24, 24, Affine.Scaling(20.0, 20.0, 20.0))
                        Grid(32767, 1, 1, Affine.Identity)
                    ] do
                    Expect.throwsT<ArgumentException>
                        (fun () -> ModelGrid.Around(grid, spacing, size) |> ignore)
                        $"{grid}"

                let thick = Grid(64, 64, 30, Affine.Scaling(4.0, 4.0, 5.0))

                Expect.equal
                    (ModelGrid.Around(thick, spacing, size)).Nx
                    256
                    "large voxels of an ordinary scan"

                let large = Grid(512, 512, 512, Affine.Scaling(0.5, 0.5, 0.5))
                Expect.equal (ModelGrid.MostVoxelsFor large) ModelGrid.MostVoxels "a large scan"
            }

            test "voxels of which no registration can be planned are refused, whoever asks" {
                let scan x =
                    Volume(Grid(8, 8, 8, Affine.Scaling(x, 1.0, 1.0)), Array.init 512 float32)

                use registrar = new Registrar()

                for x in [ 5e8; 1e-7 ] do
                    Expect.throwsT<InvalidFileException>
                        (fun () -> registrar.Register(scan 1.0, scan x) |> ignore)
                        $"{x} mm"
            }
        ]

let private pages =
    testList
        "pages"
        [
            test "a name with signs of direction looks like no other" {
                Expect.equal
                    (ReportPage.Encode "a\u202Egnp.exe<b>")
                    "a\\u202Egnp.exe&lt;b&gt;"
                    "the override is shown"

                for sign in "\u061C\u200E\u200F\u202A\u202B\u202C\u202D\u202E\u2066\u2067\u2068\u2069" do
                    Expect.isFalse ((ReportPage.Encode(string sign)).Contains sign) $"{int sign:X4}"

                Expect.equal (ReportPage.Isolate "שלום") "\u2068שלום\u2069" "a name within a line"

                for page in [ "report.html"; "evaluation.html" ] do
                    Expect.stringContains (ReportPage.Resource page) "<bdi class=\"name\">" page
            }
        ]

let tests =
    testList "promises" [ identity; pairs; kinds; references; ends; temporaries; names; budgets; pages ]
