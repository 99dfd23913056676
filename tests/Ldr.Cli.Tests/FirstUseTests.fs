/// What somebody stumbles over who uses the program for the first time.
module Ldr.Cli.Tests.FirstUseTests

open System
open System.IO
open System.Text
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private anatomy =
    {
        Size = 24, 28, 20
        Subjects = 2
        Structures = 3
        Deformation = 1.0
        Noise = 0.02
        Seed = 1
    }

/// Two scans and their label maps; the moving ones lie 12 mm away.
let private scene (folder: string) =
    let far (volume: Volume) =
        let g = volume.Grid
        let map = g.VoxelToWorld.Then(Affine.Translation(12.0, 0.0, 0.0))
        Volume(Grid(g.Nx, g.Ny, g.Nz, map), volume.Values, volume.StoredAs)

    let write (name: string) (volume: Volume) =
        ImageFile.Write(folder </> name, volume)

    let labels (volume: Volume) =
        Volume(volume.Grid, volume.Values, VoxelType.UInt8)

    let fixedScan, fixedLabels = Anatomy.subject anatomy 0
    let moving, movingLabels = Anatomy.subject anatomy 1
    write "fixed.nii.gz" fixedScan
    write "moving.nii.gz" (far moving)
    write "fixed-labels.nii.gz" (labels fixedLabels)
    write "labels.nii.gz" (labels (far movingLabels))
    // As some programs store label maps.
    write "float-labels.nii.gz" (Volume(fixedLabels.Grid, fixedLabels.Values, VoxelType.Float32))
    TransformFile.WriteAffine(folder </> "map.tfm", Affine.Translation(12.4, 0.3, 0.0))

let private register (folder: string) (arguments: string list) =
    ldr (
        [ "register"; "--model"; "none"; "--fixed"; folder </> "fixed.nii.gz" ]
        @ [ "--moving"; folder </> "moving.nii.gz" ]
        @ arguments
    )

let private apply (folder: string) (moving: string) (arguments: string list) =
    let outcome =
        ldr (
            [ "apply"; "-t"; folder </> "map.tfm"; "--moving"; folder </> moving ]
            @ [ "--reference"; folder </> "fixed.nii.gz"; "-o"; folder </> "out.nii.gz" ]
            @ arguments
        )

    Expect.equal outcome.Code 0 outcome.Errors
    outcome.Errors

let private experiment =
    """{
  "name": "two",
  "seed": 1,
  "data": {
    "source": { "kind": "synthetic", "size": [16, 16, 16], "subjects": 9, "structures": 3 },
    "split": { "train": 4, "validation": 2, "test": 3 },
    "size": [16, 16, 16]
  },
  "train": [
    {
      "name": "first",
      "architecture": { "kind": "ldr-half", "encoder": [4, 4, 8, 8], "decoder": [8, 4, 4] },
      "steps": 2, "validate_every": 1, "checkpoint_every": 1
    },
    {
      "name": "second",
      "architecture": { "kind": "ldr-half", "encoder": [4, 4, 8, 8], "decoder": [8, 4, 4] },
      "steps": 9, "validate_every": 1, "checkpoint_every": 1
    }
  ],
  "evaluation": { "pairs": 1, "validation_pairs": 1 }
}
"""

/// The folder of a run that has begun, as far as `inspect` looks at it.
let private begun (folder: string) (metrics: string list) =
    let description = folder </> "two.json"
    File.WriteAllText(description, experiment)
    let run = folder </> "run"
    Directory.CreateDirectory run |> ignore

    let resolved =
        match Experiment.read description [] with
        | Ok experiment -> Codec.toText Experiment.codec experiment
        | Error error -> failtestf "%A" error

    File.WriteAllText(run </> "experiment.json", resolved)
    File.WriteAllLines(run </> "metrics.jsonl", metrics)
    run

let private inspect (run: string) =
    let words = ldr [ "inspect"; run ]
    Expect.equal words.Code 0 words.Errors
    let json = ldr [ "inspect"; run; "--json" ]

    let trainings =
        (nonNull (nonNull (JsonNode.Parse json.Output)).["trainings"]).AsArray()

    words.Output, (nonNull trainings[0]).AsObject()

