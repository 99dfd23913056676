/// The command line as a process: help, bad input, a short training.
module Ldr.Cli.Tests.CliTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private experiments = Path.Combine(Repository.root, "experiments")

let private quickstart = Path.Combine(experiments, "quickstart.json")

let private anatomy =
    {
        Size = 20, 24, 16
        Subjects = 2
        Structures = 3
        Deformation = 1.0
        Noise = 0.02
        Seed = 1
    }

/// A good pair and a good model in a folder.
let private scene (folder: string) =
    let write name index =
        let image, labels = Anatomy.subject anatomy index
        Nifti.Write(folder </> $"{name}.nii.gz", image)
        Nifti.Write(folder </> $"{name}-labels.nii.gz", labels)

    write "fixed" 0
    write "moving" 1
    writeModel (folder </> "model.safetensors")

/// A file of two volumes: an empty one, and the scan of that name.
let private series (folder: string) (name: string) =
    let scan = Nifti.Read(folder </> $"{name}.nii.gz")
    let path = folder </> $"{name}-series.nii"
    Nifti.Write(path, scan)
    let bytes = File.ReadAllBytes path
    // dim[0] = 4, dim[4] = 2.
    bytes[40] <- 4uy
    bytes[48] <- 2uy
    let start = 352

    File.WriteAllBytes(
        path,
        Array.concat [ bytes[.. start - 1]; Array.zeroCreate (bytes.Length - start); bytes[start..] ]
    )

    path

let private register (folder: string) (changes: (string * string) list) =
    let defaults =
        [
            "--fixed", folder </> "fixed.nii.gz"
            "--moving", folder </> "moving.nii.gz"
            "--model", folder </> "model.safetensors"
            "--moved", folder </> "out" </> "moved.nii.gz"
        ]

    let all =
        (defaults
         |> List.filter (fun (k, _) -> not (List.exists (fun (c, _) -> c = k) changes)))
        @ changes

    Directory.CreateDirectory(folder </> "out") |> ignore
    ldr ("register" :: (all |> List.collect (fun (k, v) -> [ k; v ])))

/// One clear line, exit code 1, quickly, and nothing written.
let private refused (folder: string) (outcome: Outcome) (words: string list) =
    Expect.equal outcome.Code 1 $"exit code; it said: {outcome.Errors}"
    Expect.equal outcome.Output "" "nothing on stdout"
    let lines = outcome.Errors.TrimEnd('\n').Split '\n'
    Expect.hasLength lines 1 $"one line: {outcome.Errors}"

    for word in words do
        Expect.stringContains lines[0] word "the line"

    Expect.isLessThan outcome.ProcessorSeconds 2.0 "seconds"

    if Directory.Exists(folder </> "out") then
        Expect.isEmpty (Directory.GetFileSystemEntries(folder </> "out")) "nothing is left behind"

let private bad name words (spoil: string -> (string * string) list) =
    testInFolder name (fun folder ->
        scene folder
        let changes = spoil folder
        refused folder (register folder changes) words)

/// The quickstart with so small scans that only its plumbing is tried.
let small (output: string) =
    [
        "train"
        quickstart
        "--output"
        output
        "--threads"
        "1"
        "--set"
        "data.source.subjects=9"
        "--set"
        "data.source.size=[16,16,16]"
        "--set"
        "data.size=[32,32,32]"
        "--set"
        """data.split={"train": 4, "validation": 2, "test": 3}"""
        for training in [ "teacher"; "student-reconstruction"; "student-feature-gap" ] do
            "--set"
            $"train.{training}.validate_every=2"
            "--set"
            $"train.{training}.checkpoint_every=2"
    ]

/// The same with narrow networks: a checkpoint has 0.5 to 1.5 MB instead of 21.
let tiny (output: string) =
    small output
    @ [
        "--set"
        "train.teacher.architecture.channels=4"
        for training in [ "student-reconstruction"; "student-feature-gap" ] do
            "--set"
            $"train.{training}.architecture.encoder=[8,16,16,16]"
            "--set"
            $"train.{training}.architecture.decoder=[16,16,8]"
        "--set"
        "train.student-feature-gap.distillation.discriminator.widths=[8,8,8]"
    ]

let steps count =
    [
        for training in [ "teacher"; "student-reconstruction"; "student-feature-gap" ] do
            "--set"
            $"train.{training}.steps={count}"
    ]

