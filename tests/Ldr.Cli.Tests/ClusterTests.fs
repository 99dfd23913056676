/// Cohorts and trainings on a cluster: a real Slurm on loopback, Snakemake, several processes on one run.
module Ldr.Cli.Tests.ClusterTests

open System
open System.IO
open System.Text.Json.Nodes
open System.Threading
open Expecto
open Ldr
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.TestKit.Slurm
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.Cli
open Ldr.Cli.Tests.CliTests

/// A folder of eight scans, a template that they resemble (their verdicts are good), and its label map.
let private scene (size: int * int * int) (folder: string) =
    let template, labels =
        Anatomy.subject
            {
                Size = size
                Subjects = 1
                Structures = 3
                Deformation = 1.0
                Noise = 0.01
                Seed = 8
            }
            0

    template.Write(folder </> "template.nii.gz")
    labels.Write(folder </> "labels.nii.gz")
    Directory.CreateDirectory(folder </> "scans") |> ignore
    let random = Random 1

    for i in 1..8 do
        let values =
            template.Values
            |> Array.map (fun v -> v + 0.02f * float32 (random.NextDouble()))

        Volume(template.Grid, values).Write(folder </> "scans" </> $"s{i}.nii.gz")

let private cohort = CohortCliTests.cohortWith 150

/// What a cohort made, without its page (it names the command), the script and the logs.
let private made (output: string) =
    contents output
    |> Map.filter (fun name _ ->
        not (name = "group.html" || name.EndsWith ".sbatch" || name.StartsWith "slurm-"))

let private answer (text: string) = nonNull (JsonNode.Parse text)

/// The results that are there.
let private results (output: string) =
    if Directory.Exists output then
        Directory.GetFiles(output, "result.json", SearchOption.AllDirectories).Length
    else
        0

/// Submits a cohort as an array of four; the number of the job of its group page.
let private submit (slurm: Slurm) (folder: string) (output: string) =
    let code, said, errors =
        slurm.Run
            "dotnet"
            (program :: cohort folder output
             @ [
                 "--submit"
                 "slurm"
                 "--array"
                 "4"
                 "--json"
                 "--sbatch-option=--cpus-per-task=1"
             ])

    Expect.equal code 0 errors
    let answer = answer said
    Expect.equal (answer["tasks"].GetValue<int>()) 4 "tasks"
    string answer["array_job"], string answer["page_job"]

let private awaitEnd (slurm: Slurm) =
    slurm.Await "the queue is empty" 90.0 (fun () -> slurm.Queue().IsEmpty)

/// The script of a training, with another experiment in it.
let private trainScript (folder: string) (arguments: string list) (tasks: int) =
    let quote = List.map Shell.quoted >> String.concat " "

    let value (line: string) =
        if line.StartsWith "ldr=" then
            $"""ldr=({quote [ "dotnet"; program ]})"""
        elif line.StartsWith "train=" then
            $"train=({quote arguments})"
        elif line.StartsWith "tasks=" then
            $"tasks={tasks}"
        elif line.StartsWith "#SBATCH --array=" then
            $"#SBATCH --array=1-{tasks}"
        elif line.StartsWith "#SBATCH --cpus-per-task=" then
            "#SBATCH --cpus-per-task=1"
        elif line.StartsWith "#SBATCH --output=" then
            $"#SBATCH --output={folder}/slurm-%%A_%%a.log"
        else
            line

    let file = folder </> "train.sbatch"

    Path.Combine(Repository.root, "scripts", "cluster", "slurm", "train.sbatch")
    |> File.ReadAllLines
    |> Array.map value
    |> fun lines -> File.WriteAllLines(file, lines)

    file

/// Three trainings, one of them with two seeds, one with a teacher: four in all.
let private training (run: string) =
    (List.tail (tiny run)
     |> List.filter (fun word -> word <> "--threads" && word <> "1"))
    @ steps 12
    @ [ "--set"; "train.student-reconstruction.seeds=[1,2]" ]
    @ [ "--set"; "train.teacher.checkpoint_every=2" ]

/// What a run made that does not depend on times: its weights, scores, table, metrics in the order of each training.
let private ofRun (run: string) =
    let weights (file: string) =
        (Safetensors.Read file).Tensors
        |> Seq.map (fun tensor ->
            tensor.Name
            + Convert.ToHexString(Security.Cryptography.SHA256.HashData(tensor.Bytes: byte array)))
        |> String.concat "\n"

    let metrics =
        File.ReadAllLines(run </> "metrics.jsonl")
        |> Array.map (fun line ->
            let node = (answer line).AsObject()
            node.Remove "steps_per_second" |> ignore
            string node["training"], node.ToJsonString())
        |> Array.groupBy fst
        |> Array.sortBy fst
        |> Array.collect (snd >> Array.map snd)
        |> String.concat "\n"

    let sheet (file: string) =
        let text = File.ReadAllText file
        Text.RegularExpressions.Regex.Replace(text, "\"milliseconds\":[0-9.e+-]+", "")

    [
        for file in Directory.GetFiles(run </> "models") |> Array.sort do
            Path.GetFileName file, weights file
        for file in Directory.GetFiles(run </> "scores") |> Array.sort do
            Path.GetFileName file, sheet file
        "model", weights (run </> "model.safetensors")
        "experiment", File.ReadAllText(run </> "experiment.json")
        "metrics", metrics
    ]
    |> Map.ofList

