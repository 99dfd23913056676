/// Labels from several atlases: weights, votes, probabilities, the whole segmentation.
module Ldr.Runtime.Tests.AtlasTests

open System
open System.IO
open System.Threading
open Expecto
open Ldr
open Ldr.TestKit.Helpers
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.Runtime.Groups
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration

let private weightsOf (matrix: float[,]) =
    let n = Array2D.length1 matrix
    let weights = Array.zeroCreate n
    JointWeights.Solve(Span(Array.init (n * n) (fun i -> matrix[i / n, i % n])), Span weights)
    weights

let private near (digits: float) (wanted: float[]) (found: float[]) =
    Expect.equal found.Length wanted.Length "as many numbers"

    for w, f in Array.zip wanted found do
        Expect.isLessThan (abs (w - f)) digits $"{w} is wanted, {f} found"

let private constant (grid: Grid) (value: float32) =
    Volume(grid, Array.create (int grid.Count) value)

let private noise (seed: int) (grid: Grid) =
    let random = Random seed

    let normal () =
        sqrt (-2.0 * log (1.0 - random.NextDouble()))
        * cos (2.0 * Math.PI * random.NextDouble())

    Array.init (int grid.Count) (fun _ -> float32 (normal ()))

let private plus (share: float32) (a: float32[]) (b: float32[]) =
    Array.map2 (fun x y -> x + share * y) a b

let private fuse (method: FusionMethod) (target: Volume) (atlases: (Volume * Volume) list) =
    LabelFusion.Fuse(
        target,
        [| for scan, labels in atlases -> RegisteredAtlas(scan, labels) |],
        FusionOptions(Method = method, SearchRadius = 0, PatchRadius = 2)
    )

let private anatomy =
    {
        Size = 20, 22, 18
        Subjects = 5
        Structures = 3
        Deformation = 1.5
        Noise = 0.01
        Seed = 3
    }

let private atlas index =
    let scan, labels = Anatomy.subject anatomy index
    Atlas($"a{index}", scan, labels)

let private quick =
    SegmentationOptions(Registration = RegistrationOptions(Refinement = RefinementOptions(Steps = 5)))

let private middle = 6 + 13 * (6 + 13 * 6)

