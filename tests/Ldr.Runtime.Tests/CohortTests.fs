/// Cohorts: what is done, skipped and done again, by one process and by several; tables of pairs; outliers.
module Ldr.Runtime.Tests.CohortTests

open System
open System.Collections.Generic
open System.IO
open System.IO.Compression
open System.Text.Json.Nodes
open System.Threading
open Expecto
open Ldr
open Ldr.TestKit.Helpers
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.Runtime.Groups
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Reports
open Ldr.Runtime.Transforms

let private anatomy =
    {
        Size = 16, 18, 14
        Subjects = 7
        Structures = 3
        Deformation = 1.0
        Noise = 0.01
        Seed = 5
    }

/// A folder of six scans with labels, and a template.
let private scene (folder: string) : CohortPair list =
    let write name (volume: Volume) = volume.Write(folder </> name)

    for i in 0..6 do
        let scan, labels = Anatomy.subject anatomy i
        write $"s{i}.nii.gz" scan
        write $"l{i}.nii.gz" labels

    let scan i =
        let image, labels = folder </> $"s{i}.nii.gz", folder </> $"l{i}.nii.gz"
        CohortScan(image, Labels = labels)

    [ for i in 1..6 -> CohortPair($"s{i}", scan 0, scan i) ]

let private quick =
    CohortOptions(
        Registration =
            RegistrationOptions(Prealignment = Prealignment.World, Refinement = RefinementOptions(Steps = 2)),
        Jobs = 2
    )

let private run (options: CohortOptions) (output: string) (pairs: CohortPair list) =
    Cohort.Run(Array.ofList pairs, output, (fun _ -> new Registrar()), options)

let private counts (summary: CohortSummary) =
    summary.Done, summary.Skipped, summary.Unusable.Count

let private json (file: string) =
    (nonNull (JsonNode.Parse(File.ReadAllText file))).AsObject()

/// A BIDS folder of two people, the first in two sessions.
let private bidsScene (folder: string) : CohortScan =
    let scan, labels = Anatomy.subject anatomy 0
    let write (name: string) (volume: Volume) = volume.Write(folder </> name)
    let study = folder </> "study"

    for i, at in [ 1, "sub-01/ses-a"; 2, "sub-01/ses-b"; 3, "sub-02" ] do
        let anat = study </> at </> "anat"
        Directory.CreateDirectory anat |> ignore
        let scan, labels = Anatomy.subject anatomy i
        let name = at.Replace('/', '_')
        scan.Write(anat </> $"{name}_T1w.nii.gz")
        labels.Write(anat </> $"{name}_dseg.nii.gz")

    File.WriteAllText(study </> "dataset_description.json", """{"Name": "study"}""")
    write "t.nii.gz" scan
    write "tl.nii.gz" labels
    let image, labels = folder </> "t.nii.gz", folder </> "tl.nii.gz"
    CohortScan(image, Labels = labels)

