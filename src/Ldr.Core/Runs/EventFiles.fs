namespace Ldr

open System
open System.Collections.Generic
open System.IO
open System.Text.Json
open TorchSharp

/// The lines of `metrics.jsonl` as event files of TensorBoard, in `tensorboard/TRAINING` of a run's folder: a scalar
/// `KIND/NAME` for each number.
[<Sealed>]
type internal EventFiles(run: string) =
    let writers = Dictionary<string, Modules.SummaryWriter>()

    let folderOf training =
        Path.Combine(run, "tensorboard", training)

    let writerOf training =
        match writers.TryGetValue training with
        | true, writer -> writer
        | _ ->
            let writer = torch.utils.tensorboard.SummaryWriter(folderOf training)
            writers[training] <- writer
            writer

    /// Seconds since 1970, as TensorBoard wants them.
    let now () =
        Nullable(DateTimeOffset.UtcNow.ToUnixTimeSeconds())

    /// Adds a line.
    member _.Add(line: string) =
        use document = JsonDocument.Parse line
        let root = document.RootElement

        let text (key: string) =
            root.GetProperty(key).GetString() |> nonNull

        let kind, training, step =
            text "kind", text "training", root.GetProperty("step").GetInt32()

        for entry in root.EnumerateObject() do
            if entry.Value.ValueKind = JsonValueKind.Number && entry.Name <> "step" then
                (writerOf training).add_scalar($"{kind}/{entry.Name}", entry.Value.GetSingle(), step, now ())

    /// Begins a training: its events are those lines of `metrics` that are its own, and no others. Event files cannot be cut
    /// back to the step that a training goes on from, so those of a run that goes on are written anew.
    member this.Begin (goesOn: bool) (metrics: string) (training: string) =
        let folder = folderOf training
        writers.Remove training |> ignore

        if goesOn && Directory.Exists folder then
            for file in Directory.EnumerateFiles(folder, "events.out.tfevents.*") |> List.ofSeq do
                File.Delete file

        if File.Exists metrics then
            for line in File.ReadLines metrics do
                use document = JsonDocument.Parse line

                if document.RootElement.GetProperty("training").GetString() = training then
                    this.Add line
