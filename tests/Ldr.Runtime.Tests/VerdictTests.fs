/// The verdict on real scans and on pairs that were made wrong on purpose, aligned and refined without a network.
/// `LDR_VERDICT=all ./test --filter ldr/runtime/verdict` runs every pair of docs/reference/verdict.md and prints its table; without it, a few.
module Ldr.Runtime.Tests.VerdictTests

open System
open System.IO
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality
open Ldr.TestKit.Repository
open Ldr.TestKit.Helpers

/// A pair, and whether the thresholds were chosen with it in sight.
type private Case =
    {
        Scans: string
        Kind: string
        Chosen: bool
        Aligned: bool
        Fixed: Lazy<Volume>
        Moving: Lazy<Volume>
    }

let private mapped (volume: Volume) (source: int -> int -> int -> float32) =
    let g = volume.Grid

    Volume(
        g,
        Array.init volume.Values.Length (fun i -> source (i % g.Nx) (i / g.Nx % g.Ny) (i / (g.Nx * g.Ny)))
    )

let private flipped axis (v: Volume) =
    let g = v.Grid

    mapped v (fun x y z ->
        match axis with
        | 'x' -> v[g.Nx - 1 - x, y, z]
        | 'y' -> v[x, g.Ny - 1 - y, z]
        | _ -> v[x, y, g.Nz - 1 - z])

/// The content shifted along an axis; what it leaves is as dark as the darkest voxel.
let private shifted (mm: float) axis (v: Volume) =
    let g = v.Grid
    let struct (sx, sy, sz) = g.Spacing
    let dark = Array.min v.Values

    let from n spacing wanted i =
        let j = if wanted then i - int (round (mm / spacing)) else i
        if j >= 0 && j < n then j else -1

    mapped v (fun x y z ->
        let x, y, z =
            from g.Nx sx (axis = 'x') x, from g.Ny sy (axis = 'y') y, from g.Nz sz (axis = 'z') z

        if x < 0 || y < 0 || z < 0 then dark else v[x, y, z])

/// Lies 60 mm away in the world.
let private away axis (v: Volume) =
    let mm a = if a = axis then 60.0 else 0.0
    let g = v.Grid

    Volume(Grid(g.Nx, g.Ny, g.Nz, g.VoxelToWorld.Then(Affine.Translation(mm 'x', mm 'y', mm 'z'))), v.Values)

let private noise (seed: int) (v: Volume) =
    let random = Random seed
    Volume(v.Grid, Array.init v.Values.Length (fun _ -> float32 (random.NextDouble())))

/// Noise, blurred: as smooth as anatomy.
let private blobs seed (v: Volume) =
    let made = noise seed v

    for _ in 1..3 do
        BoxMean(v.Grid, 4, 0).Apply made.Values

    made

/// Moved by a smooth field of some millimetres.
let private deformed phase (v: Volume) =
    let g = v.Grid
    let n = int g.Count

    let field =
        Array.init (3 * n) (fun i ->
            let j = i % n
            let x, y, z = float (j % g.Nx), float (j / g.Nx % g.Ny), float (j / (g.Nx * g.Ny))

            match i / n with
            | 0 -> 2.0 * sin (phase + x / 15.0 + y / 20.0)
            | 1 -> 2.0 * cos (phase + z / 17.0 + y / 20.0)
            | _ -> 2.0 * sin (phase + x / 15.0 - z / 20.0)
            |> float32)

    Warp.Linear(v, DisplacementField(g, field))

let private verdict (case: Case) =
    let fixedScan, moving = case.Fixed.Value, case.Moving.Value

    let initial =
        if case.Aligned then
            AffineAlignment.Run(fixedScan, moving, AffineFreedom.Full).World
        else
            Affine.Identity

    let refined = Refinement.Run(fixedScan, moving, initial, null, RefinementOptions())
    let field = refined.Field.After initial
    QualityCheck.Run(fixedScan, moving, Warp.Linear(moving, field), field, refined.Field, initial)