let private bids =
    [
        testInFolder "a BIDS folder becomes derivatives, some people and sessions of it too" (fun folder ->
            let template = bidsScene folder
            let study, out = folder </> "study", folder </> "out"
            let scans = BidsFolder.Read study

            Expect.equal
                [ for scan in scans -> scan.Name, scan.Participant, Option.ofObj scan.Session ]
                [
                    "sub-01_ses-a", "sub-01", Some "ses-a"
                    "sub-01_ses-b", "sub-01", Some "ses-b"
                    "sub-02", "sub-02", None
                ]
                "scans"

            let relative = Path.GetRelativePath(Environment.CurrentDirectory, study)

            Expect.equal
                [ for scan in BidsFolder.Read relative -> scan.Scan.Image ]
                [ for scan in scans -> scan.Scan.Image ]
                "full paths, also of a folder that is given by a relative one"

            let names people sessions =
                [ for scan in BidsFolder.Choose(study, scans, people, sessions) -> scan.Name ]

            Expect.equal (names [| "sub-02" |] [||]) [ "sub-02" ] "one person"
            Expect.equal (names [||] [| "ses-b" |]) [ "sub-01_ses-b" ] "one session"

            let plan = BidsDerivatives.Pairs(scans, template, "mine")
            Expect.equal (counts (run quick out (List.ofSeq plan.Pairs))) (3, 0, 0) "registered"

            for file in
                [
                    "sub-01/ses-b/anat/sub-01_ses-b_space-mine_desc-registered_T1w.nii.gz"
                    "sub-02/anat/sub-02_from-T1w_to-mine_mode-image_xfm.nii.gz"
                    "sub-02/anat/sub-02_space-mine_dseg.nii.gz"
                ] do
                Expect.isTrue (File.Exists(out </> file)) file

            BidsDerivatives.Describe(out, study, "mine", "1.0")
            let description = json (out </> "dataset_description.json")
            Expect.equal (string description["DatasetType"]) "derivative" "description")

        testInFolder "a BIDS folder that cannot be used is refused with what is wrong" (fun folder ->
            bidsScene folder |> ignore
            let study = folder </> "study"
            let scans = BidsFolder.Read study

            let refused (words: string) (action: unit -> obj) =
                let error = Expect.throwsC (fun () -> action () |> ignore) id
                Expect.isTrue (error :? InvalidFileException) "kind"
                Expect.stringContains error.Message words "words"

            refused "dataset_description.json" (fun () -> BidsFolder.Read folder)
            refused "space-MNI" (fun () -> BidsFolder.Read(study, BidsQuery(Space = "MNI")))
            refused "sub-09" (fun () -> BidsFolder.Choose(study, scans, [| "sub-09" |], [||]))
            refused "these sessions" (fun () -> BidsFolder.Choose(study, scans, [||], [| "ses-z" |]))

            Expect.throwsT<ArgumentException>
                (fun () -> BidsDerivatives.Pairs(scans, scans[0].Scan, "a/b") |> ignore)
                "a template's name with a slash"

            // No scans: a sidecar, a name without entities, an entity that is there twice.
            for name in [ "sub-02_T1w.json"; "sub-02_defaced_T1w.nii.gz"; "sub-02_sub-03_T1w.nii.gz" ] do
                File.Copy(study </> "sub-02/anat/sub-02_T1w.nii.gz", study </> "sub-02" </> name)

            Expect.hasLength (BidsFolder.Read study) 3 "what is no scan"

            File.Copy(
                study </> "sub-02/anat/sub-02_T1w.nii.gz",
                study </> "sub-02/anat/sub-02_desc-b_T1w.nii.gz"
            )

            refused "is not the only T1w scan of sub-02" (fun () -> BidsFolder.Read study))
    ]

