/// The command line of `cohort`.
module Ldr.Cli.Verbs.CohortArguments

open System
open Argu
open FsToolkit.ErrorHandling
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Runtime.Groups

type LevelName =
    | Pair
    | Group

type SchedulerName = | Slurm

type Arguments =
    | [<MainCommand; Unique>] Source of source: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of folder: string
    | [<Unique>] Template of file: string
    | [<Unique>] Write of words: string
    | [<Unique>] Shard of number: string
    | [<Unique>] Jobs of count: int
    | [<Unique>] Memory of gigabytes: float
    | [<Unique>] Level of LevelName
    | [<Unique>] Force
    | [<Unique>] Submit of SchedulerName
    | [<Unique>] Array of tasks: int
    | [<EqualsAssignmentOrSpaced>] Sbatch_Option of option: string

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Source _ ->
                "a table of pairs (.csv, .tsv; columns moving, fixed and more), a folder of scans, a BIDS folder, or a data set's folder or description."
            | Output _ ->
                "write here: a folder for each pair, group.tsv and group.html. Run again, what is done is skipped."
            | Template _ -> "register every scan of the source to this one."
            | Write _ ->
                "what to write of each pair, with commas between: moved, transform, inverse, labels, points, picture, report, or all (default: all but report)."
            | Shard _ ->
                "do a part of the pairs: 3/8 for the third of eight (default: from SLURM_ARRAY_TASK_ID, where it is set; else all)."
            | Jobs _ -> "pairs at a time at most (default: as many as there are threads and memory for)."
            | Memory _ -> "gigabytes of memory to take at most (default: three quarters of what there is)."
            | Level _ ->
                "pair (default): register, then write the group page; group: write the page from what is there."
            | Force -> "do again what is done."
            | Submit _ ->
                "do not register here: write cohort.sbatch into the output folder, and submit it: a job array, then a job that writes the group page."
            | Array _ -> "with --submit: so many tasks, each with its shard (default: 8)."
            | Sbatch_Option _ ->
                "with --submit: an option for sbatch, such as --sbatch-option=--partition=long (may be repeated)."

/// A job array to submit.
type Submission =
    {
        Tasks: int
        /// Options for sbatch, as it takes them.
        Options: string list
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Register many pairs, each into a folder of its own, and write a page to check them on."
        More =
            "What is done already is skipped: run the same line again after a stop, or on another computer."
        Groups =
            [
                "Inputs", [ "--template" ]
                "Outputs", [ "--output"; "--write"; "--level"; "--force" ]
                "Sharing the work", [ "--shard"; "--jobs"; "--memory" ]
            ]
        Examples = [ "ldr-fs cohort scans --template template.nii.gz --model none --output study" ]
    }

/// A cohort to register.
type CohortRequest =
    {
        /// Nothing where only the page is made.
        Source: string option
        Output: string
        Template: string option
        /// The template's label map and mask.
        FixedLabels: string option
        FixedMask: string option
        Treatment: Treatment
        Outputs: CohortOutputs
        Shard: CohortShard
        Jobs: int
        MemoryBytes: int64
        Force: bool
        /// Nothing where the pairs are registered here.
        Submission: Submission option
    }

let private words =
    [
        "moved", CohortOutputs.Moved
        "transform", CohortOutputs.Transform
        "inverse", CohortOutputs.Inverse
        "labels", CohortOutputs.Labels
        "points", CohortOutputs.Points
        "picture", CohortOutputs.Picture
        "report", CohortOutputs.Report
        "all", CohortOutputs.Standard ||| CohortOutputs.Report
        "none", CohortOutputs.None
    ]

/// What --write says.
let outputs (text: string option) : Result<CohortOutputs, string> =
    match text with
    | None -> Ok CohortOutputs.Standard
    | Some text ->
        text.Split ','
        |> List.ofArray
        |> List.traverseResultM (fun word ->
            match words |> List.tryFind (fun (known, _) -> known = word.Trim().ToLowerInvariant()) with
            | Some(_, flag) -> Ok flag
            | None ->
                Error
                    $"--write {text}: '{word}' is unknown; {Ldr.Suggestion.among (List.map fst words) word}")
        |> Result.map (List.fold (|||) CohortOutputs.None)

let private number (name: string) : int option =
    match Int32.TryParse(Environment.GetEnvironmentVariable name) with
    | true, value -> Some value
    | _ -> None

