/// What the program promises about files, seen from the command line: docs/reference/promises.md.
module Ldr.Cli.Tests.PromiseCliTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.CliTests

let private quickstart = Repository.root </> "experiments" </> "quickstart.json"

/// One short training of a teacher.
let private short (run: string) =
    tiny run @ steps 1 @ [ "--only"; "teacher" ]

let private refused (outcome: Outcome) (words: string) =
    Expect.equal outcome.Code 1 $"exit code: {outcome.Errors}"
    Expect.stringContains outcome.Errors words "the line"

let private put (path: string) (text: string) =
    Directory.CreateDirectory(Path.GetDirectoryName path |> string) |> ignore
    File.WriteAllText(path, text)

let private trainings =
    testList
        "trainings"
        [
            testInFolder "a training deletes nothing that it did not make" (fun folder ->
                let run = folder </> "run"

                let strangers =
                    [
                        "checkpoints" </> "my-precious-model.safetensors"
                        "checkpoints" </> "teacher.safetensors"
                        "checkpoints" </> "teacher-3-copy.safetensors"
                        "checkpoints" </> "notes.tmp"
                    ]

                for file in strangers do
                    put (run </> file) "of the user"

                for again in [ []; [ "--resume" ] ] do
                    let outcome = ldr (short run @ again)
                    Expect.equal outcome.Code 0 outcome.Errors

                for file in strangers do
                    Expect.equal (File.ReadAllText(run </> file)) "of the user" file)

            testInFolder "a training replaces nothing in a folder that is no run" (fun folder ->
                for file in
                    [
                        "checkpoints/teacher-3.safetensors"
                        "models/teacher.safetensors"
                        "table.md"
                    ] do
                    let run = folder </> Guid.NewGuid().ToString "N"
                    put (run </> file) "of the user"
                    refused (ldr (short run)) $"holds {file} but no experiment.json"
                    refused (ldr (short run @ [ "--resume" ])) $"holds {file} but no experiment.json"
                    Expect.equal (File.ReadAllText(run </> file)) "of the user" file)

            testInFolder "scores of another experiment are not taken for one's own" (fun folder ->
                let run = folder </> "run"
                let outcome = ldr (short run)
                Expect.equal outcome.Code 0 outcome.Errors

                let scores, experiment =
                    run </> "scores" </> "teacher.json", run </> "experiment.json"

                let text = File.ReadAllText scores
                File.WriteAllText(scores, text.Replace("\"made_by\":\"", "\"made_by\":\"0"))
                refused (ldr (short run @ [ "--resume" ])) "holds scores that another experiment made"
                File.WriteAllText(scores, text)
                File.Move(experiment, folder </> "kept.json")
                refused (ldr (short run @ [ "--set"; "seed=7" ])) "but no experiment.json"
                File.Move(folder </> "kept.json", experiment)
                let again = ldr (short run @ [ "--resume" ])
                Expect.equal again.Code 0 again.Errors)

            testInFolder "two trainings on one new folder: the second is refused" (fun folder ->
                let first, second = folder </> "first", folder </> "second"
                let outcome = ldr (short first)
                Expect.equal outcome.Code 0 outcome.Errors

                let experiment =
                    Codec.ofFile (first </> "experiment.json") Experiment.codec |> Error.orRaise

                let options =
                    { RunOptions.standard with
                        Folder = second
                        Only = [ "teacher" ]
                        // While the second reads its scans, the first one makes its run.
                        Sink =
                            function
                            | Loading _ -> Directory.Move(first, second)
                            | _ -> ()
                    }

                match Run.execute options { experiment with Seed = 99 } with
                | Ok _ -> failtest "it gave the first one's scores as its own"
                | Error error ->
                    Expect.stringContains
                        (Error.lines error |> String.concat " ")
                        "holds a run already"
                        "line"

                let kept = File.ReadAllText(second </> "experiment.json")
                Expect.stringContains kept $"\"seed\": {experiment.Seed}" "the first one's experiment")
        ]

let private shipping =
    testInFolder "a model is not shipped over itself" (fun folder ->
        let model = folder </> "model.safetensors"
        writeModel model
        let before = File.ReadAllBytes model
        Directory.CreateDirectory(folder </> "sub") |> ignore

        for output in [ model; folder </> "sub" </> ".." </> "model.safetensors" ] do
            refused (ldr [ "ship"; "--model"; model; "--output"; output ]) "is read too"

        Expect.equal (File.ReadAllBytes model) before "the model")