let private cases () =
    let folder name = needData name
    let file path = lazy (ImageFile.Read path)

    let scans set =
        Directory.GetFiles(folder set </> "imagesTr", "*.nii.gz")
        |> Array.sort
        |> Array.map file

    let brains, crops = scans "Brain_IXI", scans "Task04_Hippocampus"

    let lung name =
        file (folder "Lung_CT" </> $"3DCT_lung_{name}.mha")

    let first, second = lung "baseline", lung "followup"
    let torso = file (folder "CT_torso" </> "example_ct.nii.gz")

    let template name =
        file (folder "Templates" </> name + ".nii.gz")

    let head, stripped = template "ch2", template "ch2bet"
    let other = file (folder "Brain_VoxelMorph" </> "scan.nii.gz")

    let case scans chosen kind (f: Lazy<Volume>) (m: Lazy<Volume>) =
        {
            Scans = scans
            Kind = kind
            Chosen = chosen
            Aligned = true
            Fixed = f
            Moving = m
        }

    /// What can be made wrong of any pair.
    let wrong scans chosen (i: int) axes (f: Lazy<Volume>) (m: Lazy<Volume>) =
        [
            for axis in axes do
                case scans chosen $"flipped along {axis}" f (lazy (flipped axis m.Value))
            case scans chosen "noise" f (lazy (noise i m.Value))
            case scans chosen "smooth random blobs" f (lazy (blobs i m.Value))
        ]

    let far scans chosen axis (f: Lazy<Volume>) (m: Lazy<Volume>) =
        [
            { case scans chosen "60 mm away, not aligned" f (lazy (away axis m.Value)) with
                Aligned = false
            }
            case scans chosen "60 mm away, aligned" f (lazy (away axis m.Value))
            case scans chosen "content shifted by 60 mm, aligned" f (lazy (shifted 60.0 axis m.Value))
        ]

    let others scans chosen kinds f =
        [ for kind, m in kinds -> case scans chosen kind f m ]

    [
        for pair in 0..11 do
            let chosen = pair < 6
            let f, m = brains[2 * pair], brains[2 * pair + 1]
            let scans = "brains"
            case scans chosen "good" f m
            case scans chosen "a scan and itself" f f
            case scans chosen "good, another scanner" f (if pair % 2 = 0 then stripped else other)
            yield! wrong scans chosen pair "xyz" f m
            yield! far scans chosen ("xyz"[pair % 3]) f m

            if pair % 2 = 0 then
                yield!
                    others
                        scans
                        chosen
                        [
                            "a lung", (if chosen then first else second)
                            "a torso", torso
                            "a whole head", head
                        ]
                        f

        for chosen, f, m, itself in [ true, first, second, false; false, second, first, true ] do
            let scans = "lungs"
            case scans chosen "good" f m
            case scans chosen "a scan and itself" f f
            yield! wrong scans chosen 1 "xyz" f (if itself then f else m)
            yield! far scans chosen (if chosen then 'x' else 'y') f m

            yield!
                others
                    scans
                    chosen
                    [
                        "a brain", brains[if chosen then 0 else 20]
                        "a torso", torso
                        "a whole head", head
                    ]
                    f

        for chosen, phase in [ true, 0.0; false, 1.5 ] do
            let scans = "a torso"
            let m = lazy (deformed phase torso.Value)
            let f = if chosen then torso else lazy (deformed 3.0 torso.Value)
            case scans chosen "good" f m
            case scans chosen "a scan and itself" f f
            yield! wrong scans chosen 2 "xyz" f m
            yield! far scans chosen (if chosen then 'z' else 'x') f m

            yield!
                others
                    scans
                    chosen
                    [
                        "a brain", brains[if chosen then 0 else 20]
                        "a lung", first
                        "a whole head", head
                    ]
                    f

        for pair in 0..11 do
            let chosen = pair < 6
            let scans = "hippocampus"
            let f, m = crops[2 * pair], crops[2 * pair + 1]
            case scans chosen "good" f m
            case scans chosen "a scan and itself" f f
            yield! wrong scans chosen pair "xyz" f m
            yield! others scans chosen [ "a brain", brains[pair]; "a lung", first; "a torso", torso ] f
    ]

