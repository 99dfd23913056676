/// A page in headless Chromium, driven by its DevTools protocol.
module Ldr.Cli.Tests.Browser

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Net.Http
open System.Net.WebSockets
open System.Text
open System.Text.Json.Nodes
open System.Threading
open Expecto

let private program =
    [ "chromium"; "chromium-browser"; "google-chrome" ]
    |> List.collect (fun name ->
        (string (Environment.GetEnvironmentVariable "PATH")).Split(Path.PathSeparator)
        |> Array.map (fun folder -> Path.Combine(folder, name))
        |> List.ofArray)
    |> List.tryFind File.Exists

/// One page; everything that it asks for is noted in `Requests`.
type Browser
    private (running: Process, folder: string, socket: ClientWebSocket, stop: CancellationTokenSource) =
    let requests = List<string * string>()
    let blocked = HashSet<string>()
    let mutable last = 0

    let receive () =
        let buffer = Array.zeroCreate<byte> 65536
        use text = new MemoryStream()
        let mutable more = true

        while more do
            let part = socket.ReceiveAsync(ArraySegment buffer, stop.Token).Result
            text.Write(buffer, 0, part.Count)
            more <- not part.EndOfMessage

        nonNull (JsonNode.Parse(Encoding.UTF8.GetString(text.ToArray())))

    let send (method': string) (parameters: JsonObject) =
        last <- last + 1

        let message =
            JsonObject(
                [
                    KeyValuePair<string, JsonNode>("id", JsonValue.Create last)
                    KeyValuePair<string, JsonNode>("method", JsonValue.Create method')
                    KeyValuePair<string, JsonNode>("params", parameters)
                ]
            )

        socket
            .SendAsync(
                ArraySegment(Encoding.UTF8.GetBytes(message.ToJsonString())),
                WebSocketMessageType.Text,
                true,
                stop.Token
            )
            .Wait()

        let mutable answer: JsonNode = null

        while isNull answer do
            let heard = receive ()

            if string heard["method"] = "Network.requestWillBeSent" then
                requests.Add(string heard["params"].["requestId"], string heard["params"].["request"].["url"])

            // A request that the page's policy forbids is told of, and then that it was blocked before it was sent.
            if
                string heard["method"] = "Network.loadingFailed"
                && string heard["params"].["blockedReason"] = "csp"
            then
                blocked.Add(string heard["params"].["requestId"]) |> ignore

            if not (isNull heard["id"]) && heard["id"].GetValue<int>() = last then
                answer <- heard

        if not (isNull answer["error"]) then
            failwith $"{method'}: {answer.ToJsonString()}"

        answer["result"]

    let parameters (pairs: (string * JsonNode) list) =
        JsonObject(pairs |> List.map KeyValuePair<string, JsonNode>)

    /// What has been asked for so far, the page itself first.
    member _.Requests = requests |> Seq.map snd |> List.ofSeq

    /// The same without what the page's policy kept from being sent.
    member _.Sent =
        requests
        |> Seq.filter (fun (id, _) -> not (blocked.Contains id))
        |> Seq.map snd
        |> List.ofSeq

    /// The value of an expression, or of the promise that it is, as text.
    member _.Evaluate(expression: string) : string =
        let result =
            send
                "Runtime.evaluate"
                (parameters
                    [
                        "expression", JsonValue.Create expression
                        "awaitPromise", JsonValue.Create true
                        "returnByValue", JsonValue.Create true
                    ])

        if not (isNull result["exceptionDetails"]) then
            failwith $"{expression}: {result.ToJsonString()}"

        string result["result"].["value"]

    member this.Open(address: string) =
        send "Network.enable" (parameters []) |> ignore
        send "Page.enable" (parameters []) |> ignore
        send "Page.navigate" (parameters [ "url", JsonValue.Create address ]) |> ignore

    /// The page as it is printed, so many pixels wide.
    member _.Print(width: int) =
        send "Emulation.setEmulatedMedia" (parameters [ "media", JsonValue.Create "print" ])
        |> ignore

        send
            "Emulation.setDeviceMetricsOverride"
            (parameters
                [
                    "width", JsonValue.Create width
                    "height", JsonValue.Create 1000
                    "deviceScaleFactor", JsonValue.Create 1
                    "mobile", JsonValue.Create false
                ])
        |> ignore

    /// Waits until an expression is true.
    member this.Wait(condition: string) =
        let clock = Stopwatch.StartNew()

        while this.Evaluate $"String(Boolean({condition}))" <> "true" do
            if clock.Elapsed.TotalSeconds > 20.0 then
                failwith $"{condition} does not come true"

            Thread.Sleep 30

    /// Starts Chromium, without any way to a network; the test is skipped where it is missing.
    static member Start() : Browser =
        match program with
        | None -> Tests.skiptest "chromium is not installed"
        | Some program ->
            let folder = Directory.CreateTempSubdirectory("ldr-browser-").FullName

            let running =
                Process.Start(
                    ProcessStartInfo(
                        program,
                        [
                            "--headless"
                            "--no-sandbox"
                            "--disable-gpu"
                            "--disable-dev-shm-usage"
                            "--remote-debugging-port=0"
                            $"--user-data-dir={folder}"
                            "--proxy-server=127.0.0.1:9"
                            "--window-size=1200,1000"
                            "about:blank"
                        ],
                        RedirectStandardError = true,
                        RedirectStandardOutput = true
                    )
                )

            let stop = new CancellationTokenSource(TimeSpan.FromSeconds 60.0)
            let marker = "DevTools listening on ws://"
            let mutable host = ""

            while host = "" do
                match running.StandardError.ReadLine() with
                | null -> failwith "chromium ended at once"
                | line when line.StartsWith marker -> host <- line.Substring(marker.Length).Split('/')[0]
                | _ -> ()

            // A full pipe would stop it.
            running.StandardError.ReadToEndAsync() |> ignore
            running.StandardOutput.ReadToEndAsync() |> ignore
            use client = new HttpClient(new HttpClientHandler(UseProxy = false))

            let page () =
                (nonNull (JsonNode.Parse(client.GetStringAsync($"http://{host}/json/list").Result))).AsArray()
                |> Seq.tryFind (fun target -> string target["type"] = "page")

            let mutable target = page ()

            while target.IsNone do
                Thread.Sleep 50
                stop.Token.ThrowIfCancellationRequested()
                target <- page ()

            let socket = new ClientWebSocket()
            socket.Options.Proxy <- null

            socket.ConnectAsync(Uri(string target.Value["webSocketDebuggerUrl"]), stop.Token).Wait()
            new Browser(running, folder, socket, stop)

    interface IDisposable with
        member _.Dispose() =
            socket.Dispose()
            running.Kill true
            running.WaitForExit()
            running.Dispose()
            stop.Dispose()

            try
                Directory.Delete(folder, true)
            with :? IOException ->
                ()