/// HDF5 files that name other files, or lead back to themselves, in the library's old and its newest layout; and good ones.
let private hostile =
    """
import h5py, numpy as np, os, sys
folder, secret = sys.argv[1], sys.argv[2]
def make(name, lib):
    return h5py.File(os.path.join(folder, name + "-" + lib + ".h5"), "w", libver=lib)
def fill(group, parameters=True):
    group.create_dataset("TransformType", data=np.array([b"AffineTransform_double_3_3"], dtype="S30"))
    if parameters:
        group.create_dataset("TransformParameters", data=np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], dtype=float))
    group.create_dataset("TransformFixedParameters", data=np.zeros(3))
for lib in ["earliest", "latest"]:
    with make("good", lib) as f:
        fill(f.create_group("TransformGroup/0"))
    with make("soft", lib) as f:
        fill(f.create_group("real/0"))
        f["TransformGroup"] = h5py.SoftLink("/real")
    with make("storage", lib) as f:
        group = f.create_group("TransformGroup/0")
        fill(group, False)
        group.create_dataset("TransformParameters", shape=(12,), dtype=float, external=[(secret, 0, 96)])
    with make("link", lib) as f:
        f["TransformGroup"] = h5py.ExternalLink(os.path.join(folder, "good-" + lib + ".h5"), "/TransformGroup")
    with make("virtual", lib) as f:
        group = f.create_group("TransformGroup/0")
        fill(group, False)
        layout = h5py.VirtualLayout(shape=(12,), dtype=float)
        layout[:] = h5py.VirtualSource(os.path.join(folder, "good-" + lib + ".h5"),
                                       "/TransformGroup/0/TransformParameters", shape=(12,))
        group.create_virtual_dataset("TransformParameters", layout)
    with make("loop", lib) as f:
        f["TransformGroup"] = h5py.SoftLink("/TransformGroup")
    with make("pair", lib) as f:
        f["TransformGroup"] = h5py.SoftLink("/other")
        f["other"] = h5py.SoftLink("/TransformGroup/deeper")
"""

let private hdf5 =
    testList
        "HDF5"
        [
            onUnix "what names other files is refused, unless that is allowed" (fun folder ->
                let secret = folder </> "secret"
                File.WriteAllBytes(secret, Array.zeroCreate 96)
                python hostile [ folder; secret ] |> ignore

                let read name =
                    TransformStore.read None None (folder </> $"{name}.h5") |> ignore

                for layout in [ "earliest"; "latest" ] do
                    for good in [ "good"; "soft" ] do
                        read $"{good}-{layout}"

                    for kind, words in
                        [
                            "storage", "keeps its values in other files"
                            "link", "links to another file"
                            "virtual", "takes its values from other data sets"
                        ] do
                        let path = folder </> $"{kind}-{layout}.h5"
                        refuses path words (fun () -> read $"{kind}-{layout}")

                // A pipe behind external storage is not waited for.
                File.Delete secret
                fifo secret
                let outcome = ldr [ "inspect"; folder </> "storage-earliest.h5" ]
                refused outcome "keeps its values in other files"
                Expect.isLessThan outcome.Seconds 60.0 "at once"

                let allowed =
                    run
                        "env"
                        [
                            "LDR_OUTSIDE_FILES=1"
                            "dotnet"
                            program
                            "inspect"
                            folder </> "link-earliest.h5"
                        ]

                Expect.equal allowed.Code 0 allowed.Errors)

            onUnix "what leads back to itself is refused in one line" (fun folder ->
                python hostile [ folder; folder </> "none" ] |> ignore
                let good = File.ReadAllBytes(folder </> "good-earliest.h5")
                let node = good.AsSpan().IndexOf(ReadOnlySpan "TREE"B)
                // A B-tree node that is its own child.
                good[node + 5] <- 1uy
                BitConverter.GetBytes(int64 node).CopyTo(good, node + 32)
                File.WriteAllBytes(folder </> "tree-earliest.h5", good)

                for name in
                    [
                        "loop-earliest"
                        "loop-latest"
                        "pair-earliest"
                        "pair-latest"
                        "tree-earliest"
                    ] do
                    let outcome = ldr [ "inspect"; folder </> $"{name}.h5" ]
                    refused outcome "is a damaged HDF5 file"
                    Expect.equal (outcome.Errors.Trim().Split '\n').Length 1 $"{name}: one line")
        ]

