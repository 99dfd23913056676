/// Runs the tests of a project.
module Ldr.TestKit.Suite

open System
open Expecto
open Expecto.Impl

/// How many tests the environment variable LDR_SLOWEST lets the run name, by their time.
let private slowest (times: Collections.Concurrent.ConcurrentBag<string * TimeSpan>) =
    match Int32.TryParse(Environment.GetEnvironmentVariable "LDR_SLOWEST") with
    | true, count ->
        for name, time in times |> Seq.sortByDescending snd |> Seq.truncate count do
            printfn "%6.1f s  %s" time.TotalSeconds name
    | _ -> ()

/// Of every `count` lists the one with number `share` (from 1 on): `./test` runs the shares of a long project beside others.
let private shared (text: string) (lists: Test list) : Test list =
    match text.Split '/' with
    | [| share; count |] ->
        lists
        |> List.indexed
        |> List.filter (fun (i, _) -> i % int count = int share - 1)
        |> List.map snd
    | _ -> failwith $"--share {text}: give two numbers such as 1/3"

/// A line for each test that did not pass, with the start of its reason; `./test` repeats them at its end.
let private remarks (summary: TestRunSummary) : string list =
    let line kind (tests: (FlatTest * TestSummary) list) =
        [
            for test, outcome in tests do
                let name = String.concat "/" test.name
                let reason = outcome.result.ToString().ReplaceLineEndings " "
                $"{kind}: {name}: {reason[.. min 600 reason.Length - 1]}"
        ]

    line "skipped" summary.ignored
    @ line "failed" (summary.failed @ summary.errored)

/// Runs lists of tests under a name; arguments are Expecto's, or `--share 1/3`. The last line is the plain count.
let run (name: string) (lists: Test list) (arguments: string[]) : int =
    let mutable counts = None
    let mutable notPassed = []
    let times = Collections.Concurrent.ConcurrentBag()

    let lists, arguments =
        match arguments with
        | [| "--share"; text |] -> shared text lists, [||]
        | _ -> lists, arguments

    let printer =
        { TestPrinters.defaultPrinter with
            passed =
                fun name time ->
                    times.Add(name, time)
                    TestPrinters.defaultPrinter.passed name time
            summary =
                fun config summary ->
                    async {
                        notPassed <- remarks summary

                        counts <-
                            Some(
                                summary.passed.Length,
                                summary.failed.Length + summary.errored.Length,
                                summary.ignored.Length
                            )

                        do! TestPrinters.defaultPrinter.summary config summary
                    }
        }

    // One test after the other: a garbage collection that another thread starts can finalise TorchSharp's scalars while a
    // native call still uses them (see NativeCalls).
    let code =
        runTestsWithCLIArgs
            [
                CLIArguments.Printer printer
                CLIArguments.Sequenced
                CLIArguments.No_Spinner
                CLIArguments.Colours 0
                CLIArguments.JoinWith "/"
            ]
            arguments
            (testList "ldr" [ testList name lists ])

    slowest times

    // The last line is for programs that read it: plain, on the raw stream.
    match counts with
    | Some(passed, failed, skipped) ->
        Console.Out.Flush()
        use stream = Console.OpenStandardOutput()

        for remark in notPassed do
            stream.Write(Text.Encoding.UTF8.GetBytes $"\n{remark}")

        stream.Write(
            Text.Encoding.ASCII.GetBytes $"\n\n{passed} passed, {failed} failed, {skipped} skipped\n"
        )

        stream.Flush()
    | None -> ()

    code
