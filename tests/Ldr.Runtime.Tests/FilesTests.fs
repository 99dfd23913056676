module Ldr.Runtime.Tests.FilesTests

open System
open System.IO
open Expecto
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers

let private writeText (text: string) (stream: Stream) =
    stream.Write(ReadOnlySpan(Text.Encoding.UTF8.GetBytes text))

let tests =
    testList
        "atomic file"
        [
            testInFolder "writes and replaces"
            <| fun folder ->
                let path = folder </> "a.txt"
                AtomicFile.Write(path, writeText "one")
                Expect.equal (File.ReadAllText path) "one" "made"
                AtomicFile.Write(path, writeText "two")
                Expect.equal (File.ReadAllText path) "two" "replaced"
                Expect.hasLength (Directory.GetFiles folder) 1 "nothing else is left"

            testInFolder "a writer that throws leaves the old file"
            <| fun folder ->
                let path = folder </> "a.txt"
                File.WriteAllText(path, "old")

                let failing (stream: Stream) =
                    writeText "half of the new" stream
                    invalidOp "stop"

                Expect.throwsT<InvalidOperationException>
                    (fun () -> AtomicFile.Write(path, failing))
                    "passes through"

                Expect.equal (File.ReadAllText path) "old" "the old content"
                Expect.hasLength (Directory.GetFiles folder) 1 "the temporary file is gone"

            testInFolder "a writer that throws leaves no new file"
            <| fun folder ->
                let path = folder </> "a.txt"

                Expect.throwsT<InvalidOperationException>
                    (fun () -> AtomicFile.Write(path, (fun _ -> invalidOp "stop")))
                    "passes through"

                Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing is left"

            testInFolder "a full disk is the user's to mend"
            <| fun folder ->
                let path = folder </> "a.txt"

                refuses path "disk full" (fun () ->
                    AtomicFile.Write(path, (fun _ -> raise (IOException "disk full"))))

                Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing is left"

            testInFolder "a missing folder is named"
            <| fun folder ->
                let path = folder </> "missing" </> "a.txt"
                refuses path "does not exist" (fun () -> AtomicFile.Write(path, writeText "x"))

            testInFolder "a folder is no file"
            <| fun folder -> refuses folder "is a folder" (fun () -> AtomicFile.Write(folder, writeText "x"))

            testInFolder "a read-only file is not replaced, not even by root"
            <| fun folder ->
                let path = folder </> "a.txt"
                File.WriteAllText(path, "old")
                File.SetAttributes(path, FileAttributes.ReadOnly)

                try
                    refuses path "read-only" (fun () -> AtomicFile.Write(path, writeText "new"))
                    refuses path "read-only" (fun () -> AtomicFile.CheckWritable path)
                    Expect.equal (File.ReadAllText path) "old" "its content"
                finally
                    File.SetAttributes(path, FileAttributes.Normal)

            testInFolder "an unwritable folder is refused"
            <| fun folder ->
                if OperatingSystem.IsWindows() then
                    Tests.skiptest "Windows does not mind the permissions of a folder"

                // Root may write everywhere but where the kernel makes the files.
                if OperatingSystem.IsLinux() then
                    let path = "/proc/self/a.txt"

                    let message = invalid path (fun () -> AtomicFile.Write(path, writeText "x"))

                    Expect.stringContains message "written" "the message"
                    refuses path "may not be written" (fun () -> AtomicFile.CheckWritable path)

                if Environment.UserName <> "root" then
                    let path = folder </> "a.txt"
                    File.SetUnixFileMode(folder, UnixFileMode.UserRead ||| UnixFileMode.UserExecute)

                    try
                        refuses path "may not be written" (fun () -> AtomicFile.Write(path, writeText "x"))
                    finally
                        File.SetUnixFileMode(
                            folder,
                            UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute
                        )

            testInFolder "a symbolic link stays a link"
            <| fun folder ->
                if OperatingSystem.IsWindows() then
                    Tests.skiptest "links need a privilege on Windows"

                let real, link = folder </> "real.txt", folder </> "link.txt"
                File.WriteAllText(real, "old")
                File.CreateSymbolicLink(link, real) |> ignore
                AtomicFile.Write(link, writeText "new")
                Expect.equal (File.ReadAllText real) "new" "its target is replaced"
                Expect.equal (FileInfo(link).LinkTarget) real "still a link"

            testCase "a device is written to, not replaced"
            <| fun () ->
                if OperatingSystem.IsWindows() then
                    Tests.skiptest "there is no /dev/null on Windows"

                AtomicFile.Write("/dev/null", writeText "x")
                Expect.equal (File.ReadAllText "/dev/null") "" "still the null device"
        ]
