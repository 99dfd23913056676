/// What every verb prints, its exit code and the names of the files it writes, against the recorded files in `golden/`;
/// and docs/reference/options.md. LDR_GOLDEN=write renews both.
module Ldr.Cli.Tests.GoldenTests

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Core.Tests.SmallModel
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

/// How numbers are compared.
type private Numbers =
    /// Within a hundredth: processors add in different orders.
    | Close
    /// Not at all: they come from a short training, or are times.
    | Masked

/// Command lines of a verb, by the file that records them.
let private cases: (string * Numbers * string list) list =
    let register =
        "register --fixed fixed.nii.gz --moving moving.nii.gz --model model.safetensors"

    let plain = "register --fixed fixed.nii.gz --moving moving.nii.gz --model none"

    let apply =
        "apply --transform field.nii.gz --moving moving.nii.gz --reference fixed.nii.gz"

    let evaluate = "evaluate --model none --data data --split all --pairs 2"

    [
        "general",
        Close,
        [
            ""
            "--help"
            "--version"
            "--unknown"
            "regster --fixed a.nii"
            "register --fixd a.nii"
            "setup-training"
            "completions fish"
            for verb in
                [
                    "train"
                    "teach"
                    "register"
                    "cohort"
                    "bids"
                    "template"
                    "segment"
                    "evaluate"
                    "apply"
                    "apply-points"
                    "invert"
                    "compose"
                    "convert"
                    "jacobian"
                    "overlap"
                    "inspect"
                    "ship"
                    "doctor"
                    "validate"
                    "benchmark"
                    "app"
                    "setup-training"
                    "completions"
                ] do
                $"{verb} --help"
        ]
        "train",
        Masked,
        [
            "train tiny.json --output out --threads 1"
            "train tiny.json --output out --threads 1 --only teacher --page page.md --json"
        ]
        "train-refused",
        Close,
        [
            "train text.json"
            "train unknown-key.json --output out --json"
            "train tiny.json --set train.teacher.steps=many"
            "train tiny.json --output out --only nobody"
            "train tiny.json --output out --threads 0"
            "train tiny.json --output text.txt/out"
            "train tiny.json --set data.source={\"kind\":\"msd\",\"folder\":\"absent\"} --output out"
        ]
        "teach",
        Close,
        [
            "teach tiny.json --output store --set train.student.distillation.teacher=model.safetensors"
            "teach tiny.json --output store --set train.student.distillation.teacher=model.safetensors --json"
            "teach tiny.json --output store --training nobody"
            "teach tiny.json --output store --set train.student.distillation.teacher=nowhere.safetensors"
            "teach tiny.json"
        ]
        "register",
        Close,
        [
            $"{register} --moved out/moved.nii.gz"
            $"{register} --moved out/moved.nii.gz --transform out/field.nii.gz --inverse-transform out/inverse.h5 --labels moving-labels.nii.gz --moved-labels out/labels.nii.gz --fixed-labels fixed-labels.nii.gz --report out/page.html --json"
            $"{register} --moved out/moved.nii.gz --labels moving-labels.nii.gz --fixed-labels fixed-labels.nii.gz --refine 2 --diffeomorphic --jacobian-bounds 0.33 3"
            $"{register} --moved out/moved.nii.gz --engine torch --threads 1"
            $"{register} --moved out/moved.nii.gz --refine 2 --diffeomorphic --fixed-mask mask.nii.gz --json"
            "register --fixed fixed.nii.gz --moving moving.nii.gz --model voxelmorph --moved out/moved.nii.gz --verbose"
            $"{plain} --refine 0 --transform out/map.tfm --inverse-transform out/back.mat"
            $"{plain} --refine 2 --affine rigid --moved out/moved.mha --transform out/all.h5"
            $"{plain} --refine 2 --init field.nii.gz --moved out/moved.nrrd --report out/page.html"
            $"{plain} --budget 0.001 --affine map.tfm --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving fixed.nii.gz --model model.safetensors --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving noise.nii.gz --model none --refine 0 --affine none --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving noise.nii.gz --model none --refine 0 --affine none --moved out/moved.nii.gz --json"
        ]
        "register-refused",
        Close,
        [
            "register --fixed fixed.nii.gz --moving nowhere.nii.gz --model model.safetensors --moved out/moved.nii.gz"
            "register --fixed text.nii.gz --moving moving.nii.gz --model model.safetensors --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving cut.nii.gz --model model.safetensors --moved out/moved.nii.gz --json"
            "register --fixed fixed.nii.gz --moving moving.nii.gz --model spleen --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving moving.nii.gz --model text.txt --moved out/moved.nii.gz"
            "register --fixed fixed.nii.gz --moving moving.nii.gz --moved out/moved.nii.gz"
            "register --moving moving.nii.gz --model model.safetensors"
            "register --fixed fixed.nii.gz --moving moving.nii.gz --model voxelmorph --engine managed --moved out/moved.nii.gz"
            register
            $"{register} --moved out/moved.png"
            $"{register} --moved nowhere/moved.nii.gz"
            $"{register} --moved /proc/moved.nii.gz"
            $"{register} --moved fixed.nii.gz"
            $"{register} --moved out/a.nii.gz --transform out/a.nii.gz"
            $"{register} --transform out/field.txt"
            $"{register} --report out/page.pdf"
            $"{register} --moved out/moved.nii.gz --labels other.nii.gz --moved-labels out/labels.nii.gz"
            $"{register} --moved out/moved.nii.gz --labels moving.nii.gz --moved-labels out/labels.nii.gz"
            $"{register} --moved out/moved.nii.gz --moved-labels out/labels.nii.gz"
            $"{register} --moved out/moved.nii.gz --fixed-mask other.nii.gz"
            $"{register} --moved out/moved.nii.gz --init field.nii.gz"
            $"{register} --moved out/moved.nii.gz --affine field.nii.gz"
            $"{register} --moved out/moved.nii.gz --affine ful"
            $"{register} --moved out/moved.nii.gz --affine centres --init map.tfm"
            $"{register} --moved out/moved.nii.gz --engine managed --device cuda"
            $"{register} --moved out/moved.nii.gz --engine quick"
            $"{register} --moved out/moved.nii.gz --refine -1"
            $"{register} --moved out/moved.nii.gz --budget 0"
            $"{register} --moved out/moved.nii.gz --control-spacing 0"
            $"{register} --moved out/moved.nii.gz --log-jacobian -1"
            $"{register} --moved out/moved.nii.gz --jacobian-bounds 0.5 2"
            $"{register} --moved out/moved.nii.gz --diffeomorphic --jacobian-bounds 2 3"
            $"{register} --moved out/moved.nii.gz --volume 1"
        ]
        "cohort",
        Masked,
        [
            "cohort pairs.csv --output out/c --refine 0 --affine none --write moved,labels --jobs 1"
            "cohort data --template fixed.nii.gz --output out/c --refine 0 --affine none --write none --json --jobs 1"
            "cohort pairs.csv --output out/c --template fixed.nii.gz"
            "cohort pairs.csv"
            "cohort --output out/c"
            "cohort nowhere.csv --output out/c"
            "cohort text.txt --output out/c"
            "cohort data --output out/c"
            "cohort pairs.csv --output text.txt/c"
            "cohort pairs.csv --output out/c --shard 3/2"
            "cohort pairs.csv --output out/c --write moved,label"
            "cohort pairs.csv --output out/c --memory 0"
            "cohort pairs.csv --output out/c --fixed-mask mask.nii.gz"
            "cohort pairs.csv --output out/c --model spleen"
            "cohort data --template text.nii.gz --output out/c"
            "cohort --level group --output nowhere"
            "bids data out/b participant"
            "bids data out/b participant --template fixed.nii.gz"
            "bids data out/b somewhere"
        ]
        "template",
        Masked,
        [
            "template fixed.nii.gz"
            "template --output out/t"
            "template fixed.nii.gz --output out/t"
            "template nowhere.nii.gz fixed.nii.gz --output out/t"
            "template fixed.nii.gz moving.nii.gz --output out/t --rounds -1"
            "template fixed.nii.gz moving.nii.gz --output out/t --weights 1,0"
            "template fixed.nii.gz moving.nii.gz --output out/t --weights 1"
            "template fixed.nii.gz moving.nii.gz --output out/t --sharpen 3"
            "template fixed.nii.gz fixed.nii.gz --output out/t"
            "template fixed.nii.gz text.nii.gz --output out/t"
            "template pairs.csv --output out/t"
        ]
        "segment",
        Masked,
        [
            "segment --target fixed.nii.gz --output out/l.nii.gz"
            "segment --atlases data --target fixed.nii.gz --output out/l.txt"
            "segment --atlases data --target fixed.nii.gz --output out/l.nii.gz --nearest 0"
            "segment --atlases data --target fixed.nii.gz --output out/l.nii.gz --fusion best"
            "segment --atlases nowhere --target fixed.nii.gz --output out/l.nii.gz"
            "segment --atlases fixed.nii.gz --target fixed.nii.gz --output out/l.nii.gz"
            "segment --atlases data --target text.nii.gz --output out/l.nii.gz"
        ]
        "apply",
        Close,
        [
            $"{apply} --output out/moved.nii.gz"
            $"{apply} --output out/moved.mha --interpolation cubic --outside 0 --threads 1 --json"
            "apply -t list.h5 -t [map.tfm,inverse] --moving moving-labels.nii.gz --reference other.nii.gz -o out/labels.nii.gz --interpolation label"
            $"{apply} --output moving.nii.gz"
            $"{apply} --output nowhere/moved.nii.gz"
            $"{apply} --output out/moved.nii.gz --interpolation sharp"
            $"{apply} --output out/moved.nii.gz --volume 3"
            "apply --transform nowhere.nii.gz --moving moving.nii.gz --reference fixed.nii.gz --output out/m.nii.gz"
            "apply --transform moving.nii.gz --moving moving.nii.gz --reference fixed.nii.gz --output out/m.nii.gz"
            "apply --transform [map.tfm,backwards] --moving moving.nii.gz --reference fixed.nii.gz --output out/m.nii.gz"
            "apply --moving moving.nii.gz --reference fixed.nii.gz --output out/m.nii.gz"
        ]
        "apply-points",
        Close,
        [
            "apply-points --transform field.nii.gz --points points.csv --output out/points.csv"
            "apply-points --transform field.nii.gz --points points.csv --output out/points.csv --direction moving-to-fixed --json"
            "apply-points --transform map.tfm --points voxels.csv --output out/points.csv --fixed fixed.nii.gz --moving moving.nii.gz"
            "apply-points --transform map.tfm --points voxels.csv --output out/points.csv"
            "apply-points --transform map.tfm --points bare.csv --output out/points.csv"
            "apply-points --transform map.tfm --points bare.csv --frame lps --output out/points.csv"
            "apply-points --transform map.tfm --points points.csv --output points.csv"
            "apply-points --transform map.tfm --output out/points.csv"
            "apply-points --transform map.tfm --points points.csv --output out/points.csv --direction backwards"
        ]
        "transforms",
        Close,
        [
            "invert --transform field.nii.gz --output out/inverse.nii.gz"
            "invert --transform map.tfm --output out/inverse.txt --json"
            "invert --transform map.tfm --output out/inverse.nii.gz"
            "invert --transform map.tfm --output out/inverse.nii.gz --reference moving.nii.gz --json"
            "invert --transform field.nii.gz --output field.nii.gz"
            "compose --transform map.tfm --transform field.nii.gz --output out/both.nii.gz"
            "compose --transform field.nii.gz --transform map.tfm --output out/both.h5 --json"
            "compose --transform field.nii.gz --transform map.tfm --output out/both.tfm"
            "compose --output out/both.nii.gz"
            "convert --transform field.nii.gz --output out/field.mha"
            "convert --transform field.nii.gz --output out/disp.nii.gz --layout learn2reg --json"
            "convert --transform map.tfm --output out/map.mat"
            "convert --transform map.tfm --output out/map.png"
            "convert --transform fsl.mat --output out/map.tfm"
            "convert --transform field.nii.gz --output out/f.nii.gz --layout ants"
            "jacobian --transform field.nii.gz --output out/jacobian.nii.gz"
            "jacobian --transform list.h5 --output out/jacobian.nrrd --reference other.nii.gz --threads 1 --json"
            "jacobian --transform map.tfm --output out/jacobian.nii.gz"
            "jacobian --transform field.nii.gz --output out/jacobian.h5"
        ]
        "overlap",
        Close,
        [
            "overlap fixed-labels.nii.gz moving-labels.nii.gz"
            "overlap fixed-labels.nii.gz moving-labels.nii.gz --json"
            "overlap fixed-labels.nii.gz other.nii.gz"
            "overlap fixed-labels.nii.gz moving.nii.gz"
            "overlap fixed-labels.nii.gz"
        ]
        "evaluate",
        Close,
        [
            $"{evaluate} --refine 1 --output scores"
            $"{evaluate} --refine 0 --inverse --known-field --amplitude 1 --json"
            "evaluate --model model.safetensors --data data --split all --pairs 2"
            "evaluate --model model.safetensors --data tiny.json --split val --pairs 1 --engine torch --json"
            $"{evaluate} --refine 0 --verdict --output scores"
            $"{evaluate} --refine 0 --verdict --other noise.nii.gz --json"
            "evaluate --model none --data data"
            "evaluate --model model.safetensors --data data"
            "evaluate --model none --data nowhere"
            "evaluate --model none --data data --split tset"
            "evaluate --model none --data data --split all --pairs 0"
            "evaluate --model none --data data --split all --refine -2"
            "evaluate --model none --data data --split all --amplitude 3"
            "evaluate --model none --data data --split all --other noise.nii.gz"
            "evaluate --model none --data data --split all --known-field --noise 2"
            "evaluate --model none --data data --split all --output text.txt"
            "evaluate --data data"
        ]
        "inspect",
        Close,
        [
            "inspect fixed.nii.gz"
            "inspect fixed.nii.gz --json"
            "inspect field.nii.gz"
            "inspect field.nii.gz --json"
            "inspect field.mha"
            "inspect map.tfm"
            "inspect map.tfm --json"
            "inspect list.h5"
            "inspect list.h5 --json"
            "inspect model.safetensors"
            "inspect voxelmorph --json"
            "inspect text.txt"
            "inspect data"
            "inspect fixed.nii.gz moving.nii.gz"
        ]
        "inspect-run",
        Masked,
        [
            "inspect run"
            "inspect run --json"
            "inspect unfinished"
            "train tiny.json --output run"
            "train tiny.json --output run --resume --threads 1"
        ]
        "ship",
        Close,
        [
            "ship --model model.safetensors --output out/small.safetensors --note first --note second"
            "ship --model voxelmorph --output out/small.safetensors --json"
            "ship --model model.safetensors --output out/small.nii"
            "ship --model model.safetensors --output out/small.safetensors --verdict text.json"
            "ship --model model.safetensors --output out/small.safetensors --figures tiny.json"
            "ship --model model.safetensors"
            "ship --output out/small.safetensors"
        ]
        "doctor",
        Close,
        [
            "doctor data"
            "doctor data --json"
            "doctor bad-data"
            "doctor bad-data --json"
            "doctor tiny.json --set data.source.subjects=6"
            "doctor nowhere"
            "doctor fixed.nii.gz"
        ]
        "validate",
        Close,
        [
            "validate tiny.json"
            "validate tiny.json --json"
            "validate tiny.json --set train.0.steps=7 --set train.student.distillation.teacher=absent.safetensors"
            "validate tiny.json --set data.source={\"kind\":\"msd\",\"folder\":\"absent\"}"
            "validate unknown-key.json"
            "validate nowhere.json"
            "validate data/dataset.json"
        ]
        "benchmark",
        Masked,
        [
            "benchmark --size 16 --rounds 1 --threads 1 --network ldr-half"
            "benchmark --size 16x24x16 --rounds 1 --threads 1 --model model.safetensors --json"
        ]
        "benchmark-refused",
        Close,
        [ "benchmark --size 4"; "benchmark --rounds 0"; "benchmark --against elastix" ]
    ]

