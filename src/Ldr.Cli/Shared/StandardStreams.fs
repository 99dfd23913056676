/// Standard output and standard error, which may be closed, or whose device may be full.
module Ldr.Cli.StandardStreams

open System
open System.IO
open System.Text
open Ldr.Runtime.Formats

/// Passes on what is written; `failed` hears of the error when that cannot be done.
type private Guarded(inner: Stream, failed: exn -> unit) =
    inherit Stream()

    let guard (action: unit -> unit) =
        try
            action ()
        with
        | :? IOException
        // What a stream that was closed before the start says.
        | :? UnauthorizedAccessException as e -> failed e

    override _.CanRead = false
    override _.CanSeek = false
    override _.CanWrite = true
    override _.Length = raise (NotSupportedException())

    override _.Position
        with get () = raise (NotSupportedException())
        and set _ = raise (NotSupportedException())

    override _.Read(_: byte[], _: int, _: int) : int = raise (NotSupportedException())
    override _.Seek(_, _) = raise (NotSupportedException())
    override _.SetLength _ = raise (NotSupportedException())
    override _.Flush() = guard inner.Flush

    override _.Write(buffer: byte[], offset, count) =
        guard (fun () -> inner.Write(buffer, offset, count))

let private writer stream =
    new StreamWriter(stream, UTF8Encoding false, AutoFlush = true)

/// From now on, what cannot be written to standard output is bad input, as it is of any file; and what cannot be written to
/// standard error is lost, since there is no place left to complain.
let guard () =
    let full (e: exn) =
        raise (
            InvalidFileException(
                "standard output",
                $"cannot be written ({e.Message})",
                "check the free space of what it goes to, and that it is open",
                e
            )
        )

    Console.SetOut(writer (new Guarded(Console.OpenStandardOutput(), full)))
    Console.SetError(writer (new Guarded(Console.OpenStandardError(), ignore)))
