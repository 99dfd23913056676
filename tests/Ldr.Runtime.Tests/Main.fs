/// The tests of Ldr.Runtime.
module Ldr.Runtime.Tests.Main

open Ldr.TestKit

[<EntryPoint>]
let main arguments =
    Suite.run
        "runtime"
        [
            GeometryTests.tests
            NiftiTests.tests
            NibabelTests.tests
            SafetensorsTests.tests
            FilesTests.tests
            WarpTests.tests
            FieldTests.tests
            MetricsTests.tests
            LogJacobianTests.tests
            KnownFieldTests.tests
            TransformTests.tests
            VelocityTests.tests
            FormatTests.tests
            ForeignAffineTests.tests
            RegistrationTests.tests
            KernelTests.tests
            SurfaceTests.tests
            RoomsTests.tests
            PromisesTests.tests
            AlignmentTests.tests
            RefinementTests.tests
            VerdictTests.tests
            ClaimTests.tests
            CohortTests.tests
            AtlasTests.tests
            TemplateTests.tests
        ]
        arguments