let private anatomy =
    {
        Size = 20, 24, 16
        Subjects = 4
        Structures = 3
        Deformation = 1.0
        Noise = 0.02
        Seed = 1
    }

let private tiny =
    """{
  "name": "tiny",
  "seed": 1,
  "data": {
    "source": { "kind": "synthetic", "size": [16, 16, 16], "subjects": 9, "structures": 3 },
    "split": { "train": 4, "validation": 2, "test": 3 },
    "size": [16, 16, 16]
  },
  "train": [
    {
      "name": "teacher",
      "architecture": { "kind": "ldr-half", "encoder": [4, 4, 8, 8], "decoder": [8, 4, 4] },
      "steps": 2,
      "validate_every": 1,
      "checkpoint_every": 1
    },
    {
      "name": "student",
      "architecture": { "kind": "ldr-half", "encoder": [4, 4, 8, 8], "decoder": [8, 4, 4] },
      "steps": 2,
      "distillation": { "teacher": "teacher", "discriminator": { "widths": [4, 8], "full_size": false } },
      "validate_every": 2,
      "checkpoint_every": 2
    }
  ],
  "evaluation": { "pairs": 2, "validation_pairs": 1 }
}
"""

let private writeVoxelMorph (path: string) =
    let architecture = Architecture.Single Stage.VoxelMorph
    use network = Network.create (Seed.ofInt 1) architecture

    ModelFile.write
        path
        {
            Network = network
            Card = ModelCard.untrained architecture
        }

