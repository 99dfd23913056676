/// `app`: the local page.
module Ldr.Cli.Verbs.App

open System
open System.Diagnostics
open System.IO
open System.Runtime.CompilerServices
open System.Threading
open Argu
open FsToolkit.ErrorHandling
open Microsoft.AspNetCore.Connections
open Ldr
open Ldr.App
open Ldr.Cli
open Ldr.Runtime.Formats

type Arguments =
    | [<Unique>] Port of number: int
    | [<Unique>] Folder of folder: string
    | [<Unique>] Session of folder: string
    | [<Unique>] No_Browser
    | [<Unique>] Threads of count: int
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Port _ -> "the port on 127.0.0.1 (default: one that is free)."
            | Folder _ ->
                "let files below this folder be chosen in the page; runs and cohorts in it can be opened."
            | Session _ ->
                "keep uploads, results and the list of jobs in this folder. Without it they are removed at the end."
            | No_Browser -> "print the link, and open no browser."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Verbose -> "show where a fault happened."

type private Options =
    {
        Port: int
        Folder: string option
        Session: string option
        Browser: bool
    }

/// Opens a file with the system's browser; where there is none, the link is printed anyway.
let private openBrowser (file: string) =
    let program, arguments =
        if OperatingSystem.IsWindows() then
            "cmd", [ "/c"; "start"; ""; file ]
        elif OperatingSystem.IsMacOS() then
            "open", [ file ]
        else
            "xdg-open", [ file ]

    try
        use started =
            Process.Start(
                ProcessStartInfo(
                    program,
                    arguments,
                    RedirectStandardError = true,
                    RedirectStandardOutput = true
                )
            )

        ()
    with
    | :? ComponentModel.Win32Exception
    | :? InvalidOperationException -> ()

/// The formats of Ldr.Core: ITK's lists beside fields and affine maps.
let private formats =
    { new ITransformFormats with
        member _.HasLists = true

        member _.Read(path, fixedGrid, movingGrid) =
            TransformStore.read (Option.ofObj fixedGrid) (Option.ofObj movingGrid) path

        member _.Write(path, transform) =
            TransformStore.write None false path transform
    }

/// Before the options are read: see AppServer.Prepare.
[<MethodImpl(MethodImplOptions.NoInlining)>]
let prepare () : unit = AppServer.Prepare() |> ignore

/// A method of its own: ASP.NET Core is loaded when it is entered, by no other verb.
[<MethodImpl(MethodImplOptions.NoInlining)>]
let private serve (o: Options) (context: Context) : Said =
    use stop = new Stopping()

    let server =
        try
            AppServer
                .StartAsync(
                    AppOptions(
                        Port = o.Port,
                        Folder = Option.toObj o.Folder,
                        Session = Option.toObj o.Session,
                        Transforms = formats
                    ),
                    stop.Token
                )
                .GetAwaiter()
                .GetResult()
        with :? IOException as error when (error.InnerException :? AddressInUseException) ->
            raise (InvalidFileException($"--port {o.Port}", "is in use", "give another port, or none", error))

    try
        if not server.IsPageBuilt then
            context.Speaker.Say
                "The page is not built, for npm is missing: install Node.js and start ./ldr-fs app again. The API works."

        printfn "listening on %s" server.Link
        Console.Out.Flush()

        if o.Browser then
            openBrowser (server.WriteOpener())

        stop.Token.WaitHandle.WaitOne() |> ignore
    finally
        server.DisposeAsync().AsTask().Wait()

    {
        Answer = None
        Remarks = [ "Stopped." ]
        Code = ExitCode.ok
    }

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let port = r.TryGetResult Port |> Option.defaultValue 0
        do! Usage.refuseIf (port < 0 || port > 65535) "--port: give a number from 1 to 65535"

        return
            {
                Port = port
                Folder = r.TryGetResult Folder
                Session = r.TryGetResult Session
                Browser = not (r.Contains No_Browser)
            }
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Open a page in the browser that registers, shows and saves."
        More = "It is served on this computer only, to whoever has its link."
        Groups =
            [
                "The page", [ "--port"; "--no-browser" ]
                "Files", [ "--folder"; "--session" ]
            ]
        Examples = [ "ldr-fs app --folder scans" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! o = options r

        return!
            Call.create
                { CommonOptions.plain false (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                (fun context -> Error.guard (fun () -> serve o context))
    }
