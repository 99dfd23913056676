/// The page in headless Chromium, used as a person uses it: `person.cjs` drives it with playwright-core. `firefox.cjs` drives Firefox.
module Ldr.App.Tests.PageTests

open System
open System.Diagnostics
open System.IO
open System.IO.Compression
open System.Text.Json.Nodes
open Expecto
open Ldr.App
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.App.Tests.Client

let private page = Path.Combine(Repository.root, "src", "Ldr.App", "page")
let private built = page </> "dist"

let private chromium =
    [ "/usr/bin/chromium"; "/usr/bin/chromium-browser"; "/usr/bin/google-chrome" ]
    |> List.tryFind File.Exists

let private needPage () =
    if not (File.Exists(built </> "index.html")) then
        Tests.skiptest "the page is not built: npm is missing"

let private needBrowser () =
    needPage ()

    if chromium.IsNone || not (Process.has "node") then
        Tests.skiptest "chromium or node is not installed"

    if not (Directory.Exists(page </> "node_modules" </> "playwright-core")) then
        Tests.skiptest "playwright-core is not installed"

let private firefox =
    [ "/usr/bin/firefox-esr"; "/usr/bin/firefox" ] |> List.tryFind File.Exists

/// Runs a script of this folder; what it found.
let private runScript
    (program: string)
    (before: string list)
    (name: string)
    (arguments: string list)
    : JsonNode =
    let script = Path.Combine(Repository.root, "tests", "Ldr.App.Tests", name)

    let info =
        ProcessStartInfo(
            program,
            before @ script :: arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    info.Environment["NODE_PATH"] <- page </> "node_modules"
    info.Environment["CHROMIUM"] <- Option.toObj chromium
    info.Environment["FIREFOX"] <- Option.toObj firefox
    use running = Process.Start info |> nonNull
    let errors = running.StandardError.ReadToEndAsync()
    let output = running.StandardOutput.ReadToEnd()
    running.WaitForExit()
    Expect.equal running.ExitCode 0 $"{name}: {errors.Result}"
    nonNull (JsonNode.Parse output)

/// Runs a scene of `person.cjs`.
let private play (scene: string) (server: AppServer) (arguments: string list) : JsonNode =
    runScript "node" [] "person.cjs" (scene :: server.Link :: arguments)

let private number (node: JsonNode) = float (string node)

/// A test with a server that has a folder with a pair, a run and a cohort.
let private testPage name (body: string -> AppServer -> Client -> unit) =
    testInFolder name (fun folder ->
        needBrowser ()
        let data = folder </> "data"
        Directory.CreateDirectory data |> ignore
        writeBlobs data |> ignore
        ImageFile.Write(data </> "fixed-labels.nii.gz", snd (blobs 0))

        withServer (AppOptions(Session = (folder </> "session"), Folder = data)) (fun server client ->
            body data server client))

let tests =
    testList
        "page"
        [
            testPage
                "drop two scans, press the button, look, save: the file of the API"
                (fun data server client ->
                    let found =
                        play
                            "register"
                            server
                            [
                                data </> "fixed.nii.gz"
                                data </> "moving.nii.gz"
                                data </> "labels.nii.gz"
                                data </> "fixed-labels.nii.gz"
                            ]

                    Expect.equal
                        (string found["problems"])
                        ""
                        "no error, nothing that the policy refuses, nothing from outside"

                    Expect.equal (string found["token_in_address"]) "false" "the token is not in the address"
                    Expect.isGreaterThan (number found["blend"]) 0.01 "the slider changes the picture"

                    for mode in [ "checker"; "difference"; "jacobian"; "grid"; "outline" ] do
                        Expect.isGreaterThan (number found[mode]) 0.005 $"{mode} changes the picture"

                    Expect.stringContains (string found["verdict"]) "Similarity" "the verdict in words"

                    Expect.stringContains
                        (string found["labels"])
                        "Labels: Dice 0."
                        "how well the labels agree"

                    Expect.stringContains
                        (string found["command"])
                        "ldr-fs register --fixed fixed.nii.gz"
                        "the command"

                    Expect.isGreaterThan
                        (number found["cross"])
                        0.5
                        "the cross-hair of one moves those of the others, mm"

                    let job = (client.Json "/api/jobs").AsArray() |> Seq.exactlyOne
                    let saved = Convert.FromBase64String(string found["saved"])

                    Expect.equal
                        saved
                        (client.Bytes $"""/api/jobs/{string job["id"]}/files/transform.mha""")
                        "the saved field"

                    Expect.stringStarts
                        (string found["applied"])
                        "moved-"
                        "another file was moved by the result")

            testPage
                "a header with its voxels, and a series of DICOM slices, are a scan each"
                (fun data server _ ->
                    if not (Process.has "plastimatch") then
                        Tests.skiptest "plastimatch is not installed"

                    let fixedScan, moving = fst (blobs 0), fst (blobs 1)
                    ImageFile.Write(data </> "fixed.mha", fixedScan)
                    let bytes = File.ReadAllBytes(data </> "fixed.mha")
                    let local = Text.Encoding.ASCII.GetBytes "LOCAL\n"
                    let cut = bytes.AsSpan().IndexOf(ReadOnlySpan local)
                    let header = Text.Encoding.ASCII.GetString(bytes, 0, cut)
                    File.WriteAllText(data </> "fixed.mhd", header + "fixed.raw\n")
                    File.WriteAllBytes(data </> "fixed.raw", bytes[cut + local.Length ..])

                    let scan =
                        Volume(moving.Grid, moving.Values |> Array.map (fun v -> round (1000.0f * v)))

                    ImageFile.Write(data </> "scan.nii", scan)

                    let made =
                        Process.run
                            "plastimatch"
                            [
                                "convert"
                                "--input"
                                data </> "scan.nii"
                                "--output-dicom"
                                data </> "series"
                            ]

                    Expect.equal made.Code 0 made.Errors

                    let found =
                        play
                            "parts"
                            server
                            [
                                data </> "fixed.mhd"
                                data </> "fixed.raw"
                                yield! Directory.GetFiles(data </> "series")
                            ]

                    Expect.equal (string found["problems"]) "" "no error, nothing that the policy refuses"

                    Expect.equal
                        (string found["fixed"])
                        (string fixedScan.Grid)
                        "of the header and its voxels"

                    let size = $"{moving.Grid.Nx}×{moving.Grid.Ny}×{moving.Grid.Nz}"
                    Expect.stringContains (string found["moving"]) size "of the slices")

            testPage
                "a broken file is told where it was dropped, and a job is cancelled"
                (fun data server client ->
                    File.WriteAllBytes(data </> "broken.nii.gz", [| 31uy; 139uy; 8uy; 0uy; 1uy |])

                    let found =
                        play
                            "trouble"
                            server
                            [ data </> "broken.nii.gz"; data </> "fixed.nii.gz"; data </> "moving.nii.gz" ]

                    Expect.stringStarts (string found["broken"]) "broken.nii.gz: " "the reader's line"
                    Expect.equal (string found["cancelled"]) "Cancelled" "what is said"

                    let states =
                        [ for job in (client.Json "/api/jobs").AsArray() -> string job["state"] ]

                    Expect.equal states [ "cancelled" ] "what became of it")

            testPage "the keyboard is enough" (fun data server _ ->
                let found =
                    play "keyboard" server [ data </> "fixed.nii.gz"; data </> "moving.nii.gz" ]

                Expect.equal (string found["mode"]) "difference" "a key chooses how the scans are shown"
                Expect.isGreaterThan (number found["cross"]) 0.5 "arrow keys move the cross-hair, mm"
                Expect.equal (string found["wide"]) "false" "nothing runs out of 1024 pixels"
                Expect.notEqual (string found["dark"]) (string found["light"]) "dark and light")

            testPage
                "a run's curves grow while it trains; a pair of a cohort is a click away"
                (fun data server _ ->
                    let run = data </> "run"
                    Directory.CreateDirectory run |> ignore

                    File.WriteAllText(
                        run </> "experiment.json",
                        """{"name":"tiny","train":[{"name":"student","steps":40}]}"""
                    )

                    File.WriteAllLines(
                        run </> "metrics.jsonl",
                        [
                            for step in 1..20 ->
                                $"""{{"kind":"train","training":"student","step":{step},"loss":{1.0 / float step}}}"""
                        ]
                    )

                    let pair = data </> "cohort" </> "a-b"
                    Directory.CreateDirectory pair |> ignore
                    File.WriteAllText(data </> "cohort" </> "group.tsv", "id\tverdict\na-b\tok\n")
                    File.Copy(data </> "fixed.nii.gz", pair </> "moved.nii.gz")
                    let inputs = JsonObject()
                    inputs.Add("fixed", text (data </> "fixed.nii.gz"))
                    let result = JsonObject()
                    result.Add("inputs", inputs)
                    File.WriteAllText(pair </> "result.json", result.ToJsonString())
                    let found = play "folders" server [ run ]
                    Expect.equal (string found["problems"]) "" "no error"
                    Expect.stringContains (string found["first"]) "student: 0.050" "the curve"
                    Expect.stringContains (string found["later"]) "student: 0.010" "and its new end"
                    Expect.equal (string found["pair"]) "true" "the pair is shown")

            testInFolder "in Firefox two scans are registered and shown" (fun folder ->
                needPage ()

                if firefox.IsNone || not (Process.has "node" && Process.has "xvfb-run") then
                    Tests.skiptest "firefox, xvfb or node is not installed"

                writeBlobs folder |> ignore

                withServer (AppOptions(Session = (folder </> "session"))) (fun server _ ->
                    let found =
                        runScript
                            "xvfb-run"
                            [ "-a"; "node"; "--experimental-websocket" ]
                            "firefox.cjs"
                            [ server.Link; folder </> "fixed.nii.gz"; folder </> "moving.nii.gz" ]

                    if string found["webgl"] = "false" then
                        Tests.skiptest "Firefox has no WebGL here"

                    Expect.equal
                        (string found["problems"])
                        ""
                        "no error, nothing that the policy refuses, nothing from outside"

                    Expect.stringContains (string found["verdict"]) "Similarity" "the verdict in words"
                    Expect.equal (string found["changes"]) "true" "the difference is another picture"))

            testCase "what the page loads weighs less than 1.5 MB, packed" (fun () ->
                needPage ()

                let packed (file: string) =
                    use memory = new MemoryStream()

                    (use gzip = new GZipStream(memory, CompressionLevel.SmallestSize, true)
                     gzip.Write(File.ReadAllBytes file))

                    memory.Length

                let bytes =
                    Directory.GetFiles(built, "*", SearchOption.AllDirectories)
                    |> Array.sumBy packed

                Expect.isLessThan bytes 1_500_000L "bytes"
                Expect.isGreaterThan bytes 100_000L "bytes")

            testServer
                "without the page the API works, and the page says what is missing"
                (fun o -> AppOptions(Session = o.Session, Page = o.Session + "-none"))
                (fun server client ->
                    Expect.isFalse server.IsPageBuilt "it is not there"
                    let words = Text.Encoding.UTF8.GetString(client.Bytes "/")
                    Expect.stringContains words "Install Node.js" "what to do"
                    client.Json "/api/about" |> ignore)
        ]