/// Scans, label maps, transforms, points, data sets and experiments, good and bad.
let private writeScene (folder: string) =
    let subject = Anatomy.subject anatomy
    let fixedScan, fixedLabels = subject 0
    let movingScan, movingLabels = subject 1
    let grid = fixedScan.Grid

    let image name (volume: Volume) =
        ImageFile.Write(folder </> name, volume)

    let labelMap name (volume: Volume) =
        image name (Volume(volume.Grid, volume.Values, VoxelType.UInt8))

    image "fixed.nii.gz" fixedScan
    image "moving.nii.gz" movingScan
    labelMap "fixed-labels.nii.gz" fixedLabels
    labelMap "moving-labels.nii.gz" movingLabels
    image "noise.nii.gz" (randomVolume (Random 1) grid)
    image "other.nii.gz" (Volume(gridOf 10 12 9, Array.init 1080 (fun i -> float32 (i % 3))))

    labelMap
        "mask.nii.gz"
        (Volume(grid, fixedScan.Values |> Array.map (fun v -> if v > 0.0f then 1.0f else 0.0f)))

    let field =
        let count = int grid.Count

        DisplacementField(
            grid,
            Array.init (3 * count) (fun i ->
                let at = i % count
                let x, y = at % grid.Nx, at / grid.Nx % grid.Ny
                float32 (sin (0.3 * float x + float (i / count)) * cos (0.25 * float y)))
        )

    let map =
        Affine.FromRows(1.0, 0.05, 0.0, 1.5, -0.05, 1.0, 0.0, -1.0, 0.0, 0.0, 1.02, 0.5)

    TransformFile.WriteField(folder </> "field.nii.gz", field)
    TransformFile.WriteField(folder </> "field.mha", field)
    TransformFile.WriteAffine(folder </> "map.tfm", map)

    Transform.Compose(Transform.Linear map, Transform.Dense field)
    |> TransformStore.write None false (folder </> "list.h5")

    let text (name: string) (content: string) =
        File.WriteAllText(folder </> name, content)

    text "fsl.mat" "1 0 0 1\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
    text "points.csv" "x_ras,y_ras,z_ras\n4,5,6\n10,12,8\n"
    text "voxels.csv" "x_voxel,y_voxel,z_voxel\n4,5,6\n10,12,8\n"
    text "bare.csv" "x,y,z\n4,5,6\n"

    text
        "pairs.csv"
        "id,fixed,moving,labels,fixed_labels,age\nnear,fixed.nii.gz,moving.nii.gz,moving-labels.nii.gz,fixed-labels.nii.gz,40\nbad,fixed.nii.gz,text.nii.gz,,,50\nfar,fixed.nii.gz,noise.nii.gz,,,60\n"

    text "text.txt" "This is a note.\n"
    text "text.nii.gz" "This is a note, not a scan.\n"
    text "text.json" "{ \"name\": \"text\", }\n"
    let whole = File.ReadAllBytes(folder </> "moving.nii.gz")
    File.WriteAllBytes(folder </> "cut.nii.gz", whole[.. whole.Length / 2])
    text "tiny.json" tiny
    text "unknown-key.json" (tiny.Replace("\"split\"", "\"spilt\"").Replace("\"steps\": 2", "\"steps\": 0"))
    writeModel (folder </> "model.safetensors")
    Directory.CreateDirectory(folder </> "out") |> ignore

    for data, count in [ "data", 3; "bad-data", 2 ] do
        Directory.CreateDirectory(folder </> data) |> ignore

        for i in 0 .. count - 1 do
            let scan, labels = subject i
            image (data </> $"s{i}.nii.gz") scan
            labelMap (data </> $"l{i}.nii.gz") labels

        [ for i in 0..2 -> $"""{{"image": "s{i}.nii.gz", "label": "l{i}.nii.gz"}}""" ]
        |> String.concat ", "
        |> fun entries -> text (data </> "dataset.json") $"""{{"name": "Small", "training": [{entries}]}}"""

