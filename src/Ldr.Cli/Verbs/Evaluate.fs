/// `evaluate`: scores of a model on pairs of a labelled data set.
module Ldr.Cli.Verbs.Evaluate

open System.IO
open System.Text.Json.Nodes
open System.Threading
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.EvaluateArguments
open Ldr.Cli.Verbs.EvaluateSubjects
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// What is scored: the method, and the subjects.
[<NoEquality; NoComparison>]
type private Job =
    {
        Options: EvaluateOptions
        Context: Context
        Card: ModelCard option
        Data: EvaluatedData
        Group: SubjectGroup
        Register: Volume -> Volume -> RegistrationResult
    }

    /// The method's name.
    member this.Name =
        let model = this.Options.Model |> Option.defaultValue "none"

        [
            model
            if this.Options.Refine.IsSome then
                "refined"
            if this.Options.Diffeomorphic.IsSome then
                "diffeomorphic"
        ]
        |> String.concat " "

    member this.Progress (pair: int) (pairs: int) =
        this.Context.Speaker.Progress.Show(Scoring(this.Name, pair, pairs))

    /// Writes a file into the output folder.
    member this.Write (name: string) (text: string) =
        for folder in Option.toList this.Options.Output do
            AtomicFile.WriteText(Path.Combine(folder, name), text)

/// Registers pairs as `register` does by itself, with a network or without one.
let private registration (registrar: Registrar) (o: EvaluateOptions) =
    let hasNetwork = not (isNull registrar.Predictor)

    let refinement =
        match o.Refine with
        | None when hasNetwork -> RefinementOptions.None
        | steps ->
            RefinementOptions(
                Steps = Option.defaultValue (RefinementOptions().Steps) steps,
                ControlSpacingMm = Option.toNullable o.ControlSpacingMm
            )

    let options =
        RegistrationOptions(
            Prealignment =
                (if hasNetwork then
                     Prealignment.Default
                 else
                     Prealignment.Auto),
            Refinement = refinement,
            Diffeomorphic = Option.toNullable o.Diffeomorphic,
            Check = false
        )

    Evaluator.registering registrar options CancellationToken.None

/// Reads the scans and draws the pairs; the alignment that scores before are of.
let private load (job: Job) : Result<EvaluationSet * Alignment, Error> =
    let ignored, alignment =
        match job.Card, job.Data.Experiment with
        | Some card, _ -> card.IgnoredLabels, card.Alignment
        | None, Some(_, data) -> data.IgnoredLabels, data.Alignment
        | None, None -> [], Alignment.World

    let o = job.Options

    result {
        let known = o.KnownField |> Option.map (fun options -> Seed.ofInt options.Seed)
        let! set = Evaluator.load (Seed.ofInt o.Seed) o.Pairs known ignored job.Group
        job.Card |> Option.iter (fun card -> Evaluator.checkGrids card set)
        return set, alignment
    }

/// Tries the verdict: a table, and a line for each trial in the output folder.
let private tryVerdict (job: Job) (others: string list) (set: EvaluationSet) : Said =
    let trials =
        VerdictTrial.run
            job.Register
            (others
             |> List.map (fun file ->
                 let scan = ImageFile.Read file
                 Budget.CheckVoxels(file, scan.Grid)
                 scan))
            set
            job.Options.Pairs
            CancellationToken.None
            job.Progress

    let table, json = VerdictTrial.toTable trials, VerdictTrial.toJson trials
    job.Write "verdict.csv" (VerdictTrial.toCsv trials)
    job.Write "verdict.md" (table + "\n")
    job.Write "verdict.json" (json.ToJsonString() + "\n")
    Said.both table json

/// The scores of every pair, and the errors against known fields: before, after.
[<NoEquality; NoComparison>]
type private Measured =
    {
        Before: PairScore list
        After: PairScore list
        Known: KnownFieldError list
    }

let private measure (job: Job) (set: EvaluationSet) (alignment: Alignment) : Measured =
    let o = job.Options
    let none = CancellationToken.None

    {
        Before = Evaluator.untouched alignment set none
        After = Evaluator.by job.Register o.Inverse set none job.Progress
        Known =
            match o.KnownField with
            | None -> []
            | Some options -> Evaluator.knownFields job.Register options set none
    }

let private summaryNode (job: Job) (summary: Summary) =
    let json = Scores.toJson summary
    json.Add("draw_seed", Json.integer job.Options.Seed)
    json

let private page (job: Job) (measured: Measured) : string =
    EvaluationReport.page
        {
            Model = job.Name
            Data = job.Data.Dataset.Name
            Split =
                match job.Options.Split with
                | "val" -> "validation"
                | "train" -> "training"
                | other -> other
            Subjects = job.Group.Members.Length
            LabelNames = job.Data.Dataset.LabelNames
            Command = Shell.command job.Context.CommandLine
            Folder = Directory.GetCurrentDirectory()
        }
        measured.Before
        measured.After

let private words (summary: Summary) (measured: Measured) =
    let fixedPoint = Scores.fixedPoint

    [
        Scores.toTable [ Scores.untouched measured.Before measured.Known; summary ]
        if not measured.Known.IsEmpty then
            let mean = Scores.meanKnown measured.Known

            $"known field: {fixedPoint 3 mean.FoundMm} mm off on average, doing nothing {fixedPoint 3 mean.BeforeMm} mm ({measured.Known.Length} scans)"
    ]

/// Scores the pairs, writes the files of the output folder.
let private score (job: Job) (set: EvaluationSet) (alignment: Alignment) : Said =
    let measured = measure job set alignment

    let size = job.Card |> Option.map ModelFile.sizeOf |> Option.defaultValue (0L, 0.0)

    let summary =
        { Scores.summarise job.Name size measured.Before measured.After with
            KnownFields = measured.Known
        }

    let json = summaryNode job summary

    if job.Options.Output.IsSome then
        job.Write "scores.csv" (Scores.toCsv measured.After)
        job.Write "summary.json" (json.ToJsonString() + "\n")
        job.Write "report.html" (page job measured)

    Said.lines (words summary measured) json

let private evaluate (job: Job) : Result<Said, Error> =
    Error.guard (fun () ->
        job.Options.Output
        |> Option.iter (fun folder -> Directory.CreateDirectory folder |> ignore)

        let set, alignment = load job |> Error.orRaise

        match job.Options.Verdict with
        | Some others -> tryVerdict job others set
        | None -> score job set alignment)

let private run (o: EvaluateOptions) (context: Context) : Result<Said, Error> =
    result {
        let! data = EvaluateSubjects.read o.Data

        let! model =
            o.Model
            |> Option.traverseResult (fun name ->
                result {
                    let! path = ModelFile.resolve name
                    let! card, file = ModelFile.inspect path
                    return path, card, file
                })

        let card = model |> Option.map (fun (_, card, _) -> card)
        let! group = EvaluateSubjects.group o.Split card data

        let evaluate (registrar: Registrar) =
            evaluate
                {
                    Options = o
                    Context = context
                    Card = card
                    Data = data
                    Group = group
                    Register = registration registrar o
                }

        return!
            match model with
            | None -> evaluate (new Registrar())
            | Some(path, _, file) -> Engine.run context o.Engine path file evaluate
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r
        return! Call.create (common r) (run options)
    }
