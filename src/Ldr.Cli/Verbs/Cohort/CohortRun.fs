/// Registers the pairs of a cohort, for `cohort` and `bids`.
module Ldr.Cli.Verbs.CohortRun

open System
open System.Collections.Generic
open System.IO
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.CohortArguments
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration

/// Transforms as ITK's lists, as `register` writes them.
let private writer =
    TransformWriter(".h5", fun file transform _ -> TransformStore.write None false file transform)

let private readStarts (t: Treatment) : Result<RegisterPair.Starts, Error> =
    let read file =
        Error.guard (fun () -> TransformStore.read None None file)

    result {
        let! init = t.Init |> Option.traverseResult read
        let! affine = RegisterInputs.affineFile t |> Option.traverseResult read
        return { Init = init; Affine = affine }
    }

/// What decides the results beside the options of the registration itself.
let private settings
    (t: Treatment)
    (model: RegisterInputs.RegisterModel option)
    : Dictionary<string, string> =
    let all = Dictionary<string, string>()
    all["model"] <- defaultArg t.Model "none"

    for model in Option.toList model do
        all["model_sha256"] <- Checkpoint.digest model.Path
        all["engine"] <- (string t.Engine).ToLowerInvariant()

    for file in Option.toList t.Init @ Option.toList (RegisterInputs.affineFile t) do
        all["start_sha256"] <- Checkpoint.digest file

    all

/// Refuses a template that no pair could be registered to, before anything is written.
let private checkTemplate (model: RegisterInputs.RegisterModel option) (file: string) : Result<Grid, Error> =
    Error.guard (fun () ->
        let grid = ImageFile.ReadGrid file
        Budget.CheckField(file, grid)
        Budget.CheckVoxels(file, grid)

        for model in Option.toList model do
            ModelGrids.check model.Card file grid |> ignore

        grid)

let private pageOf (output: string) = Path.Combine(output, "group.html")

let private register
    (o: CohortRequest)
    (context: Context)
    (pairs: IReadOnlyList<CohortPair>)
    (options: CohortOptions)
    (source: RegistrarSource)
    : Result<Said, Error> =
    Error.guard (fun () ->
        use stop = new Stopping()

        try
            let summary =
                Cohort.Run(
                    pairs,
                    o.Output,
                    source.Make,
                    options,
                    CohortSaid.progress "pairs" context.Speaker,
                    stop.Token
                )

            context.Speaker.Progress.Close()
            GroupPage.Write(o.Output, options.Command) |> ignore
            CohortSaid.said (CohortSaid.ofSummary "pairs" ("group", pageOf o.Output) summary)
        with :? OperationCanceledException ->
            context.Speaker.Progress.Close()
            Said.stopped "Stopped. What is done stays; the same command goes on.")

/// Registers a plan's pairs.
let run (o: CohortRequest) (plan: CohortPlan) (context: Context) : Result<Said, Error> =
    result {
        let t = o.Treatment
        let! model = t.Model |> Option.traverseResult RegisterInputs.readModel
        let! grid = o.Template |> Option.traverseResult (checkTemplate model)
        let! starts = readStarts t
        let! registration = RegisterPair.treatment t starts grid

        for remark in plan.Remarks do
            context.Speaker.Say remark

        let options (jobs: int) =
            CohortOptions(
                Registration = registration,
                Settings = settings t model,
                Outputs = o.Outputs,
                Transforms = writer,
                Volume = Option.toNullable t.Volume,
                Jobs = jobs,
                Threads = (context.Threads |> Option.defaultValue 0),
                Memory = o.MemoryBytes,
                Shard = o.Shard,
                Force = o.Force,
                Command = Shell.command context.CommandLine
            )

        return!
            match model with
            | None ->
                register
                    o
                    context
                    plan.Pairs
                    (options o.Jobs)
                    {
                        Make = fun _ -> new Registrar()
                        OneAtATime = false
                    }
            | Some model ->
                Engine.runMany context t.Engine model.Path model.File (fun source ->
                    let jobs = if source.OneAtATime then 1 else o.Jobs
                    register o context plan.Pairs (options jobs) source)
    }

/// Makes the group page from what is there.
let group (output: string) (context: Context) : Result<Said, Error> =
    Error.guard (fun () ->
        let clock = Diagnostics.Stopwatch.StartNew()

        if not (Directory.Exists output) then
            raise (InvalidFileException(output, "does not exist", "name the folder of a cohort"))

        let rows =
            [
                for pair in GroupPage.Write(output, Shell.command context.CommandLine).Pairs -> pair.Row
            ]

        let isUnusable (row: GroupRow) = row.Verdict = GroupRow.Unusable

        CohortSaid.said
            {
                Noun = "pairs"
                Pairs = rows.Length
                Done = 0
                Skipped = rows |> List.filter (isUnusable >> not) |> List.length
                Failed =
                    [
                        for row in rows do
                            if row.Verdict = "failed" then
                                row.Id
                    ]
                Unusable =
                    [
                        for row in rows do
                            if isUnusable row then
                                row.Id, String.concat "; " row.Reasons
                    ]
                Seconds = clock.Elapsed.TotalSeconds
                Page = "group", pageOf output
            })