/// Whether the lines at the top of a PNG hold anything but white: its filters make 0 and 255 of white.
let private hasHeading (path: string) =
    let bytes = File.ReadAllBytes path

    let number (at: int) =
        Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(ReadOnlySpan(bytes, at, 4))

    use packed = new MemoryStream()

    let rec chunks (at: int) =
        let length = number at

        if Encoding.ASCII.GetString(bytes, at + 4, 4) = "IDAT" then
            packed.Write(bytes, at + 8, length)

        if at + 12 + length < bytes.Length then
            chunks (at + 12 + length)

    chunks 8
    packed.Position <- 0L

    use lines =
        new Compression.ZLibStream(packed, Compression.CompressionMode.Decompress)

    let width = number 16
    let channels = if bytes[25] = 6uy then 4 else 3
    let line = Array.zeroCreate<byte>(1 + channels * width)

    [
        for _ in 1..20 do
            lines.ReadExactly line
            Array.exists (fun value -> value > 0uy && value < 255uy) line[1..]
    ]
    |> List.exists id

/// What scipy makes of the files that ANTs' users know: the affine map as MATLAB's file, the warp in LPS; the file moved.raw, and
/// the mean distance of points that go there and back, mm.
let private ants =
    """
import sys, numpy as np, nibabel as nib
from scipy.io import loadmat
from scipy.ndimage import map_coordinates
prefix, folder = sys.argv[1], sys.argv[2]
fixed, moving = nib.load(folder + '/fixed.nii.gz'), nib.load(folder + '/moving.nii.gz')
mat = loadmat(prefix + '0GenericAffine.mat')
numbers, centre = mat['AffineTransform_double_3_3'].ravel(), mat['fixed'].ravel()
matrix, shift = numbers[:9].reshape(3, 3), numbers[9:]
index = np.stack(np.meshgrid(*[np.arange(n) for n in fixed.shape], indexing='ij'), -1).astype(float)
flip = np.array([-1, -1, 1])
def warp(name):
    image = nib.load(prefix + name)
    assert image.shape == fixed.shape + (1, 3) and image.header.get_intent()[0] == 'vector', image.shape
    assert np.allclose(image.affine, fixed.affine, atol=1e-4)
    return np.asarray(image.dataobj, dtype=np.float64)[:, :, :, 0, :]
def at(field, lps):
    place = nib.affines.apply_affine(np.linalg.inv(fixed.affine), lps * flip)
    return np.stack([map_coordinates(field[..., c], np.moveaxis(place, -1, 0), order=1, mode='nearest') for c in range(3)], -1)
lps = nib.affines.apply_affine(fixed.affine, index) * flip
warped = lps + warp('1Warp.nii.gz')
there = (warped - centre) @ matrix.T + shift + centre
place = nib.affines.apply_affine(np.linalg.inv(moving.affine), there * flip)
p = np.stack([np.clip(place[..., c], 0, moving.shape[c] - 1) for c in range(3)])
out = map_coordinates(np.asarray(moving.dataobj, dtype=np.float64), p, order=1, mode='nearest')
ours = np.asarray(nib.load(prefix + 'Warped.nii.gz').dataobj, dtype=np.float64)
back = (there - centre - shift) @ np.linalg.inv(matrix).T + centre
back = back + at(warp('1InverseWarp.nii.gz'), back)
inner = (slice(4, -4),) * 3
print(np.abs(out - ours).max() / np.ptp(ours), np.linalg.norm(back - lps, axis=-1)[inner].mean())
"""

