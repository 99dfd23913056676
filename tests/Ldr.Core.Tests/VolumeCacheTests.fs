/// Decoded scans on disk: they are what was decoded, and whatever happens to the cache, so are the scans.
module Ldr.Core.Tests.VolumeCacheTests

open System
open System.IO
open System.Threading
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers

let private scan seed =
    let random = Random(seed: int)
    Volume(Grid(9, 8, 7, obliqueAffine random false), randomFloats random 504 -1.0 1.0)

/// A scan's file, a cache beside it, and a reader that counts how often it decodes.
let private setUp (folder: string) most =
    let source = folder </> "scan.nii"
    Nifti.Write(source, scan 1)

    let cache =
        {
            Folder = folder </> "cache"
            MostBytes = most
        }

    let decoded = ref 0

    let read () =
        VolumeCache.read cache source "rule" (fun () ->
            Interlocked.Increment decoded |> ignore
            ImageFile.Read source)

    source, cache, decoded, read

let private kept (cache: VolumeCache) =
    if Directory.Exists cache.Folder then
        Directory.GetFiles cache.Folder
    else
        [||]

let private same (a: Volume) (b: Volume) =
    Expect.isTrue (a.Grid.SameAs b.Grid) "grid"
    Expect.equal a.Values b.Values "values"

/// As another process, which knows nothing of what this one has checked, would find it.
let private asNew (cache: VolumeCache) =
    let parent = string (Path.GetDirectoryName cache.Folder)
    let folder = parent </> Guid.NewGuid().ToString "N"
    Directory.Move(cache.Folder, folder)
    { cache with Folder = folder }

