/// `template`: an unbiased average anatomy of many scans.
module Ldr.Cli.Verbs.Template

open System
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration

type Arguments =
    | [<MainCommand>] Scans of files: string list
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Rounds of count: int
    | [<Unique>] Start of file: string
    | [<Unique>] Model of name: string
    | [<Unique>] Weights of numbers: string
    | [<Unique>] Sharpen of amount: float
    | [<Unique>] Shard of number: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Scans _ -> $"scans, or {ScanSource.usage}."
            | Output _ ->
                "write here: template.nii.gz, template.html, each scan's transform both ways, label probabilities. Run again, what is done is skipped."
            | Rounds _ ->
                "rounds of registering all scans to the average (default: 4; 0: the affine average)."
            | Start _ ->
                "begin with this scan: the template has its grid and its pose (default: the pose of the first scan, and a grid that holds all)."
            | Model _ -> "register by a model: its file, or its name in models/ (default: none)."
            | Weights _ -> "how much each scan counts, in their order, with commas between, such as 1,1,0.5."
            | Sharpen _ -> "raise fine detail of each average by so much: 0 (default) to 2."
            | Shard _ ->
                "do a part of the scans of each round, and wait for the others: 3/8 for the third of eight processes on one folder."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type private Request =
    {
        Sources: string list
        Output: string
        Model: string option
        Weights: float list option
        Options: TemplateOptions
    }

let private scans (o: Request) : Result<TemplateScan list, Error> =
    result {
        let! scans = ScanSource.read o.Sources

        match o.Weights with
        | _ when scans.Length < 2 ->
            return! Error(BadFile(o.Sources.Head, "is one scan", "a template is made of two or more"))
        | Some weights when weights.Length <> scans.Length ->
            return!
                Error(
                    BadInput
                        $"--weights: {weights.Length} numbers for {scans.Length} scans; give one for each"
                )
        | Some weights ->
            let weigh (scan: TemplateScan) (weight: float) =
                TemplateScan(scan.Name, scan.Image, Labels = scan.Labels, Mask = scan.Mask, Weight = weight)

            return List.map2 weigh scans weights
        | None -> return scans
    }

let private progress (speaker: Speaker) (rounds: int) : IProgress<TemplateProgress> =
    let name round =
        if round = 0 then "affine average"
        elif round > rounds then "transforms"
        else $"round {round} of {rounds}"

    { new IProgress<TemplateProgress> with
        member _.Report now =
            let within = float now.Done / float (max 1 now.Of)

            speaker.Progress.Change(
                (float now.Round + within) / float (rounds + 2),
                $"{name now.Round}: {now.Done} of {now.Of} scans"
            )
    }

let private said (result: TemplateResult) : Said =
    let last = result.Rounds[result.Rounds.Count - 1]

    let round (round: TemplateRound) =
        Json.object
            [
                "round", Json.integer round.Round
                "mean_deformation_mm", Json.number round.MeanDeformationMm
                "max_deformation_mm", Json.number round.MaxDeformationMm
                "sharpness", Json.number round.Sharpness
                "left_out", Json.texts round.LeftOut
            ]

    { Said.lines
          [
              "   round  mean deformation (mm)  sharpness (1/mm)"
              for round in result.Rounds do
                  [
                      (string round.Round).PadLeft 8
                      (Scores.fixedPoint 3 round.MeanDeformationMm).PadLeft 21
                      (Scores.fixedPoint 4 round.Sharpness).PadLeft 16
                  ]
                  |> String.concat "  "
              $"{result.Template}: of {result.Scans - last.LeftOut.Count} scans"
          ]
          (Json.object
              [
                  "scans", Json.integer result.Scans
                  "rounds", Json.list [ for each in result.Rounds -> round each ]
                  "template", Json.text result.Template
                  "last_mean_deformation_mm", Json.number last.MeanDeformationMm
                  "sharpness", Json.number last.Sharpness
              ]) with
        Remarks =
            [
                for name in last.LeftOut -> $"{name}: its registration failed; it is not in the average"
            ]
    }

let private build
    (o: Request)
    (context: Context)
    (scans: TemplateScan list)
    (method: string)
    (registrar: Registrar)
    : Result<Said, Error> =
    Error.guard (fun () ->
        use stop = new Stopping()

        try
            let options =
                TemplateOptions(
                    Rounds = o.Options.Rounds,
                    Start = o.Options.Start,
                    Sharpen = o.Options.Sharpen,
                    Shard = o.Options.Shard,
                    Method = method,
                    Threads = (context.Threads |> Option.defaultValue 0)
                )

            let result =
                TemplateBuilder(registrar)
                    .Build(
                        Array.ofList scans,
                        o.Output,
                        options,
                        progress context.Speaker options.Rounds,
                        stop.Token
                    )

            context.Speaker.Progress.Close()
            said result
        with :? OperationCanceledException ->
            context.Speaker.Progress.Close()
            Said.stopped "Stopped. What is done stays; the same command goes on.")

let private run (o: Request) (context: Context) : Result<Said, Error> =
    result {
        let! model = o.Model |> Option.traverseResult RegisterInputs.readModel
        let! scans = scans o

        return!
            match model with
            | None -> build o context scans "none" (new Registrar())
            | Some model ->
                Engine.run
                    context
                    Automatic
                    model.Path
                    model.File
                    (build o context scans (Checkpoint.digest model.Path))
    }

let private weights (text: string) : Result<float list, string> =
    let number (part: string) =
        match Double.TryParse(part, Globalization.CultureInfo.InvariantCulture) with
        | true, value when value > 0.0 && Double.IsFinite value -> Ok value
        | _ -> Error $"--weights {text}: give numbers above 0 with commas between"

    text.Split ',' |> List.ofArray |> List.traverseResultM number

/// The text of --help beside the options.
let help: Help =
    {
        What = "Make an unbiased average of many scans."
        More = "A build that was stopped goes on with the same line; transforms of every scan are kept."
        Groups =
            [
                "Inputs", [ "--start"; "--weights" ]
                "Outputs", [ "--output" ]
                "Building", [ "--rounds"; "--model"; "--sharpen" ]
                "Sharing the work", [ "--shard" ]
            ]
        Examples = [ "ldr-fs template scans --output template" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! output = Usage.need "--output" (r.TryGetResult Output)

        let! sources =
            match r.GetResult(Scans, []) with
            | [] -> Error "no scan is named; give scans, a table, a folder or a data set"
            | sources -> Ok sources

        let rounds = r.GetResult(Rounds, 4)
        do! Usage.refuseIf (rounds < 0 || rounds > 50) "--rounds: give a whole number from 0 to 50"
        let sharpen = r.GetResult(Sharpen, 0.0)
        do! Usage.refuseIf (not (sharpen >= 0.0 && sharpen <= 2.0)) "--sharpen: give a number from 0 to 2"
        let! weights = r.TryGetResult Weights |> Option.traverseResult weights
        let! shard = CohortArguments.shard (r.TryGetResult Shard)

        let request =
            {
                Sources = sources
                Output = output
                Model = r.TryGetResult Model |> Option.filter ((<>) "none")
                Weights = weights
                Options =
                    TemplateOptions(
                        Rounds = rounds,
                        Start = (r.TryGetResult Start |> Option.toObj),
                        Sharpen = sharpen,
                        Shard = shard
                    )
            }

        return!
            Call.create
                { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                (run request)
    }