let rec private copy (source: string) (target: string) =
    Directory.CreateDirectory target |> ignore

    for file in Directory.GetFiles source do
        File.Copy(file, target </> string (Path.GetFileName file))

    for folder in Directory.GetDirectories source do
        copy folder (target </> string (Path.GetFileName folder))

/// Runs ldr-fs in a folder, with a folder of models of its own.
let private runIn (folder: string) (models: string) (arguments: string list) =
    let info =
        ProcessStartInfo(
            "dotnet",
            program :: arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = folder
        )

    info.Environment["LDR_MODELS"] <- models
    info.Environment["LDR_DATA"] <- "shelf"
    use running = Process.Start info |> nonNull
    let output = running.StandardOutput.ReadToEndAsync()
    let errors = running.StandardError.ReadToEndAsync()
    running.WaitForExit()
    running.ExitCode, output.Result, errors.Result

let private replace (pattern: string) (replacement: string) (text: string) =
    Regex.Replace(text, pattern, replacement, RegexOptions.Multiline)

/// What differs from run to run, or from machine to machine.
let private normalise (root: string) (folder: string) (numbers: Numbers) (text: string) =
    text.Replace(folder, "FOLDER").Replace(root, "ROOT").Replace(Repository.root, "REPOSITORY")
    // The width of the terminal wraps the help.
    |> replace @"\n {9,}(?=\S)" " "
    |> replace @"[0-9a-f]{32,}" "DIGEST"
    |> replace @"\d+ ms\b" "# ms"
    // The last column of a table of scores.
    |> replace @"\| +\d+ \|$" "| # |"
    |> replace @"(""(\w*milliseconds|peak_mb)""):[-\d.E+]+" "$1:#"
    |> replace @"""milliseconds"":\{[^}]*\}" @"""milliseconds"":#"
    // Steps, speeds and the share of each part of a training.
    |> replace @" steps in \d.*$" " steps in TIME"
    |> match numbers with
       | Close -> id
       | Masked ->
           replace @"(?<![\w.-])-?\d+(\.\d+)?([eE][-+]?\d+)?(?!\w)" "#"
           // Tables are padded to their numbers.
           >> replace @" {2,}" " "
           >> replace @"-{2,}" "--"