let private texts =
    testList
        "texts"
        [
            onUnix "a text that is too long, a pipe or a device is refused before it is read" (fun folder ->
                let json, csv, pipe =
                    folder </> "a.json", folder </> "a.csv", folder </> "pipe.json"

                for path in [ json; csv ] do
                    use file = File.Create path
                    // Takes no room on the disk.
                    file.SetLength(InputFile.MostText + 1L)

                fifo pipe
                let image = folder </> "a.nii"
                Nifti.Write(image, Volume(Grid(4, 4, 4, Affine.Identity), Array.zeroCreate 64))

                for path, words in
                    [
                        json, "is a text of 256 MB"
                        pipe, "is a pipe or a device"
                        "/dev/zero", "is a pipe or a device"
                    ] do
                    refused (ldr [ "validate"; path ]) words

                refuses csv "is a text of 256 MB" (fun () -> PointFile.Read(csv, Nullable()) |> ignore))

            testInFolder
                "voxels of which no registration can be planned are refused by their size"
                (fun folder ->
                    for name, x in [ "far", 5e8; "flat", 1e-7; "good", 1.0 ] do
                        Nifti.Write(
                            folder </> $"{name}.nii",
                            Volume(Grid(16, 16, 16, Affine.Scaling(x, 1.0, 1.0)), Array.init 4096 float32)
                        )

                    for fixedName, movingName, words in
                        [
                            "far", "good", "has voxels of 5e+08 × 1 × 1 mm"
                            "good", "flat", "has voxels of 1e-07 × 1 × 1 mm"
                        ] do
                        let outcome =
                            ldr
                                [
                                    "register"
                                    "--model"
                                    "none"
                                    "--affine"
                                    "rigid"
                                    "--fixed"
                                    folder </> $"{fixedName}.nii"
                                    "--moving"
                                    folder </> $"{movingName}.nii"
                                    "--moved"
                                    folder </> "moved.nii"
                                ]

                        refused outcome words)

            testInFolder "no terminal codes of a file are printed" (fun folder ->
                let model = folder </> "model.safetensors"
                writeModel model
                let target = folder </> "target.safetensors"

                let noted =
                    ldr
                        [
                            "ship"
                            "--model"
                            model
                            "--output"
                            target
                            "--note"
                            "a\027[31mred\u202Eder"
                        ]

                Expect.equal noted.Code 0 noted.Errors
                let outcome = ldr [ "inspect"; target ]
                Expect.equal outcome.Code 0 outcome.Errors
                Expect.stringContains outcome.Output "a [31mred der" "the note")

            test "no name is a formula in a spreadsheet" {
                let score: PairScore =
                    {
                        Fixed = "=HYPERLINK(\"x\")"
                        Moving = "@b"
                        Dice = 1.0
                        Jaccard = 1.0
                        Hd95Mm = 1.0
                        TreMm = nan
                        PerLabel = []
                        FoldedPercent = 0.0
                        SdLogJ = 0.0
                        SdLogJLearn2Reg = 0.0
                        ExtremePercent = 0.0
                        ExtremeContentPercent = 0.0
                        ExtremeLabelPercent = 0.0
                        VolumeErrorPercent = 0.0
                        Carried95Mm = 0.0
                        InverseMm = 0.0
                        Milliseconds = 1.0
                    }

                let line = (Scores.toCsv [ score ]).Split('\n')[1]
                Expect.stringStarts line "\"'=HYPERLINK(\"\"x\"\")\",'@b," "the names"
            }

            test "no name is a formula in verdict.csv" {
                let scan =
                    Volume(Grid(12, 12, 12, Affine.Identity), Array.init 1728 (fun i -> float32 (i % 13)))

                use registrar = new Registrar()

                let trial: Trial =
                    {
                        Name = "pairs"
                        Kind = GoodPair
                        Fixed = "=HYPERLINK(\"x\")"
                        Moving = "@b,c"
                        Chosen = true
                        Dice = 1.0
                        Quality =
                            registrar
                                .Register(
                                    scan,
                                    scan,
                                    RegistrationOptions(Refinement = RefinementOptions.None)
                                )
                                .Quality
                    }

                let line = (VerdictTrial.toCsv [ trial ]).Split('\n')[1]
                Expect.stringContains line ",\"'=HYPERLINK(\"\"x\"\")\",\"'@b,c\"," "the names"
            }

            test "an error is never longer than its line" {
                let long = String('x', 10_000_000)

                for error in [ BadInput long; BadFile(long, long, long) ] do
                    for line in Error.lines error do
                        Expect.isLessThan line.Length 2000 "letters"
            }
        ]

