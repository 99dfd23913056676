/// Files below --folder, runs and cohorts.
module Ldr.App.Tests.FolderTests

open System
open System.IO
open System.Net.Http
open System.Text
open System.Text.Json.Nodes
open Expecto
open Ldr.App
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.App.Tests.Client

/// A server whose --folder is `data` of a folder that has a secret beside it.
let private testFolder name (body: string -> Client -> unit) =
    testInFolder name (fun folder ->
        let data = folder </> "data"
        Directory.CreateDirectory data |> ignore
        ImageFile.Write(folder </> "secret.nii", fst (blobs 0))
        ImageFile.Write(data </> "scan.nii", fst (blobs 0))

        withServer (AppOptions(Session = (folder </> "session"), Folder = data)) (fun _ client ->
            body data client))

let private path (text: string) = $"path={Uri.EscapeDataString text}"

let private status (client: Client) address =
    use response = client.Ask(HttpMethod.Get, address)
    int response.StatusCode

let private names (listing: JsonNode) =
    [
        for entry in listing["entries"].AsArray() -> string entry["name"], string entry["kind"]
    ]

let private choose (client: Client) (file: string) =
    client.Post(
        "/api/files/choose",
        JsonObject([ Collections.Generic.KeyValuePair("path", text file) ]).ToJsonString()
    )

