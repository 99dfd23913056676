/// The experiments for the files of recursive cascaded networks' authors, on small files of exactly their layout.
module Ldr.Cli.Tests.RcnTests

open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private experiments = Path.Combine(Repository.root, "experiments")

/// Writes `datasets/liver.json` and `datasets/brain.json` with all their HDF5 files, two to four small cases in each. A case is
/// a blob whose place depends on it; `point` says where, in array-axis order.
let private make (folder: string) =
    python
        """
import sys, os, json, h5py, numpy as np
folder = os.path.join(sys.argv[1], "datasets"); os.makedirs(folder)
size = (24, 28, 32)
def case(file, name, value, points=True, labels=True):
    k = sum(map(ord, name)) % 5
    centre = np.array([10 + k, 14 - k, 16 + k])
    axes = np.indices(size).transpose(1, 2, 3, 0)
    blob = ((axes - centre) ** 2).sum(-1) < 36
    group = file.create_group(name)
    group.create_dataset("volume", data=(blob * 150 + 40).astype(np.uint8), compression="gzip")
    if labels: group.create_dataset("segmentation", data=blob.astype(np.uint8) * value, compression="gzip")
    if points: group.create_dataset("point", data=np.array([centre] + [[-1, -1, -1]] * 5, dtype=np.float64))
def write(name, cases, value, **more):
    with h5py.File(os.path.join(folder, name), "w") as f:
        for c in cases: case(f, c, value, **more)
def entry(name): return {"type": "HDF5", "path": "datasets/" + name}
write("msd_dataset.h5", ["hepaticvessel/1", "hepaticvessel/10", "pancreas/2"], 255)
write("youyi_liver.h5", ["00139427_225", "00411698_from_1to_2"], 255)
write("sliver_val.h5", ["1", "2", "3"], 255)
write("lits_val.h5", [str(i) for i in range(20)], 255)
write("lspig_val.h5", ["a_1", "a_2", "b_1", "b_2"], 255)
json.dump({
  "files": {"/": entry("msd_dataset.h5"), "youyi": entry("youyi_liver.h5"), "yanx": entry("sliver_val.h5"),
            "lits": entry("lits_val.h5"), "pigs": entry("lspig_val.h5")},
  "image_size": [128, 128, 128], "image_type": "liver",
  "schemes": {"1": {"combine-train": 1.0}, "2": {"sliver-val": 1.0}, "sliver": {"sliver-val": 1.0},
              "lits": {"lits-val": 1.0}, "lspig": {"lspig-val": 1.0}},
  "subsets": {"combine-train": ["youyi/00139427_225", "youyi/00411698_from_1to_2", "hepaticvessel/1", "hepaticvessel/10", "pancreas/2"],
              "sliver-val": {"yanx/1": {}, "yanx/2": {}, "yanx/3": {}}, "lits-val": ["lits/" + str(i) for i in range(20)],
              "lspig-val": ["pigs/a_1", "pigs/a_2", "pigs/b_1", "pigs/b_2"]}},
  open(os.path.join(folder, "liver.json"), "w"))
write("lpba_val.h5", ["S01", "S02", "S03", "S04", "S05"], 21)
for name in ["adni", "abide", "abidef", "adhd"]: write(name + ".h5", ["1", "2"], 21, points=False, labels=False)
brains = ["adni", "abide", "abidef", "adhd"]
json.dump({
  "files": dict([("lpba", entry("lpba_val.h5"))] + [(b, entry(b + ".h5")) for b in brains]),
  "image_size": [128, 128, 128], "image_type": "brain", "atlas": "lpba/S01",
  "segmentation_class_value": {"21": 21, "22": 22},
  "schemes": {"1": {"combine-train": 1.0}, "2": {"lpba-val": 1.0}},
  "subsets": {"combine-train": [b + "/" + n for b in brains for n in "12"], "lpba-val": ["lpba/S02", "lpba/S03", "lpba/S04", "lpba/S05"]}},
  open(os.path.join(folder, "brain.json"), "w"))
"""
        [ folder ]
    |> ignore

