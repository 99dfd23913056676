namespace Ldr

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open Ldr.Runtime.Formats

/// The lines of `metrics.jsonl` and `times.jsonl`.
module internal JournalLines =
    /// One line of `metrics.jsonl` for an event that has numbers.
    let ofMetrics (event: TrainingEvent) : string option =
        let line kind training step (metrics: Metrics) =
            let node = JsonObject()
            node.Add("kind", JsonValue.Create(kind: string))
            node.Add("training", JsonValue.Create(training: string))
            node.Add("step", JsonValue.Create(step: int))

            for name, value in metrics do
                node.Add(name, JsonNumber.finiteOrNull value)

            Some(node.ToJsonString())

        match event with
        | Progressed(training, step, _, metrics, speed, _) ->
            line "train" training step (metrics @ [ "steps_per_second", speed ])
        | Validated(training, step, metrics) -> line "validation" training step metrics
        | Started _
        | Saved _
        | Timed _
        | Warned _ -> None

    /// Where the time of a training went, as in a line of `times.jsonl`.
    let ofTimes (training: string, step: int, times: TrainingTimes) : JsonObject =
        let node = JsonObject()
        node.Add("training", JsonValue.Create(training: string))
        node.Add("step", JsonValue.Create(step: int))
        node.Add("steps", JsonValue.Create times.Steps)

        for name, value in
            ("seconds", times.Seconds) :: times.Shares
            @ [ "managed_mb", times.ManagedMb; "peak_mb", times.PeakMb ] do
            node.Add(name, JsonNumber.rounded value)

        node.Add("live_tensors", JsonValue.Create times.LiveTensors)
        node

    /// The training and the step of a line, if it is one of these files'.
    let private tryPlace (line: string) : (string * int) option =
        try
            use document = JsonDocument.Parse line
            let node = document.RootElement

            match (node.GetProperty "step").TryGetInt32() with
            | true, step when step >= 0 -> Some((node.GetProperty "training").GetString() |> nonNull, step)
            | _ -> None
        with
        | :? JsonException
        | :? InvalidOperationException
        | :? NullReferenceException
        | :? Collections.Generic.KeyNotFoundException -> None

    /// Training, kind (`train` or `validation`), step and numbers of a line of `metrics.jsonl`.
    let private tryNumbers (line: string) : ((string * string) * (int * Metrics)) option =
        tryPlace line
        |> Option.bind (fun (training, step) ->
            use document = JsonDocument.Parse line
            let root = document.RootElement

            match root.TryGetProperty "kind" with
            | true, kind when kind.ValueKind = JsonValueKind.String ->
                let numbers =
                    [
                        for entry in root.EnumerateObject() do
                            if entry.Name <> "step" && entry.Value.ValueKind = JsonValueKind.Number then
                                entry.Name, entry.Value.GetDouble()
                    ]

                Some((training, nonNull (kind.GetString())), (step, numbers))
            | _ -> None)

    /// The newest numbers in `metrics.jsonl` of each training and kind, with their step.
    let newest (path: string) : Map<string * string, int * Metrics> =
        if File.Exists path then
            (Map.empty, File.ReadLines path |> Seq.choose tryNumbers)
            ||> Seq.fold (fun found (key, numbers) -> Map.add key numbers found)
        else
            Map.empty

    let private lines (text: string) =
        text.Split('\n', StringSplitOptions.RemoveEmptyEntries)

    /// Refuses a file with a line that is none of a run's, unless it is the last one, which a kill cuts off.
    let check (path: string) : Result<unit, Error> =
        if not (File.Exists path) then
            Ok()
        else
            Error.guardResult (fun () ->
                let lines = TextFile.read path |> lines

                match lines |> Array.tryFindIndex (tryPlace >> Option.isNone) with
                | Some index when index < lines.Length - 1 ->
                    Error(
                        BadFile(
                            path,
                            $"line {index + 1} is none that a training writes (a JSON object with \"training\" and a whole \"step\")",
                            "remove that line, or move the file away"
                        )
                    )
                | _ -> Ok())

    /// Whether a line is of another training, or of a step up to this one; one that was cut off is neither.
    let private stays (training: string) (step: int) (line: string) =
        match tryPlace line with
        | Some(own, at) -> own <> training || at <= step
        | None -> false

    /// Drops a training's lines after the step that it resumes from, and a line that was cut off.
    let trim (path: string) (training: string) (step: int) =
        if File.Exists path then
            let text = File.ReadAllText path

            let kept =
                lines text
                |> Seq.filter (stays training step)
                |> Seq.map (fun line -> line + "\n")
                |> String.concat ""

            if kept <> text then
                AtomicFile.WriteText(path, kept)

/// Writes what the trainings of a run tell into its folder, and passes it on.
[<Sealed>]
type internal RunJournal(options: RunOptions) =
    let metrics = RunFolder.metricsPath options.Folder
    let times = RunFolder.timesPath options.Folder
    let timed = ResizeArray<string * int * TrainingTimes>()

    let events =
        if options.TensorBoard then
            Some(EventFiles options.Folder)
        else
            None

    let start training step =
        RunClaims.alone options.Folder (fun () ->
            for file in [ metrics; times ] do
                JournalLines.trim file training step

            events
            |> Option.iter (fun files -> files.Begin (options.Resume || step > 0) metrics training))

    /// Opens and closes the file: what another machine has written before is seen.
    let append (path: string) (line: string) =
        RunClaims.alone options.Folder (fun () -> File.AppendAllText(path, line + "\n"))

    member _.Add(event: TrainingEvent) =
        match event with
        | Started(training, _, _, _, step) -> start training step
        | Timed(training, step, spent) ->
            timed.Add(training, step, spent)
            append times ((JournalLines.ofTimes (training, step, spent)).ToJsonString())
        | _ -> ()

        for line in Option.toList (JournalLines.ofMetrics event) do
            append metrics line
            events |> Option.iter (fun files -> files.Add line)

        options.Sink(Training event)

    /// Where the time of each training of this process went.
    member _.Times = List.ofSeq timed
