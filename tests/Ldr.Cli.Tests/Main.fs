/// The tests of Ldr.Cli.
module Ldr.Cli.Tests.Main

open TorchSharp
open Ldr.TestKit

[<EntryPoint>]
let main arguments =
    torch.set_num_threads 1

    Suite.run
        "cli"
        [
            CliTests.tests
            RegisterTests.tests
            GoldenTests.tests
            OverlapTests.tests
            EvaluateTests.tests
            DoctorCliTests.tests
            EngineCliTests.tests
            TransformVerbTests.tests
            PairTests.tests
            FirstUseTests.tests
            CohortCliTests.tests
            AtlasCliTests.tests
            ReportTests.tests
            ShippedTests.tests
            TrainingRecordTests.tests
            SurvivalTests.tests
            ClusterTests.tests
            RanksTests.tests
            PromiseCliTests.tests
            RcnTests.tests
            ReadmeTests.tests
            ScriptTests.tests
            NativeFixTests.tests
            PackTests.tests
        ]
        arguments
