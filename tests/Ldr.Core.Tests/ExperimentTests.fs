module Ldr.Core.Tests.ExperimentTests

open System.IO
open Expecto
open Ldr
open Ldr.TestKit

let private shipped = Path.Combine(Repository.root, "experiments")
let private quickstart = Path.Combine(shipped, "quickstart.json")

let private lines result =
    match result with
    | Ok value -> failtestf "accepted: %A" value
    | Error error -> Error.lines error

let tests =
    testList
        "experiment"
        [
            test "what an experiment leaves out is as in the options to start from" {
                let read codec text =
                    Codec.ofText "" codec text |> Error.orRaise

                Expect.equal
                    (read
                        TrainingOptions.codec
                        """{"name": "student", "architecture": "ldr", "steps": 1000}""")
                    TrainingOptions.standard
                    "training"

                Expect.equal
                    (read Distillation.codec """{"teacher": "teacher"}""")
                    Distillation.standard
                    "distillation"

                Expect.equal (read Augmentation.codec "{}") Augmentation.standard "augmentation"
                Expect.equal (read KnownPairs.codec "{}") KnownPairs.standard "known pairs"
                Expect.equal (read LossWeights.codec "{}") LossWeights.standard "loss"
                Expect.equal (read EvaluationOptions.codec "{}") EvaluationOptions.standard "evaluation"

                Expect.equal
                    (read
                        DataOptions.codec
                        """{"source": "synthetic", "size": [32, 48, 32], "split": {"train": 60, "validation": 4, "test": 16}}""")
                    DataOptions.standard
                    "data"
            }
            for file in Directory.GetFiles(shipped, "*.json") |> Array.sort do
                test $"{Path.GetFileName file} is read, and written as it was resolved" {
                    // A teacher's model is made by another experiment: another file stands in for it.
                    let assignments =
                        if (File.ReadAllText file).Contains "\"teacher\": \"runs/" then
                            [ $"train.student-feature-gap.distillation.teacher={file}" ]
                        else
                            []

                    match Experiment.read file assignments with
                    | Error e -> failtestf "%A" (Error.lines e)
                    | Ok experiment ->
                        Expect.equal
                            experiment.Name
                            (Path.GetFileNameWithoutExtension file)
                            "named as its file"

                        let text = Codec.toText Experiment.codec experiment
                        Expect.equal (Codec.ofText "" Experiment.codec text) (Ok experiment) "round trip"
                }

            test "--set changes a value by position and by name" {
                match
                    Experiment.read
                        quickstart
                        [
                            "train.0.steps=7"
                            "train.student-feature-gap.distillation.beta=0.4"
                            "data.root=/x"
                        ]
                with
                | Error e -> failtestf "%A" (Error.lines e)
                | Ok experiment ->
                    Expect.equal experiment.Train[0].Steps 7 "steps"
                    Expect.equal experiment.Train[2].Distillation.Value.Beta 0.4 "beta"
                    Expect.equal experiment.Data.Root "/x" "root"
            }
            test "a misspelt key is a problem with a suggestion, also by --set" {
                Expect.equal
                    (lines (Experiment.read quickstart [ "train.0.stesp=7" ]))
                    [
                        $"{quickstart}: $.train[0].stesp: is not a known key; did you mean \"steps\"?"
                    ]
                    "lines"
            }
            test "comments and a last comma are read with --set as without" {
                let path = Path.GetTempFileName()

                try
                    let text = File.ReadAllText quickstart
                    File.WriteAllText(path, "// a comment\n" + text.TrimEnd().TrimEnd('}') + ",}\n")
                    Expect.equal (Experiment.read path [] |> Error.orRaise).Seed 1 "without"
                    Expect.equal (Experiment.read path [ "seed=2" ] |> Error.orRaise).Seed 2 "with"
                finally
                    File.Delete path
            }
            test "a key that is there twice is named with its path, with --set as without" {
                let path = Path.GetTempFileName()

                try
                    let text = File.ReadAllText quickstart

                    File.WriteAllText(
                        path,
                        text.Replace("\"split\": {", "\"split\": { \"seed\": 4, \"seed\": 5, ")
                    )

                    let expected = [ $"{path}: $.data.split.seed: is there 2 times; keep one" ]

                    for assignments in [ []; [ "data.split.seed=2" ] ] do
                        Expect.equal (lines (Experiment.read path assignments)) expected $"{assignments}"
                finally
                    File.Delete path
            }
            test "a part of the split with one subject is refused" {
                for part in [ "train"; "validation"; "test" ] do
                    Expect.equal
                        (lines (Experiment.read quickstart [ $"data.split.{part}=1" ]))
                        [
                            $"{quickstart}: $.data.split.{part}: expected a whole number from 2 to 1000000, found 1"
                        ]
                        part
            }
            test "a wrong assignment says how to write it" {
                Expect.equal
                    (lines (Experiment.read quickstart [ "steps" ]))
                    [ "--set steps: write PATH=VALUE, such as data.root=/data" ]
                    "lines"
            }
            test "a teacher that is not there is named with its path" {
                Expect.equal
                    (lines (
                        Experiment.read quickstart [ "train.student-feature-gap.distillation.teacher=teachr" ]
                    ))
                    [
                        $"{quickstart}: $.train[2].distillation.teacher: \"teachr\" is neither an earlier training nor a model nor a folder of fields; did you mean \"teacher\"?"
                    ]
                    "lines"
            }
            test "an experiment is good without its teacher's file, and cannot be run" {
                let resolved =
                    Experiment.read
                        quickstart
                        [ "train.student-feature-gap.distillation.teacher=runs/none/model.safetensors" ]

                Expect.isOk resolved "good"

                Expect.equal
                    (lines (resolved |> Result.bind (Experiment.runnable quickstart)))
                    [
                        $"{quickstart}: $.train[2].distillation.teacher: \"runs/none/model.safetensors\" is not there; train it first, or name another with --set"
                    ]
                    "lines"
            }
            test "a teacher's file in the current folder may have any name" {
                let name = $"teacher{System.Guid.NewGuid():N}"
                File.WriteAllText(name, "")

                try
                    let resolved =
                        Experiment.read
                            quickstart
                            [ $"train.student-feature-gap.distillation.teacher={name}" ]

                    Expect.isOk (resolved |> Result.bind (Experiment.runnable quickstart)) "it is there"
                finally
                    File.Delete name
            }
            test "a model to start from must be there to run, and of the same architecture" {
                let read start =
                    Experiment.read quickstart [ $"train.1.start={start}" ]

                let missing = read "runs/none/model.safetensors"
                Expect.isOk missing "good without it"

                let said =
                    lines (missing |> Result.bind (Experiment.runnable quickstart))
                    |> List.exactlyOne

                Expect.stringStarts
                    said
                    $"{quickstart}: $.train[1].start: runs/none/model.safetensors: no such model; give a .safetensors file"
                    "the line"

                let other = Path.Combine(shipped, "..", "models", "hippocampus.safetensors")
                let said = lines (read other) |> List.exactlyOne
                Expect.stringStarts said $"{quickstart}: $.train[1].start: {other}: holds " "the line"
                Expect.stringContains said "give both the same \"architecture\"" "the remedy"
            }
            test "a training may start from an earlier one of its architecture" {
                let read training start =
                    Experiment.read quickstart [ $"train.{training}.start={start}" ]

                let starts training start =
                    read training start |> Result.bind (Experiment.runnable quickstart)

                let resolved =
                    starts "student-feature-gap" "student-reconstruction" |> Error.orRaise

                let startOf (training: TrainingOptions) =
                    Experiment.startInstance resolved training |> Option.map _.Name

                Expect.equal
                    (resolved.Train |> List.map startOf)
                    [ None; None; Some "student-reconstruction" ]
                    "who starts from whom"

                let said = lines (read "student-feature-gap" "teacher") |> List.exactlyOne
                Expect.stringStarts said $"{quickstart}: $.train[2].start: teacher: holds vtn" "the line"
                Expect.stringContains said "give both the same \"architecture\"" "the remedy"

                // Neither itself nor a later one, nor a misspelt one.
                for index, training, start, hint in
                    [
                        1, "student-reconstruction", "student-reconstruction", "known: "
                        1, "student-reconstruction", "student-feature-gap", "known: "
                        2,
                        "student-feature-gap",
                        "student-recontruction",
                        "did you mean \"student-reconstruction\"?"
                    ] do
                    Expect.stringStarts
                        (lines (read training start) |> List.exactlyOne)
                        $"{quickstart}: $.train[{index}].start: \"{start}\" is neither an earlier training nor a model; {hint}"
                        "the line"
            }
            test "of several seeds, each starts from its own where there is one" {
                let starts (first: string) (second: string) start =
                    let experiment =
                        Experiment.read
                            quickstart
                            [
                                $"train.student-reconstruction.seeds={first}"
                                $"train.student-feature-gap.seeds={second}"
                                $"train.student-feature-gap.start={start}"
                            ]
                        |> Error.orRaise

                    [
                        for instance in Experiment.instances experiment do
                            if instance.Training = "student-feature-gap" then
                                Experiment.startInstance experiment instance.Options |> Option.map _.Name
                    ]

                let name seed = Some $"student-reconstruction-{seed}"

                Expect.equal
                    (starts "[1,2]" "[2,3]" "student-reconstruction")
                    [ name 2; name 1 ]
                    "equal seeds"

                Expect.equal
                    (starts "[1,2]" "[1,2]" "student-reconstruction-2")
                    [ name 2; name 2 ]
                    "one of them"

                // Its own name is that of a model: no seed starts from another seed.
                let own =
                    Experiment.read
                        quickstart
                        [
                            "train.student-feature-gap.name=hippocampus"
                            "train.hippocampus.seeds=[1,2]"
                            "train.hippocampus.start=hippocampus"
                            """train.hippocampus.architecture={"kind": "cascade", "affine": {"kind": "affine-light"}, "stages": 2, "stage": {"kind": "ldr-velocity"}}"""
                        ]
                    |> Error.orRaise

                Expect.equal
                    [
                        for instance in Experiment.instances own ->
                            Experiment.startInstance own instance.Options |> Option.map _.Name
                    ]
                    [ None; None; None; None ]
                    "the shipped model"
            }
            test "a training learns from an earlier one or from outside, never from itself" {
                let teachers name teacher =
                    let experiment =
                        Experiment.read
                            quickstart
                            [
                                $"train.student-feature-gap.name={name}"
                                $"train.{name}.seeds=[1,2]"
                                $"train.{name}.distillation.teacher={teacher}"
                            ]
                        |> Error.orRaise

                    [
                        for instance in Experiment.instances experiment do
                            if instance.Training = name then
                                Experiment.teacherInstance experiment instance.Options |> Option.map _.Name,
                                Experiment.foreignTeacher experiment instance.Options
                    ]
                    |> List.distinct

                Expect.equal (teachers "own" "teacher") [ Some "teacher", None ] "an earlier one"

                let seed =
                    Experiment.read
                        quickstart
                        [
                            "train.teacher.seeds=[4,5]"
                            "train.student-feature-gap.distillation.teacher=teacher-5"
                        ]
                    |> Error.orRaise

                Expect.equal
                    (Experiment.teacherInstance seed (List.last seed.Train) |> Option.map _.Name)
                    (Some "teacher-5")
                    "one of its seeds"

                Expect.equal (teachers "own" "known") [ None, None ] "known fields"
                // Its own name is that of a model.
                Expect.equal
                    (teachers "hippocampus" "hippocampus")
                    [ None, Some "hippocampus" ]
                    "a shipped model"
            }
            test "stored fields do not teach pairs that are deformed" {
                let read folder =
                    Experiment.read
                        quickstart
                        [
                            $"train.student-feature-gap.distillation.teacher={folder}"
                            "train.student-feature-gap.augmentation.flip=[0.5, 0, 0]"
                        ]

                Expect.equal
                    (lines (read shipped))
                    [
                        $"{quickstart}: $.train[2].augmentation: moves the images, and the stored fields of \"{shipped}\" fit them as they are; leave flip, affine_probability and elastic_probability at 0, or name the teacher's model file"
                    ]
                    "lines"

                Expect.isOk (read "teacher") "a network is asked"
            }
            test "the digest tells experiments apart" {
                let read assignments =
                    Experiment.read quickstart assignments |> Error.orRaise

                Expect.equal (Experiment.digest (read [])) (Experiment.digest (read [])) "same"

                Expect.notEqual
                    (Experiment.digest (read []))
                    (Experiment.digest (read [ "seed=2" ]))
                    "another seed"
            }
        ]
