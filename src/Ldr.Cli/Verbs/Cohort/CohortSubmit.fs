/// `cohort --submit slurm`: the same work as a job array.
module Ldr.Cli.Verbs.CohortSubmit

open System
open System.Diagnostics
open System.IO
open System.Reflection
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.CohortArguments
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups

/// `scripts/cluster/slurm/cohort.sbatch`.
let private script =
    lazy
        (use stream =
            nonNull (Assembly.GetExecutingAssembly().GetManifestResourceStream "cohort.sbatch")

         use reader = new StreamReader(stream)
         reader.ReadToEnd())

/// How this program was started: with dotnet, or by itself.
let private program () : string list =
    let host = string Environment.ProcessPath

    if Path.GetFileNameWithoutExtension host = "dotnet" then
        [ host; Path.Combine(AppContext.BaseDirectory, "ldr-fs.dll") ]
    else
        [ host ]

/// The arguments of a task: those that were given, without what is of the submission and what the script adds.
let private ofTask (arguments: string list) : string list =
    let dropped = [ "--submit"; "--array"; "--sbatch-option"; "--output"; "-o" ]

    let rec go kept (rest: string list) =
        match rest with
        | [] -> List.rev kept
        | option :: _ :: others when List.contains option dropped -> go kept others
        | option :: others when dropped |> List.exists (fun name -> option.StartsWith(name + "=")) ->
            go kept others
        | other :: others -> go (other :: kept) others

    // The first is the verb.
    go [] (List.tail arguments)

/// A line of the script: with the value that it has for this cohort, if it has one.
let private line (values: Map<string, string>) (line: string) : string =
    match values |> Map.tryFindKey (fun start _ -> line.StartsWith start) with
    | Some start -> start + values[start]
    | None -> line

/// The script for a cohort: the one of the repository with the values put in.
let text (o: CohortRequest) (s: Submission) (tasks: int) (arguments: string list) : string =
    let list words =
        "(" + (words |> List.map Shell.quoted |> String.concat " ") + ")"

    let own = ofTask arguments
    let output = Path.GetFullPath o.Output

    let values =
        Map
            [
                "#SBATCH --array=", $"1-{tasks}"
                "#SBATCH --output=", Shell.quoted (Path.Combine(output, "slurm-%A_%a.log"))
                "ldr=", list (program ())
                "source=", list own
                "output=", Shell.quoted output
                "shards=", string tasks
            ]

    let isGiven (line: string) =
        s.Options
        |> List.exists (fun given -> line.StartsWith("#SBATCH " + (given.Split '=')[0] + "="))

    let more =
        [
            // Paths of the command are relative to this folder.
            $"#SBATCH --chdir={Shell.quoted (Directory.GetCurrentDirectory())}"
            for given in s.Options do
                $"#SBATCH {given}"
        ]

    let threads (line: string) =
        // Threads that were asked for stay.
        if List.contains "--threads" own then
            line.Replace(" --threads \"$SLURM_CPUS_PER_TASK\"", "")
        else
            line

    [
        for each in script.Value.TrimEnd().Split '\n' do
            if not (isGiven each) then
                threads (line values each)

            if each = "#SBATCH --requeue" then
                yield! more
    ]
    |> String.concat "\n"
    |> fun text -> text + "\n"

/// Runs the script, which calls sbatch twice; the numbers of both jobs.
let private submit (file: string) : Result<string * string, Error> =
    let bad (message: string) =
        Error(BadInput $"--submit slurm: {message}")

    let hasSbatch =
        (string (Environment.GetEnvironmentVariable "PATH")).Split Path.PathSeparator
        |> Array.exists (fun folder -> folder <> "" && File.Exists(Path.Combine(folder, "sbatch")))

    if not hasSbatch then
        bad $"sbatch is not on the PATH; wrote {file}, run it there where Slurm is: bash {Shell.quoted file}"
    else
        let info =
            ProcessStartInfo("bash", [ file ], RedirectStandardOutput = true, RedirectStandardError = true)

        use running = nonNull (Process.Start info)
        let errors = running.StandardError.ReadToEndAsync()
        let said = running.StandardOutput.ReadToEnd().Trim().Split ' '
        running.WaitForExit()

        match said with
        | [| array; page |] when running.ExitCode = 0 -> Ok(array, page)
        | _ ->
            let first = errors.Result.Trim().Split('\n')[0]
            bad $"sbatch refused {file}: {Plain.text first}"

/// Writes the script into the cohort's folder and submits it.
let run (o: CohortRequest) (s: Submission) (plan: CohortPlan) (context: Context) : Result<Said, Error> =
    result {
        let tasks = max 1 (min s.Tasks plan.Pairs.Count)
        let file = Path.Combine(Path.GetFullPath o.Output, "cohort.sbatch")

        do!
            Error.guard (fun () ->
                Directory.CreateDirectory o.Output |> ignore
                AtomicFile.WriteText(file, text o s tasks context.CommandLine))

        let! array, page = submit file

        return
            Said.lines
                [
                    $"job {array}: {plan.Pairs.Count} pairs in {tasks} tasks; job {page}: the group page, after them"
                    $"look on by: squeue --job {array},{page}"
                    $"wrote {file}"
                ]
                (Json.object
                    [
                        "pairs", Json.integer plan.Pairs.Count
                        "tasks", Json.integer tasks
                        "array_job", Json.text array
                        "page_job", Json.text page
                        "script", Json.text file
                    ])
    }
