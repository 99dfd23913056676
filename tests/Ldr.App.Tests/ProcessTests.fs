/// `ldr-fs app` as a program: what it prints, leaves and takes up again.
module Ldr.App.Tests.ProcessTests

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open System.Threading
open Expecto
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.App.Tests.Client

/// Starts `ldr-fs app` with a folder of temporary files of its own; the link that it prints.
let private started (temporary: string) (arguments: string list) =
    Directory.CreateDirectory temporary |> ignore

    let info =
        ProcessStartInfo(
            "dotnet",
            program :: "app" :: "--no-browser" :: arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    info.Environment["TMPDIR"] <- temporary
    let running = Process.Start info |> nonNull
    let line = running.StandardOutput.ReadLine()

    match line with
    | null -> failtest (running.StandardError.ReadToEnd())
    | line ->
        Expect.stringStarts line "listening on http://127.0.0.1:" "what it prints"
        let link = Uri(line.Substring 13)
        running, new Client($"http://{link.Authority}", link.Query.Substring 7)

let private sessions (temporary: string) =
    Directory.GetDirectories temporary |> Array.collect Directory.GetDirectories

/// Where the tests were started with SIGINT ignored, every child ignores it too: then it is SIGTERM.
let private signal (wanted: string) (running: Process) =
    let name =
        if wanted = "INT" && ignoresInterrupts () then
            "TERM"
        else
            wanted

    (run "kill" [ "-" + name; string running.Id ]) |> ignore
    Expect.isTrue (running.WaitForExit 20_000) "it ends"

let tests =
    testList
        "process"
        [
            onUnix "ends at a signal, and leaves nothing" (fun folder ->
                let temporary = folder </> "tmp"
                let running, client = started temporary []
                use running = running
                use client = client
                let fixedFile, _, _ = writeBlobs folder
                client.Stored fixedFile |> ignore
                let session = Array.exactlyOne (sessions temporary)

                let own =
                    UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute

                Expect.equal (File.GetUnixFileMode session) own "0700"
                let errors = running.StandardError.ReadToEndAsync()
                signal "TERM" running
                Expect.equal running.ExitCode 0 "its code"
                Expect.isEmpty (sessions temporary) "no folder stays"
                Expect.equal (errors.Result.Trim()) "Stopped." "no log, no name of a file")

            onUnix
                "what a killed one left goes at the next start, and no folder of one that runs"
                (fun folder ->
                    let temporary = folder </> "tmp"
                    let first, firstClient = started temporary []
                    use first = first
                    use firstClient = firstClient
                    let left = Array.exactlyOne (sessions temporary)
                    let second, secondClient = started temporary []
                    use second = second
                    use secondClient = secondClient
                    Expect.hasLength (sessions temporary) 2 "each has its own"
                    signal "KILL" first
                    Expect.isTrue (Directory.Exists left) "it could not remove its folder"
                    let third, thirdClient = started temporary []
                    use third = third
                    use thirdClient = thirdClient
                    Expect.isFalse (Directory.Exists left) "it is gone"
                    Expect.hasLength (sessions temporary) 2 "the others are there"
                    secondClient.Json "/api/about" |> ignore
                    signal "TERM" second
                    signal "INT" third
                    Expect.isEmpty (sessions temporary) "nothing stays")

            onUnix "a session that the user names is taken up again after a kill" (fun folder ->
                let temporary, session = folder </> "tmp", folder </> "session"
                let fixedFile, moving, _ = writeBlobs folder
                let running, client = started temporary [ "--session"; session ]
                let f, m = client.Stored fixedFile, client.Stored moving

                let id =
                    client.Posted
                        [
                            "fixed", text f
                            "moving", text m
                            "model", text "none"
                            "refine", JsonValue.Create 2
                        ]

                client.Over id |> ignore
                let moved = client.Bytes $"/api/jobs/{id}/files/moved.nii.gz"

                let long =
                    client.Posted
                        [
                            "fixed", text f
                            "moving", text m
                            "model", text "none"
                            "refine", JsonValue.Create 10_000
                        ]

                let second = run "dotnet" [ program; "app"; "--no-browser"; "--session"; session ]
                Expect.equal second.Code 1 "two cannot share it"
                Expect.stringContains second.Errors "is in use by another ldr-fs app" "the line"
                signal "KILL" running
                (client :> IDisposable).Dispose()
                running.Dispose()
                let running, client = started temporary [ "--session"; session ]
                use running = running
                use client = client
                Expect.equal (client.Bytes $"/api/jobs/{id}/files/moved.nii.gz") moved "the result"
                let cut = client.Json $"/api/jobs/{long}"
                Expect.equal (string cut["state"]) "failed" "the job that ran"
                Expect.stringContains (string cut["error"]) "was ended before" "why"

                let again =
                    client.Over(
                        client.Posted [ "fixed", text f; "moving", text m; "refine", JsonValue.Create 2 ]
                    )

                Expect.equal (string again["state"]) "done" "its uploads can be used"
                signal "TERM" running
                Expect.isTrue (Directory.Exists session) "it is kept")

            onUnix "a wrong folder, a wrong port and a port in use are told in a line" (fun folder ->
                let temporary = folder </> "tmp"
                let running, client = started temporary []
                use running = running
                use client = client
                let port = string (Uri client.Address).Port

                for arguments, code, line in
                    [
                        [ "--folder"; folder </> "nowhere" ], 1, "is no folder"
                        [ "--port"; "70000" ], 2, "--port: give a number from 1 to 65535"
                        [ "--port"; port ], 1, "is in use"
                    ] do
                    let outcome = ldr ([ "app"; "--no-browser" ] @ arguments)
                    Expect.equal outcome.Code code outcome.Errors
                    Expect.stringContains outcome.Errors line "the line"

                signal "TERM" running)

            onUnix "a page that is open does not keep it from ending" (fun folder ->
                let running, client = started (folder </> "tmp") []
                use running = running
                use client = client
                let request = client.Request(Net.Http.HttpMethod.Get, "/api/events")
                use http = new Net.Http.HttpClient()

                use response =
                    http.SendAsync(request, Net.Http.HttpCompletionOption.ResponseHeadersRead).Result

                let clock = Stopwatch.StartNew()
                signal "INT" running
                Expect.isLessThan clock.Elapsed.TotalSeconds 5.0 "it ends soon")
        ]
