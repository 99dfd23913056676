/// Files that come from outside.
module Ldr.App.Tests.UploadTests

open System
open System.IO
open System.Net
open System.Net.Http
open System.Net.Sockets
open System.Text
open System.Threading
open System.Threading.Tasks
open Expecto
open Ldr.App
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.App.Tests.Client

let private most = 1L <<< 20

let private small (options: AppOptions) =
    AppOptions(Session = options.Session, MostUpload = most)

let private same (options: AppOptions) = options

let private uploads (server: AppServer) =
    Directory.GetFiles(server.Folder </> "uploads")

/// A request whose body never comes whole.
let private part (client: Client) (body: NetworkStream -> unit) =
    use socket = new TcpClient()
    socket.Connect(IPAddress.Loopback, Uri(client.Address).Port)
    use stream = socket.GetStream()
    let host = Uri(client.Address).Authority

    stream.Write(
        Encoding.ASCII.GetBytes
            $"POST /api/files?name=a.nii HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.Token}\r\nContent-Length: 100000\r\n\r\n"
    )

    body stream

/// Waits for so many uploads to lie in the folder: the server works beside the test.
let private holds (count: int) (server: AppServer) =
    SpinWait.SpinUntil((fun () -> (uploads server).Length = count), 20_000)

let tests =
    testList
        "uploads"
        [
            testServer "a scan is kept in the private folder, and its grid is told" same (fun server client ->
                let file = server.Folder </> "scan.nii.gz"
                ImageFile.Write(file, fst (blobs 0))
                let status, answer = client.Upload("Anna Example.nii.gz", File.ReadAllBytes file)
                Expect.equal status 201 "stored"
                Expect.equal (string answer["name"]) "Anna Example.nii.gz" "its name"
                Expect.stringContains (string answer["grid"]) "36×40×32" "its grid"
                Expect.isNull answer["path"] "where it lies is not told"

                for stored in uploads server do
                    Expect.isFalse (stored.Contains "Anna") "no name becomes a path"

                if not (OperatingSystem.IsWindows()) then
                    let mode = File.GetUnixFileMode server.Folder

                    Expect.equal
                        mode
                        (UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute)
                        "0700"

                let view = client.Bytes $"""/api/files/{string answer["id"]}/view.nii"""
                File.WriteAllBytes(server.Folder </> "view.nii", view)
                let shown = ImageFile.Read(server.Folder </> "view.nii")
                Expect.equal shown.Values (fst (blobs 0)).Values "the view"

                use deleted = client.Ask(HttpMethod.Delete, $"""/api/files/{string answer["id"]}""")
                Expect.equal (int deleted.StatusCode) 204 "deleted"
                Expect.isEmpty (uploads server |> Array.filter _.EndsWith(".nii.gz")) "gone")

            testServer "names that climb stay words" same (fun server client ->
                let file = server.Folder </> "scan.nii"
                ImageFile.Write(file, fst (blobs 0))

                for name in
                    [
                        "../../../evil.nii"
                        "/etc/evil.nii"
                        "..\\evil.nii"
                        "a\u202Ein.nii"
                        String('x', 5000) + ".nii"
                    ] do
                    let status, answer = client.Upload(name, File.ReadAllBytes file)
                    Expect.equal status 201 name
                    let shown = string answer["name"]

                    Expect.isFalse
                        (shown.Contains '/' || shown.Contains '\\' || shown.Contains '\u202E')
                        name

                    Expect.isLessThanOrEqual shown.Length 200 name

                Expect.hasLength (uploads server |> Array.filter _.EndsWith(".nii")) 5 "all in the folder"
                Expect.isFalse (File.Exists(server.Folder </> "../evil.nii")) "none outside")

            testServer "a file that cannot be read gives the reader's own line" same (fun server client ->
                let file = server.Folder </> "cut.nii"
                File.WriteAllBytes(file, Array.zeroCreate 100)

                let own =
                    try
                        ImageFile.ReadGrid file |> ignore
                        ""
                    with :? InvalidFileException as error ->
                        $"scan.nii: {error.Problem}; {error.Remedy}"

                let status, answer = client.Upload("scan.nii", File.ReadAllBytes file)
                Expect.equal status 422 "refused"
                Expect.equal (string answer["error"]) own "the line"
                let status, answer = client.Upload("scan.exe", [| 1uy |])
                Expect.equal status 422 "refused"
                Expect.stringContains (string answer["error"]) "scan.exe: is no kind of file" "the line"
                let status, answer = client.Upload("scan.mhd", [| 1uy |])
                Expect.equal status 422 "refused"
                Expect.stringContains (string answer["error"]) "one file that holds its voxels" "the line"
                Expect.isEmpty (uploads server) "nothing stays")

            testServer "a file that is too long is refused, told or not" small (fun server client ->
                let body = Array.zeroCreate<byte>(int most + 1)
                let status, answer = client.Upload("a.nii", body)
                Expect.equal status 413 "told"
                Expect.stringContains (string answer["error"]) "longer than 1 MB" "the line"
                use request = client.Request(HttpMethod.Post, "/api/files?name=a.nii")
                request.Content <- new StreamContent(new MemoryStream(body))
                request.Headers.TransferEncodingChunked <- true
                use response = client.Send request
                Expect.equal (int response.StatusCode) 413 "not told"
                Expect.isTrue (holds 0 server) "nothing stays"
                let status, _ = client.Post("/api/jobs", String(' ', 100_000))
                Expect.equal status 413 "JSON too")

            testServer "an upload that is cut leaves nothing" same (fun server client ->
                part client (fun stream ->
                    stream.Write(Array.zeroCreate<byte> 5000, 0, 5000)
                    Expect.isTrue (holds 1 server) "it has begun")

                Expect.isTrue (holds 0 server) "nothing stays")

            testServer "an upload that drips is ended" same (fun server client ->
                part client (fun stream ->
                    let watch = Diagnostics.Stopwatch.StartNew()
                    let mutable isOpen = true

                    while isOpen && watch.Elapsed.TotalSeconds < 30.0 do
                        try
                            stream.WriteByte 0uy
                            Thread.Sleep 100
                            isOpen <- not stream.DataAvailable
                        with :? IOException ->
                            isOpen <- false

                    Expect.isLessThan watch.Elapsed.TotalSeconds 20.0 "it was ended")

                Expect.isTrue (holds 0 server) "nothing stays")

            testServer "many at once keep their content" same (fun server client ->
                let file = server.Folder </> "scan.nii"
                ImageFile.Write(file, fst (blobs 0))
                let bytes = File.ReadAllBytes file

                let all =
                    Task.WhenAll [| for i in 1..24 -> Task.Run(fun () -> client.Upload($"{i}.nii", bytes)) |]

                Expect.all all.Result (fun (status, _) -> status = 201) "stored"

                for stored in uploads server |> Array.filter _.EndsWith(".nii") do
                    Expect.equal (File.ReadAllBytes stored) bytes stored)
        ]
