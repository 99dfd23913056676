/// The doctor: defects planted in small data sets, and true reports on the real ones.
module Ldr.Core.Tests.DoctorTests

open System
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit
open Ldr.TestKit.Helpers

let private anatomy =
    {
        Size = 16, 18, 16
        Subjects = 6
        Structures = 3
        Deformation = 0.5
        Noise = 0.02
        Seed = 4
    }

let private subjects = lazy [| for i in 0..5 -> Anatomy.subject anatomy i |]

let private image (folder: string) (i: int) = folder </> $"imagesTr/case_{i}.nii"
let private labels (folder: string) (i: int) = folder </> $"labelsTr/case_{i}.nii"

let private describe (folder: string) (training: int list) (more: string) =
    let entries =
        training
        |> List.map (fun i ->
            $"""{{"image": "./imagesTr/case_{i}.nii", "label": "./labelsTr/case_{i}.nii"}}""")
        |> String.concat ", "

    File.WriteAllText(
        folder </> "dataset.json",
        $"""{{"name": "Small", "licence": "none", "labels": {{"0": "background", "1": "one", "2": "two", "3": "three"}}, "training": [{entries}]{more}}}"""
    )

/// A good data set of six subjects.
let private scene (folder: string) =
    for part in [ "imagesTr"; "labelsTr" ] do
        Directory.CreateDirectory(folder </> part) |> ignore

    for i in 0..5 do
        let scan, map = subjects.Value[i]
        Nifti.Write(image folder i, scan)
        Nifti.Write(labels folder i, map, VoxelType.UInt8)

    describe folder [ 0..5 ] ""

let private examine (folder: string) =
    Inventory.ofFolder folder
    |> Error.orRaise
    |> Examination.run Threading.CancellationToken.None (fun _ _ -> ())

let private change (path: string) (f: Volume -> float32[]) =
    let volume = Nifti.Read path
    Nifti.Write(path, Volume(volume.Grid, f volume), VoxelType.Float32)

let private withGrid (path: string) (map: Affine) =
    let volume = Nifti.Read path
    let grid = volume.Grid
    Nifti.Write(path, Volume(Grid(grid.Nx, grid.Ny, grid.Nz, map), volume.Values, volume.StoredAs))

let private patch (path: string) (offset: int) (bytes: byte[]) =
    let all = File.ReadAllBytes path
    Array.blit bytes 0 all offset bytes.Length
    File.WriteAllBytes(path, all)