let tests =
    testList
        "atlases"
        [
            test "weights of independent errors are their inverses" {
                weightsOf (array2D [ [ 1.0; 0.0 ]; [ 0.0; 3.0 ] ])
                |> near 1e-12 [| 0.75; 0.25 |]
            }

            test "atlases that are wrong together share a vote" {
                // By hand: 2.1 a = 1.1 c = λ, 2 a + c = 1.
                let a, c = 1.0 / 2.1, 1.0 / 1.1
                let total = 2.0 * a + c

                weightsOf (array2D [ [ 1.1; 1.0; 0.0 ]; [ 1.0; 1.1; 0.0 ]; [ 0.0; 0.0; 1.1 ] ])
                |> near 1e-12 [| a / total; a / total; c / total |]
            }

            test "a weight may be below 0 where one atlas repeats another and errs more" {
                // M⁻¹1 of [1 2; 2 5] is (3, −1).
                weightsOf (array2D [ [ 1.0; 2.0 ]; [ 2.0; 5.0 ] ]) |> near 1e-12 [| 1.5; -0.5 |]
            }

            test "the majority wins, and of equals the first atlas" {
                let grid = Grid(3, 1, 1, Affine.Scaling(2.0, 1.0, 1.0))
                let map (values: float32 list) = Volume(grid, Array.ofList values)
                let maps = [ [ 5f; 1000f; 0f ]; [ 7f; 1000f; 0f ]; [ 7f; 3f; 0f ]; [ 5f; 0f; 9f ] ]

                let fused =
                    fuse FusionMethod.Majority (map [ 0f; 1f; 2f ]) [ for m in maps -> map m, map m ]

                Expect.equal fused.Labels.Values [| 5f; 1000f; 0f |] "5 and 7 have two votes each"
                Expect.equal fused.Labels.StoredAs VoxelType.Int16 "1000 takes two bytes"
                Expect.equal fused.Disagreement.Values [| 0.5f; 0.5f; 0.25f |] "the share of other labels"
                Expect.equal (fused.Probabilities.Of(7).Values) [| 0.5f; 0f; 0f |] "two of four"

                let volumes =
                    [
                        for v in fused.Probabilities.Volumes() -> v.Label, v.Voxels, v.Mm3, v.ExpectedMm3
                    ]

                Expect.equal
                    volumes
                    [
                        3, 0L, 0.0, 0.5
                        5, 1L, 2.0, 1.0
                        7, 0L, 0.0, 1.0
                        9, 0L, 0.0, 0.5
                        1000, 1L, 2.0, 1.0
                    ]
                    "voxels are of 2 mm³"
            }

            test "the atlas whose patch is like the target outvotes two that are not" {
                let grid = gridOf 13 13 13
                let target = Volume(grid, noise 1 grid)
                let other = Volume(grid, noise 2 grid)
                let map = constant grid
                let atlases = [ other, map 7f; other, map 7f; target, map 5f ]

                let at method =
                    (fuse method target atlases).Labels.Values[middle]

                Expect.equal (at FusionMethod.Majority) 7f "two of three"
                Expect.equal (at FusionMethod.Weighted) 5f "weighted by similarity"
                Expect.equal (at FusionMethod.Joint) 5f "joint"
            }

            test "three copies of one error do not outvote two errors of their own" {
                let grid = gridOf 13 13 13
                let truth = noise 1 grid

                let wrong seed =
                    Volume(grid, plus 0.7f truth (noise seed grid))

                let map = constant grid
                let copies = List.replicate 3 (wrong 2, map 7f)
                let atlases = copies @ [ wrong 3, map 5f; wrong 4, map 5f ]

                let at method =
                    (fuse method (Volume(grid, truth)) atlases).Labels.Values[middle]

                Expect.equal (at FusionMethod.Weighted) 7f "errors count as independent"
                Expect.equal (at FusionMethod.Joint) 5f "the copies share their vote"
            }

            test "a patch is found that lies a voxel beside" {
                let grid = gridOf 13 13 13
                let target = Volume(grid, noise 1 grid)
                let step = 13 * 13

                let moved (values: float32[]) =
                    Array.init values.Length (fun i -> values[max 0 (i - step)])

                let half =
                    Array.init target.Values.Length (fun i -> if i / step >= 6 then 4f else 2f)

                let fused =
                    LabelFusion.Fuse(
                        target,
                        [|
                            RegisteredAtlas(Volume(grid, moved target.Values), Volume(grid, moved half))
                        |],
                        FusionOptions(PatchRadius = 1)
                    )

                for z in 2..10 do
                    let at = 6 + 13 * (6 + 13 * z)
                    Expect.equal fused.Labels.Values[at] half[at] $"slice {z}"
            }

            test "no label is invented, and no number of threads changes one" {
                let target, _ = Anatomy.subject anatomy 0

                let atlases =
                    [
                        for i in 1..4 ->
                            let scan, labels = Anatomy.subject anatomy i
                            scan, Volume(labels.Grid, labels.Values |> Array.map (fun v -> v * 301f))
                    ]

                let known =
                    [
                        for _, labels in atlases do
                            yield! labels.Values
                    ]
                    |> set

                for method in [ FusionMethod.Majority; FusionMethod.Weighted; FusionMethod.Joint ] do
                    let run threads =
                        LabelFusion.Fuse(
                            target,
                            [| for s, l in atlases -> RegisteredAtlas(s, l) |],
                            FusionOptions(Method = method, Threads = threads)
                        )

                    let one, two = run 1, run 2
                    Expect.isTrue (Set.isSubset (set one.Labels.Values) known) "labels of the atlases only"
                    Expect.equal one.Labels.Values two.Labels.Values "the same labels"
                    let chosen = one.Probabilities.BestProbability().Values
                    Expect.equal chosen (two.Probabilities.BestProbability().Values) "the same probabilities"
                    Expect.isTrue (chosen |> Array.forall (fun p -> p > 0f && p <= 1f)) "probabilities"
            }

            test "numbers that are no labels are refused" {
                let grid = gridOf 2 2 2
                let scan = constant grid 1f

                for bad in [ 0.5f; nanf; 3e7f ] do
                    Expect.throwsT<ArgumentException>
                        (fun () -> fuse FusionMethod.Majority scan [ scan, constant grid bad ] |> ignore)
                        $"{bad}"
            }

            test "mutual information is that of a coin, and 0 of two coins" {
                let grid = gridOf 10 10 10
                // 20 voxels are dark surround.
                let content value i =
                    if i < 20 then 0f else float32 (5 + value i)

                let coin = Array.init 1000 (content (fun i -> i % 2))
                let other = Array.init 1000 (content (fun i -> i / 2 % 2))

                let of_ a b =
                    AtlasChoice.MutualInformation(Volume(grid, a), Volume(grid, b))

                Expect.floatClose Accuracy.high (of_ coin coin) 1.0 "one bit"
                Expect.floatClose Accuracy.high (of_ coin other) 0.0 "none"
            }

            test "the nearest atlases are used; one that is the target itself comes first" {
                let target, truth = Anatomy.subject anatomy 2
                let options = SegmentationOptions(Nearest = 2, Registration = quick.Registration)

                let result =
                    AtlasSegmenter(new Registrar()).Segment(target, [| for i in 0..4 -> atlas i |], options)

                Expect.equal result.Atlases[0].Name "a2" "the same scan"

                Expect.equal
                    [ for a in result.Atlases -> a.IsUsed ]
                    [ true; true; false; false; false ]
                    "two of five"

                Expect.isNull result.Atlases[3].Quality "not registered"
                let labels = Overlap.Labels truth

                let dice =
                    Overlap.Measure(result.Fused.Labels, truth, labels) |> Seq.averageBy _.Dice

                Expect.isGreaterThan dice 0.85 "the labels of the target"
            }

            test "a segmentation stops" {
                let target, _ = Anatomy.subject anatomy 0
                use stop = new CancellationTokenSource()
                stop.Cancel()

                Expect.throwsT<OperationCanceledException>
                    (fun () ->
                        AtlasSegmenter(new Registrar())
                            .Segment(target, [| atlas 1 |], quick, null, stop.Token)
                        |> ignore)
                    "stopped"
            }

            testInFolder "an atlas whose labels lie elsewhere is refused by its name" (fun folder ->
                let scan, labels = Anatomy.subject anatomy 0

                let moved =
                    Volume(Grid(20, 22, 18, Affine.Translation(5.0, 0.0, 0.0)), labels.Values)

                scan.Write(folder </> "scan.nii.gz")
                moved.Write(folder </> "labels.nii.gz")
                let one = Atlas.OfFiles("odd", folder </> "scan.nii.gz", folder </> "labels.nii.gz")

                let error = Expect.throwsC (fun () -> one.ReadLabels scan |> ignore) id

                Expect.stringContains error.Message "odd: its label map lies on another grid" "named")

            testInFolder "a table of scans names files beside it" (fun folder ->
                let table = folder </> "t.csv"
                File.WriteAllText(table, "id,scan,labels,weight,age\na,x.nii,l.nii,0.5,3\n,y.nii,,,\n")
                let scans = ScanTable.Read table

                Expect.equal
                    [ for s in scans -> s.Name, s.Weight ]
                    [ "a", 0.5; "y", 1.0 ]
                    "names and weights"

                Expect.equal scans[0].Labels (folder </> "l.nii") "a path"
                Expect.isNull scans[1].Labels "none"
                File.WriteAllText(table, "scan\nx.nii\nx.nii\n")
                let error = Expect.throwsC (fun () -> ScanTable.Read table |> ignore) id
                Expect.stringContains error.Message "two scans of the name x" "twice")
        ]
