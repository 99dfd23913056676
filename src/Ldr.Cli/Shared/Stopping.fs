namespace Ldr.Cli

open System
open System.Runtime.InteropServices
open System.Threading

/// A token that the first Ctrl-C (or a scheduler's SIGTERM) cancels, so that work ends at a good place; a second one ends the
/// program.
type Stopping() =
    static let mutable active = 0
    let source = new CancellationTokenSource()

    let onSignal (context: PosixSignalContext) =
        context.Cancel <- not source.IsCancellationRequested
        source.Cancel()

    let registrations =
        [ PosixSignal.SIGINT; PosixSignal.SIGTERM ]
        |> List.map (fun signal -> PosixSignalRegistration.Create(signal, onSignal))

    do Interlocked.Increment(&active) |> ignore

    /// Whether somebody ends his work at a good place.
    static member IsActive = active > 0

    member _.Token = source.Token

    interface IDisposable with
        member _.Dispose() =
            Interlocked.Decrement(&active) |> ignore

            for registration in registrations do
                registration.Dispose()

            source.Dispose()