/// Runs an experiment of `experiments/` for two steps, with small networks, on files below a folder.
let private run (folder: string) (name: string) (more: string list) =
    let sets =
        [
            $"data.root={folder}"
            "data.size=[32,32,32]"
            "evaluation.validation_pairs=2"
            "evaluation.pairs=6"
            "train.teacher.architecture.stage.levels=3"
            "train.teacher.architecture.stage.channels=4"
            "train.student-aldk.distillation.discriminator.widths=[4,4,4,4,4]"
            for training in [ "teacher"; "student-reconstruction"; "student-distance"; "student-aldk" ] do
                $"train.{training}.steps=2"
                $"train.{training}.architecture.affine.channels=4"

                if training <> "teacher" then
                    $"train.{training}.architecture.stage.encoder=[8,16,16,16]"
                    $"train.{training}.architecture.stage.decoder=[16,16,8]"
        ]

    ldr (
        [ "train"; Path.Combine(experiments, name + ".json"); "--threads"; "1" ]
        @ [ "--output"; folder </> "run"; "--json" ]
        @ (sets |> List.collect (fun set -> [ "--set"; set ]))
        @ more
    )

let private load (folder: string) (name: string) =
    match
        Experiment.read (Path.Combine(experiments, name + ".json")) [ $"data.root={folder}" ]
        |> Result.bind (fun experiment -> Dataset.load experiment.Data)
    with
    | Ok dataset -> dataset
    | Error e -> failtestf "%A" (Error.lines e)

/// Rows of a run's table: training, part, pairs.
let private rows (outcome: Outcome) =
    let table = (nonNull (JsonNode.Parse outcome.Output)).["table"] |> nonNull

    [
        for row in table.AsArray() do
            let row = nonNull row
            string row["name"], string row["part"], int (string row["pairs"])
    ]

