/// Damaged files of every kind that is read. A reader may take one, or refuse it: by its own error, in one short line that
/// names the file, within 5 s, and without more memory than the file can stand for.
///
/// `LDR_FUZZ=100000 ./test --filter ldr/core/fuzz` runs as many; without it 2,000 are run, always the same ones.
/// What fails is kept in a folder `ldr-fuzz` of the temporary files.
module Ldr.Core.Tests.Fuzz.FuzzTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.Fuzz.Corpus

let total =
    match Environment.GetEnvironmentVariable "LDR_FUZZ" with
    | null
    | "" -> 2000
    | text -> int text

/// Seconds that no file may take.
let private patience = 5.0

/// Bytes that may be allocated: as many as this for each byte that the file can stand for, and so many more.
let private perByte, private basis = 64L, 8L * 1024L * 1024L

/// Characters that a line of an error may have beside the file's name.
let private longest = 1000

/// The same on every machine and every run.
let seedFor (name: string) (index: int) =
    Seq.fold (fun hash c -> (hash * 31) ^^^ int (c: char)) (index * 7919 + 17) name

/// The files of one trial.
let private trial (target: Target) (index: int) : (string * byte[]) list =
    let random = Random(seedFor target.Name index)
    let files: (string * byte[]) list = target.Seeds[random.Next target.Seeds.Length]

    let victim =
        if random.Next 10 < 7 || target.Change.IsSome then
            0
        else
            random.Next files.Length

    let change (random: Random) (data: byte[]) =
        let asText =
            match target.Nature with
            | Binary -> random.Next 20 = 0
            | Mixed -> random.Next 10 < 6
            | Text -> random.Next 10 < 8

        if asText then
            Mutation.text random data
        else
            Mutation.bytes random data

    files
    |> List.mapi (fun place (name, bytes) ->
        if place <> victim then
            name, bytes
        else
            match target.Inside with
            | _ when target.Change.IsSome -> name, target.Change.Value random bytes
            | Some inside when random.Next 3 > 0 -> name, inside (change random) bytes
            | _ -> name, change random bytes)

type private Finding = { Index: int; What: string }

type private Tally() =
    member val Refused = 0 with get, set
    member val Worst = 0.0 with get, set
    /// Most memory, as a part of what is allowed.
    member val Hungriest = 0.0 with get, set
    member val Findings: Finding list = [] with get, set
    /// The trial that runs, and since when.
    member val Current = -1 with get, set
    member val Since = 0L with get, set

/// One trial in a folder; what is wrong with the outcome.
let private judge
    (folder: string)
    (target: Target)
    (files: (string * byte[]) list)
    (tally: Tally)
    : string option =
    for name, bytes in files do
        File.WriteAllBytes(folder </> name, bytes)

    let size = files |> List.sumBy (fun (_, bytes) -> bytes.LongLength)
    let plausible = if target.Packed then 1032L * size else size
    let allowed = basis + perByte * plausible
    let path = folder </> fst files.Head
    let clock = Stopwatch.StartNew()
    let before = GC.GetAllocatedBytesForCurrentThread()

    let outcome =
        try
            Ok(target.Read path)
        with error ->
            Error $"{error.GetType().Name}: {error.Message} {error.StackTrace}"

    let taken = GC.GetAllocatedBytesForCurrentThread() - before
    let seconds = clock.Elapsed.TotalSeconds
    tally.Worst <- max tally.Worst seconds
    tally.Hungriest <- max tally.Hungriest (float taken / float allowed)

    match outcome with
    | Error fault -> Some fault
    | Ok lines ->
        if not lines.IsEmpty then
            tally.Refused <- tally.Refused + 1

        let clear (line: string) =
            not (line |> Seq.exists (fun c -> Char.IsControl c || c = '\u2028' || c = '\u2029'))
            && line.Length <= longest + folder.Length
            && line.Contains folder

        match lines |> List.tryFind (clear >> not) with
        | Some line -> Some $"no clear line: {line[.. min line.Length 2000 - 1]}"
        | None when lines.Length > 25 -> Some $"{lines.Length} lines"
        | None when taken > allowed ->
            Some $"{taken} bytes allocated for files of {size}; {allowed} are allowed"
        | None when seconds > patience -> Some $"{seconds} s"
        | None -> None

let private keep (target: Target) (index: int) =
    let folder =
        Directory.CreateDirectory(Path.GetTempPath() </> "ldr-fuzz" </> $"{target.Name}-{index}")

    for name, bytes in trial target index do
        File.WriteAllBytes(folder.FullName </> name, bytes)

    folder.FullName

let private run (target: Target) (count: int) (root: string) =
    let tally = Tally()
    tally.Since <- Stopwatch.GetTimestamp()

    // A thread that hangs cannot be ended: it is left behind, and another one goes on with the next trial.
    let rec from first =
        let worker =
            Thread(
                (fun () ->
                    let folder = (Directory.CreateDirectory(root </> string first)).FullName
                    let mutable index = first

                    // Beyond its own trial means that this thread was left behind.
                    while index < count && tally.Current <= index do
                        tally.Current <- index
                        tally.Since <- Stopwatch.GetTimestamp()

                        match judge folder target (trial target index) tally with
                        | Some what -> tally.Findings <- { Index = index; What = what } :: tally.Findings
                        | None -> ()

                        index <- index + 1),
                16 * 1024 * 1024,
                IsBackground = true
            )

        worker.Start()

        while not (worker.Join 100)
              && (Stopwatch.GetElapsedTime tally.Since).TotalSeconds < 2.0 * patience do
            ()

        if worker.IsAlive then
            let stuck = tally.Current
            tally.Current <- stuck + 1
            tally.Findings <- { Index = stuck; What = "hangs" } :: tally.Findings
            tally.Since <- Stopwatch.GetTimestamp()
            from (stuck + 1)

    from 0
    tally

/// Damages so many files of a target, and tells what its reader did with them.
let private tryTarget (target: Target) (count: int) (folder: string) =
    let tally = run target count folder

    if total > 2000 then
        printfn
            "%-16s %d damaged files, %d refused, at most %.2f s and %.0f %% of the memory that is allowed"
            target.Name
            count
            tally.Refused
            tally.Worst
            (100.0 * tally.Hungriest)

    // A reader that refuses nothing, or everything, was not tried.
    Expect.isGreaterThan tally.Refused 0 "some damaged files are refused"

    let kinds =
        tally.Findings
        |> List.groupBy (fun f -> f.What[.. min f.What.Length 60 - 1])
        |> List.map (fun (_, alike) ->
            let first = List.last alike
            $"{alike.Length} like number {first.Index} ({keep target first.Index}): {first.What}")

    Expect.isEmpty kinds (String.concat "\n" kinds)

let tests =
    testList
        "fuzz"
        [
            for target in targets do
                testCase
                    target.Name
                    (inFolder (fun folder ->
                        for files in target.Seeds do
                            let errors =
                                (for name, bytes in files do
                                    File.WriteAllBytes(folder </> name, bytes)

                                 target.Read(folder </> fst files.Head))

                            Expect.isEmpty errors "the true file is read"

                        tryTarget target ((total + targets.Length - 1) / targets.Length) folder))

            for target in structures do
                testCase
                    target.Name
                    (inFolder (tryTarget target (max 20 (3 * total / 10 / structures.Length))))
        ]