let tests =
    testList
        "first use"
        [
            testInFolder "apply warns where it blends labels, and changes nothing by itself" (fun folder ->
                scene folder
                let warning = "looks like a label map, and linear interpolation blends its labels"

                for labels in [ "labels.nii.gz"; "float-labels.nii.gz" ] do
                    let errors = apply folder labels []
                    Expect.stringContains errors $"{labels} {warning}; add --interpolation label" labels

                let values = (ImageFile.Read(folder </> "out.nii.gz")).Values
                Expect.exists values (fun v -> v <> round v) "the result is what was asked for"
                Expect.equal (apply folder "labels.nii.gz" [ "--interpolation"; "label" ]) "" "labels kept"
                Expect.equal (apply folder "moving.nii.gz" []) "" "a scan")

            test "label maps are told from scans by their values and neighbours" {
                let scan, labels = Anatomy.subject anatomy 0

                let looks (values: float32[]) =
                    LabelMap.looksLikeOne (Volume(scan.Grid, values))

                Expect.isTrue (looks labels.Values) "a label map"
                Expect.isFalse (looks scan.Values) "a scan"

                Expect.isFalse
                    (looks (scan.Values |> Array.map (fun v -> round (200.0f * v))))
                    "a scan of whole numbers"

                Expect.isFalse (looks (Array.create scan.Values.Length 3.0f)) "one number everywhere"

                labels.Values[7] <- nanf
                Expect.isFalse (looks labels.Values) "a voxel without a number"
            }

            testInFolder "a DICOM folder and a label map in the place of a scan are recognised" (fun folder ->
                scene folder
                let series = folder </> "scans" </> "series 1"
                Directory.CreateDirectory series |> ignore

                File.WriteAllBytes(
                    series </> "IM0001",
                    Array.concat
                        [ Array.zeroCreate 128; Encoding.ASCII.GetBytes "DICM"; Array.zeroCreate 60 ]
                )

                let given path =
                    ldr
                        [
                            "register"
                            "--model"
                            "none"
                            "--fixed"
                            path
                            "--moving"
                            path
                            "--moved"
                            folder </> "m.nii"
                        ]

                for path, what in
                    [
                        folder </> "scans", "is a folder of DICOM files"
                        series </> "IM0001", "is not a NIfTI file but a DICOM file"
                    ] do
                    let outcome = given path
                    Expect.equal outcome.Code 1 outcome.Output
                    Expect.equal (outcome.Errors.TrimEnd().Split('\n').Length) 1 outcome.Errors
                    Expect.stringContains outcome.Errors what "what it is"
                    Expect.stringContains outcome.Errors "dcm2niix" "what to do"

                Directory.CreateDirectory(folder </> "empty") |> ignore

                Expect.stringContains
                    (given (folder </> "empty")).Errors
                    "is a folder; name a file in it"
                    "another folder"

                let outcome =
                    ldr
                        [
                            "register"
                            "--model"
                            "none"
                            "--refine"
                            "0"
                            "--fixed"
                            folder </> "fixed-labels.nii.gz"
                            "--moving"
                            folder </> "moving.nii.gz"
                            "--moved"
                            folder </> "m.nii"
                            "--json"
                        ]

                let warnings = outcome.Errors.Split('\n') |> Array.filter _.StartsWith("warning: ")
                Expect.equal warnings.Length 1 outcome.Errors

                Expect.stringContains
                    warnings[0]
                    "fixed-labels.nii.gz looks like a label map; --fixed wants the scan"
                    "warning")

            testInFolder "an empty scan fails in words, without NaN" (fun folder ->
                scene folder
                let scan = ImageFile.Read(folder </> "fixed.nii.gz")

                for value in [ 0.0f; 0.3f ] do
                    ImageFile.Write(
                        folder </> "empty.nii.gz",
                        Volume(scan.Grid, Array.create scan.Values.Length value)
                    )

                    for fixedScan, moving, name in [ "empty", "fixed", "fixed"; "fixed", "empty", "moving" ] do
                        let page = folder </> "page.html"

                        let outcome =
                            ldr
                                [
                                    "register"
                                    "--model"
                                    "none"
                                    "--refine"
                                    "3"
                                    "--fixed"
                                    folder </> $"{fixedScan}.nii.gz"
                                    "--moving"
                                    folder </> $"{moving}.nii.gz"
                                    "--report"
                                    page
                                ]

                        Expect.equal outcome.Code 3 outcome.Errors
                        Expect.stringContains outcome.Errors $"failed: the {name} scan is empty" "reason"
                        let words = File.ReadAllText(page).Split("<script")[0]

                        for said in [ outcome.Output; outcome.Errors; words ] do
                            Expect.isFalse (said.Contains "NaN") said)

            testInFolder "the deformation is told apart from the alignment" (fun folder ->
                scene folder
                let arguments = [ "--refine"; "3"; "--moved"; folder </> "m.nii" ]
                let outcome = register folder (arguments @ [ "--json" ])
                let said = nonNull (JsonNode.Parse outcome.Output)
                let number (key: string) = (nonNull said[key]).GetValue<float>()

                let deformation, displacement =
                    number "mean_deformation_mm", number "mean_displacement_mm"

                Expect.isLessThan deformation 4.0 "the anatomy differs little"
                Expect.isGreaterThan displacement 8.0 "and lies 12 mm away"
                let words = (register folder arguments).Output

                Expect.stringContains
                    words
                    $"deformed by {Scores.fixedPoint 2 deformation} mm on average, {Scores.fixedPoint 2 displacement} mm with the alignment"
                    "in words"
                // Correlations of different levels are not numbers of one row.
                Expect.isFalse (words.Contains "level 2") words)

            testInFolder "a graphics card is refused where there is no network to compute" (fun folder ->
                for arguments in
                    [
                        [ "register"; "--fixed"; "a.nii"; "--moving"; "b.nii"; "--moved"; "c.nii" ]
                        [ "evaluate"; "--data"; folder ]
                        [ "cohort"; folder; "--template"; "a.nii"; "--output"; folder </> "c" ]
                    ] do
                    let outcome = ldr (arguments @ [ "--model"; "none"; "--device"; "cuda" ])
                    Expect.equal outcome.Code 2 outcome.Errors
                    Expect.stringContains outcome.Errors "--device cuda computes networks" "why")

            testInFolder "inspect says who runs a training, how far it is, and how it does" (fun folder ->
                let run =
                    begun
                        folder
                        [
                            """{"kind":"train","training":"first","step":1,"loss":0.5}"""
                            """{"kind":"validation","training":"first","step":1,"dice":0.71234,"folded_percent":0.5}"""
                            """{"kind":"train","training":"second","step":7,"loss":0.4}"""
                            """{"kind":"train","training":"first","step":2,"loss":0.4}"""
                            """{"kind":"train","training":"fi"""
                        ]

                let claim = FileClaim.Try(run, "training-first") |> nonNull
                let words, first = inspect run
                Expect.stringContains words "experiment two, running" "the run"

                Expect.stringContains
                    words
                    $"running, step 2 of 2, by process {Environment.ProcessId}"
                    "the training"

                Expect.stringContains
                    words
                    "last validation, step 1: dice 0.7123, folded_percent 0.5000"
                    "validation"

                Expect.stringContains words "second: " "the other one"

                Expect.stringContains
                    words
                    "stopped at step 7 of 9, resumes from step 0"
                    "nobody works on it"

                Expect.equal (string first["state"], string first["step"]) ("running", "2") "in JSON"
                Expect.equal (string (nonNull first["validation"]).["dice"]) "0.71234" "validation in JSON"
                claim.Dispose()
                let words, first = inspect run
                Expect.stringContains words $"not finished: ldr-fs train --resume {run} goes on" "the run"
                Expect.stringContains words "stopped at step 2 of 2" "ended"
                Expect.equal (string first["state"]) "begun" "in JSON"

                let leave (machine: string) =
                    Directory.CreateDirectory(run </> FileClaim.Folder) |> ignore

                    File.WriteAllText(
                        run </> FileClaim.Folder </> "training-first.1",
                        $"{machine}-17-1 abc 000000000000\n"
                    )

                leave "00000000"
                let words, _ = inspect run
                Expect.stringContains words "on another machine, whose last sign of life is" "far away"

                File.SetLastWriteTimeUtc(
                    run </> FileClaim.Folder </> "training-first.1",
                    DateTime.UtcNow.AddMinutes -10.0
                )

                let words, _ = inspect run
                Expect.stringContains words "stopped at step 2 of 2" "silent for too long"
                leave (ProcessIdentity.Own.Split('-')[0])
                let words, _ = inspect run
                Expect.stringContains words "stopped at step 2 of 2" "a process that has ended"
                Directory.Delete(run </> FileClaim.Folder, true)
                File.Delete(run </> "metrics.jsonl")
                let words, _ = inspect run
                Expect.stringContains words "not begun, step 0 of 2" "nothing is there")

            testInFolder "a run's folder alone resumes it" (fun folder ->
                let description = folder </> "two.json"
                File.WriteAllText(description, experiment)
                let run = folder </> "run"

                let first =
                    ldr
                        [
                            "train"
                            description
                            "--output"
                            run
                            "--threads"
                            "1"
                            "--set"
                            "train.second.steps=3"
                            "--only"
                            "first"
                        ]

                Expect.equal first.Code 0 first.Errors
                File.Delete description

                let changed = ldr [ "train"; "--resume"; run; "--set"; "train.second.steps=4" ]
                Expect.equal changed.Code 1 changed.Output

                Expect.stringContains
                    changed.Errors
                    "goes on as it was begun; leave --output and --set out"
                    "why not"

                let second = ldr [ "train"; "--resume"; run; "--threads"; "1"; "--json" ]
                Expect.equal second.Code 0 second.Errors
                Expect.isFalse (second.Errors.Contains "first: step") "what is done is not done again"
                let said = nonNull (JsonNode.Parse second.Output)
                Expect.equal (string said["run"]) run "the folder"
                let words, _ = inspect run
                Expect.stringContains words "experiment two, finished" "all of it"
                Expect.stringContains words "scored, step 3 of 3" "with the steps that it was begun with"

                if OperatingSystem.IsWindows() || Directory.Exists "/usr/share/fonts" then
                    Expect.isTrue (hasHeading (run </> "pairs.png")) "its picture has headings")

            onUnix "a long step of setting up says that it goes on" (fun _ ->
                let script =
                    $"set -eu; root='{Repository.root}'; . \"$root/build/setup.sh\"; tick_every=1; "
                    + "step() { echo '  Ldr.Core -> x'; sleep 1.6; return $1; }; quietly step 0; echo between >&2; quietly step 3"

                let outcome = run "bash" [ "-c"; script ]
                Expect.equal outcome.Code 70 "the step that fails"
                Expect.equal outcome.Output "" "all of it goes to stderr"

                Expect.equal
                    (Regex
                        .Replace(
                            outcome.Errors.TrimEnd(),
                            "( +\\.\\.\\. [0-9]+ s, built so far: Ldr.Core\n)+",
                            "ticks\n"
                        )
                        .Split
                         '\n'
                     |> List.ofArray)
                    [
                        "ticks"
                        "between"
                        "ticks"
                        "  Ldr.Core -> x"
                        "ldr-fs: the step 'step 3' failed; its output is above"
                    ]
                    "what is said")

            testInFolder
                "outputs under the names of ANTs undo each other, and scipy makes the same of them"
                (fun folder ->
                    scene folder
                    let prefix = folder </> "ants_"
                    let outcome = register folder [ "--refine"; "10"; "-o"; prefix; "--json" ]
                    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors

                    Expect.equal
                        (string (nonNull (JsonNode.Parse outcome.Output)).["output_prefix"])
                        prefix
                        "told"

                    let names =
                        Directory.GetFiles(folder, "ants_*") |> Array.map Path.GetFileName |> Array.sort

                    Expect.equal
                        (List.ofArray names)
                        [
                            "ants_0GenericAffine.mat"
                            "ants_1InverseWarp.nii.gz"
                            "ants_1Warp.nii.gz"
                            "ants_Warped.nii.gz"
                        ]
                        "files"

                    let applied =
                        ldr
                            [
                                "apply"
                                "-t"
                                prefix + "0GenericAffine.mat"
                                "-t"
                                prefix + "1Warp.nii.gz"
                                "--moving"
                                folder </> "moving.nii.gz"
                                "--reference"
                                folder </> "fixed.nii.gz"
                                "-o"
                                folder </> "again.nii.gz"
                            ]

                    Expect.equal applied.Code 0 applied.Errors

                    let ours, again =
                        ImageFile.Read(prefix + "Warped.nii.gz"), ImageFile.Read(folder </> "again.nii.gz")

                    let struct (low, high) = ours.Range

                    Array.iter2
                        (fun a b -> Expect.isLessThan (abs (a - b) / (high - low)) 1e-3f "the same voxel")
                        ours.Values
                        again.Values

                    let alone = folder </> "alone_"
                    register folder [ "--refine"; "0"; "--output-prefix"; alone ] |> ignore

                    Expect.equal
                        (Directory.GetFiles(folder, "alone_*").Length)
                        2
                        "an alignment alone has no warp"

                    let missing = register folder [ "-o"; folder </> "nowhere" </> "a_" ]
                    Expect.equal missing.Code 1 missing.Errors

                    Expect.stringContains
                        missing.Errors
                        "does not exist; make it first"
                        "before time is spent"

                    let numbers = (python ants [ prefix; folder ]).Split(' ') |> Array.map float
                    Expect.isLessThan numbers[0] 2e-3 "scipy's moved scan"
                    Expect.isLessThan numbers[1] 0.1 "there and back")

            testInFolder
                "antsApplyTransforms makes the same of outputs under the names of ANTs"
                (fun folder ->
                    if not (has "antsApplyTransforms") then
                        skiptest "antsApplyTransforms is not installed"

                    scene folder
                    let prefix = folder </> "ants_"
                    register folder [ "--refine"; "10"; "-o"; prefix ] |> ignore
                    let theirs = folder </> "theirs.nii.gz"

                    let outcome =
                        run
                            "antsApplyTransforms"
                            [
                                "-d"
                                "3"
                                "-i"
                                folder </> "moving.nii.gz"
                                "-r"
                                folder </> "fixed.nii.gz"
                                "-t"
                                prefix + "1Warp.nii.gz"
                                "-t"
                                prefix + "0GenericAffine.mat"
                                "-o"
                                theirs
                            ]

                    Expect.equal outcome.Code 0 outcome.Errors
                    let ours, theirs = ImageFile.Read(prefix + "Warped.nii.gz"), ImageFile.Read theirs
                    let struct (low, high) = ours.Range

                    let mean =
                        Array.map2 (fun a b -> abs (a - b)) ours.Values theirs.Values |> Array.average

                    Expect.isLessThan (mean / (high - low)) 0.02f "borders are filled differently")
        ]
