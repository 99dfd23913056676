/// The tests of Ldr.App.
module Ldr.App.Tests.Main

open Ldr.TestKit

[<EntryPoint>]
let main arguments =
    Suite.run
        "app"
        [
            GateTests.tests
            UploadTests.tests
            FolderTests.tests
            JobTests.tests
            ProcessTests.tests
            PageTests.tests
        ]
        arguments