/// The names of the files of a folder, and whether each is another one than in the scene.
let private written (scene: string) (folder: string) =
    [
        for file in Directory.GetFiles(folder, "*", SearchOption.AllDirectories) |> Array.sort do
            let name = Path.GetRelativePath(folder, file)
            let before = scene </> name

            if not (File.Exists before) then
                $"wrote {name}"
            elif File.ReadAllBytes before <> File.ReadAllBytes file then
                $"changed {name}"
    ]

/// One case as it is recorded.
let private record (root: string) (numbers: Numbers) (at: int) (line: string) : string list =
    let scene = root </> "scene"
    let folder = root </> $"case-{at}"
    copy scene folder

    try
        let arguments = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
        let code, output, errors = runIn folder (root </> "models") (List.ofArray arguments)

        let lines (mark: string) (text: string) =
            match (normalise root folder numbers text).TrimEnd('\n') with
            | "" -> []
            | text ->
                text.Split '\n'
                |> Array.map (fun line -> $"{mark} {line}".TrimEnd())
                |> List.ofArray

        $"$ ldr-fs {line}".TrimEnd() :: $"exit {code}" :: lines "1>" output
        @ lines "2>" errors
        @ written scene folder
        @ [ "" ]
    finally
        Directory.Delete(folder, true)