let tests =
    testList
        "files of recursive cascaded networks"
        [
            testInFolder "cases come as they were written: axes, labels, landmarks" (fun folder ->
                make folder
                let dataset = load folder "liver"
                let case = dataset.Subjects |> List.find (fun s -> s.Name = "yanx/2")
                let image = case.Image.Read()
                Expect.equal image.Grid.Nx 32 "the last axis is x"
                Expect.equal image.Grid.Nz 24 "the first axis is z"
                let landmarks = case.Points.Value.Read()
                Expect.equal landmarks.Length 6 "landmarks"
                Expect.equal landmarks[1] None "−1 is missing"

                match landmarks[0] with
                | None -> failtest "the first landmark is there"
                | Some(x, y, z) ->
                    // ord("2") % 5 = 0, so the blob lies at z 10, y 14, x 16.
                    Expect.equal (x, y, z) (16.0, 14.0, 10.0) "place"
                    let at = (int z * image.Grid.Ny + int y) * image.Grid.Nx + int x
                    Expect.equal image.Values[at] 190.0f "the blob is there"
                    Expect.equal (case.Labels.Value.Read()).Values[at] 255.0f "and its label"

                Expect.isTrue
                    (dataset.Subjects |> List.exists (fun s -> s.Name = "hepaticvessel/10"))
                    "a case without an alias lies in the file \"/\""

                let brain = load folder "brain"

                Expect.equal
                    (brain.Parts |> List.map (fun part -> part.Shares.Head.Pairing) |> List.distinct)
                    [ Atlas "lpba/S01" ]
                    "pairs with the atlas")

            testInFolder "nothing is tested on that is validated on, or trained on" (fun folder ->
                make folder

                for name in [ "liver"; "brain" ] do
                    let experiment =
                        Experiment.read (Path.Combine(experiments, name + ".json")) [ $"data.root={folder}" ]
                        |> Error.orRaise

                    let split =
                        Dataset.load experiment.Data
                        |> Result.bind (Dataset.split experiment.Data.Split)
                        |> Error.orRaise

                    // The atlas is the fixed scan of all pairs, whatever they are for.
                    let names (group: SubjectGroup) =
                        set [ for s in group.Members -> s.Name ] - set [ "lpba/S01" ]

                    let validated, trained = names split.ValidationGroup, names split.TrainGroup
                    Expect.isNonEmpty validated name

                    for test in split.TestGroups do
                        Expect.isNonEmpty (names test) $"{name}, {test.Part}"
                        Expect.isEmpty (Set.intersect (names test) validated) $"{name}, {test.Part}"
                        Expect.isEmpty (Set.intersect (names test) trained) $"{name}, {test.Part}")

            testInFolder "experiments/liver.json runs, and scores all test parts" (fun folder ->
                make folder
                let outcome = run folder "liver" []
                Expect.equal outcome.Code 0 outcome.Errors
                let found = rows outcome

                let expected =
                    [
                        for part, pairs in [ "sliver", 6; "lits", 6; "lspig", 4 ] do
                            for name in
                                [
                                    "untouched"
                                    "teacher"
                                    "student-reconstruction"
                                    "student-aldk"
                                    "student-distance"
                                ] -> name, part, pairs
                    ]

                Expect.equal found expected "rows: pigs are paired consecutively"
                let text = File.ReadAllText(folder </> "run" </> "table.md")

                Expect.stringContains
                    text
                    "6 pairs of 3 scans of part sliver of liver"
                    "a table for each part"

                Expect.isTrue (File.Exists(folder </> "run" </> "scores" </> "teacher.lspig.json")) "scores"

                let again = run folder "liver" [ "--resume" ]
                Expect.equal again.Code 0 again.Errors
                Expect.equal (rows again) expected "nothing is done twice"
                Expect.isFalse (again.Errors.Contains "scored") "no pair is scored again"

                let stateOfTeacher () =
                    let outcome = ldr [ "inspect"; folder </> "run"; "--json" ]
                    let node = nonNull (JsonNode.Parse outcome.Output)
                    string (nonNull (nonNull node["trainings"]).[0]).["state"]

                Expect.equal (stateOfTeacher ()) "scored" "on every part"
                File.Delete(folder </> "run" </> "scores" </> "teacher.lspig.json")
                Expect.equal (stateOfTeacher ()) "trained" "not on every part")

            testInFolder "experiments/brain.json runs with its atlas" (fun folder ->
                make folder
                let outcome = run folder "brain" [ "--only"; "student-reconstruction" ]
                Expect.equal outcome.Code 0 outcome.Errors

                Expect.equal
                    (rows outcome)
                    [ "untouched", "2", 3; "student-reconstruction", "2", 3 ]
                    "the last three of four scans, on the atlas"

                let experiment = folder </> "brain.json"
                File.WriteAllText(experiment, File.ReadAllText(folder </> "run" </> "experiment.json"))

                let scored =
                    ldr [ "evaluate"; "--model"; folder </> "run"; "--data"; experiment; "--json" ]

                Expect.equal scored.Code 0 scored.Errors
                let node = nonNull (JsonNode.Parse scored.Output)
                Expect.equal (string node["pairs"]) "3" "evaluate takes the experiment's test parts")

            testInFolder "missing and damaged files are named, with what to get" (fun folder ->
                let refused (outcome: Outcome) words =
                    Expect.equal outcome.Code 1 outcome.Errors
                    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 outcome.Errors

                    for word in words do
                        Expect.stringContains outcome.Errors word "the line"

                refused (run folder "liver" []) [ "datasets/liver.json"; "no such data set" ]
                make folder
                let pigs = folder </> "datasets" </> "lspig_val.h5"
                let bytes = File.ReadAllBytes pigs
                File.Delete pigs

                refused
                    (run folder "liver" [])
                    [
                        "lspig_val.h5: is missing"
                        "\"SLIVER, LiTS, and LSPIG\""
                        folder </> "datasets"
                    ]

                File.WriteAllBytes(pigs, bytes[.. bytes.Length / 2])

                let damaged = run folder "liver" []
                Expect.equal damaged.Code 1 damaged.Errors
                Expect.stringContains damaged.Errors "lspig_val.h5" "the file"
                Expect.isFalse (Directory.Exists(folder </> "run")) "nothing is left behind"

                let description = folder </> "datasets" </> "liver.json"
                let text = File.ReadAllText description
                File.WriteAllText(description, text.Replace("\"lits-val\": 1.0", "\"lits-vol\": 1.0"))
                refused (run folder "liver" []) [ "$.schemes.lits.lits-vol"; "did you mean \"lits-val\"?" ]
                File.WriteAllText(description, text.Replace("datasets/lits_val.h5", "../../lits_val.h5"))
                refused (run folder "liver" []) [ "$.files.lits.path"; "leads out of" ])
        ]