let tests =
    testList
        "cli"
        [
            test "--help lists the verbs" {
                let outcome = ldr [ "--help" ]
                Expect.equal outcome.Code 0 "exit code"

                for verb in [ "train"; "register"; "evaluate"; "inspect"; "validate" ] do
                    Expect.stringContains outcome.Output verb "verb"
            }
            test "wrong usage is exit code 2 and one line" {
                for arguments in
                    [
                        [ "regster" ]
                        [ "register"; "--fixed"; "a.nii" ]
                        [ "train" ]
                        [ "evaluate"; "--model"; "m"; "--data"; "d"; "--split"; "tset" ]
                    ] do
                    let outcome = ldr arguments
                    Expect.equal outcome.Code 2 $"{arguments}"
                    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 $"one line: {outcome.Errors}"

                for written, meant in [ "regster", "register"; "aply-points", "apply-points" ] do
                    Expect.stringContains
                        (ldr [ written ]).Errors
                        $"did you mean \"{meant}\"?"
                        "a misspelt verb"
            }

            testInFolder "standard output on a full device is the user's to mend" (fun folder ->
                if not (File.Exists "/dev/full") then
                    skiptest "there is no /dev/full"

                scene folder
                let scan = folder </> "fixed.nii.gz"

                for arguments in [ $"inspect {scan}"; $"inspect {scan} --json"; "--help"; "register --help" ] do
                    let outcome = run "bash" [ "-c"; $"dotnet {program} {arguments} > /dev/full" ]
                    Expect.equal outcome.Code 1 outcome.Errors

                    Expect.hasLength
                        (outcome.Errors.TrimEnd('\n').Split '\n')
                        1
                        $"one line: {outcome.Errors}"

                    Expect.stringContains outcome.Errors "standard output: cannot be written" "what"

                // Nobody hears the progress; the work is done all the same.
                let outcome = run "bash" [ "-c"; $"dotnet {program} inspect {folder} 2> /dev/full" ]
                Expect.equal outcome.Code 0 outcome.Output)

            testInFolder "./ldr-fs starts through a symbolic link" (fun folder ->
                let link = folder </> "ldr"
                File.CreateSymbolicLink(link, Repository.root </> "ldr-fs") |> ignore
                let again = folder </> "again"
                File.CreateSymbolicLink(again, "ldr") |> ignore

                for name in [ link; again ] do
                    let outcome = run name [ "--version" ]
                    Expect.equal outcome.Code 0 outcome.Errors
                    Expect.equal outcome.Output (ldr [ "--version" ]).Output "the program")

            bad "a missing scan" [ "nowhere.nii.gz"; "does not exist" ] (fun folder ->
                [ "--fixed", folder </> "nowhere.nii.gz" ])
            bad "a text file named .nii.gz" [ "text.nii.gz"; "NIfTI" ] (fun folder ->
                File.WriteAllText(folder </> "text.nii.gz", "This is a note, not a scan.\n")
                [ "--moving", folder </> "text.nii.gz" ])
            bad "a truncated .nii.gz" [ "cut.nii.gz" ] (fun folder ->
                let whole = File.ReadAllBytes(folder </> "moving.nii.gz")
                File.WriteAllBytes(folder </> "cut.nii.gz", whole[.. whole.Length / 2])
                [ "--moving", folder </> "cut.nii.gz" ])
            bad "a 2-D image" [ "flat.nii"; "2-D" ] (fun folder ->
                let path = folder </> "flat.nii"
                Nifti.Write(path, Volume(Grid(8, 8, 1, Affine.Identity), Array.zeroCreate 64))
                let bytes = File.ReadAllBytes path
                bytes[40] <- 2uy
                File.WriteAllBytes(path, bytes)
                [ "--moving", path ])
            bad "a model that is none" [ "none.safetensors" ] (fun folder ->
                File.WriteAllText(folder </> "none.safetensors", "no model")
                [ "--model", folder </> "none.safetensors" ])
            bad
                "a model whose tensors have wrong shapes"
                [ "model.safetensors"; "stage1.conv1.weight" ]
                (fun folder ->
                    let path = folder </> "model.safetensors"
                    let file = Safetensors.Read path
                    let metadata = Collections.Generic.Dictionary file.Metadata
                    metadata["architecture"] <- """{"kind": "ldr-half"}"""
                    Safetensors.Write(path, metadata, file.Tensors)
                    [])
            bad "a model that is not there" [ "spleen"; "no such model" ] (fun _ -> [ "--model", "spleen" ])
            testInFolder "an output that is an input is refused, and the input stays" (fun folder ->
                scene folder
                let before = File.ReadAllBytes(folder </> "fixed.nii.gz")

                File.CreateSymbolicLink(folder </> "link.nii.gz", folder </> "fixed.nii.gz")
                |> ignore

                for name in [ "fixed.nii.gz"; "link.nii.gz"; "out/../fixed.nii.gz" ] do
                    refused folder (register folder [ "--moved", folder </> name ]) [ name; "is read too" ]

                Expect.equal (File.ReadAllBytes(folder </> "fixed.nii.gz")) before "the scan")
            testInFolder "a run's folder stands for its model" (fun folder ->
                scene folder
                let outcome = register folder [ "--model", folder ]
                // The model has learnt nothing: its verdict may be that the registration failed.
                Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                Expect.isTrue (File.Exists(folder </> "out" </> "moved.nii.gz")) "the moved image")
            bad "an output in a folder that is not there" [ "nowhere"; "does not exist" ] (fun folder ->
                [ "--moved", folder </> "nowhere" </> "moved.nii.gz" ])
            bad "an output that is no NIfTI name" [ "moved.png"; ".nii" ] (fun folder ->
                [ "--moved", folder </> "out" </> "moved.png" ])
            bad "labels on another grid" [ "labels.nii.gz"; "another grid" ] (fun folder ->
                Nifti.Write(
                    folder </> "labels.nii.gz",
                    Volume(Grid(5, 5, 5, Affine.Identity), Array.zeroCreate 125)
                )

                [
                    "--labels", folder </> "labels.nii.gz"
                    "--moved-labels", folder </> "out" </> "labels.nii.gz"
                ])
            bad "a scan in metres" [ "metres.nii"; "voxel size and units" ] (fun folder ->
                let path = folder </> "metres.nii"

                Nifti.Write(
                    path,
                    Volume(Grid(40, 40, 40, Affine.Scaling(1000, 1000, 1000)), Array.zeroCreate 64000)
                )

                [ "--fixed", path ])
            bad "--volume without a file of several" [ "--volume 1"; "leave the option out" ] (fun _ ->
                [ "--volume", "1" ])
            bad "several volumes and no --volume" [ "series.nii"; "2 volumes" ] (fun folder ->
                [ "--moving", series folder "moving" ])
            testInFolder "--volume is for the files that hold several, labels too" (fun folder ->
                scene folder

                let outcome =
                    register
                        folder
                        [
                            "--moving", series folder "moving"
                            "--volume", "1"
                            "--labels", series folder "moving-labels"
                            "--moved-labels", folder </> "out" </> "labels.nii.gz"
                        ]

                Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                let labels = Nifti.Read(folder </> "out" </> "labels.nii.gz")
                Expect.isNonEmpty (Overlap.Labels labels) "the second volume's labels; the first is empty")
            testInFolder "a misspelt key in an experiment" (fun folder ->
                let path = folder </> "e.json"
                File.WriteAllText(path, (File.ReadAllText quickstart).Replace("\"split\"", "\"spilt\""))
                let outcome = ldr [ "validate"; path ]
                Expect.equal outcome.Code 1 "exit code"

                Expect.stringContains
                    outcome.Errors
                    "$.data.spilt: is not a known key; did you mean \"split\"?"
                    "line"

                Expect.isLessThan outcome.ProcessorSeconds 2.0 "seconds"
                Expect.isFalse (Directory.Exists(folder </> "runs")) "no run")
            testInFolder "--device cuda says that there is none" (fun folder ->
                if TorchSharp.torch.cuda.is_available () then
                    skiptest "this machine has CUDA"

                scene folder
                refused folder (register folder [ "--device", "cuda" ]) [ "CUDA" ])
            testInFolder "a data set that is not there is named, with how to set it" (fun folder ->
                let absent =
                    [
                        Path.Combine(experiments, "hippocampus-distillation.json")
                        "--set"
                        "data.root=/nowhere"
                    ]

                let line = "/nowhere/Task04_Hippocampus: no such data set"
                let validate = ldr ("validate" :: absent)
                Expect.equal validate.Code 0 "the experiment itself is good"
                Expect.stringContains validate.Output "not there yet" "said"
                Expect.stringContains validate.Output line "named"
                let train = ldr ("train" :: absent @ [ "--output"; folder </> "run" ])
                Expect.equal train.Code 1 "exit code of a training"
                Expect.stringContains train.Errors line "line"
                Expect.isFalse (Directory.Exists(folder </> "run")) "nothing is begun")

            testInFolder
                "a data set's name that is a slip of the pen is refused by validate too"
                (fun folder ->
                    Directory.CreateDirectory(folder </> "Task04_Hippocampus") |> ignore

                    let command (name: string) =
                        [
                            "validate"
                            Path.Combine(experiments, "hippocampus-distillation.json")
                            "--set"
                            $"data.root={folder}"
                            "--set"
                            $"data.source.folder={name}"
                        ]

                    let outcome = ldr (command "Task04_Hipocampus")
                    Expect.equal outcome.Code 1 "exit code"

                    Expect.stringContains
                        outcome.Errors
                        "did you mean \"Task04_Hippocampus\"?"
                        "what was meant"

                    // Another number is another data set, which may still be fetched.
                    Expect.equal (ldr (command "Task05_Hippocampus")).Code 0 "not there yet")

            testInFolder "the authors' files that are not there are named, with what to get" (fun folder ->
                let outcome =
                    ldr
                        [
                            "train"
                            Path.Combine(experiments, "liver.json")
                            "--set"
                            "data.root=/nowhere"
                            "--output"
                            folder </> "run"
                        ]

                Expect.equal outcome.Code 1 "exit code"

                Expect.stringContains
                    outcome.Errors
                    "/nowhere/datasets/liver.json: no such data set"
                    "the file"

                Expect.stringContains outcome.Errors "HDF5" "what to get")

            test "every file in experiments/ is good" {
                for file in Directory.GetFiles(experiments, "*.json") |> Array.sort do
                    let outcome = ldr [ "validate"; file ]
                    Expect.equal outcome.Code 0 $"{Path.GetFileName file}: {outcome.Errors}"
            }

            testInFolder "inspect tells what a scan and a model are" (fun folder ->
                scene folder
                let scan = ldr [ "inspect"; folder </> "fixed.nii.gz" ]
                Expect.equal scan.Code 0 "exit code"
                Expect.stringContains scan.Output "20 × 24 × 16 voxels" "size"
                let model = ldr [ "inspect"; folder </> "model.safetensors"; "--json" ]
                let node = JsonNode.Parse model.Output
                Expect.equal (string node["architecture"].["kind"]) "ldr-half" "architecture")

            testInFolder "ship halves a model's numbers and writes notes on its card" (fun folder ->
                let source, target = folder </> "model.safetensors", folder </> "small.safetensors"
                writeModel source

                let ship rest =
                    ldr ([ "ship"; "--model"; source; "--output" ] @ rest)

                let outcome =
                    ship [ target; "--note"; "first line"; "--note"; "second line"; "--json" ]

                Expect.equal outcome.Code 0 outcome.Errors
                let bytes = (nonNull (JsonNode.Parse outcome.Output)).["bytes"] |> string |> int64
                Expect.equal bytes (FileInfo(target).Length) "bytes"
                let whole, half = Safetensors.Read source, Safetensors.Read target
                Expect.equal half.Tensors.Count whole.Tensors.Count "tensors"

                for a, b in Seq.zip whole.Tensors half.Tensors do
                    Expect.equal b.Name a.Name "name"
                    Expect.equal b.DType TensorType.F16 "type"

                    for x, y in Array.zip (a.ToFloats()) (b.ToFloats()) do
                        Expect.isLessThanOrEqual (abs (x - y)) (abs x * 0.000489f + 6e-8f) "value"

                Expect.isOk (ModelFile.read target |> Result.map _.Network.Dispose()) "readable"
                let card = ldr [ "inspect"; target ]
                Expect.stringContains card.Output "note        first line\nnote        second line" "notes"
                let wrong = ship [ folder </> "small.nii" ]
                Expect.equal wrong.Code 1 "exit code for another ending"
                Expect.stringContains wrong.Errors "ends in .safetensors" "line"

                let broken =
                    whole.Tensors
                    |> Seq.mapi (fun i t ->
                        SafeTensor.FromFloats(
                            t.Name,
                            t.Shape,
                            ReadOnlySpan(t.ToFloats() |> Array.map (fun v -> if i = 0 then 1e6f else v))
                        ))
                    |> Array.ofSeq

                Safetensors.Write(source, Collections.Generic.Dictionary whole.Metadata, broken)
                let beyond = ship [ folder </> "other.safetensors" ]
                Expect.equal beyond.Code 1 "exit code for a number beyond half precision"
                Expect.stringContains beyond.Errors "beyond half precision" "line"
                Expect.isFalse (File.Exists(folder </> "other.safetensors")) "nothing is left")

            testInFolder
                "a training runs through, leaves what a run holds, and its model is evaluated"
                (fun folder ->
                    let run = folder </> "run"
                    let known = [ "--set"; "evaluation.known_field=3" ]
                    let outcome = ldr (tiny run @ steps 4 @ known @ [ "--json" ])
                    Expect.equal outcome.Code 0 outcome.Errors
                    let node = JsonNode.Parse outcome.Output
                    let table = node["table"].AsArray()

                    Expect.equal
                        [ for row in table -> string row["name"] ]
                        [ "untouched"; "teacher"; "student-reconstruction"; "student-feature-gap" ]
                        "rows"

                    for file in
                        [
                            "experiment.json"
                            "metrics.jsonl"
                            "model.safetensors"
                            "table.md"
                            "pairs.png"
                            "checkpoints/index.json"
                        ] do
                        Expect.isTrue (File.Exists(run </> file)) file

                    let validated =
                        File.ReadAllLines(run </> "metrics.jsonl")
                        |> Array.map (fun line -> nonNull (JsonNode.Parse line))
                        |> Array.filter (fun line -> string line["kind"] = "validation")

                    for training in [ "teacher"; "student-reconstruction"; "student-feature-gap" ] do
                        let steps =
                            [
                                for line in validated do
                                    if string line["training"] = training then
                                        Expect.isTrue
                                            ((line.AsObject()).ContainsKey "dice")
                                            "what is measured"

                                        int (string line["step"])
                            ]

                        Expect.equal steps [ 2; 4 ] $"validations of {training}"

                    let again = ldr (tiny run @ steps 4 @ known)
                    Expect.equal again.Code 1 "a run is not overwritten"
                    Expect.stringContains again.Errors "--resume" "message"

                    let evaluated =
                        ldr
                            [
                                "evaluate"
                                "--model"
                                run </> "model.safetensors"
                                "--data"
                                run </> "experiment.json"
                                "--pairs"
                                "60"
                                "--known-field"
                                "--amplitude"
                                "3"
                                "--output"
                                folder </> "scores"
                                "--json"
                            ]

                    Expect.equal evaluated.Code 0 evaluated.Errors
                    let scores = JsonNode.Parse evaluated.Output

                    for key in
                        [
                            "pairs"
                            "dice_before"
                            "dice"
                            "dice_sd"
                            "dice_per_label"
                            "jaccard"
                            "hd95_mm"
                            "folded_percent"
                            "sdlogj"
                            "milliseconds"
                            "parameters"
                        ] do
                        Expect.isTrue ((scores.AsObject()).ContainsKey key) key

                    let csv = File.ReadAllLines(folder </> "scores" </> "scores.csv")
                    Expect.hasLength csv 7 "a heading and the six pairs of three subjects"

                    for column in [ "dice_1"; "jaccard_1"; "hd95_mm_1" ] do
                        Expect.contains (csv[0].Split ',') column "column"

                    let report = File.ReadAllText(folder </> "scores" </> "report.html")
                    Expect.equal (report.Split("<title>").Length - 2) 6 "a dot for each pair"
                    Expect.stringContains report "ldr-fs evaluate --model " "the command"

                    let last = table[3]
                    Expect.equal (string scores["dice"]) (string last["dice"]) "the table's figure again"

                    let before = string scores["known_field_before_mm"]
                    let found = string last["known_field_mm"]

                    Expect.isTrue
                        (abs (float found - float (string scores["known_field_mm"])) < 1e-3)
                        "and the error against known fields"

                    Expect.notEqual found before "which the student changes"

                    let first = table[0]

                    Expect.equal (string first["known_field_mm"]) before "untouched: that of doing nothing"

                    Expect.stringContains
                        (File.ReadAllText(run </> "table.md"))
                        "| known field (mm) |"
                        "a column")

            testInFolder
                "a run that was stopped goes on to its end, from the command that it said"
                (fun folder ->
                    let run = folder </> "run"

                    let stopped =
                        interrupt "TERM" (tiny run @ steps 40) "student-reconstruction: step 2, validation"

                    Expect.equal stopped.Code 130 stopped.Errors
                    let said = stopped.Errors.Split "go on with: ldr-fs " |> Array.last

                    let resumed =
                        Process.run "/bin/sh" [ "-c"; $"exec dotnet '{Process.program}' {said.Trim()}" ]

                    Expect.equal resumed.Code 0 resumed.Errors

                    Expect.stringContains
                        resumed.Errors
                        "student-reconstruction"
                        "the training that was stopped"

                    Expect.isFalse
                        (resumed.Errors.Contains "teacher: step")
                        "the teacher is not trained again"

                    Expect.isTrue (File.Exists(run </> "model.safetensors")) "the model"

                    let seen =
                        File.ReadAllLines(run </> "metrics.jsonl")
                        |> Array.map (fun line ->
                            let node = nonNull (JsonNode.Parse line)
                            string node["kind"], string node["training"], string node["step"])

                    Expect.equal (Array.distinct seen) seen "each step is told once")

            testInFolder
                "a training with the name of its teacher, a shipped model, asks that model"
                (fun folder ->
                    let outcome =
                        ldr (
                            tiny (folder </> "run")
                            @ steps 2
                            @ [
                                "--set"
                                "train.student-feature-gap.name=hippocampus"
                                "--set"
                                "train.hippocampus.distillation.teacher=hippocampus"
                            ]
                        )

                    Expect.equal outcome.Code 0 outcome.Errors
                    Expect.stringContains outcome.Errors "hippocampus: step 2 of 2" "it was trained"
                    let model = Path.Combine(Repository.root, "models", "hippocampus.safetensors")

                    let digest =
                        File.ReadAllBytes model
                        |> Security.Cryptography.SHA256.HashData
                        |> Convert.ToHexStringLower

                    Expect.stringContains
                        (File.ReadAllText(folder </> "run" </> "models.json"))
                        digest
                        "by the model that ships")

            testInFolder "metrics beyond the restored step and half a line are dropped" (fun folder ->
                let run = folder </> "run"
                let command = tiny run @ steps 40 @ [ "--only"; "teacher" ]
                let stopped = interrupt "TERM" command "teacher: step 2, validation"
                Expect.equal stopped.Code 130 stopped.Errors
                let metrics = run </> "metrics.jsonl"
                let before = File.ReadAllLines metrics

                File.AppendAllText(
                    metrics,
                    """{"kind":"validation","training":"teacher","step":1000,"dice":0.5}"""
                    + "\n"
                    + """{"kind":"validation","trai"""
                )

                let resumed = ldr (command @ [ "--resume" ])
                Expect.equal resumed.Code 0 resumed.Errors
                let after = File.ReadAllLines metrics
                Expect.equal after[.. before.Length - 1] before "what was told before"

                for line in after do
                    let node = nonNull (JsonNode.Parse line)
                    Expect.isLessThan (int (string node["step"])) 41 "step")

            testInFolder "bad data and a bad teacher are found before a folder is made" (fun folder ->
                let data = folder </> "data"
                Directory.CreateDirectory data |> ignore

                let entries =
                    [
                        for index in 0..6 do
                            let image, labels = Anatomy.subject { anatomy with Subjects = 7 } index
                            Nifti.Write(data </> $"s{index}.nii.gz", image)

                            let labels = Volume(Grid(20, 24, 16, Affine.Translation(5, 0, 0)), labels.Values)

                            Nifti.Write(data </> $"s{index}-labels.nii.gz", labels)
                            $$"""{"image": "s{{index}}.nii.gz", "label": "s{{index}}-labels.nii.gz"}"""
                    ]

                File.WriteAllText(
                    data </> "dataset.json",
                    $$"""{"name": "x", "training": [{{String.Join(", ", entries)}}]}"""
                )

                let run = folder </> "run"

                let outcome =
                    ldr (
                        tiny run
                        @ steps 4
                        @ [
                            "--set"
                            $$"""data.source={"kind": "msd", "folder": "{{data}}"}"""
                            "--set"
                            """data.split={"train": 2, "validation": 2, "test": 3}"""
                        ]
                    )

                Expect.equal outcome.Code 1 outcome.Errors
                Expect.stringContains outcome.Errors "its label map (20×24×16" "which, and what is wrong"
                Expect.isFalse (Directory.Exists run) "no folder"

                let teacher = folder </> "teacher.safetensors"
                File.WriteAllText(teacher, "no model")

                let refused =
                    ldr (
                        tiny (folder </> "other")
                        @ steps 4
                        @ [ "--set"; $"train.student-feature-gap.distillation.teacher={teacher}" ]
                    )

                Expect.equal refused.Code 1 refused.Errors
                Expect.isFalse (Directory.Exists(folder </> "other")) "no folder")

            testInFolder "teach fills a store, which a training then learns from" (fun folder ->
                let store = folder </> "store"
                writeModel (folder </> "teacher.safetensors")

                let set =
                    List.skip 2 (tiny (folder </> "run"))
                    @ steps 4
                    @ [
                        "--set"
                        "train.student-feature-gap.distillation.schedule=[{\"cycle\":[0.5]}]"
                    ]

                let experiment = List.skipWhile (fun a -> a <> "--set") set

                let withTeacher path =
                    experiment
                    @ [ "--set"; $"train.student-feature-gap.distillation.teacher={path}" ]

                let early = ldr ([ "teach"; quickstart; "--output"; store ] @ experiment)
                refused folder early [ "student-feature-gap"; "no model file" ]

                let taught =
                    ldr (
                        [ "teach"; quickstart; "--output"; store; "--json" ]
                        @ withTeacher (folder </> "teacher.safetensors")
                    )

                Expect.equal taught.Code 0 taught.Errors
                let told = nonNull (JsonNode.Parse taught.Output)
                Expect.equal (told["made"] |> string) (told["wanted"] |> string) "all are made"

                Expect.equal
                    (Directory.GetFiles(store, "*.safetensors").Length |> string)
                    (told["pairs"] |> string)
                    "a file for each pair"

                let trained =
                    ldr ([ "train"; quickstart; "--output"; folder </> "run" ] @ withTeacher store)

                Expect.equal trained.Code 0 trained.Errors
                Expect.isTrue (File.Exists(folder </> "run" </> "model.safetensors")) "the model"

                // Other pairs, and another grid: found before anything is begun.
                for change, words in
                    [
                        "seed=7", "has a field for"
                        "data.spacing=[2,2,2]", "its \"spacing\" is [1,1,1], here it is [2,2,2]"
                    ] do
                    for verb in
                        [
                            [ "validate"; quickstart ]
                            [ "train"; quickstart; "--output"; folder </> "no" ]
                        ] do
                        let outcome = ldr (verb @ withTeacher store @ [ "--set"; change ])
                        Expect.equal outcome.Code 1 outcome.Output
                        Expect.stringContains outcome.Errors words change

                    Expect.isFalse (Directory.Exists(folder </> "no")) "no run"

                // A finished run, and a model by its name, are models too.
                for teacher in [ folder </> "run"; "hippocampus" ] do
                    let outcome = ldr ([ "validate"; quickstart ] @ withTeacher teacher)
                    Expect.equal outcome.Code 0 outcome.Errors)

            testInFolder "teach fills a store for all seeds of a training" (fun folder ->
                let store = folder </> "store"
                writeModel (folder </> "teacher.safetensors")

                let set teacher =
                    List.skipWhile (fun a -> a <> "--set") (tiny folder)
                    @ steps 4
                    @ [
                        "--set"
                        "train.student-feature-gap.seeds=[5,6]"
                        "--set"
                        "train.student-feature-gap.pairs=3"
                        "--set"
                        "train.student-feature-gap.distillation.schedule=[{\"cycle\":[0.5]}]"
                        "--set"
                        $"train.student-feature-gap.distillation.teacher={teacher}"
                    ]

                let taught =
                    ldr (
                        [ "teach"; quickstart; "--output"; store ]
                        @ set (folder </> "teacher.safetensors")
                    )

                Expect.equal taught.Code 0 taught.Errors

                let trained =
                    ldr (
                        [
                            "train"
                            quickstart
                            "--output"
                            folder </> "run"
                            "--only"
                            "student-feature-gap"
                        ]
                        @ set store
                    )

                Expect.equal trained.Code 0 trained.Errors)

            testInFolder "a run can be done row by row, with several seeds, into a page" (fun folder ->
                let run = folder </> "run"
                let page = folder </> "page.md"
                let short = steps 2

                let seeds =
                    [
                        "--set"
                        "train.student-reconstruction.seeds=[1,2]"
                        "--set"
                        """evaluation.compare=[["student-feature-gap","student-reconstruction"]]"""
                        "--set"
                        "evaluation.pairs=4"
                    ]

                let rows (outcome: Outcome) =
                    let told = nonNull (JsonNode.Parse outcome.Output)

                    [
                        for row in (nonNull told["table"]).AsArray() -> string (nonNull row).["name"]
                    ]

                let first =
                    ldr (tiny run @ short @ seeds @ [ "--only"; "student-reconstruction"; "--json" ])

                Expect.equal first.Code 0 first.Errors

                Expect.equal
                    (rows first)
                    [ "untouched"; "student-reconstruction" ]
                    "the row that was asked for"

                Expect.equal
                    (Directory.GetFiles(run </> "scores") |> Array.map Path.GetFileName |> Array.sort)
                    [| "student-reconstruction-1.json"; "student-reconstruction-2.json" |]
                    "scores of both seeds"

                let state () =
                    let outcome = ldr [ "inspect"; run; "--json" ]
                    Expect.equal outcome.Code 0 outcome.Errors
                    let node = nonNull (JsonNode.Parse outcome.Output)

                    string node["kind"],
                    string node["finished"],
                    [
                        for t in (nonNull node["trainings"]).AsArray() ->
                            string (nonNull t).["name"],
                            string (nonNull t).["state"],
                            string (nonNull t).["step"]
                    ]

                Expect.equal
                    (state ())
                    ("run",
                     "false",
                     [
                         "teacher", "not begun", "0"
                         "student-reconstruction-1", "scored", "2"
                         "student-reconstruction-2", "scored", "2"
                         "student-feature-gap", "not begun", "0"
                     ])
                    "what inspect says of the run"

                let changed =
                    ldr (tiny run @ steps 3 @ seeds @ [ "--only"; "student-reconstruction"; "--resume" ])

                Expect.equal changed.Code 1 changed.Errors
                Expect.stringContains changed.Errors "training teacher was another" "what changed"
                // The model of a row that has scores may be gone.
                File.Delete(run </> "models" </> "student-reconstruction-1.safetensors")

                File.WriteAllText(
                    page,
                    "# A page\n\n<!-- table: made by ldr-fs train -->\nstale row\n<!-- end of the table -->\n\nThe end.\n"
                )

                let second =
                    ldr (
                        tiny run
                        @ short
                        @ seeds
                        @ [ "--only"; "student-feature-gap"; "--resume"; "--json"; "--page"; page ]
                    )

                Expect.equal second.Code 0 second.Errors

                Expect.equal
                    (rows second)
                    [ "untouched"; "teacher"; "student-reconstruction"; "student-feature-gap" ]
                    "both rows, and the teacher"

                Expect.isTrue
                    (File.Exists(run </> "models" </> "teacher.safetensors"))
                    "the teacher was needed"

                Expect.isFalse
                    (File.Exists(run </> "models" </> "student-reconstruction-1.safetensors"))
                    "not made again"

                let _, finished, _ = state ()
                Expect.equal finished "true" "every training is scored"
                let said = (ldr [ "inspect"; run ]).Output
                Expect.stringContains said "training    student-feature-gap: " "a line for each training"
                Expect.stringContains said "student-reconstruction (2 seeds)" "the table"
                Expect.stringContains said "model.safetensors: model, " "and the model"

                let text = File.ReadAllText page
                Expect.stringContains text "student-reconstruction (2 seeds)" "the table"
                Expect.stringContains text "student-feature-gap − student-reconstruction: " "the comparison"
                Expect.stringStarts text "# A page\n" "what is above"
                Expect.stringEnds text "The end.\n" "what is below"
                Expect.isFalse (text.Contains "stale row") "the old table"
                let unknown = ldr (tiny run @ short @ seeds @ [ "--only"; "studnt"; "--resume" ])
                Expect.equal unknown.Code 1 unknown.Errors)

            testInFolder "a row that starts from an earlier one has it trained" (fun folder ->
                let run = folder </> "run"

                let arguments =
                    tiny run
                    @ steps 2
                    @ [
                        "--set"
                        "train.student-feature-gap.start=student-reconstruction"
                        "--set"
                        "train.student-feature-gap.distillation=null"
                        "--set"
                        """train.student-feature-gap.learning_rate={"initial":1e-30}"""
                        "--set"
                        "train.student-reconstruction.learning_rate.initial=0.01"
                        "--only"
                        "student-feature-gap"
                    ]

                let outcome = ldr arguments
                Expect.equal outcome.Code 0 outcome.Errors

                Expect.equal
                    (Directory.GetFiles(run </> "models") |> Array.map Path.GetFileName |> Array.sort)
                    [| "student-feature-gap.safetensors"; "student-reconstruction.safetensors" |]
                    "the earlier one, and no teacher"

                let model name =
                    ModelFile.read (run </> "models" </> name + ".safetensors") |> Error.orRaise

                let first, second = model "student-reconstruction", model "student-feature-gap"

                let values (model: Model) =
                    [ for p in model.Network.parameters () -> p.data<float32>().ToArray() ]

                Expect.equal (values second) (values first) "its weights, which so small a rate leaves"

                match second.Card.Notes with
                | [ note ] ->
                    Expect.stringStarts note "started from student-reconstruction: 2 steps on " "the card"
                | notes -> failtestf "%A" notes

                // Scoring a training asks for no model but its own.
                File.Delete(run </> "models" </> "student-reconstruction.safetensors")
                File.Delete(run </> "scores" </> "student-feature-gap.json")
                let again = ldr (arguments @ [ "--resume" ])
                Expect.equal again.Code 0 again.Errors
                Expect.isTrue (File.Exists(run </> "scores" </> "student-feature-gap.json")) "scored"

                Expect.isFalse
                    (File.Exists(run </> "models" </> "student-reconstruction.safetensors"))
                    "not trained again")

            for signal, what in [ "INT", "Ctrl-C"; "TERM", "a scheduler's SIGTERM" ] do
                testInFolder $"{what} ends a training with a checkpoint, and --resume goes on" (fun folder ->
                    if signal = "INT" && ignoresInterrupts () then
                        skiptest "the tests were started with SIGINT ignored, and so is every child"

                    let run = folder </> "run"
                    // Many steps, so that the signal comes in between.
                    let command = tiny run @ steps 400
                    let outcome = interrupt signal command "step 2, validation"
                    Expect.equal outcome.Code 130 outcome.Errors
                    Expect.stringContains outcome.Errors "--resume" "how to go on"

                    Expect.isNonEmpty
                        (Directory.GetFiles(run </> "checkpoints", "teacher-*.safetensors"))
                        "a checkpoint"

                    Expect.isFalse (File.Exists(run </> "model.safetensors")) "no model yet"
                    let unfinished = ldr [ "inspect"; run ]
                    Expect.equal unfinished.Code 0 unfinished.Errors
                    Expect.stringContains unfinished.Output "not finished" "what inspect says of the run"
                    let resumed = interrupt signal (command @ [ "--resume" ]) "from step"
                    Expect.equal resumed.Code 130 resumed.Errors)
        ]