/// What is planted: the kind of finding that must tell it, how severe, at which subject, and how it is done.
let private defects: (string * string * Severity * string * (string -> unit)) list =
    [
        "a missing file", "missing-file", Spoils, "case_2", (fun f -> File.Delete(image f 2))

        "a missing label file", "missing-file", Spoils, "case_2", (fun f -> File.Delete(labels f 2))

        "a truncated file",
        "unreadable",
        Spoils,
        "case_2",
        (fun f ->
            let bytes = File.ReadAllBytes(image f 2)
            File.WriteAllBytes(image f 2, bytes[.. bytes.Length / 2]))

        "a corrupt header",
        "unreadable",
        Spoils,
        "case_2",
        (fun f -> patch (image f 2) 0 [| 7uy; 7uy; 7uy; 7uy |])

        "a text instead of a scan",
        "unreadable",
        Spoils,
        "case_2",
        (fun f -> File.WriteAllText(image f 2, "This is a note."))

        "two volumes",
        "several-volumes",
        Spoils,
        "case_2",
        (fun f ->
            let bytes = File.ReadAllBytes(image f 2)
            File.WriteAllBytes(image f 2, Array.append bytes bytes[352..])
            patch (image f 2) 40 [| 4uy |]
            patch (image f 2) 48 [| 2uy |])

        "a displacement field as a scan",
        "displacement-field",
        Spoils,
        "case_2",
        (fun f -> Nifti.WriteField(image f 2, DisplacementField.Zero (fst subjects.Value[2]).Grid))

        "NaN in a corner",
        "not-finite",
        Doubtful,
        "case_2",
        (fun f -> change (image f 2) (fun v -> v.Values |> Array.mapi (fun i x -> if i < 9 then nanf else x)))

        "mostly NaN",
        "not-finite",
        Spoils,
        "case_2",
        (fun f ->
            change (image f 2) (fun v -> v.Values |> Array.mapi (fun i x -> if i > 99 then infinityf else x)))

        "a constant scan",
        "constant",
        Spoils,
        "case_2",
        (fun f -> change (image f 2) (fun v -> Array.create v.Values.Length 3.0f))

        "a scan as label map",
        "no-label-map",
        Spoils,
        "case_2",
        (fun f -> File.Copy(image f 2, labels f 2, true))

        "a scan of whole numbers as label map",
        "no-label-map",
        Spoils,
        "case_2",
        (fun f ->
            let scan = Nifti.Read(image f 2)

            Nifti.Write(
                labels f 2,
                Volume(scan.Grid, scan.Values |> Array.map (fun v -> 100.0f + round (150.0f * v))),
                VoxelType.UInt8
            ))

        "an interpolated label map",
        "no-label-map",
        Spoils,
        "case_2",
        (fun f ->
            change (labels f 2) (fun v ->
                v.Values |> Array.mapi (fun i x -> if i % 50 = 0 then x + 0.5f else x)))

        "an empty label map",
        "empty-labels",
        Spoils,
        "case_2",
        (fun f -> change (labels f 2) (fun v -> Array.zeroCreate v.Values.Length))

        "a label without a name",
        "unnamed-label",
        Doubtful,
        "case_2",
        (fun f ->
            change (labels f 2) (fun v -> v.Values |> Array.map (fun x -> if x = 3.0f then 9.0f else x)))

        "a label that one subject lacks",
        "missing-label",
        Doubtful,
        "case_2",
        (fun f ->
            change (labels f 2) (fun v -> v.Values |> Array.map (fun x -> if x = 3.0f then 0.0f else x)))

        "a label of another size",
        "label-volume",
        Doubtful,
        "case_2",
        (fun f ->
            let mutable seen = 0

            change (labels f 2) (fun v ->
                v.Values
                |> Array.map (fun x ->
                    if x = 3.0f then
                        seen <- seen + 1

                    if x = 3.0f && seen > 2 then 0.0f else x)))

        "a label map on another grid",
        "other-grid",
        Spoils,
        "case_2",
        (fun f -> withGrid (labels f 2) (Affine.Translation(5.0, 0.0, 0.0)))

        "a label map of another size",
        "other-grid",
        Spoils,
        "case_2",
        (fun f ->
            let grid = gridOf 8 8 8
            Nifti.Write(labels f 2, Volume(grid, Array.init 512 (fun i -> float32 (i / 256 + 1)))))

        "sform and qform that clash",
        "sform-qform",
        Doubtful,
        "case_2",
        // The first qoffset becomes 100 mm.
        (fun f -> patch (image f 2) 268 (BitConverter.GetBytes 100.0f))

        "voxels in metres",
        "spacing",
        Spoils,
        "case_2",
        (fun f -> withGrid (image f 2) (Affine.Scaling(1000.0, 1000.0, 1000.0)))

        "voxels of a micrometre",
        "spacing",
        Spoils,
        "case_2",
        (fun f -> withGrid (image f 2) (Affine.Scaling(0.001, 0.001, 0.001)))

        "thick slices",
        "thick-slices",
        Doubtful,
        "case_2",
        (fun f -> withGrid (image f 2) (Affine.Scaling(1.0, 1.0, 10.0)))

        "voxels five times as wide",
        "outlier-spacing",
        Doubtful,
        "case_2",
        (fun f -> withGrid (image f 2) (Affine.Scaling(5.0, 5.0, 5.0)))

        "a scan of a tenth the size",
        "outlier-size",
        Doubtful,
        "case_2",
        (fun f -> Nifti.Write(image f 2, randomVolume (Random 1) (gridOf 6 6 6)))

        "another orientation",
        "orientations",
        Remark,
        "",
        (fun f -> withGrid (image f 2) (Affine.Scaling(-1.0, 1.0, 1.0)))

        "another number type",
        "types",
        Remark,
        "",
        (fun f -> Nifti.Write(image f 2, Nifti.Read(image f 2), VoxelType.Float64))

        "another intensity scale",
        "intensity-scales",
        Remark,
        "",
        (fun f -> change (image f 2) (fun v -> v.Values |> Array.map ((*) 1000.0f)))

        "the same scan twice",
        "duplicate",
        Doubtful,
        "case_1, case_2",
        (fun f ->
            File.Copy(image f 1, image f 2, true)
            File.Copy(labels f 1, labels f 2, true))

        "a training scan among the test scans, written anew",
        "duplicate",
        Spoils,
        "case_1, held",
        (fun f ->
            Directory.CreateDirectory(f </> "imagesTs") |> ignore
            Nifti.Write(f </> "imagesTs/held.nii.gz", Nifti.Read(image f 1))
            describe f [ 0..5 ] """, "test": ["./imagesTs/held.nii.gz"]""")

        "another subject's label map",
        "same-labels",
        Doubtful,
        "case_1, case_2",
        (fun f -> File.Copy(labels f 1, labels f 2, true))

        "image and label exchanged",
        "label-map-as-scan",
        Doubtful,
        "case_2",
        (fun f ->
            File.Move(image f 2, f </> "kept.nii")
            File.Move(labels f 2, image f 2)
            File.Move(f </> "kept.nii", labels f 2))

        "a subject without label map",
        "no-labels",
        Spoils,
        "case_2",
        (fun f ->
            let text = File.ReadAllText(f </> "dataset.json")

            File.WriteAllText(
                f </> "dataset.json",
                text.Replace(""", "label": "./labelsTr/case_2.nii" """.Trim(), "")
            ))

        "a wrong count", "count", Doubtful, "", (fun f -> describe f [ 0..5 ] """, "numTraining": 9""")

        "a scan that is not listed", "unlisted", Remark, "", (fun f -> describe f [ 0..4 ] "")

        "too few subjects", "few-subjects", Spoils, "", (fun f -> describe f [ 0 ] "")
    ]