/// The place of this task in a Slurm job array.
let private ofSlurm () : CohortShard option =
    match number "SLURM_ARRAY_TASK_ID", number "SLURM_ARRAY_TASK_MIN", number "SLURM_ARRAY_TASK_MAX" with
    | Some id, Some least, Some most ->
        let step = number "SLURM_ARRAY_TASK_STEP" |> Option.defaultValue 1 |> max 1
        Some(CohortShard((id - least) / step + 1, (most - least) / step + 1))
    | _ -> None

/// What --shard or Slurm says.
let shard (text: string option) : Result<CohortShard, string> =
    match text with
    | None -> Ok(ofSlurm () |> Option.defaultValue CohortShard.Whole)
    | Some text ->
        match text.Split '/' |> Array.map Int32.TryParse with
        | [| true, index; true, count |] when index >= 1 && index <= count -> Ok(CohortShard(index, count))
        | _ -> Error $"--shard {text}: give two numbers such as 3/8: the third of eight"

/// What --jobs and --memory say: a count or 0, bytes or 0.
let limits (jobs: int option) (gigabytes: float option) : Result<int * int64, string> =
    match jobs, gigabytes with
    | Some n, _ when n < 1 -> Error "--jobs: give a whole number above 0"
    | _, Some g when not (g > 0.0 && g < 1e6) -> Error "--memory: give gigabytes, a number above 0"
    | _ -> Ok(defaultArg jobs 0, int64 (defaultArg gigabytes 0.0 * 1e9))

/// How pairs are worked through, as it was asked for.
type Asked =
    {
        Outputs: string option
        Shard: string option
        Jobs: int option
        Gigabytes: float option
        Force: bool
    }

/// A cohort from what `cohort` and `bids` share; `pair` has the options of `register`.
let request
    (source: string option)
    (output: string)
    (template: string option)
    (asked: Asked)
    (pair: ParseResults<RegisterArguments.Arguments>)
    : Result<CohortRequest, string> =
    result {
        let! treatment = RegisterArguments.treatment (Some "none") pair
        let! outputs = outputs asked.Outputs
        let! shard = shard asked.Shard
        let! jobs, memory = limits asked.Jobs asked.Gigabytes

        return
            {
                Source = source
                Output = output
                Template = template
                FixedLabels = pair.TryGetResult Fixed_Labels
                FixedMask = pair.TryGetResult Fixed_Mask
                Treatment = treatment
                Outputs = outputs
                Shard = shard
                Jobs = jobs
                MemoryBytes = memory
                Force = asked.Force
                Submission = None
            }
    }

/// What --submit, --array and --sbatch-option say.
let private submission (r: ParseResults<Arguments>) : Result<Submission option, string> =
    let options = r.GetResults Sbatch_Option

    match r.TryGetResult Submit, r.TryGetResult Arguments.Array with
    | None, Some _ -> Error "--array: it belongs to --submit slurm"
    | None, None when not options.IsEmpty -> Error "--sbatch-option: it belongs to --submit slurm"
    | None, None -> Ok None
    | Some Slurm, Some tasks when tasks < 1 -> Error "--array: give a whole number above 0"
    | Some Slurm, _ when r.Contains Shard || r.TryGetResult Level = Some Group ->
        Error "--submit: it shares the work out itself; leave --shard and --level out"
    | Some Slurm, tasks ->
        match options |> List.tryFind (fun option -> not (option.StartsWith "--")) with
        | Some option ->
            Error
                $"--sbatch-option {option}: give an option with its value, such as --sbatch-option=--time=01:00:00"
        | None ->
            Ok(
                Some
                    {
                        Tasks = defaultArg tasks 8
                        Options = options
                    }
            )

let options
    (r: ParseResults<Arguments>)
    (pair: ParseResults<RegisterArguments.Arguments>)
    : Result<CohortRequest, string> =
    result {
        let! output = Usage.need "--output" (r.TryGetResult Output)
        let isGroup = r.TryGetResult Level = Some Group

        let! source =
            if isGroup then
                Ok None
            else
                Usage.need "SOURCE (a table, a folder of scans or a data set)" (r.TryGetResult Source)
                |> Result.map Some

        let template = r.TryGetResult Template

        for name, given in
            [
                "--fixed-labels", pair.Contains Fixed_Labels
                "--fixed-mask", pair.Contains Fixed_Mask
            ] do
            do!
                Usage.refuseIf
                    (given && template.IsNone)
                    $"{name} is of --template; name these files in a table"

        let asked =
            {
                Outputs = r.TryGetResult Write
                Shard = r.TryGetResult Shard
                Jobs = r.TryGetResult Jobs
                Gigabytes = r.TryGetResult Memory
                Force = r.Contains Force
            }

        let! submission = submission r
        let! request = request source output template asked pair
        return { request with Submission = submission }
    }