let private number = Regex @"(?<![\w.])-?\d+(\.\d+)?([eE][-+]?\d+)?(?!\w)"

/// Whether two lines are the same, but for the last digits of numbers.
let private same (expected: string) (actual: string) =
    expected = actual
    || number.Replace(expected, "#") = number.Replace(actual, "#")
       && Seq.forall2
           (fun (a: Match) (b: Match) ->
               let a = Double.Parse(a.Value, CultureInfo.InvariantCulture)
               let b = Double.Parse(b.Value, CultureInfo.InvariantCulture)
               abs (a - b) <= 0.011 + 0.01 * abs a)
           (number.Matches expected)
           (number.Matches actual)

/// Around the first character that differs.
let private excerpt (expected: string) (actual: string) =
    let at =
        Seq.zip expected actual |> Seq.takeWhile (fun (a, b) -> a = b) |> Seq.length

    let from = max 0 (at - 60)

    let around (line: string) =
        line.Substring(min from line.Length, min 160 (max 0 (line.Length - from)))

    $"recorded: {around expected}\nnow:      {around actual}"

let private goldenFolder = Path.Combine(__SOURCE_DIRECTORY__, "golden")

let private compare (name: string) (actual: string list) =
    let file = goldenFolder </> $"{name}.txt"

    if Environment.GetEnvironmentVariable "LDR_GOLDEN" = "write" then
        File.WriteAllLines(file, actual)
    else
        let expected = File.ReadAllLines file |> List.ofArray
        let length = max expected.Length actual.Length

        let padded lines =
            lines @ List.replicate (length - List.length lines) "(nothing)"

        List.zip (padded expected) (padded actual)
        |> List.indexed
        |> List.tryFind (fun (_, (a, b)) -> not (same a b))
        |> Option.iter (fun (at, (a, b)) ->
            let command =
                List.truncate (at + 1) actual
                |> List.tryFindBack _.StartsWith("$ ")
                |> Option.defaultValue "(no command)"

            failtest
                $"golden/{name}.txt, line {at + 1}, of {command}\n{excerpt a b}\nLDR_GOLDEN=write renews the files")