/// What nibabel finds in the images of a folder: sizes, spacings, orientations, ranges, labels.
let private nibabel =
    """
import sys, glob, nibabel as nib, numpy as np
for path in sorted(glob.glob(sys.argv[1] + '/**/*.nii.gz', recursive=True)):
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    print(path.split('/')[-2] + '/' + path.split('/')[-1], *values.shape, *['%.3f' % z for z in image.header.get_zooms()[:3]],
        ''.join(nib.aff2axcodes(image.affine)), '%.6g' % values.min(), '%.6g' % values.max(), sep='|')
"""

let private row (path: string) (facts: ScanFacts) =
    let struct (x, y, z) = facts.Grid.Spacing

    let f3 (v: float) =
        v.ToString("F3", Globalization.CultureInfo.InvariantCulture)

    let shortest (v: float) =
        v.ToString("G6", Globalization.CultureInfo.InvariantCulture).Replace("E+0", "e+0")

    String.concat
        "|"
        [
            Path.GetFileName(Path.GetDirectoryName path) + "/" + Path.GetFileName path
            string facts.Grid.Nx
            string facts.Grid.Ny
            string facts.Grid.Nz
            f3 x
            f3 y
            f3 z
            facts.Grid.Orientation
            shortest facts.Low
            shortest facts.High
        ]

let private realData (name: string) (check: Diagnosis -> unit) =
    test $"{name}: nothing would spoil a training, and nibabel says the same of every file" {
        let folder = Repository.needData name
        let found = examine folder
        Expect.isFalse (Examination.spoils found) $"{found.Findings |> List.truncate 5}"

        let ours =
            [
                for e in found.Examined do
                    for source, facts in
                        (e.Case.Image, Some e.Image)
                        :: [ for l in Option.toList e.Case.Labels -> l, e.Labels ] do
                        match source, facts with
                        | ScanFile path, Some(Ok facts) -> row path facts
                        | _ -> ()
            ]

        if not (Directory.GetFiles(folder, "*.mha").Length > 0) then
            let theirs =
                (python nibabel [ folder ]).Split('\n', StringSplitOptions.RemoveEmptyEntries)

            Expect.equal (List.sort ours) (theirs |> List.ofArray |> List.sort) "every file"

        check found
    }

let private kinds (diagnosis: Diagnosis) =
    diagnosis.Findings |> List.map _.Kind |> List.distinct |> List.sort

