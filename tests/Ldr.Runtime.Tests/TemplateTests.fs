/// Templates: the mean of known deformations, an unbiased average, runs that are stopped, shared out and gone on with.
module Ldr.Runtime.Tests.TemplateTests

open System
open System.IO
open System.Threading
open System.Threading.Tasks
open Expecto
open Ldr
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.Runtime.Groups
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Transforms

let private anatomy =
    {
        Size = 28, 30, 26
        Subjects = 1
        Structures = 3
        Deformation = 1.0
        Noise = 0.005
        Seed = 11
    }

/// A push along an axis in the middle of the scan, in voxels; 0 at the border.
let private push (grid: Grid) axis (size: float) =
    let n = int grid.Count
    let vectors = Array.zeroCreate<float32>(3 * n)

    for i in 0 .. n - 1 do
        let bump at count =
            let t = float at / float (count - 1)
            sin (Math.PI * t) ** 2.0

        let x, y, z = i % grid.Nx, i / grid.Nx % grid.Ny, i / (grid.Nx * grid.Ny)
        vectors[axis * n + i] <- float32 (size * bump x grid.Nx * bump y grid.Ny * bump z grid.Nz)

    DisplacementField(grid, vectors)

let private centre (labels: Volume) (label: int) =
    let grid = labels.Grid

    let at =
        [|
            for i in 0 .. labels.Values.Length - 1 do
                if labels.Values[i] = float32 label then
                    i
        |]

    let mean (coordinate: int -> int) =
        at |> Array.averageBy (fun i -> float (coordinate i))

    grid.VoxelToWorld.Apply(
        mean (fun i -> i % grid.Nx),
        mean (fun i -> i / grid.Nx % grid.Ny),
        mean (fun i -> i / (grid.Nx * grid.Ny))
    )

/// Copies of one scan, deformed by these velocities, with labels.
let private copies (folder: string) (velocities: DisplacementField list) : Volume * TemplateScan[] =
    let scan, labels = Anatomy.subject anatomy 0

    let one i velocity =
        let field = StationaryVelocity.Exponential velocity
        Warp.Linear(scan, field).Write(folder </> $"s{i}.nii.gz")
        Warp.Nearest(labels, field).Write(folder </> $"l{i}.nii.gz")
        TemplateScan($"s{i}", folder </> $"s{i}.nii.gz", Labels = (folder </> $"l{i}.nii.gz"))

    labels, Array.ofList (List.mapi one velocities)

let private four (folder: string) : Volume * TemplateScan[] =
    let grid = (fst (Anatomy.subject anatomy 0)).Grid
    copies folder [ push grid 0 5.0; push grid 0 -5.0; push grid 1 5.0; push grid 1 -5.0 ]

let private build (options: TemplateOptions) (scans: TemplateScan[]) (output: string) =
    TemplateBuilder(new Registrar()).Build(scans, output, options)

let private readField (file: string) : DisplacementField =
    match TransformFile.Read file with
    | :? Transform.Dense as dense -> dense.Field
    | _ -> failtest $"{file} holds no field"

let private quick =
    TemplateOptions(Rounds = 1, Registration = RegistrationOptions(Refinement = RefinementOptions(Steps = 3)))

let private contents (output: string) =
    Directory.GetFiles(output, "*", SearchOption.AllDirectories)
    |> Array.map (fun file -> Path.GetRelativePath(output, file), Convert.ToHexString(File.ReadAllBytes file))
    |> Map.ofArray

