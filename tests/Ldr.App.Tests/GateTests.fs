/// Nobody else gets in.
module Ldr.App.Tests.GateTests

open System
open System.IO
open System.Net
open System.Net.Http
open System.Net.NetworkInformation
open System.Net.Sockets
open System.Text
open Expecto
open Ldr.App.Tests.Client

let private same options = options

/// Sends bytes as they are; the first line of the answer.
let private raw (client: Client) (request: string) =
    use socket = new TcpClient()
    socket.Connect(IPAddress.Loopback, Uri(client.Address).Port)
    use stream = socket.GetStream()
    stream.Write(Encoding.ASCII.GetBytes request)
    use reader = new StreamReader(stream)
    reader.ReadToEnd()

let private host (client: Client) = Uri(client.Address).Authority

let private status (answer: string) =
    let first = answer.Split('\n')[0]

    if first.StartsWith "HTTP/1.1 " then
        int (first.Substring(9, 3))
    else
        0

let private get (client: Client) (headers: (string * string) list) (path: string) =
    use request = new HttpRequestMessage(HttpMethod.Get, client.Address + path)

    for name, value in headers do
        request.Headers.TryAddWithoutValidation(name, value) |> ignore

    client.Send request

let private code (response: HttpResponseMessage) = int response.StatusCode

let private bearer (client: Client) =
    "Authorization", $"Bearer {client.Token}"

/// The cookie that the link sets, as a browser sends it.
let private cookie (client: Client) =
    use response = get client [] $"/?token={client.Token}"
    Expect.equal (code response) 200 "the link"
    (Seq.exactlyOne (response.Headers.GetValues "Set-Cookie")).Split(';')[0]

let private post (client: Client) (headers: (string * string) list) =
    use request = new HttpRequestMessage(HttpMethod.Post, client.Address + "/api/jobs")

    for name, value in headers do
        request.Headers.TryAddWithoutValidation(name, value) |> ignore

    request.Content <- new StringContent "{}"
    use response = client.Send request
    code response