let tests =
    testList
        "doctor"
        [
            testInFolder "nothing is found in a good data set" (fun folder ->
                scene folder
                Expect.equal (examine folder).Findings [] "findings")

            for name, kind, severity, where, plant in defects do
                testInFolder $"finds {name}" (fun folder ->
                    scene folder
                    plant folder
                    let found = examine folder

                    let told =
                        found.Findings
                        |> List.exists (fun f ->
                            f.Kind = kind
                            && f.Severity = severity
                            && f.Where.StartsWith(where, StringComparison.Ordinal))

                    Expect.isTrue told $"{kind} in {found.Findings}"
                    // Whatever is found, it can be said.
                    let text = DoctorReport.toText found
                    let words = found.Findings |> List.find (fun f -> f.Kind = kind)
                    Expect.stringContains text words.Action "the text says what is done"

                    Expect.equal
                        (Examination.spoils found)
                        ((DoctorReport.toJson found)["spoils"] |> nonNull |> _.GetValue<int>() > 0)
                        "JSON and exit code say the same"

                    if severity = Spoils then
                        Expect.isTrue (Examination.spoils found) "it spoils training")

            testInFolder
                "a plain folder: label maps and scans are told apart, damaged ones reported"
                (fun folder ->
                    let scan, map = subjects.Value[0]
                    Nifti.Write(folder </> "scan.nii.gz", scan)
                    MetaImage.Write(folder </> "regions.mha", map)
                    File.WriteAllText(folder </> "broken.nrrd", "NRRD0004\n")
                    let found = examine folder
                    Expect.isTrue (Examination.spoils found) "the broken file"
                    let text = DoctorReport.toText found
                    Expect.stringContains text "3 labels, on the grid of scan.nii.gz" "the label map"
                    Expect.stringContains text "1 scans, 1 label maps, 1 that cannot be used" "counts")

            testInFolder
                "subjects that an experiment puts into two parts are looked at as such"
                (fun folder ->
                    scene folder
                    File.Copy(image folder 0, image folder 1, true)

                    let parts seed =
                        Inventory.ofOptions
                            "experiment.json"
                            {
                                Source = Msd ""
                                Root = folder
                                People = None
                                Split =
                                    Cut
                                        {
                                            Train = 2
                                            Validation = 2
                                            Test = 2
                                            Seed = seed
                                        }
                                Size = 16, 16, 16
                                Spacing = 1.0, 1.0, 1.0
                                Intensity = IntensityRule.Window(50.0, 60.0)
                                Alignment = Alignment.World
                                IgnoredLabels = []
                            }
                        |> Error.orRaise

                    // A seed that parts the two.
                    let inventory =
                        Seq.initInfinite parts
                        |> Seq.find (fun i ->
                            let part name =
                                (i.Cases |> List.find (fun c -> c.Name = name)).Part

                            part "case_0" <> part "case_1")

                    let found =
                        inventory |> Examination.run Threading.CancellationToken.None (fun _ _ -> ())

                    let spoiling =
                        found.Findings |> List.filter (fun f -> f.Severity = Spoils) |> List.map _.Kind

                    Expect.contains spoiling "duplicate" "across the split"
                    Expect.contains spoiling "window" "the window misses every scan"
                    Expect.contains (kinds found) "cropped" "the training grid is smaller")

            realData "Task04_Hippocampus" (fun found ->
                Expect.equal found.Examined.Length 200 "subjects"
                Expect.equal (kinds found) [ "intensity-scales"; "twins"; "types" ] "findings"
                let twins = found.Findings |> List.filter (fun f -> f.Kind = "twins")
                Expect.equal (twins |> List.map _.Severity) [ Doubtful ] "a random split may tear them"
                Expect.stringContains (string twins.Head) "data.people" "what would be right")
            realData "Brain_IXI" (fun found ->
                Expect.equal found.Examined.Length 145 "subjects"
                Expect.equal (kinds found) [ "label-names"; "label-volume"; "missing-label" ] "findings")
            for name, scans, maps in
                [
                    "Lung_CT", 2, 2
                    "CT_torso", 1, 1
                    "Templates", 3, 1
                    "Brain_VoxelMorph", 1, 1
                ] do
                realData name (fun found ->
                    let isMap (e: Examined) =
                        match e.Image with
                        | Ok facts -> Examination.looksLikeLabels facts
                        | Error _ -> false

                    let found = found.Examined |> List.countBy isMap |> List.sort
                    Expect.equal found [ false, scans; true, maps ] "scans and label maps")
        ]