let tests =
    testList
        "template"
        [
            test "the mean stretch does not see turns, and is geometric" {
                let turn =
                    Affine.FromRows(0.0, -1.0, 0.0, 7.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)

                let maps = [| Affine.Scaling(4.0, 1.0, 1.0).Then turn; Affine.Identity |]
                let mean = MeanStretch.Of(maps, [| 1.0; 1.0 |], struct (0.0, 0.0, 0.0))
                Expect.isTrue (mean.IsCloseTo(Affine.Scaling(2.0, 1.0, 1.0), 1e-9)) $"{mean}"
                let weighted = MeanStretch.Of(maps, [| 1.0; 3.0 |], struct (0.0, 0.0, 0.0))
                Expect.isTrue (weighted.IsCloseTo(Affine.Scaling(sqrt 2.0, 1.0, 1.0), 1e-9)) $"{weighted}"

                let sheared =
                    Affine.FromRows(1.0, 0.3, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)

                let alone = MeanStretch.Of([| sheared |], [| 2.0 |], struct (1.0, 2.0, 3.0))
                // SᵀS = LᵀL.
                Expect.floatClose
                    Accuracy.high
                    (alone[0, 0] * alone[0, 0] + alone[1, 0] * alone[1, 0])
                    1.0
                    "first column"

                Expect.floatClose
                    Accuracy.high
                    (alone[0, 1] * alone[0, 0] + alone[1, 1] * alone[1, 0])
                    0.3
                    "product"
            }

            test "the mean of deformations is that of their velocities" {
                let grid = gridOf 32 32 32
                let velocity = push grid 0 3.0

                let field s =
                    StationaryVelocity.Exponential(push grid 0 (3.0 * s))

                let mean (shares: float list) (weights: float list) =
                    let fields = shares |> List.map field |> Array.ofList

                    MeanDeformation
                        .Velocity(
                            fields.Length,
                            (fun i -> fields[i]),
                            Array.ofList weights,
                            grid,
                            0,
                            CancellationToken.None
                        )
                        .ResampleTo
                        grid

                let off share (found: DisplacementField) =
                    Array.map2 (fun v f -> abs (share * v - f)) velocity.Vectors found.Vectors
                    |> Array.max

                Expect.isLessThan (mean [ 1.0; -1.0 ] [ 1.0; 1.0 ] |> off 0f) 0.08f "there and back"
                Expect.isLessThan (mean [ 1.0; 0.0 ] [ 3.0; 1.0 ] |> off 0.75f) 0.12f "three to one"
            }

            testInFolder
                "copies that are deformed both ways give the scan back, whatever they begin with"
                (fun folder ->
                    let labels, scans = four folder
                    let options = TemplateOptions(Rounds = 2, Start = scans[0].Image)
                    let result = build options scans (folder </> "t")
                    Expect.equal result.Scans 4 "scans"
                    Expect.isLessThan result.Rounds[2].MeanDeformationMm 0.15 "little is left to take away"
                    let found = ImageFile.Read(folder </> "t" </> "labels.nii.gz")
                    let first = ImageFile.Read(nonNull scans[0].Labels)

                    // Where a template lies as a whole is its own affair: distances between structures tell.
                    let off (map: Volume) =
                        let all = Overlap.Labels labels |> List.ofSeq

                        [
                            for a, b in List.pairwise (all @ [ all.Head ]) ->
                                abs (
                                    distance (centre map a) (centre map b)
                                    - distance (centre labels a) (centre labels b)
                                )
                        ]
                        |> List.average

                    Expect.isGreaterThan (off first) 0.4 "the start is biased"
                    Expect.isLessThan (off found) 0.15 "the template is not"

                    Expect.isGreaterThan
                        result.Rounds[2].Sharpness
                        result.Rounds[0].Sharpness
                        "sharper than the affine average"

                    // Both ways, there and back.
                    let there = readField (folder </> "t" </> "scans" </> "s1" </> "transform.nii.gz")

                    let back = readField (folder </> "t" </> "scans" </> "s1" </> "inverse.nii.gz")

                    let grid = there.Grid
                    let struct (x, y, z) = grid.Centre
                    let struct (mx, my, mz) = there.MapPoint(x, y, z)
                    Expect.isLessThan (distance (back.MapPoint(mx, my, mz)) (struct (x, y, z))) 0.1 "mm"
                    let page = File.ReadAllText(folder </> "t" </> "template.html")
                    Expect.equal (page.Split("<img").Length - 1) 3 "a picture of each round")

            testInFolder "a run that is stopped anywhere goes on to the same files" (fun folder ->
                let _, scans = four folder
                build quick scans (folder </> "whole") |> ignore
                let whole = contents (folder </> "whole")
                let stops = ref 0

                let rec go reports =
                    use stop = new CancellationTokenSource()
                    let left: int ref = ref reports

                    let progress =
                        { new IProgress<TemplateProgress> with
                            member _.Report _ =
                                if Interlocked.Decrement(&left.contents) <= 0 then
                                    stop.Cancel()
                        }

                    try
                        TemplateBuilder(new Registrar())
                            .Build(scans, folder </> "parts", quick, progress, stop.Token)
                        |> ignore
                    with :? OperationCanceledException ->
                        stops.Value <- stops.Value + 1
                        go (reports + 1)

                go 2
                Expect.isGreaterThan stops.Value 3 "it was stopped"
                same whole (contents (folder </> "parts")))

            testInFolder "two processes on one folder make the same files" (fun folder ->
                let _, scans = four folder
                build quick scans (folder </> "one") |> ignore

                let part index =
                    Task.Run(fun () ->
                        let options =
                            TemplateOptions(
                                Rounds = 1,
                                Registration = quick.Registration,
                                Shard = CohortShard(index, 2),
                                Threads = 1
                            )

                        build options scans (folder </> "two") |> ignore)

                Task.WaitAll(part 1, part 2)
                same (contents (folder </> "one")) (contents (folder </> "two")))

            testInFolder "a folder that was begun with something else is refused" (fun folder ->
                let _, scans = four folder
                let output = folder </> "t"

                let options rounds =
                    TemplateOptions(Rounds = rounds, Registration = quick.Registration)

                build (options 0) scans output |> ignore
                let error = Expect.throwsC (fun () -> build (options 1) scans output |> ignore) id
                Expect.stringContains error.Message "was begun with other scans or options" "said"

                Expect.throwsT<ArgumentException>
                    (fun () -> build quick scans[..0] output |> ignore)
                    "one scan")

            test "a robust mean is not drawn by one scan that is far off" {
                let grid = gridOf 1 1 1
                let values = [| 10f; 11f; 9f; 10f; 100f |]

                let mean =
                    TemplateAverage.Robust(
                        grid,
                        values.Length,
                        (fun i -> Nullable(struct ([| values[i] |], Unchecked.defaultof<_>))),
                        Array.create values.Length 1.0,
                        1,
                        CancellationToken.None
                    )

                // The outlier is 72 from the mean, 1.5 deviations are 54: it counts 3/4. The plain mean is 28.
                Expect.isLessThan (abs (mean.Values[0] - 115f / 4.75f)) 0.01f "Huber's mean, by hand"
            }
        ]