let private commands =
    testList
        "commands"
        [
            test "an empty argument is wrong usage" {
                for arguments in
                    [
                        [ "register"; "--fixed"; ""; "--moving"; "m.nii" ]
                        [ "register"; "--fixed"; "f.nii"; "--moving"; " " ]
                        [ "apply"; "--transform"; "a"; ""; "--moving"; "m.nii" ]
                        [ "inspect"; "" ]
                        [ "train"; ""; "--output"; "x" ]
                        [ "ship"; "--model"; ""; "--output"; "x.safetensors" ]
                    ] do
                    let outcome = ldr arguments
                    Expect.equal outcome.Code 2 $"%A{arguments}: {outcome.Errors}"
                    Expect.stringContains outcome.Errors "empty" "the line"
                    Expect.equal (outcome.Errors.Trim().Split '\n').Length 1 "one line"
            }

            test "more refinement than anybody waits for is wrong usage" {
                let outcome =
                    ldr
                        [
                            "register"
                            "--model"
                            "none"
                            "--fixed"
                            "f.nii"
                            "--moving"
                            "m.nii"
                            "--moved"
                            "out.nii"
                            "--refine"
                            "2147483647"
                        ]

                Expect.equal outcome.Code 2 outcome.Errors

                Expect.stringContains
                    outcome.Errors
                    "--refine: give a whole number from 0 to 10000"
                    "the line"
            }

            test "counts that no memory holds are refused with their place" {
                for key in [ "train.teacher.accumulate"; "train.teacher.batch"; "data.split.train" ] do
                    let outcome = ldr [ "validate"; quickstart; "--set"; $"{key}=2147483647" ]
                    refused outcome "to 1000000, found 2147483647"
            }

            onUnix "closed standard streams are no fault of ours" (fun folder ->
                let image = folder </> "a.nii"
                Nifti.Write(image, Volume(Grid(4, 4, 4, Affine.Identity), Array.zeroCreate 64))

                for closed in [ ">&-"; "2>&-"; ">&- 2>&-"; "<&- >&- 2>&-" ] do
                    for command in [ $"inspect '{image}'"; "inspect none.nii"; "--version"; "nonsense" ] do
                        let outcome = run "sh" [ "-c"; $"exec dotnet '{program}' {command} {closed}" ]

                        Expect.isTrue
                            (List.contains outcome.Code [ 0; 1; 2 ])
                            $"{command} {closed}: {outcome.Code}")
        ]

let private links =
    onUnix "a link that leads back to its folder does not count scans twice" (fun folder ->
        let data = folder </> "data"
        Directory.CreateDirectory(data </> "sub-01" </> "anat") |> ignore

        for place in [ "one.nii"; "sub-01/anat/sub-01_T1w.nii" ] do
            Nifti.Write(data </> place, Volume(Grid(16, 16, 16, Affine.Identity), Array.init 4096 float32))

        File.CreateSymbolicLink(data </> "loop", ".") |> ignore
        File.CreateSymbolicLink(data </> "sub-01" </> "loop", ".") |> ignore
        let outcome = ldr [ "doctor"; data; "--json" ]
        let scans = (nonNull (JsonNode.Parse outcome.Output))["scans"]
        Expect.hasLength ((nonNull scans).AsArray()) 2 $"each scan once: {outcome.Errors}")

