/// Jobs: the same results as the command line, in turn, and cancelled.
module Ldr.App.Tests.JobTests

open System
open System.Diagnostics
open System.IO
open System.Net.Http
open System.Text.Json.Nodes
open Expecto
open Ldr.App
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.App.Tests.Client

let private same (options: AppOptions) = options

/// Fixed, moving and the moving scan's labels, and their ids.
let private pair (server: AppServer) (client: Client) =
    let fixedFile, moving, labels = writeBlobs server.Folder
    (fixedFile, client.Stored fixedFile), (moving, client.Stored moving), (labels, client.Stored labels)

let private done' (job: JsonNode) =
    Expect.equal (string job["state"]) "done" (job.ToJsonString())

let private refused (client: Client) (body: string) =
    let status, answer = client.Post("/api/jobs", body)
    Expect.equal status 400 (answer.ToJsonString())
    string answer["error"]

/// A pair that takes minutes.
let private long (server: AppServer) (client: Client) =
    let grid = Grid(96, 96, 96, Affine.Identity)
    let file = server.Folder </> "large.nii"
    ImageFile.Write(file, randomVolume (Random 1) grid)
    let id = client.Stored file

    [
        "fixed", text id
        "moving", text id
        "model", text "none"
        "refine", JsonValue.Create 5000 :> JsonNode
    ]

/// Compares every file that a job gives with that of `ldr-fs register`.
let private isAsTheCommandLine
    (server: AppServer)
    (client: Client)
    (options: string list)
    (wanted: (string * JsonNode) list)
    =
    let (fixedFile, f), (moving, m), (labels, l) = pair server client
    let folder = server.Folder
    let at name = folder </> ("cli-" + name)

    let outcome =
        ldr (
            [ "register"; "--fixed"; fixedFile; "--moving"; moving; "--labels"; labels ]
            @ [
                "--moved"
                at "moved.nii.gz"
                "--transform"
                at "transform.nii.gz"
                "--inverse-transform"
                at "inverse.mha"
            ]
            @ [ "--moved-labels"; at "moved-labels.nrrd"; "--json" ]
            @ options
        )

    Expect.isLessThan outcome.Code 4 outcome.Errors
    let said = nonNull (JsonNode.Parse outcome.Output)

    let job =
        client.Over(client.Posted([ "fixed", text f; "moving", text m; "labels", text l ] @ wanted))

    done' job
    let id = string job["id"]

    for name in [ "moved.nii.gz"; "transform.nii.gz"; "inverse.mha"; "moved-labels.nrrd" ] do
        Expect.equal (client.Bytes $"/api/jobs/{id}/files/{name}") (File.ReadAllBytes(at name)) name

    let result = job["result"].AsObject()
    // Times differ; files and memory are not told.
    let own =
        set
            [
                "milliseconds"
                "check_milliseconds"
                "moved"
                "transform"
                "inverse_transform"
                "peak_mb"
            ]

    let own = own + set [ "inverse_residual_mean_mm"; "inverse_residual_max_mm" ]

    for entry in said.AsObject() do
        if not (own.Contains entry.Key) then
            let ours = result[entry.Key]

            let written (node: JsonNode) =
                if isNull node then "null" else node.ToJsonString()

            Expect.equal (written ours) (written entry.Value) entry.Key

    job