let tests =
    testList
        "volume cache"
        [
            testInFolder "a scan is decoded once, also by a later process" (fun folder ->
                let source, cache, decoded, read = setUp folder 1000000L
                let first = read ()
                same first (ImageFile.Read source)
                same (read ()) first
                Expect.equal decoded.Value 1 "once"
                let cache = asNew cache
                same (VolumeCache.read cache source "rule" (fun () -> failtest "decoded again")) first
                let other = VolumeCache.read cache source "another rule" (fun () -> scan 2)
                same other (scan 2))

            testInFolder "a changed file is decoded again" (fun folder ->
                let source, _, decoded, read = setUp folder 1000000L
                read () |> ignore
                Nifti.Write(source, scan 3)
                File.SetLastWriteTimeUtc(source, DateTime.UtcNow.AddSeconds 3.0)
                same (read ()) (ImageFile.Read source)
                Expect.equal decoded.Value 2 "twice")

            testInFolder "a file that was cut off or damaged anywhere is not used" (fun folder ->
                let source, cache, _, read = setUp folder 1000000L
                let right = read ()
                let bytes = File.ReadAllBytes(kept cache |> Array.exactlyOne)
                let mutable cache = cache

                let damaged =
                    [ for length in [ 0; 7; 100; 150; bytes.Length - 4 ] -> bytes[.. length - 1] ]
                    @ [ Array.append bytes [| 1uy; 2uy; 3uy; 4uy |] ]
                    @ [
                        for place in [ 0; 9; 30; 120; 200; bytes.Length - 1 ] ->
                            bytes |> Array.mapi (fun i b -> if i = place then b ^^^ 64uy else b)
                    ]

                for bad in damaged do
                    cache <- asNew cache
                    File.WriteAllBytes(kept cache |> Array.exactlyOne, bad)
                    let mutable again = false

                    let volume =
                        VolumeCache.read cache source "rule" (fun () ->
                            again <- true
                            ImageFile.Read source)

                    same volume right
                    Expect.isTrue again $"decoded again ({bad.Length} bytes)"
                    Expect.equal (File.ReadAllBytes(kept cache |> Array.exactlyOne)) bytes "and mended")

            testInFolder "its size is bounded: what was used least lately by others goes" (fun folder ->
                let source, cache, _, read = setUp folder 0L
                read () |> ignore
                Expect.isEmpty (kept cache) "0: nothing is kept"
                let one = 504L * 4L + 148L

                let cache =
                    { cache with
                        MostBytes = 3L * one + 100L
                    }

                let ask (cache: VolumeCache) what =
                    VolumeCache.read cache source what (fun () -> scan 4) |> ignore

                for what in [ "a"; "b"; "c" ] do
                    ask cache what

                let cache = asNew cache
                let oldest = kept cache |> Array.sortBy File.GetLastWriteTimeUtc |> Array.head
                File.SetLastWriteTimeUtc(oldest, DateTime.UtcNow.AddDays -1.0)
                ask cache "d"
                Expect.equal (kept cache).Length 3 "no more than have room"
                Expect.isFalse (File.Exists oldest) "the oldest went"

                for what in [ "d"; "e"; "f"; "g"; "h" ] do
                    ask cache what

                let size = kept cache |> Array.sumBy (fun path -> FileInfo(path).Length)
                Expect.isLessThanOrEqual size cache.MostBytes "bounded"
                Expect.isGreaterThan (kept cache).Length 1 "this process's own stay")

            testInFolder "a folder of the user keeps what is no scan of the cache" (fun folder ->
                let source, cache, _, _ = setUp folder 2200L
                Directory.CreateDirectory cache.Folder |> ignore
                let digest = String('a', 64)
                let others = [ "mine.tmp"; ".mine.tmp"; "film.vol"; digest + ".tmp" ]

                for name in others do
                    File.WriteAllText(cache.Folder </> name, String('x', 5000))
                    File.SetLastWriteTimeUtc(cache.Folder </> name, DateTime.UtcNow.AddDays -9.0)

                let target = folder </> "target"
                File.WriteAllText(target, String('x', 5000))

                if not (OperatingSystem.IsWindows()) then
                    File.CreateSymbolicLink(cache.Folder </> digest + ".vol", target) |> ignore

                for what in [ "a"; "b" ] do
                    VolumeCache.read (asNew cache) source what (fun () -> scan 4) |> ignore
                    let now = Directory.GetDirectories folder |> Array.exactlyOne
                    Directory.Move(now, cache.Folder)

                for name in others do
                    Expect.isTrue (File.Exists(cache.Folder </> name)) name

                Expect.isTrue (File.Exists target) "what a link leads to"

                Expect.equal
                    (kept cache |> Array.filter (fun file -> file.EndsWith ".vol")).Length
                    3
                    "one scan")

            testInFolder "below the folder of temporary files it is private" (fun folder ->
                let _, cache, decoded, read = setUp folder 1000000L

                if not (OperatingSystem.IsWindows()) then
                    let own =
                        UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute

                    Directory.CreateDirectory cache.Folder |> ignore

                    File.SetUnixFileMode(
                        cache.Folder,
                        own ||| UnixFileMode.OtherRead ||| UnixFileMode.OtherExecute
                    )

                    read () |> ignore
                    Expect.equal (File.GetUnixFileMode cache.Folder) own "nobody else may enter"
                    let other = asNew cache

                    let linked =
                        { cache with
                            Folder = folder </> "linked"
                        }

                    File.CreateSymbolicLink(linked.Folder, other.Folder) |> ignore
                    let before = decoded.Value

                    VolumeCache.read linked (folder </> "scan.nii") "rule" (fun () ->
                        Interlocked.Increment decoded |> ignore
                        scan 1)
                    |> ignore

                    Expect.equal decoded.Value (before + 1) "another's link is not used")

            testInFolder "several readers at once get whole scans" (fun folder ->
                let source, cache, _, _ = setUp folder 1000000L
                let wrong = ref 0

                let readers =
                    [
                        for _ in 1..8 ->
                            Thread(fun () ->
                                for i in 1..40 do
                                    let what = i % 5
                                    let right = scan what

                                    let volume =
                                        VolumeCache.read cache source (string what) (fun () -> scan what)

                                    if
                                        not (
                                            right.Values.AsSpan().SequenceEqual(ReadOnlySpan volume.Values)
                                        )
                                    then
                                        Interlocked.Increment wrong |> ignore)
                    ]

                readers |> List.iter _.Start()
                readers |> List.iter _.Join()
                Expect.equal wrong.Value 0 "wrong scans"
                Expect.equal (kept cache).Length 5 "nothing is left over")

            testInFolder "a training set beyond memory gives the pairs of one within" (fun folder ->
                for i in 0..2 do
                    Nifti.Write(folder </> $"s{i}.nii.gz", scan i)

                let group =
                    [ for i in 0..2 -> Subject.ofFiles $"s{i}" (folder </> $"s{i}.nii.gz") None ]
                    |> SubjectGroup.free

                let data =
                    Codec.ofText
                        "x"
                        DataOptions.codec
                        """{"source": {"kind": "csv", "file": "x"}, "split": {"train": 2, "validation": 2, "test": 2}, "size": [8, 8, 8]}"""
                    |> Error.orRaise

                let cache =
                    {
                        Folder = folder </> "cache"
                        MostBytes = 1000000L
                    }

                let load most =
                    TrainingSet.loadWithin most cache data group

                let within = load 1000000L
                Expect.isEmpty (kept cache) "no cache where memory does"
                let beyond = load 100L

                for round in 1..2 do
                    for own in [ 0, 1; 1, 2; 2, 0 ] do
                        let a, b = TrainingSet.pair within own, TrainingSet.pair beyond own
                        Expect.equal b.Fixed a.Fixed $"fixed, round {round}"
                        Expect.equal b.Moving a.Moving $"moving, round {round}"

                Expect.equal (kept cache).Length 3 "all scans"

                for i in 0..2 do
                    // Same size and time, other content: only a decoding would see it.
                    let path = folder </> $"s{i}.nii.gz"
                    let time = File.GetLastWriteTimeUtc path
                    File.WriteAllBytes(path, Array.zeroCreate (int (FileInfo(path).Length)))
                    File.SetLastWriteTimeUtc(path, time)

                Expect.equal
                    (TrainingSet.pair beyond (1, 2)).Fixed
                    (TrainingSet.pair within (1, 2)).Fixed
                    "not decoded again")
        ]