let tests =
    testList
        "gate"
        [
            testServer "without the token nothing is given" same (fun server client ->
                let paths =
                    [
                        "/"
                        "/index.html"
                        "/api/about"
                        "/api/files"
                        "/api/jobs"
                        "/api/events"
                        "/api/openapi.json"
                    ]

                for path in paths do
                    use response = get client [] path
                    Expect.equal (code response) 401 path

                for wrong in [ ""; "x"; client.Token.Substring 1; client.Token + "0"; String('0', 64) ] do
                    use response = get client [ "Authorization", $"Bearer {wrong}" ] "/api/jobs"
                    Expect.equal (code response) 401 $"the token {wrong}"
                    use response = get client [] $"/?token={wrong}"
                    Expect.equal (code response) 401 $"the link with {wrong}"

                use page = get client [] "/"
                let words = page.Content.ReadAsStringAsync().Result
                Expect.stringContains words "Open the link" "the page says what to do"
                Expect.isFalse (words.Contains client.Token) "and does not tell the token"
                Expect.equal server.Link $"{server.Address}/?token={server.Token}" "the link")

            testServer
                "the link leaves a cookie that lets in, for this site and no script"
                same
                (fun _ client ->
                    use response = get client [] $"/?token={client.Token}"
                    let set = Seq.exactlyOne (response.Headers.GetValues "Set-Cookie")
                    Expect.stringContains set "samesite=strict" "SameSite"
                    Expect.stringContains set "httponly" "HttpOnly"
                    Expect.stringContains set $"ldr-app-{Uri(client.Address).Port}=" "its name has the port"
                    use about = get client [ "Cookie", cookie client ] "/api/about"
                    Expect.equal (code about) 200 "with the cookie"
                    use wrong = get client [ "Cookie", (cookie client) + "0" ] "/api/about"
                    Expect.equal (code wrong) 401 "with another cookie")

            testServer "a change needs an origin, or the token itself" same (fun _ client ->
                let cookie = "Cookie", cookie client
                let own = client.Address
                // 400: let in, and refused for its empty body.
                Expect.equal (post client [ cookie ]) 403 "the cookie alone"
                Expect.equal (post client [ cookie; "Origin", own ]) 400 "with its own origin"

                Expect.equal
                    (post client [ cookie; "Sec-Fetch-Site", "same-origin" ])
                    400
                    "as a browser says"

                Expect.equal (post client [ bearer client ]) 400 "a script"

                for origin in [ "http://evil.example"; "null"; own + "0"; own.Replace("http:", "https:") ] do
                    Expect.equal (post client [ cookie; "Origin", origin ]) 403 origin

                    Expect.equal
                        (post client [ bearer client; "Origin", origin ])
                        403
                        $"{origin} with the token")

            testServer "a name that was bound to this machine does not let in" same (fun _ client ->
                for name in
                    [
                        "evil.example"
                        "evil.example:80"
                        "127.0.0.1"
                        "127.0.0.1:1"
                        "[::1]:80"
                        "localhost.evil.example"
                    ] do
                    use request = client.Request(HttpMethod.Get, "/api/jobs")
                    request.Headers.Host <- name
                    use response = client.Send request
                    Expect.equal (code response) 421 name

                let port = Uri(client.Address).Port
                use request = client.Request(HttpMethod.Get, "/api/jobs")
                request.Headers.Host <- $"localhost:{port}"
                use response = client.Send request
                Expect.equal (code response) 200 "localhost"

                let old =
                    raw client $"GET /api/jobs HTTP/1.0\r\nAuthorization: Bearer {client.Token}\r\n\r\n"

                Expect.isFalse (old.Contains "200 OK") "no host at all")

            testServer "what another site asks for is refused, with the cookie too" same (fun _ client ->
                let cookie = "Cookie", cookie client

                for site in [ "cross-site"; "same-site" ] do
                    for path in [ "/api/jobs"; "/assets/index.js" ] do
                        use response = get client [ cookie; "Sec-Fetch-Site", site ] path
                        Expect.equal (code response) 403 $"{site} {path}"

                let follow =
                    [
                        "Sec-Fetch-Site", "cross-site"
                        "Sec-Fetch-Mode", "navigate"
                        "Sec-Fetch-Dest", "document"
                    ]

                use link = get client follow $"/?token={client.Token}"
                Expect.equal (code link) 200 "a link to the page can be followed"
                use api = get client (cookie :: follow) "/api/jobs"
                Expect.equal (code api) 403 "a link to the API cannot")

            testServer "every answer carries the policy" same (fun _ client ->
                for headers, path in
                    [
                        [], "/"
                        [], $"/?token={client.Token}"
                        [ bearer client ], "/api/jobs"
                        [ bearer client ], "/nothing"
                    ] do
                    use response = get client headers path

                    let header name =
                        String.Join(' ', response.Headers.GetValues name)

                    let policy = header "Content-Security-Policy"
                    Expect.stringContains policy "default-src 'none'" path
                    Expect.stringContains policy "script-src 'self'" path
                    Expect.stringContains policy "frame-ancestors 'none'" path

                    Expect.isFalse
                        (policy.Contains "unsafe-inline" || policy.Contains "http")
                        $"{path}: nothing else"

                    Expect.equal (header "Referrer-Policy") "no-referrer" "the token stays"
                    Expect.equal (header "X-Content-Type-Options") "nosniff" "types")

            testServer "no path leads to a file that is not the page's" same (fun server client ->
                for path in
                    [
                        "/../../../../../../etc/passwd"
                        "/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd"
                        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd"
                        "/assets/..%5c..%5cetc%5cpasswd"
                        "//etc/passwd"
                        "/index.html%00.js"
                        "/api/files/..%2f..%2flock/view.nii"
                        "/api/jobs/..%2f..%2f/files/moved.nii"
                        $"/api/jobs/{server.Folder}/files/moved.nii"
                    ] do
                    let answer =
                        raw
                            client
                            $"GET {path} HTTP/1.1\r\nHost: {host client}\r\nAuthorization: Bearer {client.Token}\r\nConnection: close\r\n\r\n"

                    Expect.isGreaterThanOrEqual (status answer) 400 path
                    Expect.isFalse (answer.Contains "root:") path)

            testServer "it listens on the loopback alone" same (fun _ client ->
                let port = Uri(client.Address).Port

                let listeners =
                    IPGlobalProperties.GetIPGlobalProperties().GetActiveTcpListeners()
                    |> Array.filter (fun point -> point.Port = port)

                Expect.isNonEmpty listeners "listeners"
                Expect.all listeners (fun point -> IPAddress.IsLoopback point.Address) "loopback")

            testServer "damaged requests end with a line" same (fun _ client ->
                for request in
                    [
                        "GET /\r\n\r\n"
                        "\u0000\u0001\u0002\r\n\r\n"
                        $"""GET /{String('a', 20000)} HTTP/1.1{"\r\n"}Host: {host client}{"\r\n\r\n"}"""
                        $"""GET / HTTP/1.1{"\r\n"}Host: {host client}{"\r\n"}X: {String('a', 40000)}{"\r\n\r\n"}"""
                    ] do
                    let answer = raw client request
                    Expect.isGreaterThanOrEqual (status answer) 400 (request.Substring(0, 5))

                Expect.equal (post client [ bearer client ]) 400 "it goes on")
        ]