/// What a run goes on from, changed by somebody else.
let private resumes =
    testList
        "resumes"
        [
            testInFolder
                "a model of a run, or one that was given to it, is the one that it was"
                (fun folder ->
                    let run, given = folder </> "run", folder </> "given.safetensors"
                    let first = ldr (short (folder </> "other"))
                    Expect.equal first.Code 0 first.Errors
                    File.Copy(folder </> "other" </> "model.safetensors", given)

                    let command =
                        tiny run
                        @ steps 1
                        @ [
                            "--only"
                            "student-feature-gap"
                            "--set"
                            $"train.student-feature-gap.distillation.teacher={given}"
                        ]

                    let outcome = ldr command
                    Expect.equal outcome.Code 0 outcome.Errors
                    let model = run </> "models" </> "student-feature-gap.safetensors"
                    let kept = File.ReadAllBytes model
                    let goesOn = ldr (command @ [ "--resume" ])
                    Expect.equal goesOn.Code 0 goesOn.Errors
                    // Scores go, so that they would be made anew.
                    Directory.Delete(run </> "scores", true)
                    File.Copy(given, model, true)

                    refused
                        (ldr (command @ [ "--resume" ]))
                        $"{model}: is not the model that this run trained"

                    File.WriteAllBytes(model, kept)
                    let teacher = File.ReadAllBytes given
                    let file = Safetensors.Read given
                    let metadata = Collections.Generic.Dictionary file.Metadata
                    metadata["licence"] <- "\"another\""
                    Safetensors.Write(given, metadata, file.Tensors)

                    refused
                        (ldr (command @ [ "--resume" ]))
                        $"{given}: is not the model that the run {run} began with"

                    File.WriteAllBytes(given, teacher)
                    let again = ldr (command @ [ "--resume" ])
                    Expect.equal again.Code 0 again.Errors

                    // A kill between a model and its note: it is made again, the same.
                    let notes = run </> "models.json"
                    let noted = nonNull (JsonNode.Parse(File.ReadAllText notes))

                    let others =
                        noted.AsArray()
                        |> Seq.filter (fun m ->
                            let note: JsonNode = nonNull m
                            string note["name"] <> "student-feature-gap")

                    File.WriteAllText(
                        notes,
                        JsonArray(others |> Seq.map (fun m -> (nonNull m).DeepClone()) |> Array.ofSeq)
                            .ToJsonString()
                    )

                    let again = ldr (command @ [ "--resume" ])
                    Expect.equal again.Code 0 again.Errors
                    Expect.equal (File.ReadAllBytes model) kept "the same model")

            testInFolder "damaged lines and checkpoints are told in a line" (fun folder ->
                let run = folder </> "run"
                let outcome = ldr (short run)
                Expect.equal outcome.Code 0 outcome.Errors
                // As before its end: no model yet.
                File.Delete(run </> "models" </> "teacher.safetensors")
                Directory.Delete(run </> "scores", true)
                let metrics = run </> "metrics.jsonl"
                let text = File.ReadAllText metrics

                for line in [ "{\"training\":\"teacher\",\"step\":1e99}"; "nonsense" ] do
                    File.WriteAllText(metrics, line + "\n" + text)
                    let outcome = ldr (short run @ [ "--resume" ])
                    refused outcome $"{metrics}: line 1 is none that a training writes"
                    Expect.equal (File.ReadAllText metrics) (line + "\n" + text) "nothing is dropped"

                File.WriteAllText(metrics, text)
                let index = run </> "checkpoints" </> "index.json"
                let entries = File.ReadAllText index

                let file =
                    Directory.GetFiles(run </> "checkpoints", "*.safetensors") |> Array.exactlyOne

                let bytes = File.ReadAllBytes file
                let whole = Safetensors.Read file
                let digest = Checkpoint.digest file

                for key, value in [ "teacher.adam.step", "1e99"; "pending", "[{\"a\":\"b\"}]"; "step", "7" ] do
                    let key =
                        whole.Metadata.Keys
                        |> Seq.tryFind (fun k ->
                            k = key || (key.EndsWith "adam.step" && k.EndsWith "adam.step"))
                        |> Option.defaultValue key

                    let metadata = Collections.Generic.Dictionary whole.Metadata
                    metadata[key] <- value
                    Safetensors.Write(file, metadata, whole.Tensors)
                    File.WriteAllText(index, entries.Replace(digest, Checkpoint.digest file))
                    let outcome = ldr (short run @ [ "--resume" ])
                    refused outcome $"{file}: "

                File.WriteAllBytes(file, bytes)
                File.WriteAllText(index, entries)
                let again = ldr (short run @ [ "--resume" ])
                Expect.equal again.Code 0 again.Errors)
        ]

