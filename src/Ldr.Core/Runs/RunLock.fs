namespace Ldr

open System
open System.IO

/// Keeps a run's folder for this process, until it is disposed of or the process ends, however it ends.
[<Sealed>]
type internal RunLock(folder: string) =
    /// Error codes of a file that another process holds: EAGAIN of Linux and macOS, ERROR_SHARING_VIOLATION of Windows.
    static let sharingViolations = [ 11; 35; 0x80070020 ]

    let mutable held: FileStream option = None

    let openFile () =
        new FileStream(
            Path.Combine(folder, ".lock"),
            FileMode.OpenOrCreate,
            FileAccess.ReadWrite,
            FileShare.None,
            1,
            FileOptions.DeleteOnClose
        )

    let hold () : Result<unit, Error> =
        try
            held <- Some(openFile ())
            Ok()
        with
        | :? UnauthorizedAccessException ->
            Error(
                BadFile(
                    folder,
                    "may not be written",
                    "check the folder's permissions or choose another one by --output"
                )
            )
        | :? IOException as e when List.contains e.HResult sharingViolations ->
            Error(
                BadFile(
                    folder,
                    "is in use by another run",
                    "wait for its end, or choose another folder by --output"
                )
            )

    /// Holds the folder if it is there.
    member _.HoldExisting() : Result<unit, Error> =
        if Directory.Exists folder then hold () else Ok()

    /// Makes the folder and holds it, unless it is held already.
    member _.Hold() : Result<unit, Error> =
        Directory.CreateDirectory folder |> ignore
        if held.IsSome then Ok() else hold ()

    interface IDisposable with
        member _.Dispose() = held |> Option.iter _.Dispose()