let private resuming =
    [
        testInFolder "a second run skips what is done, and does again what changed" (fun folder ->
            let pairs = scene folder
            let out = folder </> "out"
            Expect.equal (counts (run quick out pairs)) (6, 0, 0) "all are done"
            let first = contents out

            for name in
                [
                    "moved.nii.gz"
                    "transform.nii.gz"
                    "inverse.nii.gz"
                    "labels.nii.gz"
                    "picture.png"
                ] do
                Expect.isTrue (first.ContainsKey("s1" </> name)) name

            Expect.equal (counts (run quick out pairs)) (0, 6, 0) "all are skipped"
            same first (contents out)
            // A label map that changes is an input like the scan.
            File.Copy(folder </> "l3.nii.gz", folder </> "l2.nii.gz", true)
            Expect.equal (counts (run quick out pairs)) (1, 5, 0) "the changed one"
            File.Delete(out </> "s4" </> "moved.nii.gz")
            Expect.equal (counts (run quick out pairs)) (1, 5, 0) "the one whose file is gone"

            let other =
                CohortOptions(Registration = quick.Registration, Outputs = CohortOutputs.Moved, Jobs = 1)

            Expect.equal (counts (run other out pairs)) (6, 0, 0) "other options"

            Expect.equal
                (Directory.GetFiles(out </> "s1") |> Array.map Path.GetFileName |> Array.sort)
                [| "moved.nii.gz"; "result.json" |]
                "what the options no longer ask for is gone"

            let forced =
                CohortOptions(Registration = quick.Registration, Outputs = CohortOutputs.Moved, Force = true)

            Expect.equal (counts (run forced out pairs)) (6, 0, 0) "forced")

        testInFolder "one bad scan stops no other, is told, and is done once it is mended" (fun folder ->
            let pairs = scene folder
            let out = folder </> "out"
            let good = File.ReadAllBytes(folder </> "s3.nii.gz")
            File.WriteAllText(folder </> "s3.nii.gz", "no scan")
            let summary = run quick out pairs
            Expect.equal (counts summary) (5, 0, 1) "counts"
            Expect.equal summary.Unusable[0].Id "s3" "which"
            Expect.stringContains summary.Unusable[0].Problem "s3.nii.gz: " "the file is named"

            Expect.equal
                (Directory.GetFiles(out </> "s3") |> Array.map Path.GetFileName)
                [| "problem.json" |]
                "its note, and nothing else"

            let group = GroupPage.Write out

            Expect.equal
                (group.Pairs[0].Row.Id, group.Pairs[0].Row.Verdict)
                ("s3", "unusable")
                "it comes first"

            File.Delete(folder </> "s3.nii.gz")
            Directory.Delete(out </> "s3", true)
            Expect.stringContains (run quick out pairs).Unusable[0].Problem "does not exist" "a missing scan"
            Expect.isTrue (File.Exists(out </> "s3" </> "problem.json")) "is noted too"
            File.WriteAllBytes(folder </> "s3.nii.gz", good)
            Expect.equal (counts (run quick out pairs)) (1, 5, 0) "mended"
            Expect.isFalse (File.Exists(out </> "s3" </> "problem.json")) "the note is gone")

        testInFolder "files do not depend on shards, jobs, and a stop in between" (fun folder ->
            let pairs = scene folder
            let whole = folder </> "whole"
            run quick whole pairs |> ignore
            let parts = folder </> "parts"

            for i in 1..2 do
                let shard =
                    CohortOptions(
                        Registration = quick.Registration,
                        Jobs = 1,
                        Threads = 1,
                        Shard = CohortShard(i, 2)
                    )

                Expect.equal (counts (run shard parts pairs)) (3, 0, 0) $"shard {i}"

            same (contents whole) (contents parts)
            let stopped = folder </> "stopped"
            use stop = new CancellationTokenSource()

            let afterTwo =
                { new IProgress<CohortProgress> with
                    member _.Report now =
                        if now.Finished = 2 then
                            stop.Cancel()
                }

            Expect.throwsT<OperationCanceledException>
                (fun () ->
                    Cohort.Run(
                        Array.ofList pairs,
                        stopped,
                        (fun _ -> new Registrar()),
                        quick,
                        afterTwo,
                        stop.Token
                    )
                    |> ignore)
                "it stops"

            let left =
                Directory.GetFiles(stopped, "*", SearchOption.AllDirectories)
                |> Array.filter (fun file -> file.EndsWith ".tmp" || file.EndsWith ".claim")

            Expect.isEmpty left "no half file"
            let summary = run quick stopped pairs
            Expect.isGreaterThanOrEqual summary.Skipped 2 "what was done stays"
            same (contents whole) (contents stopped))

        testInFolder "two runs over one folder do each pair once" (fun folder ->
            let pairs = scene folder
            let out = folder </> "out"

            let both =
                [ 1; 2 ]
                |> List.map (fun _ -> Tasks.Task.Run(fun () -> run quick out pairs))
                |> List.map _.Result

            Expect.equal (both |> List.sumBy _.Done) 6 "done by one of them"
            Expect.equal (both |> List.sumBy _.Skipped) 6 "skipped by the other"
            let alone = folder </> "alone"
            run quick alone pairs |> ignore
            same (contents alone) (contents out))

        test "work begins only while memory lasts, and one piece always" {
            let gate = MemoryGate 100L
            gate.Enter(500L, CancellationToken.None)
            gate.Leave 500L
            gate.Enter(60L, CancellationToken.None)
            use stop = new CancellationTokenSource(200)
            Expect.throwsT<OperationCanceledException> (fun () -> gate.Enter(60L, stop.Token)) "too much"
            gate.Enter(40L, CancellationToken.None)
            gate.Leave 60L
            gate.Enter(60L, CancellationToken.None)
        }
    ]

