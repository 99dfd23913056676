module Ldr.Tests.Main

open System
open Expecto
open Expecto.Impl
open TorchSharp
open Ldr.Tests

let private all =
    testList
        "ldr"
        [
            testList
                "runtime"
                [
                    Runtime.GeometryTests.tests
                    Runtime.NiftiTests.tests
                    Runtime.NibabelTests.tests
                    Runtime.SafetensorsTests.tests
                    Runtime.FilesTests.tests
                    Runtime.WarpTests.tests
                    Runtime.FieldTests.tests
                    Runtime.MetricsTests.tests
                    Runtime.LogJacobianTests.tests
                    Runtime.KnownFieldTests.tests
                    Runtime.TransformTests.tests
                    Runtime.VelocityTests.tests
                    Runtime.FormatTests.tests
                    Runtime.ForeignAffineTests.tests
                    Runtime.RegistrationTests.tests
                    Runtime.KernelTests.tests
                    Runtime.SurfaceTests.tests
                    Runtime.RoomsTests.tests
                    Runtime.PromisesTests.tests
                    Runtime.AlignmentTests.tests
                    Runtime.RefinementTests.tests
                    Runtime.VerdictTests.tests
                ]
            testList
                "core"
                [
                    Core.FieldTests.tests
                    Core.ArchitectureTests.tests
                    Core.LayerTests.tests
                    Core.NetworkTests.tests
                    Core.EngineTests.tests
                    Core.LossTests.tests
                    Core.CodecTests.tests
                    Core.DataTests.tests
                    Core.PeopleTests.tests
                    Core.PairingTests.tests
                    Core.VolumeCacheTests.tests
                    Core.DataFormTests.tests
                    Core.DoctorTests.tests
                    Core.StepTests.tests
                    Core.AldkTests.tests
                    Core.AugmentationTests.tests
                    Core.TrainerTests.tests
                    Core.LossValueTests.tests
                    Core.KnownPairsTests.tests
                    Core.TrainingOptionTests.tests
                    Core.ModelFileTests.tests
                    Core.RegistrationTests.tests
                    Core.ApartTests.tests
                    Core.ScoresTests.tests
                    Core.ExperimentTests.tests
                    Core.PublishedTests.tests
                    Core.BadExperimentTests.tests
                    Core.KeyTableTests.tests
                    Core.DataPageTests.tests
                    Core.PageTests.tests
                ]
            testList
                "cli"
                [
                    Cli.CliTests.tests
                    Cli.RegisterTests.tests
                    Cli.GoldenTests.tests
                    Cli.OverlapTests.tests
                    Cli.EvaluateTests.tests
                    Cli.DoctorCliTests.tests
                    Cli.EngineCliTests.tests
                    Cli.TransformVerbTests.tests
                    Cli.PairTests.tests
                    Cli.ReportTests.tests
                    Cli.ShippedTests.tests
                    Cli.TrainingRecordTests.tests
                    Cli.SurvivalTests.tests
                    Cli.PromiseCliTests.tests
                    Cli.RcnTests.tests
                    Cli.ScriptTests.tests
                    Cli.ReadmeTests.tests
                ]
            Fuzz.FuzzTests.tests
            NativeFixTests.tests
        ]

/// The parts of the suite that run beside each other, see `./test`: those that compute in this process, and those that start programs.
let private part (name: string) =
    let wanted (test: Test) =
        match test with
        | TestLabel(label, _, _) -> (label = "cli") = (name = "programs")
        | _ -> name = "here"

    match name, all with
    | ("here" | "programs"), TestLabel(label, TestList(tests, state), focus) ->
        Some(TestLabel(label, TestList(tests |> List.filter wanted, state), focus))
    | _ -> None

/// How many tests the environment variable LDR_SLOWEST lets the run name, by their time.
let private slowest (times: Collections.Concurrent.ConcurrentBag<string * TimeSpan>) =
    match Int32.TryParse(Environment.GetEnvironmentVariable "LDR_SLOWEST") with
    | true, count ->
        for name, time in times |> Seq.sortByDescending snd |> Seq.truncate count do
            printfn "%6.1f s  %s" time.TotalSeconds name
    | _ -> ()

[<EntryPoint>]
let main arguments =
    torch.set_num_threads 1
    let mutable counts = None
    let times = Collections.Concurrent.ConcurrentBag()

    let tests, arguments =
        match arguments with
        | [| "--part"; name |] ->
            match part name with
            | Some tests -> tests, [||]
            | None -> failwith $"--part {name}: give here or programs"
        | _ -> all, arguments

    let printer =
        { TestPrinters.defaultPrinter with
            passed =
                fun name time ->
                    times.Add(name, time)
                    TestPrinters.defaultPrinter.passed name time
            summary =
                fun config summary ->
                    async {
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
            tests

    slowest times

    // The last line is for programs that read it: plain, on the raw stream.
    match counts with
    | Some(passed, failed, skipped) ->
        Console.Out.Flush()
        use stream = Console.OpenStandardOutput()

        stream.Write(Text.Encoding.ASCII.GetBytes $"\n{passed} passed, {failed} failed, {skipped} skipped\n")

        stream.Flush()
    | None -> ()

    code