/// Plans that no memory holds.
let private plans =
    testList
        "plans"
        [
            testInFolder
                "what no memory holds is refused with the number, before memory is taken"
                (fun folder ->
                    let image name grid =
                        let path = folder </> name
                        Nifti.Write(path, Volume(grid, Array.init (int grid.Count) float32))
                        path

                    let good = image "good.nii" (Grid(16, 16, 16, Affine.Identity))
                    let coarse = image "coarse.nii" (Grid(24, 24, 24, Affine.Scaling(20.0, 20.0, 20.0)))
                    let long = image "long.nii" (Grid(32767, 1, 1, Affine.Identity))
                    // A header of 2000 × 1000 × 1000 bytes; they take no room on the disk.
                    let huge = folder </> "huge.nii"
                    let seed = image "seed.nii" (Grid(1, 1, 1, Affine.Identity))
                    let header = (File.ReadAllBytes seed)[..351]

                    for place, size in [ 42, 2000s; 44, 1000s; 46, 1000s ] do
                        BitConverter.GetBytes(size).CopyTo(header, place)

                    BitConverter.GetBytes(2s).CopyTo(header, 70)
                    BitConverter.GetBytes(8s).CopyTo(header, 72)
                    File.WriteAllBytes(huge, header)
                    (use file = File.OpenWrite huge in file.SetLength(352L + 2_000_000_000L))
                    let map = folder </> "a.tfm"
                    TransformFile.WriteAffine(map, Affine.Identity)
                    let model = folder </> "model.safetensors"
                    writeModel model
                    let out = folder </> "out.nii"

                    for arguments, words in
                        [
                            [
                                "register"
                                "--model"
                                model
                                "--fixed"
                                coarse
                                "--moving"
                                good
                                "--moved"
                                out
                            ],
                            $"{coarse}: would need 1.11e+08 voxels at the model's spacing, more than 16777216"
                            [
                                "register"
                                "--model"
                                model
                                "--fixed"
                                long
                                "--moving"
                                good
                                "--moved"
                                out
                            ],
                            "voxels at the model's spacing, more than 16777216"
                            [
                                "register"
                                "--model"
                                "none"
                                "--fixed"
                                huge
                                "--moving"
                                good
                                "--moved"
                                out
                            ],
                            "6000000000 numbers"
                            for verb in [ "convert"; "compose"; "invert"; "jacobian" ] do
                                [ verb; "--transform"; map; "--reference"; huge; "--output"; out ],
                                "6000000000 numbers"
                        ] do
                        let outcome = ldr arguments
                        refused outcome words
                        Expect.isFalse (File.Exists out) "nothing is written"
                        Expect.isLessThan outcome.Seconds 30.0 "at once")

            testInFolder "evaluate looks at voxels as register does" (fun folder ->
                let scan name x =
                    Nifti.Write(
                        folder </> name,
                        Volume(
                            Grid(16, 16, 16, Affine.Scaling(x, 1.0, 1.0)),
                            Array.init 4096 (fun i -> float32 (i % 7))
                        )
                    )

                scan "a.nii" 1.0
                scan "b.nii" 5e8
                scan "al.nii" 1.0
                scan "bl.nii" 5e8

                File.WriteAllText(
                    folder </> "pairs.csv",
                    "fixed,moving,fixed_labels,moving_labels\na.nii,b.nii,al.nii,bl.nii\n"
                )

                refused
                    (ldr
                        [
                            "evaluate"
                            "--model"
                            "none"
                            "--data"
                            folder </> "pairs.csv"
                            "--split"
                            "all"
                        ])
                    "has voxels of 5e+08 × 1 × 1 mm")

            test "more pairs than anybody waits for are wrong usage" {
                let outcome =
                    ldr [ "evaluate"; "--model"; "none"; "--data"; "x"; "--pairs"; "2147483647" ]

                Expect.equal outcome.Code 2 outcome.Errors

                Expect.stringContains
                    outcome.Errors
                    "--pairs: give a whole number above 0, up to 1000000"
                    "the line"
            }

            test "--set of many levels, and of what JSON cannot hold, is bad input" {
                for assignment, words in
                    [
                        String.replicate 1999 "a." + "a=1", "its path has 2000 levels"
                        "seed=\"\\ud800\"", "is no value that JSON can hold"
                        "seed=" + String('[', 2000) + String(']', 2000), "expected a whole number"
                    ] do
                    let outcome = ldr [ "validate"; quickstart; "--set"; assignment ]
                    refused outcome words
                    Expect.isLessThan outcome.Errors.Length 2000 "a line"

                // A key that is there twice is found when the next assignment goes through it.
                let outcome =
                    ldr
                        [
                            "validate"
                            quickstart
                            "--set"
                            "seed={\"a\":1,\"a\":2}"
                            "--set"
                            "seed.a=4"
                        ]

                refused outcome "is no value that JSON can hold"
            }
        ]

let tests =
    testList "promises" [ trainings; shipping; hdf5; texts; commands; links; resumes; plans ]
