/// Claims of work in a folder that several machines share.
module Ldr.Runtime.Tests.ClaimTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open Ldr.TestKit.Helpers
open Ldr.Runtime.Formats

let private claims (folder: string) =
    let path = folder </> FileClaim.Folder

    if Directory.Exists path then
        Directory.GetFiles path
    else
        [||]

/// Writes the claim of a process that nobody hears of again.
let private leave (folder: string) (work: string) (number: int) (maker: string) =
    Directory.CreateDirectory(folder </> FileClaim.Folder) |> ignore

    File.WriteAllText(
        folder </> FileClaim.Folder </> $"{work}.{number}",
        $"{maker} {Guid.NewGuid():N} 000000000000\n"
    )

/// A process of this machine that has ended.
let private ended () =
    use running = Process.Start("true", Array.empty<string>)
    let name = $"{ProcessIdentity.Own.Split('-')[0]}-{running.Id}-1"
    running.WaitForExit()
    name

/// With signs of life and death ten to hundred times as fast.
let private hurried (body: unit -> unit) =
    let beat, dead = FileClaim.Beat, FileClaim.DeadAfter

    try
        FileClaim.Beat <- TimeSpan.FromMilliseconds 50.0
        FileClaim.DeadAfter <- TimeSpan.FromMilliseconds 400.0
        body ()
    finally
        FileClaim.Beat <- beat
        FileClaim.DeadAfter <- dead

let private elsewhere = "00000000-17-1"

let private threads (count: int) (body: int -> 'a) : 'a list =
    let results = Array.zeroCreate<'a> count
    use gate = new ManualResetEventSlim(false)

    let all =
        [
            for i in 0 .. count - 1 ->
                let thread =
                    Thread(fun () ->
                        gate.Wait()
                        results[i] <- body i)

                thread.Start()
                thread
        ]

    gate.Set()
    all |> List.iter _.Join()
    List.ofArray results

let tests =
    testList
        "claims"
        [
            testInFolder "work belongs to one, until it is given back" (fun folder ->
                let first = FileClaim.Try(folder, "a")
                Expect.isNotNull first "free"
                Expect.isNull (FileClaim.Try(folder, "a")) "taken"
                use other = FileClaim.Try(folder, "b")
                Expect.isNotNull other "other work"
                (nonNull first).Dispose()
                use again = FileClaim.Try(folder, "a")
                Expect.isNotNull again "given back")

            testInFolder "the first claims of a folder may be made at once" (fun folder ->
                // Each finds the folder of claims missing, and one of them makes it.
                for round in 1..400 do
                    let shared = (Directory.CreateDirectory(folder </> string round)).FullName

                    let claim (i: int) : Result<FileClaim | null, exn> =
                        try
                            Ok(FileClaim.Try(shared, $"w{i}"))
                        with error ->
                            Error error

                    for made in threads 4 claim do
                        match made with
                        | Ok claim -> (nonNull claim).Dispose()
                        | Error error -> failtest error.Message)

            testInFolder "names that are no names of files are told apart" (fun folder ->
                let names =
                    [ "a/b"; "a\\b"; "a*b"; "é"; String('x', 300); String('x', 301); "a.1"; "a" ]

                let held = names |> List.map (fun name -> FileClaim.Try(folder, name))

                for name, claim in List.zip names held do
                    Expect.isNotNull claim name
                    Expect.isNull (FileClaim.Try(folder, name)) name

                held |> List.iter (fun claim -> (nonNull claim).Dispose())
                Expect.isEmpty (claims folder) "given back")

            testInFolder "work of a process that ended on this machine is free at once" (fun folder ->
                leave folder "a" 1 (ended ())
                leave folder "a" 2 (ended ())
                let claim = FileClaim.Try(folder, "a")
                Expect.isNotNull claim "free"
                Expect.isNull (FileClaim.Try(folder, "a")) "taken over"
                (nonNull claim).Dispose()
                Expect.isEmpty (claims folder) "nothing is left")

            testInFolder "what killed processes left is tidied; what somebody has stays" (fun folder ->
                leave folder "a" 3 (ended ())
                use held = FileClaim.Try(folder, "b")
                Expect.isNotNull held "held"
                FileClaim.Tidy folder
                Expect.equal (claims folder |> Array.map Path.GetFileName) [| "b.1" |] "the one that is held"
                (nonNull held).Dispose()
                FileClaim.Tidy folder
                Expect.isFalse (Directory.Exists(folder </> FileClaim.Folder)) "no folder")

            testInFolder
                "another machine's claim lives as long as it is written, and dies without a clock in common"
                (fun folder ->
                    hurried (fun () ->
                        leave folder "a" 1 elsewhere
                        let file = folder </> FileClaim.Folder </> "a.1"
                        // Far from this machine's time.
                        let clock = Stopwatch.StartNew()
                        let mutable beat = 0

                        while clock.ElapsedMilliseconds < 1000L do
                            beat <- beat + 1
                            File.WriteAllText(file, $"{elsewhere} x {beat:D12}\n")
                            File.SetLastWriteTimeUtc(file, DateTime(1990, 1, 1))
                            Expect.isNull (FileClaim.Try(folder, "a")) "it lives"
                            Thread.Sleep 40

                        let last = Stopwatch.StartNew()
                        use claim = FileClaim.Wait(folder, "a")
                        Expect.isNotNull claim "it died"
                        Expect.isGreaterThan last.ElapsedMilliseconds 300L "not at once"))

            testInFolder "of many who find a claim dead one takes it over" (fun folder ->
                for round in 1..100 do
                    leave folder "a" 1 (ended ())

                    let got =
                        threads 8 (fun _ -> FileClaim.Try(folder, "a")) |> List.choose Option.ofObj

                    Expect.isLessThan got.Length 2 $"round {round}"
                    got |> List.iter _.Dispose()
                    use alone = FileClaim.Try(folder, "a")
                    Expect.isNotNull alone "nobody is left"
                    (nonNull alone).Dispose())

            testInFolder "who was taken for dead is told, and leaves the other's claim alone" (fun folder ->
                hurried (fun () ->
                    use first = nonNull (FileClaim.Try(folder, "a"))
                    Expect.isFalse first.Lost.IsCancellationRequested "held"
                    // As another machine does that has not heard of this one for long.
                    leave folder "a" 2 elsewhere
                    Expect.isTrue (first.Lost.WaitHandle.WaitOne 2000) "told"
                    first.Dispose()
                    Expect.equal (claims folder |> Array.map Path.GetFileName) [| "a.2" |] "the other's"))

            testInFolder "what is done alone is done by one at a time" (fun folder ->
                let file = folder </> "count"
                File.WriteAllText(file, "0")

                threads 6 (fun _ ->
                    for _ in 1..30 do
                        FileClaim.Alone(
                            folder,
                            "count",
                            fun () ->
                                let next = int (File.ReadAllText file) + 1
                                File.WriteAllText(file, string next)
                        ))
                |> ignore

                Expect.equal (File.ReadAllText file) "180" "none was lost")
        ]