let private measures =
    [
        testInFolder "labels, landmarks and points of a pair are measured and carried" (fun folder ->
            let pair = (scene folder).Head
            File.WriteAllText(folder </> "f.csv", "x_ras,y_ras,z_ras\n8,9,7\n5,6,7\n")
            File.WriteAllText(folder </> "m.csv", "x_ras,y_ras,z_ras\n8,9,9\n5,6,9\n")
            File.WriteAllText(folder </> "p.csv", "name,x_lps,y_lps,z_lps\na,-8,-9,7\n")

            let scan (of': CohortScan) (landmarks: string) =
                let file = folder </> landmarks
                CohortScan(of'.Image, Labels = of'.Labels, Landmarks = file)

            let points = folder </> "p.csv"

            let pair =
                CohortPair("one", scan pair.Fixed "f.csv", scan pair.Moving "m.csv", Points = points)

            let still =
                CohortOptions(
                    Registration =
                        RegistrationOptions(
                            Prealignment = Prealignment.World,
                            Refinement = RefinementOptions.None
                        )
                )

            let out = folder </> "out"
            run still out [ pair ] |> ignore
            let result = json (out </> "one" </> "result.json")
            Expect.equal (result["tre_before_mm"].GetValue<float>()) 2.0 "landmarks 2 mm apart"
            Expect.equal (result["tre_mm"].GetValue<float>()) 2.0 "and nothing moved"

            let labels i =
                ImageFile.Read(folder </> $"l{i}.nii.gz")

            let dice =
                Overlap.Measure(labels 0, labels 1, [| 1; 2; 3 |]) |> Seq.averageBy _.Dice

            Expect.floatClose Accuracy.low (result["labels"].["dice"].GetValue<float>()) dice "Dice"

            Expect.equal
                (result["inputs"].["points"].["path"].GetValue<string>())
                (folder </> "p.csv")
                "inputs"

            Expect.equal
                (File.ReadAllText(out </> "one" </> "points.csv"))
                "name,x_lps,y_lps,z_lps\na,-8,-9,7\n"
                "points in their own frame"

            File.WriteAllText(folder </> "m.csv", "x_ras,y_ras,z_ras\n8,9,9\n")
            let summary = run still out [ pair ]

            Expect.stringContains
                summary.Unusable[0].Problem
                "has 1 landmarks"
                "as many landmarks are wanted")

        test "a point ends where it would end alone, whatever its neighbours in a row need" {
            let random = Random 3
            // Folds in places: some points take all steps.
            let field = Ldr.TestKit.Fields.smoothField random (gridOf 24 12 10) 9.0
            let inverse = Transform.Inverted field
            let rows = inverse.ToField(field.Grid, 1).Vectors

            for x in 0..23 do
                let struct (px, _, _) = inverse.MapPoint(float x, 5.0, 4.0)
                let at = x + 24 * (5 + 12 * 4)
                Expect.equal rows[at] (float32 (px - float x)) $"{x}"
        }

        test "a picture is PNG: signature, sizes, pixels, checksums" {
            use stream = new MemoryStream()
            let pixels = Array.init 12 (fun i -> byte (37 * i))
            PngFile.Write(stream, pixels, 4)
            let bytes = stream.ToArray()

            Expect.equal
                (Convert.ToHexString bytes[..25])
                "89504E470D0A1A0A0000000D4948445200000004000000030800"
                "signature and header"

            Expect.equal
                (Convert.ToHexString bytes[bytes.Length - 12 ..])
                "0000000049454E44AE426082"
                "the end"

            let length =
                Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(ReadOnlySpan(bytes, 33, 4))

            use packed = new MemoryStream(bytes, 41, length)
            use zlib = new ZLibStream(packed, CompressionMode.Decompress)
            use plain = new MemoryStream()
            zlib.CopyTo plain
            let lines = plain.ToArray()

            let undone = Array.zeroCreate<byte> 12

            for i in 0..11 do
                Expect.equal lines[5 * (i / 4)] 2uy "filter"
                let above = if i >= 4 then undone[i - 4] else 0uy
                undone[i] <- lines[5 * (i / 4) + 1 + i % 4] + above

            Expect.equal undone pixels "pixels"
        }
    ]

let private tables =
    [
        testInFolder "a table names pairs, with what belongs to them" (fun folder ->
            let file = folder </> "pairs.tsv"

            File.WriteAllText(
                file,
                "# a study\nid\tfixed\tmoving\tlabels\tfixed_labels\tage\nfirst\ta/x.nii.gz\tb/x.nii.gz\tl.nii\t\t40\n\ta/x.nii.gz\tb/y.nii.gz\t\tk.nii\t41\n"
            )

            let plan = PairTable.Read file
            let one, two = plan.Pairs[0], plan.Pairs[1]
            Expect.equal (one.Id, two.Id) ("first", "y_to_x") "ids"
            Expect.equal one.Moving.Image (folder </> "b" </> "x.nii.gz") "paths are relative to the table"
            Expect.equal one.Moving.Labels (folder </> "l.nii") "labels are the moving scan's"
            Expect.equal (one.Fixed.Labels, two.Fixed.Labels) (null, folder </> "k.nii") "fixed labels"
            Expect.sequenceEqual plan.Remarks [ $"{file}: columns that are not used: age" ] "remarks")

        testInFolder "a table that cannot be used is refused, with the line" (fun folder ->
            let file = folder </> "pairs.csv"

            for text, problem in
                [
                    "fixed,moving\n", "holds no pair"
                    "fixed,mving\na,b\n", "line 1 has no column \"moving\""
                    "moving\nb\n", "line 1 has no column \"fixed\""
                    "fixed,fixed,moving\na,a,b\n", "line 1 names the column \"fixed\" twice"
                    "fixed,moving\na\n", "line 2 has 1 fields, the first line names 2"
                    "fixed,moving\na,\n", "line 2 names no moving scan"
                    "fixed,moving\n\"a,b\n", "line 2 has a quote that does not end"
                    "id,fixed,moving\n../x,a,b\n", "line 2 has the id \"../x\""
                    "id,fixed,moving\nx,a,b\nX,a,c\n", "has two pairs of the name"
                ] do
                File.WriteAllText(file, text)
                refuses file problem (fun () -> PairTable.Read file)

            File.WriteAllText(file, "fixed,moving\na,b\n")

            refuses file "has a column \"fixed\" beside a template" (fun () ->
                PairTable.Read(file, CohortScan "t.nii.gz")))

        test "pairs without a name get that of their files, or of their folders where these repeat" {
            let pair (moving: string) =
                CohortPair("", CohortScan "/t.nii.gz", CohortScan moving)

            let names (files: string list) =
                PairNames.Give("source", files |> List.map pair |> Array.ofList, true)
                |> Seq.map _.Id
                |> List.ofSeq

            Expect.equal (names [ "/a/one.nii.gz"; "/b/two.mha" ]) [ "one"; "two" ] "files"

            Expect.equal
                (names [ "/d/sub 1/t1.nii.gz"; "/d/sub-2/anat/t1.nii.gz" ])
                [ "sub_1_t1"; "sub-2_anat_t1" ]
                "folders"
        }
    ]

/// Rows of good pairs that differ a little.
let private rows (count: int) =
    let random = Random 1
    let near value = value + 0.01 * random.NextDouble()

    [
        for i in 0 .. count - 1 ->
            GroupRow(
                Id = $"p{i:D2}",
                Folder = $"p{i:D2}",
                Verdict = "ok",
                Reasons = [||],
                Numbers =
                    Dictionary(
                        dict
                            [
                                "similarity_after", near 0.9
                                "detail_after", near 0.8
                                "mean_displacement_mm", 5.0 + random.NextDouble()
                            ]
                    ),
                Files = Dictionary<string, string>(),
                Result = "result.json"
            )
    ]

let private spoilt
    (id: string)
    (verdict: string)
    (change: Dictionary<string, float> -> unit)
    (row: GroupRow)
    =
    let numbers = Dictionary<string, float>(row.Numbers)
    change numbers

    GroupRow(
        Id = id,
        Folder = id,
        Verdict = verdict,
        Reasons = [||],
        Numbers = numbers,
        Files = Dictionary<string, string>(),
        Result = "result.json"
    )

let private outliers =
    [
        test "outliers come first, with what stands out, in words" {
            let good = rows 30

            let far = spoilt "far" "ok" (fun n -> n["mean_displacement_mm"] <- 40.0) good.Head

            let unlike = spoilt "unlike" "ok" (fun n -> n["detail_after"] <- 0.5) good.Head
            let high = spoilt "high" "ok" (fun n -> n["detail_after"] <- 0.99) good.Head
            let failed = spoilt "failed" "failed" ignore good.Head

            let lacking =
                spoilt "lacking" "ok" (fun n -> n.Remove "detail_after" |> ignore) good.Head

            let unusable = spoilt "unusable" "unusable" (fun n -> n.Clear()) good.Head

            let group =
                GroupOutliers.Find(Array.ofList (good @ [ high; lacking; failed; far; unlike; unusable ]))

            let order = group.Pairs |> Seq.truncate 5 |> Seq.map _.Row.Id |> List.ofSeq

            Expect.equal order.Head "unusable" "what could not be registered"

            Expect.equal (set order.Tail) (set [ "far"; "unlike"; "failed"; "lacking" ]) "then the outliers"

            let of' id =
                group.Pairs |> Seq.find (fun p -> p.Row.Id = id)

            Expect.stringStarts (of' "unlike").Reason "Detail 0.500, usually 0.8" "in words"
            Expect.stringEnds (of' "unlike").Reason "deviations below" "which side"
            Expect.equal (of' "lacking").Reason "Detail could not be measured" "a measure that is missing"
            Expect.isLessThan (of' "high").Score 4.0 "more detail than usual is no fault"
            Expect.isGreaterThan (of' "failed").Score GroupOutliers.FailedScore "a failed verdict counts"
        }

        test "a pair whose sides are swapped is found among pairs whose sides differ alike" {
            let random = Random 2
            let pattern = Array.init 500 (fun _ -> random.Next(60, 190))

            let coarse (flip: bool) =
                let values =
                    [|
                        for i in 0..999 ->
                            // The right half carries the pattern, the left one is flat.
                            let row, x = i / 10, i % 10
                            let right = if flip then x >= 5 else x < 5
                            let at = row * 5 + (if x < 5 then x else 9 - x)
                            byte ((if right then pattern[at] else 120) + random.Next 20)
                    |]

                CoarseScan("same", 10, 10, 10, values)

            let rows =
                rows 20
                |> List.mapi (fun i row ->
                    GroupRow(
                        Id = row.Id,
                        Folder = row.Folder,
                        Verdict = "ok",
                        Reasons = [||],
                        Numbers = row.Numbers,
                        Files = row.Files,
                        Result = row.Result,
                        Coarse = coarse (i = 7)
                    ))

            let group = GroupOutliers.Find(Array.ofList rows)
            Expect.equal group.Pairs[0].Row.Id "p07" "the swapped one"
            Expect.stringStarts group.Pairs[0].Reason "Sides " "and why"
        }

        testInFolder "the page and the table say the same whatever is in a name's reason" (fun folder ->
            let out = folder </> "out"
            Directory.CreateDirectory(out </> "x") |> ignore

            File.WriteAllText(
                out </> "x" </> "problem.json",
                """{"id": "x", "error": "=1+1 </script><script>alert(1)</script>"}"""
            )

            GroupPage.Write(out, "ldr-fs cohort <b>") |> ignore
            let page = File.ReadAllText(out </> "group.html")
            Expect.isFalse (page.Contains "<script>alert") "no text becomes code"
            Expect.isFalse (page.Contains "cohort <b>") "nor markup"
            let lines = File.ReadAllLines(out </> "group.tsv")

            Expect.stringStarts
                lines[0]
                "id\tverdict\toutlier_score\toutlier_reason\tsimilarity_before"
                "columns"

            Expect.stringStarts lines[1] "x\tunusable\tn/a\t'=1+1" "no spreadsheet takes it for a formula"

            Expect.isFalse (Directory.GetFiles(out) |> Array.exists _.EndsWith(".claim")) "no claim is left")
    ]

let tests = testList "cohort" (resuming @ bids @ measures @ tables @ outliers)
