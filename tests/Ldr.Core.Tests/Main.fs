/// The tests of Ldr.Core.
module Ldr.Core.Tests.Main

open Expecto
open TorchSharp
open Ldr.TestKit

[<EntryPoint>]
let main arguments =
    torch.set_num_threads 1

    Suite.run
        "core"
        [
            FieldTests.tests
            ArchitectureTests.tests
            LayerTests.tests
            TrunkTests.tests
            NetworkTests.tests
            EngineTests.tests
            LossTests.tests
            CodecTests.tests
            DataTests.tests
            PeopleTests.tests
            PairingTests.tests
            VolumeCacheTests.tests
            DataFormTests.tests
            DoctorTests.tests
            StepTests.tests
            AldkTests.tests
            LossValueTests.tests
            PublishedTests.tests
            AugmentationTests.tests
            TrainerTests.tests
            KnownPairsTests.tests
            TrainingOptionTests.tests
            ModelFileTests.tests
            RegistrationTests.tests
            ApartTests.tests
            ScoresTests.tests
            ExperimentTests.tests
            BadExperimentTests.tests
            KeyTableTests.tests
            DataPageTests.tests
            PageTests.tests
            Fuzz.FuzzTests.tests
            testList "fuzz" [ Fuzz.PathFuzz.tests ]
            Fuzz.ProcessFuzz.tests
        ]
        arguments
