module Ldr.Core.Tests.DataFormTests

open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// A folder with small scans at the given paths and texts in the given files, for one use.
let private inFolder (scans: string list) (texts: (string * string) list) (action: string -> unit) =
    let folder = Directory.CreateTempSubdirectory("ldr-forms-").FullName
    let full (path: string) = Path.Combine(folder, path)

    let write (path: string) make =
        Directory.CreateDirectory(string (Path.GetDirectoryName(full path))) |> ignore
        make (full path)

    try
        let grid =
            Grid(4, 5, 6, Affine.FromRows [| 2.0; 0.0; 0.0; 10.0; 0.0; 2.0; 0.0; 0.0; 0.0; 0.0; 2.0; 0.0 |])

        for index, path in List.indexed scans do
            write path (fun p -> Nifti.Write(p, Volume(grid, Array.create 120 (float32 index))))

        for path, text in texts do
            write path (fun p -> File.WriteAllText(p, text))

        action folder
    finally
        Directory.Delete(folder, true)

let private load (root: string) (source: string) =
    Codec.ofText
        "x"
        DataOptions.codec
        $$"""{"source": {{source}}, "root": {{System.Text.Json.JsonSerializer.Serialize root}},
              "split": {"train": 2, "validation": 2, "test": 2}, "size": [16, 16, 16]}"""
    |> Result.bind Dataset.load

let private good result =
    match result with
    | Ok(value: Dataset) -> value
    | Error e -> failtestf "%A" (Error.lines e)

let private fails result (part: string) =
    match result with
    | Ok(_: Dataset) -> failtest "accepted"
    | Error e ->
        Expect.hasLength (Error.lines e) 1 "one line"
        Expect.stringContains (Error.lines e).Head part "message"

let private valueOf (stored: Stored<Volume>) = stored.Read().Values[0]