let tests =
    testList
        "folder"
        [
            testFolder "lists what is read, folders first" (fun data client ->
                Directory.CreateDirectory(data </> "inner") |> ignore
                Directory.CreateDirectory(data </> "run") |> ignore
                Directory.CreateDirectory(data </> "cohort") |> ignore
                File.WriteAllText(data </> "run" </> "metrics.jsonl", "")
                File.WriteAllText(data </> "cohort" </> "group.tsv", "id\n")
                File.WriteAllText(data </> "notes.docx", "")
                File.WriteAllText(data </> ".hidden.nii", "")

                Expect.equal
                    (names (client.Json "/api/folder?path="))
                    [ "cohort", "cohort"; "inner", "folder"; "run", "run"; "scan.nii", "image" ]
                    "the listing"

                let status, chosen = choose client "scan.nii"
                Expect.equal status 201 "chosen"
                Expect.equal (string chosen["folder_path"]) "scan.nii" "its path"
                Expect.isNull chosen["path"] "the whole path is not told"
                use removed = client.Ask(HttpMethod.Delete, $"""/api/files/{string chosen["id"]}""")
                Expect.equal (int removed.StatusCode) 204 "taken away"
                Expect.isTrue (File.Exists(data </> "scan.nii")) "it stays where it was")

            testFolder "no path leads out" (fun data client ->
                let outside = Path.GetFullPath(data </> "..")

                for wrong in
                    [
                        ".."
                        "../"
                        "inner/../.."
                        outside
                        "/"
                        "/etc"
                        "..\\"
                        "../secret.nii"
                        outside </> "secret.nii"
                        "a\u0000b"
                        "../data2"
                    ] do
                    Directory.CreateDirectory(data + "2") |> ignore
                    Expect.equal (status client $"/api/folder?{path wrong}") 404 $"list {wrong}"
                    Expect.equal (fst (choose client wrong)) 404 $"choose {wrong}"

                    for address in
                        [
                            "run"
                            "run/metrics"
                            "run/pairs.png"
                            "cohort"
                            "cohort/pair"
                            "cohort/group.html"
                        ] do
                        Expect.equal (status client $"/api/{address}?{path wrong}") 404 $"{address} {wrong}")

            onUnix "nor does a link, in whichever part of it" (fun folder ->
                let data = folder </> "data"
                Directory.CreateDirectory data |> ignore
                ImageFile.Write(folder </> "secret.nii", fst (blobs 0))
                ImageFile.Write(data </> "scan.nii", fst (blobs 0))
                File.CreateSymbolicLink(data </> "link.nii", folder </> "secret.nii") |> ignore
                File.CreateSymbolicLink(data </> "up", folder) |> ignore
                File.CreateSymbolicLink(data </> "round", data </> "round") |> ignore
                File.CreateSymbolicLink(data </> "good.nii", data </> "scan.nii") |> ignore

                withServer (AppOptions(Session = (folder </> "session"), Folder = data)) (fun _ client ->
                    Expect.equal
                        (names (client.Json "/api/folder?path="))
                        [ "good.nii", "image"; "scan.nii", "image" ]
                        "what leads out is not listed"

                    for wrong in
                        [
                            "link.nii"
                            "up"
                            "up/secret.nii"
                            "round"
                            "up/data/scan.nii/../../secret.nii"
                        ] do
                        Expect.equal (fst (choose client wrong)) 404 wrong

                    Expect.equal (fst (choose client "good.nii")) 201 "a link within"))

            testServer "without --folder there is none" (fun o -> o) (fun _ client ->
                Expect.equal (status client "/api/folder?path=") 404 "no folder"
                Expect.equal (fst (choose client "scan.nii")) 404 "nothing to choose")

            testFolder "a run tells its curves while they grow, and its table" (fun data client ->
                let run = data </> "run"
                Directory.CreateDirectory run |> ignore

                File.WriteAllText(
                    run </> "experiment.json",
                    """{"name": "tiny", "train": [{"name": "student", "steps": 40}]}"""
                )

                let metrics = run </> "metrics.jsonl"
                let line = """{"kind":"train","training":"student","step":1,"loss":0.5}""" + "\n"
                File.WriteAllText(metrics, line + line.Substring(0, 20))
                let seen = client.Bytes "/api/run/metrics?path=run&offset=0"
                Expect.equal (Encoding.UTF8.GetString seen) line "whole lines only"
                File.AppendAllText(metrics, line.Substring 20)
                let more = client.Bytes $"/api/run/metrics?path=run&offset={seen.Length}"
                Expect.equal (Encoding.UTF8.GetString more) line "from there on"
                Expect.equal (status client "/api/run/metrics?path=run&offset=99999") 400 "beyond the end"
                let view = client.Json "/api/run?path=run"
                Expect.equal (string view["name"]) "tiny" "its name"
                Expect.equal (string view["trainings"].[0].["steps"]) "40" "its steps"
                Expect.isNull view["table"] "no table yet"
                File.WriteAllText(run </> "table.md", "| a |\n|---|\n| 1 |\n")

                Expect.stringContains
                    (string (client.Json "/api/run?path=run").["table"])
                    "| 1 |"
                    "the table")

            testFolder
                "a cohort tells its table and its pairs, and nothing outside the folder"
                (fun data client ->
                    let cohort = data </> "cohort"
                    let pair = cohort </> "anna-bert"
                    Directory.CreateDirectory pair |> ignore
                    File.WriteAllText(cohort </> "group.tsv", "id\tverdict\tdice\nanna-bert\tok\t0.8\n")
                    File.WriteAllText(cohort </> "group.html", "<script>1</script>")
                    ImageFile.Write(pair </> "moved.nii.gz", fst (blobs 0))

                    let inputs = JsonObject()

                    inputs.Add(
                        "fixed",
                        JsonObject([ Collections.Generic.KeyValuePair("path", text (data </> "scan.nii")) ])
                    )

                    inputs.Add(
                        "moving",
                        JsonObject(
                            [ Collections.Generic.KeyValuePair("path", text (data </> "../secret.nii")) ]
                        )
                    )

                    let result = JsonObject()
                    result.Add("inputs", inputs)
                    File.WriteAllText(pair </> "result.json", result.ToJsonString())

                    let view = client.Json "/api/cohort?path=cohort"
                    Expect.equal (view["rows"].ToJsonString()) """[["anna-bert","ok","0.8"]]""" "rows"
                    let found = client.Json "/api/cohort/pair?path=cohort/anna-bert"
                    Expect.equal (string found["fixed"]) "scan.nii" "the fixed scan"
                    Expect.equal (string found["moved"]) "cohort/anna-bert/moved.nii.gz" "the moved scan"
                    Expect.isNull found["moving"] "what lies outside is not told"
                    use page = client.Ask(HttpMethod.Get, "/api/cohort/group.html?path=cohort")
                    let policy = String.Join(' ', page.Headers.GetValues "Content-Security-Policy")
                    Expect.stringContains policy "sandbox allow-scripts" "a page apart"
                    Expect.isFalse (policy.Contains "allow-same-origin") "that cannot ask this one")
        ]