let tests =
    testList
        "cluster"
        [
            testInFolder
                "a cohort on Slurm loses a node, is cancelled and submitted again, and is that of one process"
                (fun folder ->
                    use slurm = Slurm.Start folder
                    scene (40, 44, 36) folder
                    let whole = ldr (cohort folder "whole")
                    Expect.equal whole.Code 0 whole.Errors

                    // A node dies in the middle.
                    submit slurm folder "out" |> ignore
                    slurm.Await "a result" 30.0 (fun () -> results (folder </> "out") > 0)

                    slurm.Await "work on n2" 10.0 (fun () ->
                        slurm.Queue() |> List.exists (fun job -> job.EndsWith "R n2"))

                    slurm.KillNode "n2"
                    awaitEnd slurm
                    same (made (folder </> "whole")) (made (folder </> "out"))
                    Expect.isTrue (File.Exists(folder </> "out" </> "group.html")) "the page"

                    // The other one has everything cancelled, and is submitted again.
                    let array, page = submit slurm folder "again"
                    slurm.Await "a result" 30.0 (fun () -> results (folder </> "again") > 0)
                    slurm.Run "scancel" [ array; page ] |> ignore
                    awaitEnd slurm
                    Expect.isLessThan (results (folder </> "again")) 8 "it was cancelled in the middle"
                    let code, _, errors = slurm.Run "bash" [ folder </> "again" </> "cohort.sbatch" ]
                    Expect.equal code 0 errors
                    awaitEnd slurm
                    same (made (folder </> "whole")) (made (folder </> "again")))

            testInFolder
                "rows and seeds of an experiment, trained by a Slurm array into one folder, are those of one process"
                (fun folder ->
                    use slurm = Slurm.Start folder
                    let run = folder </> "run"
                    let script = trainScript folder (training run) 4
                    let code, _, errors = slurm.Run "bash" [ script ]
                    Expect.equal code 0 errors

                    slurm.Await "a checkpoint" 60.0 (fun () ->
                        File.Exists(run </> "checkpoints" </> "index.json"))

                    slurm.KillNode "n2"
                    slurm.StartNode "n2"
                    let whole = ldr ("train" :: training (folder </> "whole") @ [ "--threads"; "1" ])
                    Expect.equal whole.Code 0 whole.Errors
                    awaitEnd slurm
                    same (ofRun (folder </> "whole")) (ofRun run)
                    Expect.isFalse (Directory.Exists(run </> ".claims")) "no claim is left")

            testInFolder "without Slurm, --submit writes the script and says so in a line" (fun folder ->
                scene (16, 18, 14) folder

                let outcome =
                    run
                        "env"
                        ([ "PATH=/nowhere"; string Environment.ProcessPath; program ]
                         @ cohort folder "out"
                         @ [ "--submit"; "slurm" ])

                Expect.equal outcome.Code 1 "exit code"
                Expect.stringContains outcome.Errors "sbatch is not on the PATH" outcome.Errors
                Expect.isTrue (File.Exists(folder </> "out" </> "cohort.sbatch")) "the script")

            testInFolder "Snakemake makes a cohort, a template and labels of eight scans" (fun folder ->
                if not (has "snakemake") then
                    skiptest "snakemake is not installed"

                scene (16, 18, 14) folder

                let atlases =
                    [ for i in 1..3 -> $"{folder}/scans/s{i}.nii.gz,{folder}/labels.nii.gz" ]

                File.WriteAllLines(folder </> "atlases.csv", "scan,labels" :: atlases)

                let outcome =
                    run
                        "snakemake"
                        [
                            "--snakefile"
                            Path.Combine(Repository.root, "scripts", "cluster", "snakemake", "Snakefile")
                            "--directory"
                            folder
                            "--cores"
                            "2"
                            "--set-threads"
                            "labels=1"
                            "pairs=1"
                            "--config"
                            $"ldr=dotnet {program}"
                            $"scans={folder}/scans"
                            $"folder={folder}/out"
                            $"template={folder}/template.nii.gz"
                            "options=--affine none --refine 1"
                            "shards=2"
                            "rounds=1"
                            $"atlases={folder}/atlases.csv"
                            "nearest=1"
                        ]

                Expect.equal outcome.Code 0 outcome.Errors
                let whole = ldr (CohortCliTests.cohortWith 1 folder "whole")
                Expect.equal whole.Code 0 whole.Errors
                same (made (folder </> "whole")) (made (folder </> "out" </> "cohort"))
                Expect.isTrue (File.Exists(folder </> "out" </> "template" </> "template.nii.gz")) "template"
                Expect.hasLength (Directory.GetFiles(folder </> "out" </> "labels")) 8 "labels of each scan")
        ]
