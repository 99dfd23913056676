/// A server in this process, and what asks it.
module Ldr.App.Tests.Client

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Http
open System.Text
open System.Text.Json.Nodes
open System.Threading
open Expecto
open Ldr.App
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.TestKit.Helpers

/// Asks a server with its token.
type Client(address: string, token: string) =
    let http =
        new HttpClient(
            new HttpClientHandler(UseProxy = false, UseCookies = false, AllowAutoRedirect = false),
            Timeout = TimeSpan.FromSeconds 60.0
        )

    member _.Address = address
    member _.Token = token

    /// Sends a request as it is.
    member _.Send(request: HttpRequestMessage) = http.SendAsync(request).Result

    /// A request with the token.
    member _.Request(method': HttpMethod, path: string) =
        let request = new HttpRequestMessage(method', address + path)
        request.Headers.Add("Authorization", $"Bearer {token}")
        request

    member this.Ask(method': HttpMethod, path: string, ?body: HttpContent) =
        let request = this.Request(method', path)
        body |> Option.iter (fun content -> request.Content <- content)
        this.Send request

    member this.Bytes(path: string) =
        use response = this.Ask(HttpMethod.Get, path)
        Expect.equal response.StatusCode HttpStatusCode.OK path
        response.Content.ReadAsByteArrayAsync().Result

    member this.Json(path: string) =
        nonNull (JsonNode.Parse(ReadOnlySpan(this.Bytes path)))

    /// Posts JSON; the status, and what came back.
    member this.Post(path: string, body: string) =
        use response =
            this.Ask(HttpMethod.Post, path, new StringContent(body, Encoding.UTF8, "application/json"))

        let text = response.Content.ReadAsStringAsync().Result
        int response.StatusCode, nonNull (JsonNode.Parse text)

    /// Uploads bytes under a name; the status, and what came back.
    member this.Upload(name: string, bytes: byte[]) =
        use response =
            this.Ask(
                HttpMethod.Post,
                $"/api/files?name={Uri.EscapeDataString name}",
                new ByteArrayContent(bytes)
            )

        let text = response.Content.ReadAsStringAsync().Result
        int response.StatusCode, nonNull (JsonNode.Parse text)

    /// The id of a file that the server takes.
    member this.Stored(file: string) =
        let status, answer =
            this.Upload(string (Path.GetFileName file), File.ReadAllBytes file)

        Expect.equal status 201 (answer.ToJsonString())
        string answer["id"]

    /// The id of a job that the server takes.
    member this.Posted(request: (string * JsonNode) list) =
        let body = JsonObject()
        request |> List.iter body.Add
        let status, answer = this.Post("/api/jobs", body.ToJsonString())
        Expect.equal status 202 (answer.ToJsonString())
        string answer["id"]

    /// A job once it is over.
    member this.Over(id: string) =
        let clock = Stopwatch.StartNew()
        let mutable job = this.Json $"/api/jobs/{id}"

        while [ "queued"; "running" ] |> List.contains (string job["state"]) do
            if clock.Elapsed.TotalSeconds > 60.0 then
                failtest $"job {id} does not end"

            Thread.Sleep 10
            job <- this.Json $"/api/jobs/{id}"

        job

    interface IDisposable with
        member _.Dispose() = http.Dispose()

let text (value: string) : JsonNode = nonNull (JsonValue.Create value)

/// Runs a server with options, and a client of it.
let withServer (options: AppOptions) (body: AppServer -> Client -> unit) =
    let server = AppServer.StartAsync(options).Result

    try
        use client = new Client(server.Address, server.Token)
        body server client
    finally
        server.DisposeAsync().AsTask().Wait()

/// A test with a server whose session lies in a folder of its own.
let testServer name (change: AppOptions -> AppOptions) (body: AppServer -> Client -> unit) =
    testInFolder name (fun folder -> withServer (change (AppOptions(Session = (folder </> "session")))) body)

/// A scan with two blobs whose places depend on a shift, and its label map.
let blobs (shift: int) : Volume * Volume =
    let nx, ny, nz = 36, 40, 32
    let grid = Grid(nx, ny, nz, Affine.Translation(-18.0, -20.0, -16.0))

    let near (x, y, z) (cx, cy, cz) =
        let square a = a * a
        sqrt (float (square (x - cx) + square (y - cy) + square (z - cz)))

    let at i = i % nx, i / nx % ny, i / nx / ny

    let inside i =
        let p = at i

        if near p (14 + shift, 18, 16) < 8.0 then 1
        elif near p (24, 24 - shift, 14) < 5.0 then 2
        else 0

    let values =
        Array.init (nx * ny * nz) (fun i ->
            let x, y, z = at i
            float32 (40 * inside i + (7 * x + 5 * y + 3 * z) % 11))

    let labels = Array.init (nx * ny * nz) (fun i -> float32 (inside i))
    Volume(grid, values, VoxelType.Int16), Volume(grid, labels, VoxelType.UInt8)

/// The same as files: fixed, moving, and the moving scan's labels.
let writeBlobs (folder: string) =
    let fixedFile, moving, labels =
        folder </> "fixed.nii.gz", folder </> "moving.nii.gz", folder </> "labels.nii.gz"

    ImageFile.Write(fixedFile, fst (blobs 0))
    ImageFile.Write(moving, fst (blobs 3))
    ImageFile.Write(labels, snd (blobs 3))
    fixedFile, moving, labels
