module Ldr.Cli.Tests.NativeFixTests

open System
open System.IO
open System.Runtime.InteropServices
open Expecto
open Ldr
open Ldr.NativeFix
open Ldr.TestKit.Helpers

/// The folder of the package in this machine's cache, if it is there.
let private package =
    lazy Path.Combine(Ldr.TestKit.Repository.packages, "torchsharp")

/// The library as its package has it: this program's folder holds a copy that may have been fixed.
let private needOriginal () =
    if not (Directory.Exists package.Value) then
        skiptest $"{package.Value} is missing"

    // The version that this program was built with.
    let version =
        typeof<TorchSharp.torch>.Assembly.GetName().Version
        |> nonNull
        |> fun version -> version.ToString 3

    let path =
        Path.Combine(package.Value, version, "runtimes", "linux-x64", "native", TorchSharpLibrary.FileName)

    Expect.isTrue (File.Exists path) $"{path} is there: the package holds the library under this name"
    path

let private contains (bytes: byte[]) (text: string) =
    bytes.AsSpan().IndexOf(ReadOnlySpan(Text.Encoding.ASCII.GetBytes(text + "\000")))
    >= 0

let tests =
    testList
        "native fix"
        [
            testInFolder "where the system has the symbol, the file stays as it was" (fun folder ->
                let copy = folder </> "library.so"
                File.Copy(needOriginal (), copy)
                let before = Checkpoint.digest copy
                Expect.equal (TorchSharpLibrary.MakeLoadable(copy, true)) FixResult.NotNeeded "not needed"
                Expect.equal (Checkpoint.digest copy) before "same bytes")

            testInFolder
                "where it has not, the copy is replaced, once, and the package's file is untouched"
                (fun folder ->
                    let source = needOriginal ()
                    let before = Checkpoint.digest source
                    let copy = folder </> "library.so"
                    // As the build lays it out: a hard link to the package's file would be the hardest case, a copy the usual one.
                    File.Copy(source, copy)
                    Expect.equal (TorchSharpLibrary.MakeLoadable(copy, false)) FixResult.Fixed "fixed"
                    Expect.equal (TorchSharpLibrary.MakeLoadable(copy, false)) FixResult.AlreadyFixed "once"
                    Expect.equal (Checkpoint.digest source) before "the package's file"
                    let fixedBytes = File.ReadAllBytes copy

                    Expect.isTrue
                        (contains (File.ReadAllBytes source) TorchSharpLibrary.MissingSymbol)
                        "asked for before"

                    Expect.isFalse
                        (contains fixedBytes TorchSharpLibrary.MissingSymbol)
                        "asked for no longer"

                    Expect.equal fixedBytes.Length (File.ReadAllBytes source).Length "same length")

            testInFolder "a hard link to the package's file is broken, not followed" (fun folder ->
                if not (RuntimeInformation.IsOSPlatform OSPlatform.Linux) then
                    skiptest "hard links are made by ln"

                let source = folder </> "package.so"
                File.Copy(needOriginal (), source)
                let before = Checkpoint.digest source
                let link = folder </> "output.so"
                use ln = Diagnostics.Process.Start("ln", [ source; link ])
                ln.WaitForExit()
                Expect.equal (TorchSharpLibrary.MakeLoadable(link, false)) FixResult.Fixed "fixed"
                Expect.equal (Checkpoint.digest source) before "the linked file")

            testInFolder "a file that is no such library is refused and kept" (fun folder ->
                let path = folder </> "text.so"
                File.WriteAllText(path, "not a library")

                Expect.throwsT<InvalidDataException>
                    (fun () -> TorchSharpLibrary.MakeLoadable(path, false) |> ignore)
                    "refused"

                Expect.equal (File.ReadAllText path) "not a library" "kept")

            test "this program runs on a library that its system can load" {
                Expect.equal (TorchSharp.torch.ones(3L).sum().item<float32>()) 3.0f "torch works"
            }
        ]
