/// Progress on stderr: one changing line on a terminal, plain lines otherwise.
module Ldr.Cli.Progress

open System
open System.Globalization
open Ldr

let private interactive = not Console.IsErrorRedirected

/// Seconds between two plain lines about the same thing.
let private plainEvery = 20.0

let private show (value: float) =
    value.ToString("G4", CultureInfo.InvariantCulture)

let duration (time: TimeSpan) =
    if time.TotalHours >= 1.0 then
        $"{int time.TotalHours} h {time.Minutes:D2} min"
    elif time.TotalMinutes >= 1.0 then
        $"{time.Minutes} min {time.Seconds:D2} s"
    else
        $"{time.Seconds} s"

let private bar (part: float) =
    let full = int (Math.Round(part * 24.0))
    String('#', full) + String('.', 24 - full)

/// A sink for the events of a run.
type Reporter() =
    let mutable open' = false
    let mutable last = DateTime.MinValue

    /// Ends the changing line.
    member _.Close() =
        if open' then
            eprintfn ""
            open' <- false

    /// A line that stays.
    member this.Line(text: string) =
        this.Close()
        eprintfn "%s" text

    /// A line that the next one replaces.
    member _.Change(part: float, text: string) =
        if interactive then
            let line = $"[{bar part}] {text}"

            let width =
                try
                    Console.BufferWidth - 1
                with :? System.IO.IOException ->
                    79

            let line =
                if line.Length > width then
                    line.Substring(0, max 0 width)
                else
                    line

            eprintf "\r%s\027[K" line
            open' <- true
        elif part >= 1.0 || (DateTime.UtcNow - last).TotalSeconds > plainEvery then
            eprintfn "%s" text
            last <- DateTime.UtcNow

    /// Shows an event of a run.
    member this.Show(event: RunEvent) =
        match event with
        | Loading what -> this.Line $"Reading {what} ..."
        | Waiting trainings ->
            let names = String.concat ", " trainings
            this.Line $"Other processes have what is left: {names}; waiting ..."
        | Cautioned message -> this.Line $"warning: {message}"
        | Scoring(name, pair, pairs) ->
            this.Change(float pair / float pairs, $"{name}: scored {pair} of {pairs} pairs")
        | Training(Started(name, steps, parameters, engine, resumed)) ->
            let from = if resumed > 0 then $", from step {resumed}" else ""
            let count = parameters.ToString("N0", CultureInfo.InvariantCulture)
            this.Line $"{name}: {count} parameters, {steps} steps{from}; engine: {engine}"
        | Training(Progressed(name, step, steps, metrics, speed, left)) ->
            let loss =
                metrics
                |> List.tryFind (fun (n, _) -> n = "loss")
                |> Option.map snd
                |> Option.defaultValue nan

            this.Change(
                float step / float steps,
                $"{name}: step {step} of {steps}, loss {show loss}, {show speed} steps/s, {duration left} left"
            )
        | Training(Validated(name, step, metrics)) ->
            let numbers =
                metrics |> List.map (fun (n, v) -> $"{n} {show v}") |> String.concat ", "

            this.Line $"{name}: step {step}, validation: {numbers}"
        | Training(Warned(name, step, message)) -> this.Line $"{name}: step {step}: warning: {message}"
        | Training(Saved _) -> ()
        | Training(Timed(name, _, times)) ->
            let shares =
                times.Shares
                |> List.filter (fun (_, share) -> share >= 0.0005)
                |> List.map (fun (part, share) -> $"{part} {share * 100.0:F1} %%")
                |> String.concat ", "

            let speed = show (float times.Steps / times.Seconds)

            this.Line
                $"{name}: {times.Steps} steps in {duration (TimeSpan.FromSeconds times.Seconds)}, {speed} a second: {shares}; at most {times.PeakMb:F0} MB"
