namespace Ldr

open System
open System.Collections.Generic
open System.IO
open System.Security.Cryptography
open System.Text.Json
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
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
    let private readIndex (run: string) : Result<CheckpointEntry list, Error> =
        let path = indexOf run

        if File.Exists path then
            Codec.ofFile path (Codec.list entry)
        else
            Ok []

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

    let private badMetadata (path: string) (key: string) : Result<'a, Error> =
        Error(
            BadFile(
                path,
                $"its metadata \"{key}\" are damaged",
                "restore the checkpoint from a copy, or remove it from checkpoints/index.json to go on from the one before"
            )
        )

    let private pendingOf (path: string) (file: SafetensorsFile) : Result<Metrics list, Error> =
        match file.Metadata.TryGetValue pendingKey with
        | true, text ->
            try
                use document = JsonDocument.Parse text

                Ok
                    [
                        for metrics in document.RootElement.EnumerateArray() ->
                            [
                                for entry in metrics.EnumerateObject() -> entry.Name, entry.Value.GetDouble()
                            ]
                    ]
            with
            | :? JsonException
            | :? InvalidOperationException
            | :? FormatException -> badMetadata path pendingKey
        | _ -> Ok []

    let private fileOf (training: string) (step: int) = $"{training}-{step}.safetensors"

    /// Whether a name is that of a checkpoint of a training.
    let private isOf (training: string) (name: string) =
        let start, ending = training + "-", ".safetensors"

        name.Length > start.Length + ending.Length
        && (match Int32.TryParse(name.AsSpan(start.Length, name.Length - start.Length - ending.Length)) with
            | true, step -> name = fileOf training step
            | _ -> false)

    let private names (run: string) : string list =
        if Directory.Exists(folderOf run) then
            [
                for file in Directory.EnumerateFiles(folderOf run) -> string (Path.GetFileName file)
            ]
        else
            []

    /// The names of the index and of the checkpoints of these trainings that a folder holds.
    let filesOf (run: string) (trainings: string list) : string list =
        names run
        |> List.filter (fun name ->
            name = "index.json" || trainings |> List.exists (fun own -> isOf own name))

    /// Removes the checkpoints of these trainings, and of those in the index, that the index does not know: a killed process left
    /// them. Those of a training that another process has now stay, and files of other names. Only for a folder that was a run
    /// before, and while no other process changes the index.
    let clean (run: string) (trainings: string list) : Result<unit, Error> =
        readIndex run
        |> Result.map (fun entries ->
            let known = entries |> List.map _.File |> Set.ofList

            for training in trainings @ (entries |> List.map _.Training) |> List.distinct do
                match RunClaims.tryTraining run training with
                | None -> ()
                | Some claim ->
                    use _ = claim

                    for name in filesOf run [ training ] do
                        if name <> "index.json" && not (known.Contains name) then
                            File.Delete(Path.Combine(folderOf run, name)))

    let private adamStep (savable: Savable) : int64 =
        states savable
        |> Seq.map (fun (_, state) -> state.step)
        |> Seq.tryHead
        |> Option.defaultValue 0L

    let private metadataOf (training: string) (state: TrainingState) (savables: Savable list) =
        let metadata = Dictionary<string, string>()
        metadata["training"] <- training
        metadata["step"] <- string state.Step
        metadata[pendingKey] <- pendingText (List.rev state.Pending)

        for best in Option.toList state.Best do
            metadata[bestKey] <- Codec.toLine EarlyStopping.codec best

        for savable in savables do
            if savable.Optimiser.IsSome then
                metadata[stepKey savable] <- string (adamStep savable)

        metadata

    let private tensorsOf (savable: Savable) : SafeTensor list =
        ModelFile.tensors (savable.Name + ".weights.") (ModelFile.parameters savable.Module)
        @ ModelFile.tensors "" (stateTensors savable)

    /// The entries of a training that stay beside a new one, itself first, and those that go.
    let private rotate (entry: CheckpointEntry) (before: CheckpointEntry list) =
        let own =
            entry
            :: (before
                |> List.filter (fun e -> e.Step < entry.Step)
                |> List.sortByDescending _.Step)

        let stay = own |> List.truncate kept
        stay, before |> List.filter (fun e -> stay |> List.forall (fun s -> s.File <> e.File))

    /// Adds an entry to the index; those that go.
    let private add (run: string) (entry: CheckpointEntry) : Result<CheckpointEntry list, Error> =
        readIndex run
        |> Result.map (fun entries ->
            let others, before =
                entries |> List.partition (fun e -> e.Training <> entry.Training)

            let stay, go = rotate entry before
            writeIndex run (others @ stay)
            go)

    /// Writes a checkpoint, and drops the oldest ones of the training, and those of later steps: the
    /// training went on from an earlier one, because they were damaged.
    let write
        (run: string)
        (training: string)
        (state: TrainingState)
        (savables: Savable list)
        : Result<string, Error> =
        result {
            Directory.CreateDirectory(folderOf run) |> ignore
            let file = fileOf training state.Step
            let path = Path.Combine(folderOf run, file)
            let tensors = savables |> List.collect tensorsOf |> Array.ofList
            Safetensors.Write(path, metadataOf training state savables, tensors)

            let entry =
                {
                    File = file
                    Training = training
                    Step = state.Step
                    Sha256 = digest path
                }

            let! go = RunClaims.alone run (fun () -> add run entry)

            for old in go |> List.filter (fun old -> isOf training old.File) do
                File.Delete(Path.Combine(folderOf run, old.File))

            return path
        }

    let private entriesOf (run: string) (training: string) : Result<CheckpointEntry list, Error> =
        readIndex run
        |> Result.map (List.filter (fun e -> e.Training = training) >> List.sortByDescending _.Step)

    /// The step of the newest checkpoint of a training that the index lists.
    let tryStep (run: string) (training: string) : Result<int option, Error> =
        entriesOf run training |> Result.map (List.tryHead >> Option.map _.Step)

    /// What is wrong with the file of a checkpoint.
    let private fault (path: string) (entry: CheckpointEntry) : string option =
        if not (File.Exists path) then
            Some "is missing"
        elif digest path <> entry.Sha256 then
            Some "is damaged (its SHA-256 is not the index's)"
        else
            None

    let private restore (path: string) (file: SafetensorsFile) (savable: Savable) : Result<unit, Error> =
        let prefix = savable.Name + ".adam."

        result {
            do! ModelFile.restore path (savable.Name + ".weights.") (ModelFile.parameters savable.Module) file

            do!
                ModelFile.restore
                    path
                    prefix
                    (stateTensors savable
                     |> Seq.map (fun struct (n, t) -> struct (n.Substring prefix.Length, t)))
                    file

            let key = stepKey savable

            match states savable |> List.ofSeq, file.Metadata.TryGetValue key with
            | [], _ -> ()
            | own, (true, text) ->
                match Int64.TryParse text with
                | true, step when step >= 0L ->
                    for _, state in own do
                        state.step <- step
                | _ -> return! badMetadata path key
            | _ -> return! badMetadata path key
        }

    let private bestOf (path: string) (file: SafetensorsFile) : Result<BestValidation option, Error> =
        match file.Metadata.TryGetValue bestKey with
        | true, text -> Codec.ofText path EarlyStopping.codec text |> Result.map Some
        | _ -> Ok None

    let private load
        (path: string)
        (entry: CheckpointEntry)
        (savables: Savable list)
        : Result<TrainingState, Error> =
        result {
            let file = Safetensors.Read path

            // The index says which training's checkpoint this is, of which step; so does the file.
            for key, wanted in [ "training", entry.Training; "step", string entry.Step ] do
                match file.Metadata.TryGetValue key with
                | true, found when found = wanted -> ()
                | _ -> return! badMetadata path key

            for savable in savables do
                do! restore path file savable

            let! best = bestOf path file
            let! pending = pendingOf path file

            return
                {
                    Step = entry.Step
                    Pending = List.rev pending
                    Best = best
                }
        }

    /// Loads the newest checkpoint of a training whose file is whole; what the training knew then. `skipped` is told the step of
    /// each newer one that is not whole, and what is wrong with it.
    let tryRestore
        (run: string)
        (training: string)
        (skipped: int -> string -> unit)
        (savables: Savable list)
        : Result<TrainingState option, Error> =
        let pathOf (entry: CheckpointEntry) = Path.Combine(folderOf run, entry.File)

        let isWhole (entry: CheckpointEntry) =
            match fault (pathOf entry) entry with
            | Some fault ->
                skipped entry.Step $"checkpoint {pathOf entry} {fault}; it is passed over"
                false
            | None -> true

        result {
            let! own = entriesOf run training

            match own |> List.tryFind isWhole with
            | Some entry -> return! load (pathOf entry) entry savables |> Result.map Some
            | None ->
                if not own.IsEmpty then
                    skipped
                        0
                        $"no checkpoint of {training} in {folderOf run} is whole; it starts again at step 0"

                return None
        }
