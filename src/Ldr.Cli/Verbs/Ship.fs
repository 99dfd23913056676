/// `ship`: a model in half precision, with notes and figures on its card, to pass it on.
module Ldr.Cli.Verbs.Ship

open System
open System.IO
open System.Text.Json.Nodes
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration.Quality

type Arguments =
    | [<Unique>] Model of name: string
    | [<Unique>] Output of file: string
    | Note of text: string
    | [<Unique>] Verdict of file: string
    | Figures of file: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Model _ -> "the model: a file, the folder of a run, or a name of models/."
            | Output _ -> "the copy, in half precision (.safetensors)."
            | Note _ ->
                "a line for its card, which ldr-fs inspect prints: figures, what it is not for. May be given several times."
            | Figures _ ->
                "a summary.json that evaluate --output wrote: its figures go to the card (may be repeated)."
            | Verdict _ ->
                "the verdict.json that evaluate --verdict wrote: its thresholds become the model's own."
            | Json -> "print one JSON object to stdout: model, bytes."
            | Verbose -> "show where a fault happened."

type private Options =
    {
        Model: string
        Output: string
        Notes: string list
        /// The verdict.json whose thresholds become its own.
        Verdict: string option
        /// The summary.json files whose figures go to its card.
        Figures: string list
    }

/// The thresholds of a `verdict.json`.
let private thresholds (file: string) : Result<VerdictThresholds, Error> =
    lenient {
        let! thresholds = required "thresholds" RuntimeCodecs.thresholds id
        return thresholds
    }
    |> Codec.ofFile file

let private checkName (output: string) =
    if output.EndsWith(".safetensors", StringComparison.Ordinal) then
        Ok()
    else
        Error(BadInput $"--output {output}: a model's name ends in .safetensors; give it that ending")

let private run (o: Options) =
    result {
        do! checkName o.Output
        let! source = ModelFile.resolve o.Model
        OutputFiles.CheckApart(source :: Option.toList o.Verdict @ o.Figures, [ o.Output ])
        let! verdict = o.Verdict |> Option.traverseResult thresholds

        let! figures =
            o.Figures
            |> List.traverseResultM (fun file -> Codec.ofFile file ModelFigures.ofSummary)

        do! ModelFile.ship o.Notes verdict figures source o.Output
        let bytes = FileInfo(o.Output).Length

        return
            Said.both
                $"{o.Output}: half precision, %.1f{float bytes / 1e6} MB"
                (Json.object [ "model", Json.text o.Output; "bytes", JsonValue.Create bytes ])
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write a model in half precision, with notes on its card, to pass it on."
        More = "The card keeps where the model comes from and what it is not for."
        Groups =
            [
                "Inputs", [ "--model"; "--verdict"; "--figures"; "--note" ]
                "Outputs", [ "--output" ]
            ]
        Examples =
            [
                "ldr-fs ship --model runs/mine/model.safetensors --note \"Not for: children\" --output mine.safetensors"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! model = Usage.need "--model" (r.TryGetResult Model)
        let! output = Usage.need "--output" (r.TryGetResult Output)

        let options =
            {
                Model = model
                Output = output
                Notes = r.GetResults Note
                Verdict = r.TryGetResult Verdict
                Figures = r.GetResults Figures
            }

        return!
            Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ -> run options)
    }