let tests =
    testList
        "jobs"
        [
            testServer
                "without a model: the files of register, bit by bit, and its numbers"
                same
                (fun server client ->
                    let job =
                        isAsTheCommandLine
                            server
                            client
                            [ "--model"; "none"; "--refine"; "10"; "--diffeomorphic" ]
                            [
                                "model", text "none"
                                "refine", JsonValue.Create 10
                                "diffeomorphic", JsonValue.Create true
                            ]

                    Expect.stringContains (string job["command"]) "--refine 10 --diffeomorphic" "the command"

                    // What is applied later is what `apply` makes of the transform that was saved.
                    let id = string job["id"]
                    let labels = string job["request"].["labels"]

                    let status, moved =
                        client.Post($"/api/jobs/{id}/apply", $"""{{"file":"{labels}","kind":"labels"}}""")

                    Expect.equal status 201 (moved.ToJsonString())
                    let out = server.Folder </> "applied.nii.gz"

                    let outcome =
                        ldr
                            [
                                "apply"
                                "--transform"
                                server.Folder </> "cli-transform.nii.gz"
                                "--moving"
                                server.Folder </> "labels.nii.gz"
                                "--reference"
                                server.Folder </> "fixed.nii.gz"
                                "--interpolation"
                                "label"
                                "--output"
                                out
                            ]

                    Expect.equal outcome.Code 0 outcome.Errors
                    Expect.equal (client.Bytes(string moved["address"])) (File.ReadAllBytes out) "applied"

                    let status, _ =
                        client.Post($"/api/jobs/{id}/apply", $"""{{"file":"{labels}","kind":"points"}}""")

                    Expect.equal status 400 "labels are no points")

            testServer "with a model: the same" same (fun server client ->
                isAsTheCommandLine server client [ "--model"; "hippocampus" ] [ "model", text "hippocampus" ]
                |> ignore)

            testServer "the model is chosen by what it was trained on" same (fun server client ->
                let (_, f), (_, m), _ = pair server client
                let job = client.Over(client.Posted [ "fixed", text f; "moving", text m ])
                Expect.equal (string job["model"]) "hippocampus" "voxels of 1 mm, of its size"
                let coarse = server.Folder </> "coarse.nii"
                ImageFile.Write(coarse, randomVolume (Random 1) (Grid(20, 20, 20, Affine.Scaling(9, 9, 9))))
                let c = client.Stored coarse

                let job =
                    client.Over(
                        client.Posted [ "fixed", text c; "moving", text c; "refine", JsonValue.Create 1 ]
                    )

                Expect.equal (string job["model"]) "none" "voxels that none has seen")

            testServer
                "points and masks go along, and every download is offered and given"
                same
                (fun server client ->
                    let (_, f), (_, m), (_, l) = pair server client
                    let points = server.Folder </> "points.csv"
                    File.WriteAllText(points, "x_ras,y_ras,z_ras\n-4,-2,0\n")
                    let mask = server.Folder </> "mask.nii"
                    let scan = fst (blobs 0)
                    ImageFile.Write(mask, Volume(scan.Grid, Array.create scan.Values.Length 1.0f))

                    let job =
                        client.Over(
                            client.Posted
                                [
                                    "fixed", text f
                                    "moving", text m
                                    "labels", text l
                                    "points", text (client.Stored points)
                                    "fixed_mask", text (client.Stored mask)
                                    "model", text "none"
                                    "refine", JsonValue.Create 5
                                ]
                        )

                    done' job
                    let id = string job["id"]

                    for download in job["downloads"].AsArray() do
                        for ending in download["endings"].AsArray() do
                            let name = string download["name"] + string ending
                            Expect.isNonEmpty (client.Bytes $"/api/jobs/{id}/files/{name}") name

                    for layer in job["layers"].AsArray() do
                        Expect.isNonEmpty
                            (client.Bytes $"/api/jobs/{id}/layers/{string layer}")
                            (string layer)

                    let file = client.Bytes $"/api/jobs/{id}/files/moved-points.csv"
                    let moved = Text.Encoding.UTF8.GetString file
                    let line = moved.Split('\n')[1]
                    let x = float (line.Split(',')[0])
                    Expect.isGreaterThan x (-3.5) "the point went along with the blob, 3 voxels to the right"
                    use no = client.Ask(HttpMethod.Get, $"/api/jobs/{id}/files/job.json")
                    Expect.equal (int no.StatusCode) 404 "what is not offered is not given")

            testServer "a wrong option is refused in register's words" same (fun server client ->
                let (_, f), (_, m), _ = pair server client

                let job more =
                    $"""{{"fixed":"{f}","moving":"{m}"{more}}}"""

                for more, line in
                    [
                        ""","affine":"sideways" """, "affine: give none, centres, rigid, full or auto"
                        ""","refine":-1""", "refine: give a whole number from 0 to 10000"
                        ""","budget":0""", "budget: give seconds, a number above 0"
                        ""","control_spacing":-2""", "control_spacing: give mm"
                        ""","log_jacobian":1e9""", "log_jacobian: give a weight"
                        ""","jacobian_bounds":[0.3,3]""", "jacobian_bounds is of diffeomorphic"
                        ""","model":"liver" """, "model: give auto, none, brain, hippocampus"
                        ""","model":"../x" """, "model: give auto"
                        ""","speed":1""", "wrong JSON"
                        ""","points":"F" """.Replace("F", f), "points: is no file of points"
                    ] do
                    Expect.stringContains (refused client (job more)) line more

                let status, _ = client.Post("/api/jobs", """{"fixed":"no","moving":"no"}""")
                Expect.equal status 404 "a file that is not there"
                Expect.stringContains (refused client """{"fixed":1""") "wrong JSON" "half a body")

            testServer
                "a scan that cannot be used fails its job with the reader's line and the user's name"
                same
                (fun server client ->
                    let (fixedFile, f), _, _ = pair server client
                    let bytes = File.ReadAllBytes fixedFile
                    // The header is whole, the voxels are not.
                    let status, cut =
                        client.Upload("cut.nii.gz", Array.truncate (bytes.Length / 2) bytes)

                    Expect.equal status 201 (cut.ToJsonString())

                    let job =
                        client.Over(client.Posted [ "fixed", text f; "moving", text (string cut["id"]) ])

                    Expect.equal (string job["state"]) "failed" "it failed"
                    Expect.stringStarts (string job["error"]) "cut.nii.gz: " "the user's name"
                    Expect.isFalse ((string job["error"]).Contains server.Folder) "not where it lies")

            testServer "twenty jobs run in turn, and none stays in memory" same (fun server client ->
                let (_, f), (_, m), _ = pair server client

                let request =
                    [
                        "fixed", text f
                        "moving", text m
                        "model", text "none"
                        "refine", JsonValue.Create 2 :> JsonNode
                    ]

                let copy () =
                    request |> List.map (fun (key, value) -> key, value.DeepClone())

                done' (client.Over(client.Posted(copy ())))
                let memory () = GC.GetTotalMemory true
                let before = memory ()
                let ids = [ for _ in 1..20 -> client.Posted(copy ()) ]
                let jobs = ids |> List.map client.Over
                jobs |> List.iter done'
                let numbers = [ for job in jobs -> int (string job["number"]) ]
                Expect.equal numbers [ 2..21 ] "in their order"
                let moved = [ for id in ids -> client.Bytes $"/api/jobs/{id}/files/moved.nii.gz" ]
                Expect.all moved (fun bytes -> bytes = moved.Head) "all the same"
                // One result is about 1.5 MB.
                Expect.isLessThan (memory () - before) 6_000_000L "bytes that stay"

                for id in ids do
                    use removed = client.Ask(HttpMethod.Delete, $"/api/jobs/{id}")
                    Expect.equal (int removed.StatusCode) 200 "removed"

                Expect.hasLength (Directory.GetDirectories(server.Folder </> "jobs")) 1 "with their files")

            testServer "a job is cancelled while it runs, and while it waits" same (fun server client ->
                let request = long server client

                let copy () =
                    request |> List.map (fun (key, value) -> key, value.DeepClone())

                let running, waiting = client.Posted(copy ()), client.Posted(copy ())

                let state id =
                    string (client.Json $"/api/jobs/{id}").["state"]

                Expect.isTrue
                    (Threading.SpinWait.SpinUntil((fun () -> state running = "running"), 10_000))
                    "it runs"

                Expect.equal (state waiting) "queued" "the other waits"

                let cancel (id: string) =
                    client.Ask(HttpMethod.Delete, $"/api/jobs/{id}").Dispose()

                cancel waiting
                Expect.equal (state waiting) "cancelled" "at once"
                let clock = Stopwatch.StartNew()
                cancel running
                Expect.equal (string (client.Over running).["state"]) "cancelled" "it ended"
                Expect.isLessThan clock.Elapsed.TotalSeconds 5.0 "soon"
                use no = client.Ask(HttpMethod.Get, $"/api/jobs/{running}/files/moved.nii")
                Expect.equal (int no.StatusCode) 409 "it has no files")

            testServer
                "no more jobs wait than were allowed"
                (fun o -> AppOptions(Session = o.Session, MostWaiting = 2))
                (fun server client ->
                    let request = long server client
                    let body = JsonObject()
                    request |> List.iter body.Add

                    let posted =
                        [ for _ in 1..4 -> fst (client.Post("/api/jobs", body.ToJsonString())) ]

                    Expect.equal posted [ 202; 202; 202; 429 ] "the fourth is refused")

            testServer "events tell every stage, and end with the job" same (fun server client ->
                let (_, f), (_, m), _ = pair server client

                let id =
                    client.Posted
                        [
                            "fixed", text f
                            "moving", text m
                            "model", text "none"
                            "refine", JsonValue.Create 5
                        ]

                let bytes = client.Bytes $"/api/jobs/{id}/events"
                let told = Text.Encoding.UTF8.GetString bytes

                let jobs =
                    [
                        for line in told.Split '\n' do
                            if line.StartsWith "data: " then
                                nonNull (JsonNode.Parse(line.Substring 6))
                    ]

                Expect.equal (string (List.last jobs).["state"]) "done" "the last"
                Expect.stringContains told "event: job" "the name of the event"

                for job in jobs do
                    if string job["state"] = "running" then
                        Expect.equal
                            [ for layer in job["layers"].AsArray() -> string layer ]
                            (if string job["stage"] = "checking the result" then
                                 [ "moved" ]
                             else
                                 [])
                            "the picture can be had as soon as the result is checked")

            testServer "the API is as its description says" same (fun server client ->
                let described =
                    [
                        for path in (client.Json "/api/openapi.json").["paths"].AsObject() do
                            for method' in path.Value.AsObject() ->
                                $"{method'.Key.ToUpperInvariant()} {path.Key}"
                    ]

                let routes =
                    server.Routes
                    |> Seq.filter (fun route -> route.Contains " /api/")
                    |> Seq.sort
                    |> List.ofSeq

                Expect.equal (List.sort described) routes "paths and methods"

                let options =
                    (client.Json "/api/openapi.json")
                        .["components"].["schemas"].["JobRequest"].["properties"].AsObject()
                    |> Seq.map _.Key
                    |> set

                let (_, f), (_, m), _ = pair server client
                let id = client.Posted [ "fixed", text f; "moving", text m ]
                let job = client.Json $"/api/jobs/{id}"

                for key in job["request"].AsObject() do
                    Expect.isTrue (options.Contains key.Key) $"{key.Key} is described")
        ]