let private counts (verdicts: RegistrationQuality list) =
    let n wanted =
        verdicts |> List.filter (fun q -> q.Verdict = wanted) |> List.length

    $"{n Verdict.Ok} / {n Verdict.Look} / {n Verdict.Failed}"

/// The table of docs/reference/verdict.md.
let private table () =
    let results = cases () |> List.map (fun case -> case, verdict case)

    [
        "| scans | pairs | chosen on: ok / look / failed | checked on: ok / look / failed | inner detail after: least, median, most |"
        "|---|---|--:|--:|---|"
        for (scans, kind), rows in results |> List.groupBy (fun (case, _) -> case.Scans, case.Kind) do
            let part chosen =
                rows
                |> List.filter (fun (case, _) -> case.Chosen = chosen)
                |> List.map snd
                |> counts

            let detail = rows |> List.map (fun (_, q) -> q.InnerDetailAfter) |> List.sort

            let at i =
                detail[i].ToString("F2", Globalization.CultureInfo.InvariantCulture)

            let range = $"{at 0}, {at (detail.Length / 2)}, {at (detail.Length - 1)}"
            $"| {scans} | {kind} | {part true} | {part false} | {range} |"
    ]

let tests =
    testList
        "verdict"
        [
            if Environment.GetEnvironmentVariable "LDR_VERDICT" = "all" then
                testCase "every pair: the table" (fun () -> table () |> List.iter Console.Error.WriteLine)

            testCase
                "real pairs, and the same made wrong: brains and lungs that are flipped or another's are not ok"
            <| fun () ->
                let all = cases ()

                let expect scans kind (wanted: Verdict list) =
                    // One that the thresholds were not chosen on.
                    let case =
                        all |> List.find (fun c -> c.Scans = scans && c.Kind = kind && not c.Chosen)

                    let quality = verdict case

                    Expect.contains wanted quality.Verdict $"{scans}, {kind}: %A{List.ofSeq quality.Reasons}"
                    Expect.equal (quality.Verdict = Verdict.Ok) (quality.Reasons.Count = 0) "in words"

                let ok, wrong = [ Verdict.Ok ], [ Verdict.Look; Verdict.Failed ]
                expect "brains" "good" ok
                expect "brains" "a scan and itself" ok
                expect "brains" "flipped along y" wrong
                expect "brains" "flipped along z" wrong
                expect "brains" "a lung" wrong
                expect "brains" "noise" [ Verdict.Failed ]
                expect "brains" "60 mm away, not aligned" wrong
                expect "brains" "60 mm away, aligned" ok
                expect "lungs" "good" ok
                expect "lungs" "flipped along z" wrong
                expect "hippocampus" "good" ok
                expect "hippocampus" "flipped along y" wrong

            testCase "what a model was not trained on is named"
            <| fun () ->
                let grid n mm =
                    Grid(n, n, n, Affine.Scaling(mm, mm, mm))

                let random = Random 4

                let scan n mm high =
                    Volume(grid n mm, randomFloats random (n * n * n) 0.0 high)

                let usual = scan 32 1.0 400.0

                let outside (rule: IntensityRule) moving =
                    TrainingRange(rule, struct (1.0, 1.0, 1.0), struct (32, 32, 32)).Outside(usual, moving)
                    |> List.ofSeq

                let percentiles = IntensityRule.Percentiles(0.5, 99.5)
                let window = IntensityRule.Window(0.0, 400.0)
                Expect.isEmpty (outside percentiles (scan 40 1.2 9.0)) "percentiles take any range"
                Expect.isEmpty (outside window (scan 20 1.0 300.0)) "nearly the same"

                for rule, moving, words in
                    [
                        percentiles :> IntensityRule, scan 20 2.0 1.0, "voxels are 2 × 2 × 2 mm"
                        percentiles, scan 50 1.0 1.0, "fills 50 × 50 × 50 voxels"
                        percentiles, scan 10 1.0 1.0, "fills 10 × 10 × 10 voxels"
                        percentiles, scan 32 1.0 0.0, "the same intensity"
                        window, scan 32 1.0 1e5, "only 0 % of the moving scan's intensities"
                        window, scan 32 1.0 1.0, "span 0 % of the window 0 to 400"
                    ] do
                    match outside rule moving with
                    | [ one ] -> Expect.stringContains one words "the line"
                    | several -> failtest $"{words}: %A{several}"

                let field = DisplacementField.Zero usual.Grid

                let quality =
                    QualityCheck.Run(
                        usual,
                        usual,
                        usual,
                        field,
                        field,
                        Affine.Identity,
                        TrainingRange(percentiles, struct (2.0, 2.0, 2.0), struct (32, 32, 32))
                    )

                Expect.equal quality.Verdict Verdict.Look "a person should look"

                Expect.equal
                    (List.ofSeq quality.Reasons)
                    (List.ofSeq quality.OutsideTraining)
                    "its only reasons"

            testCase "what is outside the fixed scan's mask does not count"
            <| fun () ->
                let n = 48
                let grid = Grid(n, n, n, Affine.Scaling(2., 2., 2.))

                let at axis i =
                    float (i / pown n axis % n) - float (n - 1) / 2.

                let within radius i =
                    Seq.sumBy (fun axis -> at axis i * at axis i) [ 0; 1; 2 ] < radius * radius

                let volume value =
                    Volume(grid, Array.init (n * n * n) value)

                // Structures, cut out in the fixed scan; in the moving one with a bright shell around them.
                let inside = (blobs 3 (volume (fun _ -> 0.0f))).Values
                let fixedScan = volume (fun i -> if within 15. i then 0.2f + inside[i] else 0.0f)

                let moving =
                    volume (fun i ->
                        if within 15. i then 0.2f + inside[i]
                        elif within 22. i then 3.0f
                        else 0.0f)

                let mask = volume (fun i -> if within 14. i then 1.0f else 0.0f)
                let field = DisplacementField.Zero grid

                let judge mask =
                    QualityCheck.Run(
                        fixedScan,
                        moving,
                        moving,
                        field,
                        field,
                        Affine.Identity,
                        fixedMask = mask
                    )

                let whole, masked = judge null, judge mask
                Expect.equal masked.Verdict Verdict.Ok (String.Join("; ", masked.Reasons))
                Expect.floatClose Accuracy.medium masked.SimilarityAfter 1.0 "the same inside"
                // Less than 1 by the share that keeps flat boxes out.
                Expect.isGreaterThan masked.DetailAfter 0.99 "explained"
                Expect.isGreaterThan masked.ContentPercent 95.0 "all of it is content"
                Expect.isLessThan whole.SimilarityAfter 0.5 "the shell differs"
                Expect.notEqual whole.Verdict Verdict.Ok "and is told"

                // A mask of a few points: nothing is measured, and that is said.
                let tiny = judge (volume (fun i -> if within 3. i then 1.0f else 0.0f))
                Expect.equal tiny.Verdict Verdict.Look "too little to measure"
                Expect.exists tiny.Reasons (_.Contains("cannot be measured")) "why"

                // Folds in one place count by what the mask holds.
                let folding =
                    DisplacementField(
                        grid,
                        Array.init (3 * n * n * n) (fun i ->
                            if i < n * n * n && within 6. i then
                                -2.0f * float32 (at 0 i)
                            else
                                0.0f)
                    )

                let foldedIn mask =
                    QualityCheck.Run(
                        fixedScan,
                        moving,
                        moving,
                        folding,
                        folding,
                        Affine.Identity,
                        fixedMask = mask
                    )

                let all, core =
                    foldedIn null, foldedIn (volume (fun i -> if within 5. i then 1.0f else 0.0f))

                Expect.isGreaterThan core.Folding.FoldedPercent 50.0 "within"
                Expect.isLessThan all.Folding.FoldedPercent 3.0 "of all"
                Expect.isGreaterThan core.MeanDeformationMm (10.0 * all.MeanDeformationMm) "lengths"

                Expect.throwsT<ArgumentException>
                    (fun () -> judge (Volume(Grid(4, 4, 4, Affine.Identity), Array.zeroCreate 64)) |> ignore)
                    "a mask of another grid"
        ]
