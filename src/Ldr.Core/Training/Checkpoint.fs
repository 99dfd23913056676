namespace Ldr

open System
open System.Collections.Generic
open System.IO
open System.Security.Cryptography
open System.Text.Json
open System.Text.Json.Nodes
open TorchSharp
open Ldr.Runtime.Formats

/// A checkpoint in the index of a run: its file, what it belongs to, and the SHA-256 of the file.
type CheckpointEntry =
    {
        File: string
        Training: string
        Step: int
        Sha256: string
    }

/// Networks with the names that their tensors have in a checkpoint, and the optimisers of those that learn.
[<NoEquality; NoComparison>]
type Savable =
    {
        Name: string
        Module: torch.nn.Module
        Optimiser: Modules.Adam option
    }

/// What a training knows beside its networks.
type TrainingState =
    {
        /// Steps done.
        Step: int
        /// Metrics of steps that no report has averaged yet, those of the last step first.
        Pending: Metrics list
        /// The best validation, where the training may stop early.
        Best: BestValidation option
    }

/// Checkpoints of a run: `checkpoints/TRAINING-STEP.safetensors` with all weights and the optimisers' states, and
/// `checkpoints/index.json`. Files are written under another name and renamed; the index is written last.
module Checkpoint =
    /// How many checkpoints of one training are kept.
    let private kept = 2

    let private entry: Codec<CheckpointEntry> =
        codec {
            let! file =
                required
                    "file"
                    (Codec.string
                     |> Codec.where "the name of a .safetensors file in this folder" (fun name ->
                         Path.GetFileName name = name
                         && name.EndsWith(".safetensors", StringComparison.Ordinal)))
                    _.File

            and! training = required "training" Codec.string _.Training
            and! step = required "step" Codec.countingInt _.Step
            and! sha256 = required "sha256" Codec.string _.Sha256

            return
                {
                    File = file
                    Training = training
                    Step = step
                    Sha256 = sha256
                }
        }

    let private folderOf (run: string) = Path.Combine(run, "checkpoints")

    let private indexOf (run: string) =
        Path.Combine(folderOf run, "index.json")

    /// The lower-case hexadecimal SHA-256 of a file.
    let digest (path: string) =
        use stream = File.OpenRead path
        Convert.ToHexStringLower(SHA256.HashData stream)

    /// An index that cannot be read is bad input: going on without it would throw away what was trained.
    let private readIndex (run: string) : CheckpointEntry list =
        let path = indexOf run

        if File.Exists path then
            Codec.ofText path (Codec.list entry) (File.ReadAllText path) |> Error.orRaise
        else
            []

    let private writeIndex (run: string) (entries: CheckpointEntry list) =
        AtomicFile.WriteText(indexOf run, Codec.toText (Codec.list entry) entries + "\n")

    /// The states of Adam as tensors of a file, by the parameter's position.
    let private states (savable: Savable) : seq<int * Modules.Adam.State> =
        savable.Optimiser
        |> Option.toList
        |> Seq.collect (fun optimiser -> optimiser.state_dict().State)
        |> Seq.map (fun state -> state :?> Modules.Adam.State)
        |> Seq.indexed

    let private stateTensors (savable: Savable) : seq<struct (string * torch.Tensor)> =
        seq {
            for index, state in states savable do
                struct ($"{savable.Name}.adam.{index}.mean", state.exp_avg)
                struct ($"{savable.Name}.adam.{index}.square", state.exp_avg_sq)
        }

    let private stepKey (savable: Savable) = savable.Name + ".adam.step"

    let private bestKey = "best"
    let private pendingKey = "pending"

    let private pendingText (pending: Metrics list) =
        JsonArray(
            [|
                for metrics in pending do
                    let node = JsonObject()

                    for name, value in metrics do
                        node.Add(name, JsonValue.Create value)

                    node :> JsonNode
            |]
        )
            .ToJsonString()

    let private pendingOf (file: SafetensorsFile) : Metrics list =
        match file.Metadata.TryGetValue pendingKey with
        | true, text ->
            use document = JsonDocument.Parse text

            [
                for metrics in document.RootElement.EnumerateArray() ->
                    [
                        for entry in metrics.EnumerateObject() -> entry.Name, entry.Value.GetDouble()
                    ]
            ]
        | _ -> []

    /// Removes what a run that was killed left in the folder of checkpoints: files that the index does not know. Only for
    /// the one process that writes to this run.
    let clean (run: string) =
        if Directory.Exists(folderOf run) then
            let known = readIndex run |> List.map _.File |> Set.ofList

            for file in Directory.EnumerateFiles(folderOf run) do
                let name = string (Path.GetFileName file)

                if
                    name.EndsWith(".tmp", StringComparison.Ordinal)
                    || name.EndsWith(".safetensors", StringComparison.Ordinal)
                       && not (known.Contains name)
                then
                    File.Delete file

    /// Writes a checkpoint, and drops the oldest ones of the training, and those of later steps: the
    /// training went on from an earlier one, because they were damaged.
    let write (run: string) (training: string) (state: TrainingState) (savables: Savable list) : string =
        let step = state.Step
        Directory.CreateDirectory(folderOf run) |> ignore
        let file = $"{training}-{step}.safetensors"
        let path = Path.Combine(folderOf run, file)
        let metadata = Dictionary<string, string>()
        metadata["training"] <- training
        metadata["step"] <- string step
        metadata[pendingKey] <- pendingText (List.rev state.Pending)

        for best in Option.toList state.Best do
            metadata[bestKey] <- Codec.toLine EarlyStopping.codec best

        let tensors =
            [|
                for savable in savables do
                    if savable.Optimiser.IsSome then
                        metadata[stepKey savable] <-
                            string (
                                states savable
                                |> Seq.map (fun (_, s) -> s.step)
                                |> Seq.tryHead
                                |> Option.defaultValue 0L
                            )

                    yield!
                        ModelFile.tensors (savable.Name + ".weights.") (ModelFile.parameters savable.Module)

                    yield! ModelFile.tensors "" (stateTensors savable)
            |]

        Safetensors.Write(path, metadata, tensors)

        let others, before =
            readIndex run |> List.partition (fun e -> e.Training <> training)

        let own =
            {
                File = file
                Training = training
                Step = step
                Sha256 = digest path
            }
            :: (before |> List.filter (fun e -> e.Step < step) |> List.sortByDescending _.Step)

        let stay = own |> List.truncate kept

        let go =
            before |> List.filter (fun e -> stay |> List.forall (fun s -> s.File <> e.File))

        writeIndex run (others @ stay)

        for old in go do
            File.Delete(Path.Combine(folderOf run, old.File))

        path

    /// The step of the newest checkpoint of a training that the index lists.
    let tryStep (run: string) (training: string) : int option =
        match readIndex run |> List.filter (fun e -> e.Training = training) with
        | [] -> None
        | own -> Some(own |> List.map _.Step |> List.max)

    /// Loads the newest checkpoint of a training whose file is whole; what the training knew then. `skipped` is told the step of
    /// each newer one that is not whole, and what is wrong with it.
    let tryRestore
        (run: string)
        (training: string)
        (skipped: int -> string -> unit)
        (savables: Savable list)
        : TrainingState option =
        let whole (entry: CheckpointEntry) =
            let path = Path.Combine(folderOf run, entry.File)

            let fault =
                if not (File.Exists path) then
                    Some "is missing"
                elif digest path <> entry.Sha256 then
                    Some "is damaged (its SHA-256 is not the index's)"
                else
                    None

            fault
            |> Option.iter (fun fault -> skipped entry.Step $"checkpoint {path} {fault}; it is passed over")

            fault.IsNone

        let own = readIndex run |> List.filter (fun e -> e.Training = training)
        let found = own |> List.sortByDescending _.Step |> List.tryFind whole

        if found.IsNone && not own.IsEmpty then
            skipped 0 $"no checkpoint of {training} in {folderOf run} is whole; it starts again at step 0"

        found
        |> Option.map (fun entry ->
            let path = Path.Combine(folderOf run, entry.File)
            let file = Safetensors.Read path

            for savable in savables do
                ModelFile.restore
                    path
                    (savable.Name + ".weights.")
                    (ModelFile.parameters savable.Module)
                    file

                ModelFile.restore
                    path
                    (savable.Name + ".adam.")
                    (stateTensors savable
                     |> Seq.map (fun struct (n, t) -> struct (n.Substring(savable.Name.Length + 6), t)))
                    file

                for _, state in states savable do
                    state.step <- Int64.Parse file.Metadata[stepKey savable]

            {
                Step = entry.Step
                Pending = pendingOf file |> List.rev
                Best =
                    match file.Metadata.TryGetValue bestKey with
                    | true, text -> Some(Codec.ofText path EarlyStopping.codec text |> Error.orRaise)
                    | _ -> None
            })