/// docs/reference/options.md: the help of every verb.
let private optionsPage () : string list =
    [
        "# Options of every verb"
        ""
        "The text of `./ldr-fs VERB --help`. The [command line](command-line.md) tells what all verbs have in common."
        "The program makes this page: `LDR_GOLDEN=write ./test --filter ldr/cli/golden` renews it."
        for verb in Program.verbGroups |> List.collect snd do
            ""
            $"## {verb}"
            ""
            "```text"
            yield! (Program.helpOf verb).TrimEnd().Split '\n'
            "```"
    ]

/// Processes at a time.
let private together = min 2 Environment.ProcessorCount

let tests =
    testList
        "golden outputs"
        [
            test "docs/reference/options.md has the help of every verb" {
                let file = Repository.root </> "docs" </> "reference" </> "options.md"
                let page = optionsPage ()

                if Environment.GetEnvironmentVariable "LDR_GOLDEN" = "write" then
                    File.WriteAllLines(file, page)

                Expect.sequenceEqual
                    (File.ReadAllLines file)
                    page
                    "the page; LDR_GOLDEN=write ./test --filter ldr/cli/golden renews it"

                let table =
                    File.ReadAllText(Repository.root </> "docs" </> "reference" </> "command-line.md")

                for verb in Program.verbGroups |> List.collect snd do
                    Expect.stringContains table $"[`{verb}`](options.md#{verb})" "the table of verbs"
            }

            testInFolder "every verb says what it said before" (fun root ->
                let scene = root </> "scene"
                Directory.CreateDirectory scene |> ignore
                Directory.CreateDirectory(root </> "models") |> ignore
                writeVoxelMorph (root </> "models" </> "voxelmorph.safetensors")
                writeScene scene

                let code, _, errors =
                    runIn scene root [ "train"; "tiny.json"; "--output"; "run"; "--threads"; "1" ]

                Expect.equal code 0 errors
                copy (scene </> "run") (scene </> "unfinished")
                File.Delete(scene </> "unfinished" </> "model.safetensors")
                File.Delete(scene </> "unfinished" </> "scores" </> "student.json")
                File.Delete(scene </> "unfinished" </> "models" </> "student.safetensors")

                let all =
                    [|
                        for file, numbers, lines in cases do
                            for line in lines -> file, numbers, line
                    |]

                let recorded = Array.create all.Length []

                Threading.Tasks.Parallel.For(
                    0,
                    all.Length,
                    Threading.Tasks.ParallelOptions(MaxDegreeOfParallelism = together),
                    fun i ->
                        let _, numbers, line = all[i]
                        recorded[i] <- record root numbers i line
                )
                |> ignore

                Array.zip all recorded
                |> Array.groupBy (fun ((file, _, _), _) -> file)
                |> Array.iter (fun (file, lines) -> compare file (lines |> Array.map snd |> List.concat)))
        ]
