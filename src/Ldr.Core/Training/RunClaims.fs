namespace Ldr

open System.Threading
open Ldr.Runtime.Formats

/// How processes share a run's folder, on one machine or on many: see `FileClaim`. A training belongs to one process at a time;
/// files of all trainings are changed by one process at a time.
module internal RunClaims =
    /// Changes a file that all trainings share: for a moment. Not within itself.
    let alone (run: string) (body: unit -> 'a) : 'a =
        FileClaim.Alone(run, "folder", (fun () -> body ()))

    /// A training, for this process; nothing where another one has it.
    let tryTraining (run: string) (training: string) : FileClaim option =
        FileClaim.Try(run, $"training-{training}") |> Option.ofObj

    /// Who has a training; nothing where nobody works on it.
    let holderOf (run: string) (training: string) : ClaimHolder option =
        FileClaim.HolderOf(run, $"training-{training}") |> Option.ofObj

    /// The table and what belongs to it, as soon as no other process writes them.
    let table (run: string) (stop: CancellationToken) : FileClaim = FileClaim.Wait(run, "table", stop)

    /// Removes what killed processes left.
    let tidy (run: string) = FileClaim.Tidy run