let tests =
    testList
        "data forms"
        [
            test "nnU-Net: a channel of every case, with labels where there are any" {
                inFolder
                    [
                        "d/imagesTr/a_0000.nii.gz"
                        "d/imagesTr/a_0001.nii.gz"
                        "d/imagesTr/b_0001.nii.gz"
                        "d/labelsTr/a.nii.gz"
                    ]
                    [
                        "d/dataset.json",
                        """{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "liver": 1},
                            "numTraining": 2, "file_ending": ".nii.gz"}"""
                    ]
                    (fun root ->
                        let dataset = good (load root """{"kind": "nnunet", "folder": "d", "channel": 1}""")
                        Expect.equal (dataset.Subjects |> List.map _.Name) [ "a"; "b" ] "names"
                        Expect.equal (valueOf dataset.Subjects[1].Image) 2.0f "channel 1 of b"
                        Expect.equal (valueOf dataset.Subjects[0].Labels.Value) 3.0f "labels of a"
                        Expect.isNone dataset.Subjects[1].Labels "b has none"
                        Expect.equal dataset.LabelNames (Map [ 1, "liver" ]) "labels"

                        fails
                            (load root """{"kind": "nnunet", "folder": "d", "channel": 2}""")
                            "_0002.nii.gz")
            }
            test "Learn2Reg: pairs, masks, and points listed as .nii.gz that are .csv" {
                let name i j = $"NLST_000{i}_000{j}"

                let scans =
                    [
                        for i in 1..2 do
                            for j in 0..1 -> name i j
                    ]

                let entry n =
                    $$"""{"image": "./imagesTr/{{n}}.nii.gz", "mask": "./masksTr/{{n}}.nii.gz",
                          "keypoints": "./keypointsTr/{{n}}.nii.gz"}"""

                let pair i =
                    $$"""{"fixed": "./imagesTr/{{name i 0}}.nii.gz", "moving": "./imagesTr/{{name i 1}}.nii.gz"}"""

                inFolder
                    [
                        for n in scans do
                            $"imagesTr/{n}.nii.gz"
                            $"masksTr/{n}.nii.gz"
                    ]
                    [
                        "NLST_dataset.json",
                        $$"""{"name": "NLST", "training": [{{String.concat "," (List.map entry scans)}}],
                              "training_paired_images": [{{pair 1}}, {{pair 2}}], "registration_val": [{{pair 2}}]}"""
                        "bad_dataset.json",
                        $$"""{"training": [{{entry (name 1 0)}}], "registration_val": [{{pair 1}}]}"""
                        for n in scans do
                            $"keypointsTr/{n}.csv", "1,2,3\n0,0,1.5\n"
                    ]
                    (fun root ->
                        let dataset =
                            good (load root """{"kind": "learn2reg", "file": "NLST_dataset.json"}""")

                        let first = dataset.Subjects.Head
                        Expect.equal first.Person "NLST_0001" "person"

                        Expect.equal
                            (first.Points.Value.Read())
                            [| Some(12.0, 4.0, 6.0); Some(10.0, 0.0, 3.0) |]
                            "voxels to millimetres"

                        Expect.equal (valueOf first.Mask.Value) 1.0f "mask"

                        let pairings = dataset.Parts |> List.map (fun p -> p.Name, p.Shares.Head.Pairing)

                        Expect.equal
                            pairings
                            [
                                "training", Listed [ name 1 0, name 1 1 ]
                                "validation", Listed [ name 2 0, name 2 1 ]
                            ]
                            "validation pairs are not trained on"

                        fails
                            (load root """{"kind": "learn2reg", "file": "bad_dataset.json"}""")
                            "$.registration_val[0].moving")
            }
            test "CSV: pairs with labels and parts; a bad line is named" {
                inFolder
                    [ "a.nii"; "b.nii"; "al.nii" ]
                    [
                        "pairs.csv",
                        "fixed,moving,fixed_labels,part\na.nii,b.nii,al.nii,test\nb.nii,a.nii,,\n"
                        "out.csv", "fixed,moving\na.nii,b.nii\na.nii,../x.nii\n"
                        "short.csv", "fixed,moving\na.nii\n"
                        "word.csv", "fixed,movin\na.nii,b.nii\n"
                    ]
                    (fun root ->
                        let csv name =
                            load root $$"""{"kind": "csv", "file": "{{name}}.csv"}"""

                        let dataset = good (csv "pairs")
                        Expect.equal (dataset.Subjects |> List.map _.Name) [ "a"; "b" ] "names"
                        Expect.equal (valueOf dataset.Subjects[0].Labels.Value) 2.0f "labels"
                        Expect.equal (dataset.Parts |> List.map _.Name) [ "all"; "test" ] "parts"

                        Expect.equal
                            dataset.Parts[0].Shares.Head.Pairing
                            (Listed [ "a", "b"; "b", "a" ])
                            "pairs"

                        fails (csv "out") "line 3: \"../x.nii\" leads out"
                        fails (csv "short") "line 2 has 1 fields"
                        fails (csv "word") "did you mean \"moving\"?"
                        fails (csv "none") "no such data set")
            }
            test "BIDS: scans, labels and masks of one space; an unclear choice is refused" {
                let anat = "d/sub-01/ses-1/anat/sub-01_ses-1"

                inFolder
                    [
                        $"{anat}_space-MNI_desc-preproc_T1w.nii.gz"
                        $"{anat}_desc-preproc_T1w.nii.gz"
                        $"{anat}_space-MNI_dseg.nii.gz"
                        $"{anat}_dseg.nii.gz"
                        $"{anat}_space-MNI_desc-brain_mask.nii.gz"
                    ]
                    [
                        "d/dataset_description.json", """{"Name": "study", "BIDSVersion": "1.9.0"}"""
                    ]
                    (fun root ->
                        let dataset = good (load root """{"kind": "bids", "folder": "d", "space": "MNI"}""")
                        let only = dataset.Subjects |> List.exactlyOne
                        Expect.equal (only.Name, only.Person) ("sub-01_ses-1", "sub-01") "name"
                        Expect.equal (valueOf only.Image) 0.0f "image"
                        Expect.equal (valueOf only.Labels.Value) 2.0f "labels of that space"
                        Expect.equal (valueOf only.Mask.Value) 4.0f "mask"
                        fails (load root """{"kind": "bids", "folder": "d"}""") "is not the only T1w scan"
                        fails (load root """{"kind": "bids", "folder": "d", "suffix": "T2w"}""") "T2w")
            }
            test "HDF5: a length beyond the file is refused before memory is taken" {
                inFolder [] [] (fun root ->
                    let path = Path.Combine(root, "t.h5")
                    TransformStore.write None false path (Transform.Linear Affine.Identity)
                    let bytes = File.ReadAllBytes path

                    let find (word: string) =
                        System.MemoryExtensions.IndexOf(
                            System.ReadOnlySpan bytes,
                            System.ReadOnlySpan(System.Text.Encoding.ASCII.GetBytes word)
                        )

                    // The size of a heap's first object; the length of the name of a link.
                    for place, value in
                        [ find "GCOL" + 16 + 8, 1_900_000_000; find "TransformGroup" - 1, 255 ] do
                        Expect.isGreaterThan place 24 "the place is found"
                        let damaged = Array.copy bytes
                        let number = System.BitConverter.GetBytes(value: int)
                        System.Array.Copy(number, 0, damaged, place, (if value > 255 then 4 else 1))
                        File.WriteAllBytes(path, damaged)
                        let before = System.GC.GetAllocatedBytesForCurrentThread()


                        Expect.throwsT<InvalidFileException>
                            (fun () -> TransformStore.read None None path |> ignore)
                            "refused"

                        let taken = System.GC.GetAllocatedBytesForCurrentThread() - before
                        Expect.isLessThan taken 8_000_000L "bytes")
            }
        ]
