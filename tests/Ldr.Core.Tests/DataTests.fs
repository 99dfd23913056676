module Ldr.Core.Tests.DataTests

open System
open System.IO
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.TestKit.Repository

let private anatomy =
    {
        Size = 24, 28, 20
        Subjects = 6
        Structures = 4
        Deformation = 1.5
        Noise = 0.02
        Seed = 3
    }

let private identities (volume: Volume) =
    volume.Values |> Array.sumBy float, volume.Values[1234]

let tests =
    testList
        "data"
        [
            test "synthetic subjects are the same on every call, and differ from each other" {
                let first, labels = Anatomy.subject anatomy 2
                let again, labels' = Anatomy.subject anatomy 2
                let other, _ = Anatomy.subject anatomy 3
                Expect.equal first.Values again.Values "image"
                Expect.equal labels.Values labels'.Values "labels"
                Expect.notEqual (identities first) (identities other) "another subject"
                Expect.equal (List.ofSeq (Overlap.Labels labels)) [ 1; 2; 3; 4 ] "every structure is there"
            }
            test "synthetic subjects are deformed: labels overlap, but not all" {
                let _, a = Anatomy.subject anatomy 0
                let _, b = Anatomy.subject anatomy 1
                let dice = Overlap.Measure(a, b, [| 1; 2; 3; 4 |]) |> Seq.averageBy _.Dice
                Expect.isTrue (dice > 0.2 && dice < 0.9) $"Dice {dice}"
            }
            testProperty "a training pair has two different subjects of the set"
            <| fun (index: FsCheck.NonNegativeInt) (count: FsCheck.PositiveInt) ->
                let count = count.Get + 1
                let f, m = Pairs.training (Seed.ofInt 1) count index.Get
                f <> m && f >= 0 && m >= 0 && f < count && m < count
            testProperty "inside a scan is what its grid says of every voxel"
            <| fun (seed: int) ->
                let random = Random seed

                let number low high =
                    low + (high - low) * random.NextDouble()

                /// A grid that is turned, scaled, sheared and shifted a little.
                let grid () =
                    let rows =
                        [|
                            for r in 0..2 do
                                for c in 0..3 ->
                                    if c = 3 then number -2.0 2.0
                                    elif r = c then number 0.5 2.0
                                    else number -0.4 0.4
                        |]

                    Grid(random.Next(1, 8), random.Next(1, 8), random.Next(1, 8), Affine.FromRows rows)

                let canvas, scan = grid (), grid ()
                let inside = Pairs.inside canvas scan

                for z in 0 .. canvas.Nz - 1 do
                    for y in 0 .. canvas.Ny - 1 do
                        for x in 0 .. canvas.Nx - 1 do
                            let struct (px, py, pz) = canvas.VoxelToWorld.Apply(float x, float y, float z)

                            let struct (vx, vy, vz) = scan.WorldToVoxel.Apply(px, py, pz)

                            // How far inside; what lies on the border may be either.
                            let depth =
                                List.min
                                    [
                                        for v, n in [ vx, scan.Nx; vy, scan.Ny; vz, scan.Nz ] ->
                                            min (v + 0.5) (float n - 0.5 - v)
                                    ]

                            if abs depth > 1e-9 then
                                Expect.equal
                                    inside[(z * canvas.Ny + y) * canvas.Nx + x]
                                    (if depth > 0.0 then 1.0f else 0.0f)
                                    $"{x}, {y}, {z}"
            test "training pairs reach every ordered pair" {
                let seen = Seq.init 2000 (Pairs.training (Seed.ofInt 5) 5) |> Set.ofSeq
                Expect.equal seen.Count 20 "5 × 4 ordered pairs"
            }
            test "evaluation pairs are different ordered pairs, the same for one seed" {
                let group count =
                    [
                        for i in 1..count ->
                            Stored.made (fun () -> invalidOp "reads no scan") |> Subject.ofImage (string i)
                    ]
                    |> SubjectGroup.free

                let pairs = Pairs.evaluation (Seed.ofInt 1) 200 (group 40)
                Expect.equal (List.distinct pairs) pairs "no pair twice"
                Expect.hasLength pairs 200 "as many as wanted"
                Expect.equal (Pairs.evaluation (Seed.ofInt 1) 200 (group 40)) pairs "the same again"
                Expect.notEqual (Pairs.evaluation (Seed.ofInt 2) 200 (group 40)) pairs "another seed"
                Expect.isTrue (pairs |> List.forall (fun (f, m) -> f <> m && max f m < 40)) "two subjects"
                Expect.hasLength (Pairs.evaluation (Seed.ofInt 1) 200 (group 3)) 6 "all there are"
            }
            test "pairs of more subjects than a list of all pairs could hold are drawn at once" {
                let group =
                    [
                        for i in 1..46_341 ->
                            Stored.made (fun () -> invalidOp "reads no scan") |> Subject.ofImage (string i)
                    ]
                    |> SubjectGroup.free

                // Beside another share the group is not free, and its pairs are counted by shares.
                let shared =
                    { group with
                        Shares =
                            { group.Shares.Head with
                                Fraction = 0.5
                            }
                            :: [
                                { group.Shares.Head with
                                    Subjects = [ "1"; "2" ]
                                    Fraction = 0.5
                                }
                            ]
                    }

                for group in [ group; shared ] do
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    let pairs = Pairs.evaluation (Seed.ofInt 1) 200 group
                    let taken = GC.GetAllocatedBytesForCurrentThread() - before
                    Expect.isLessThan taken (100L <<< 20) "memory"
                    Expect.hasLength (List.distinct pairs) 200 "different pairs"
                    Expect.equal (Pairs.evaluation (Seed.ofInt 1) 200 group) pairs "the same again"

                    Expect.isTrue
                        (pairs |> List.forall (fun (f, m) -> f <> m && min f m >= 0 && max f m < 46_341))
                        "two subjects"

                    Expect.isGreaterThan
                        (pairs |> List.map (fun (f, m) -> max f m) |> List.max)
                        30_000
                        "of all"

                // In the end every number is drawn once.
                Expect.equal
                    (Seed.distinct 1000L (Seed.ofInt 3) |> Seq.sort |> List.ofSeq)
                    [ 0L .. 999L ]
                    "an order"
            }
            test "a split has no subject twice, and asks for no more than there are" {
                let options =
                    {
                        Train = 3
                        Validation = 1
                        Test = 2
                        Seed = 1
                    }

                let dataset: Dataset =
                    {
                        Name = "x"
                        Licence = ""
                        Parts = []
                        LabelNames = Map.empty
                        Subjects =
                            [
                                for i in 0..5 ->
                                    Stored.made (fun () -> invalidOp "a split reads no scan")
                                    |> Subject.ofImage (string i)
                            ]
                    }

                match Dataset.split (Cut options) dataset with
                | Error e -> failtestf "%A" e
                | Ok parts ->
                    let names =
                        parts.TrainGroup :: parts.ValidationGroup :: parts.TestGroups
                        |> List.collect _.Members
                        |> List.map _.Name

                    Expect.equal (List.sort names) [ "0"; "1"; "2"; "3"; "4"; "5" ] "all six"

                match Dataset.split (Cut { options with Test = 3 }) dataset with
                | Ok _ -> failtest "seven of six"
                | Error e -> Expect.stringContains (String.concat "" (Error.lines e)) "asks for 7" "message"
            }
            test
                "a data set that lists its pairs is not split behind its back; one with two scans of a person is, whole" {
                let scan name person =
                    { Subject.ofImage name (Stored.made (fun () -> invalidOp "reads no scan")) with
                        Person = person
                    }

                let dataset pairing persons =
                    let share =
                        {
                            Subjects = [ "0"; "1" ]
                            Fraction = 1.0
                            Pairing = pairing
                        }

                    {
                        Name = "x"
                        Licence = ""
                        Subjects = persons |> List.mapi (fun i p -> scan (string i) p)
                        Parts =
                            [
                                {
                                    Name = "train"
                                    Shares = [ share ]
                                    Problem = None
                                }
                            ]
                        LabelNames = Map.empty
                    }

                let message given =
                    match Dataset.splittable given with
                    | Ok _ -> ""
                    | Error e -> String.concat "" (Error.lines e)

                Expect.equal (message (dataset AllOrdered [ "a"; "b" ])) "" "nothing against it"
                let listed = message (dataset (Listed [ "0", "1" ]) [ "a"; "b" ])
                Expect.stringContains listed "lists the pairs" "pairs"
                Expect.stringContains listed "name its parts" "what would be right"
                Expect.stringContains listed "\"train\"" "and which there are"
                Expect.equal (message (dataset AllOrdered [ "a"; "a" ])) "" "two scans of a person"
            }
            test "preparing a pair on the fixed scan's own grid changes nothing" {
                let a, _ = Anatomy.subject anatomy 0
                let b, _ = Anatomy.subject anatomy 1
                let pair = Pairs.prepare a.Grid Affine.Identity a b
                Expect.equal pair.Fixed a.Values "fixed"
                Expect.equal pair.Moving b.Values "moving"
                Expect.isTrue (pair.Inside |> Array.forall (fun v -> v = 1.0f)) "inside"
            }
            test "a larger grid continues the border, and knows the inside" {
                let a, _ = Anatomy.subject anatomy 0
                let grid = ModelGrid.Canvas(a.Grid, struct (1.0, 1.0, 1.0), struct (32, 32, 32))
                let pair = Pairs.prepare grid Affine.Identity a a
                Expect.equal (Array.sum pair.Inside) (float32 a.Grid.Count) "as many voxels as the scan has"
                Expect.equal pair.Fixed[0] a.Values[0] "the corner is the scan's corner"
            }
            test "a path that leads out of the data set's folder is refused" {
                let folder = Directory.CreateTempSubdirectory("ldr-data-").FullName

                try
                    File.WriteAllText(
                        Path.Combine(folder, "dataset.json"),
                        """{"name": "x", "training": [{"image": "../../etc/passwd.nii", "label": "a.nii"}]}"""
                    )

                    match Dataset.ofFolder folder with
                    | Ok _ -> failtest "accepted"
                    | Error e ->
                        Expect.stringContains (String.concat "" (Error.lines e)) "leads out" "message"
                finally
                    Directory.Delete(folder, true)
            }
            test "subjects whose files have one name are named by their folders, and no image is listed twice" {
                let folder = Directory.CreateTempSubdirectory("ldr-data-").FullName

                let named entries =
                    let list = entries |> List.map (sprintf """{"image": "%s"}""") |> String.concat ", "

                    File.WriteAllText(
                        Path.Combine(folder, "dataset.json"),
                        $$"""{"name": "x", "training": [{{list}}]}"""
                    )

                    Dataset.ofFolder folder
                    |> Result.map (fun dataset -> dataset.Subjects |> List.map _.Name)

                try
                    Expect.equal
                        (named [ "b/t1.nii.gz"; "./a/t1.nii.gz"; "c/other.nii" ])
                        (Ok [ "a/t1"; "b/t1"; "other" ])
                        "names"

                    match named [ "a/t1.nii.gz"; "./a/t1.nii.gz" ] with
                    | Ok names -> failtestf "%A" names
                    | Error e ->
                        Expect.stringContains (String.concat "" (Error.lines e)) "a/t1 twice" "message"
                finally
                    Directory.Delete(folder, true)
            }
            test "the hippocampus set has 200 subjects with two labels" {
                let folder = needData "Task04_Hippocampus"

                match Dataset.ofFolder folder with
                | Error e -> failtestf "%A" e
                | Ok dataset ->
                    Expect.hasLength dataset.Subjects 200 "subjects"
                    let first = dataset.Subjects.Head
                    Expect.equal first.Name "hippocampus_001" "name"
                    let labels = (Option.get first.Labels).Read()
                    Expect.equal (List.ofSeq (Overlap.Labels labels)) [ 1; 2 ] "labels"
                    Expect.isTrue (labels.Grid.SameAs(first.Image.Read().Grid)) "one grid"
            }
        ]
