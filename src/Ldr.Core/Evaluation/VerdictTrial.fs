namespace Ldr

open System
open System.Globalization
open System.Text.Json.Nodes
open System.Threading
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// What a pair of a trial is, so that its verdict can be held against it.
type TrialKind =
    /// Two scans of the same kind.
    | GoodPair
    /// A scan and itself.
    | SelfPair
    /// Made wrong on purpose.
    | WrongPair

/// One judged registration of a trial.
[<NoEquality; NoComparison>]
type Trial =
    {
        Name: string
        Kind: TrialKind
        Fixed: string
        Moving: string
        /// Whether thresholds may be chosen on it: the fixed subjects take turns.
        Chosen: bool
        /// Overlap of the labels, made wrong as the scan was; not a number where there are none.
        Dice: float
        Quality: RegistrationQuality
    }

/// Tries the verdict on pairs that are good and on such that are made wrong on purpose.
module VerdictTrial =
    /// A scan's values at other places of its grid; `source` gives the place, or nothing for the surround.
    let private placed (grid: Grid) (source: int * int * int -> (int * int * int) option) (volume: Volume) =
        let own = volume.Grid
        let surround = Array.min volume.Values

        Volume(
            grid,
            Array.init (int grid.Count) (fun i ->
                match source (i % grid.Nx, i / grid.Nx % grid.Ny, i / (grid.Nx * grid.Ny)) with
                | Some(x, y, z) -> volume.Values[x + own.Nx * (y + own.Ny * z)]
                | None -> surround)
        )

    let private flipped axis (volume: Volume) =
        let g = volume.Grid

        volume
        |> placed g (fun (x, y, z) ->
            Some(
                match axis with
                | 0 -> g.Nx - 1 - x, y, z
                | 1 -> x, g.Ny - 1 - y, z
                | _ -> x, y, g.Nz - 1 - z
            ))

    /// A quarter turn about an axis, under the header that it had.
    let private turned axis (volume: Volume) =
        let g = volume.Grid

        let nx, ny, nz =
            match axis with
            | 0 -> g.Nx, g.Nz, g.Ny
            | 1 -> g.Nz, g.Ny, g.Nx
            | _ -> g.Ny, g.Nx, g.Nz

        volume
        |> placed (Grid(nx, ny, nz, g.VoxelToWorld)) (fun (x, y, z) ->
            Some(
                match axis with
                | 0 -> x, z, g.Nz - 1 - y
                | 1 -> z, y, g.Nz - 1 - x
                | _ -> y, g.Ny - 1 - x, z
            ))

    let private turnedOver axis volume =
        match axis with
        | 0 -> volume |> flipped 1 |> flipped 2
        | 1 -> volume |> flipped 0 |> flipped 2
        | _ -> volume |> flipped 0 |> flipped 1

    let private cut (volume: Volume) =
        volume
        |> placed volume.Grid (fun (x, y, z) -> if z < volume.Grid.Nz / 2 then None else Some(x, y, z))

    /// The content moved by 0.35 of the scan along y.
    let private shifted (volume: Volume) =
        let by = int (0.35 * float volume.Grid.Ny)

        volume
        |> placed volume.Grid (fun (x, y, z) -> if y < by then None else Some(x, y - by, z))

    let private random (seed: Seed) (volume: Volume) : Volume =
        let numbers = Seed.random seed
        let struct (low, high) = volume.Range

        let one () =
            low + (high - low) * float32 (numbers.NextDouble())

        Volume(volume.Grid, Array.init volume.Values.Length (fun _ -> one ()))

    /// Bright becomes dark within the content.
    let private inverted (volume: Volume) =
        let content = Content.Of volume
        let struct (low, high) = volume.Range

        Volume(
            volume.Grid,
            Array.map2 (fun inside v -> if inside then low + high - v else v) content volume.Values
        )

    /// Both the scan and its labels.
    let private whole (change: Volume -> Volume) (scan: ScoredScan) =
        { scan with
            Image = change scan.Image
            Labels = scan.Labels |> Option.map change
        }

    let private image (change: ScoredScan -> Volume) (scan: ScoredScan) =
        { scan with
            Image = change scan
            Labels = None
        }

    /// What is made of a moving scan. A scan that is turned or cut has its own labels, so that its Dice tells whether the
    /// registration was right all the same.
    let private wrongScans
        (seed: Seed)
        (others: Volume list)
        : (string * (int -> ScoredScan -> ScoredScan)) list =
        [
            for axis, name in [ 0, "x"; 1, "y"; 2, "z" ] do
                $"flipped along {name}", (fun _ -> whole (flipped axis))
            for axis, name in [ 0, "x"; 1, "y"; 2, "z" ] do
                $"turned by 90° about {name}", (fun _ -> whole (turned axis))
            for axis, name in [ 0, "x"; 1, "y"; 2, "z" ] do
                $"turned by 180° about {name}", (fun _ -> whole (turnedOver axis))
            "lower half cut off", (fun _ -> whole cut)
            "content shifted", (fun _ -> whole shifted)
            "noise", (fun i -> image (fun scan -> random (Seed.at i seed) scan.Image))
            "other contrast", (fun _ -> image (fun scan -> inverted scan.Image))
            "label map as scan",
            (fun _ -> image (fun scan -> scan.Labels |> Option.defaultValue (inverted scan.Image)))
            if not others.IsEmpty then
                "something else", (fun i -> image (fun _ -> others[i % others.Length]))
        ]

    /// A field with every second slab pulled by three voxels, which tears space.
    let private torn (field: DisplacementField) =
        let grid = field.Grid
        let slab = 4
        let vectors = Array.copy field.Vectors
        let plane = int grid.Count

        for i in 0 .. plane - 1 do
            if i / (grid.Nx * grid.Ny) / slab % 2 = 1 then
                vectors[2 * plane + i] <- vectors[2 * plane + i] + 5.0f

        DisplacementField(grid, vectors)

    let private twice (field: DisplacementField) =
        DisplacementField(field.Grid, field.Vectors |> Array.map (fun v -> 2.0f * v))

    /// Judges all kinds of pairs. `register` registers two scans. At most `wanted` pairs of the set are taken; every kind has
    /// as many.
    let run
        (register: Volume -> Volume -> RegistrationResult)
        (others: Volume list)
        (set: EvaluationSet)
        (wanted: int)
        (stop: CancellationToken)
        (progress: int -> int -> unit)
        : Trial list =
        let pairs = set.Pairs |> List.truncate wanted
        // Every second fixed subject.
        let subjects = pairs |> List.map fst |> List.distinct |> List.sort

        let trial
            name
            kind
            (fixedScan: ScoredScan)
            (moving: ScoredScan)
            chosen
            (registered: RegistrationResult)
            =
            {
                Name = name
                Kind = kind
                Fixed = fixedScan.Name
                Moving = moving.Name
                Chosen = chosen
                Dice = (Scores.ofPair set.IgnoredLabels false fixedScan moving registered.Field 0.0).Dice
                Quality = registered.Quality
            }

        [
            for index, (f, m) in List.indexed pairs do
                stop.ThrowIfCancellationRequested()
                let fixedScan, moving = set.Scans[f], set.Scans[m]
                let chosen = List.findIndex ((=) f) subjects % 2 = 0
                let good = register fixedScan.Image moving.Image
                trial "good" GoodPair fixedScan moving chosen good

                trial
                    "a scan and itself"
                    SelfPair
                    fixedScan
                    fixedScan
                    chosen
                    (register fixedScan.Image fixedScan.Image)

                for name, change in [ "field torn", torn; "deformation × 2", twice ] do
                    trial name WrongPair fixedScan moving chosen (good.With(change good.Deformation))

                for name, make in wrongScans (Seed.ofInt 1) others do
                    let wrong = make index moving
                    trial name WrongPair fixedScan wrong chosen (register fixedScan.Image wrong.Image)

                progress (index + 1) pairs.Length
        ]

    let private round3 (value: float) = Math.Round(value, 3)

    /// How many of some trials have each verdict: ok, look, failed.
    let private counts (trials: Trial list) =
        [ Verdict.Ok; Verdict.Look; Verdict.Failed ]
        |> List.map (fun verdict ->
            string (trials |> List.filter (fun t -> t.Quality.Verdict = verdict) |> List.length))
        |> String.concat " / "

    let private range digits (values: float list) =
        match values |> List.filter Double.IsFinite |> List.sort with
        | [] -> "–"
        | known ->
            let at share =
                Scores.fixedPoint digits known[int (share * float (known.Length - 1))]

            $"{at 0.0}, {at 0.5}, {at 1.0}"

    /// A Markdown table: a row a kind, in the order of the trials.
    let toTable (trials: Trial list) : string =
        let head =
            "| pairs | ok / look / failed: chosen on | checked on | Dice: least, median, most | detail | inner detail | half detail | J out in content (%) |\n|---|---|---|---|---|---|---|---|"

        let rows =
            trials
            |> List.map _.Name
            |> List.distinct
            |> List.map (fun name ->
                let own = trials |> List.filter (fun t -> t.Name = name)
                let chosen, held = own |> List.partition _.Chosen

                let measured digits pick = own |> List.map pick |> range digits

                $"| {name} | {counts chosen} | {counts held} | {measured 2 _.Dice} | {measured 2 _.Quality.DetailAfter} | {measured 2 _.Quality.InnerDetailAfter} | {measured 2 _.Quality.HalfDetailAfter} | {measured 1 _.Quality.ExtremeContentPercent} |")

        head :: rows |> String.concat "\n"

    /// A line a trial, for a spreadsheet.
    let toCsv (trials: Trial list) : string =
        let plain (value: float) =
            value.ToString("G6", CultureInfo.InvariantCulture)

        let numbers: (string * (RegistrationQuality -> float)) list =
            [
                "similarity_before", _.SimilarityBefore
                "similarity_after", _.SimilarityAfter
                "detail_before", _.DetailBefore
                "detail_after", _.DetailAfter
                "inner_detail_before", _.InnerDetailBefore
                "inner_detail_after", _.InnerDetailAfter
                "half_detail_after", _.HalfDetailAfter
                "content_percent", _.ContentPercent
                "content_overlap_percent", _.ContentOverlapPercent
                "content_mm", _.ContentMm
                "mean_deformation_mm", _.MeanDeformationMm
                "folded_percent", _.Folding.FoldedPercent
                "sdlogj", _.Folding.SdLogJ
                "extreme_content_percent", _.ExtremeContentPercent
                "outside_percent", _.OutsidePercent
                "volume_factor", _.VolumeFactor
            ]

        let head =
            [ "pairs"; "kind"; "fixed"; "moving"; "chosen"; "verdict"; "dice" ]
            @ List.map fst numbers

        let line (t: Trial) =
            [
                Csv.field t.Name
                string t.Kind
                Csv.field t.Fixed
                Csv.field t.Moving
                string t.Chosen
                t.Quality.Verdict.Word()
                plain t.Dice
            ]
            @ (numbers |> List.map (fun (_, pick) -> plain (pick t.Quality)))

        (head :: List.map line trials)
        |> List.map (String.concat ",")
        |> String.concat "\n"
        |> (fun t -> t + "\n")

    /// A pair made wrong counts as set right where its labels overlap at least so well, as a share of the good pairs' median: the
    /// alignment undoes a turn, and what a cut leaves may lie where it belongs.
    let private setRight = 2.0 / 3.0

    /// The mirror images of symmetric bodies, which no similarity of images can tell.
    let private mirrored = "flipped along x"

    /// The pairs that were made wrong and came out wrong, and whose wrongness can be seen.
    let trulyWrong (trials: Trial list) : Trial list =
        let median =
            trials
            |> List.filter (fun t -> t.Kind = GoodPair && Double.IsFinite t.Dice)
            |> List.map _.Dice
            |> function
                | [] -> nan
                | known -> Statistics.median known

        trials
        |> List.filter (fun t ->
            t.Kind = WrongPair && t.Name <> mirrored && not (t.Dice >= setRight * median))

    /// Thresholds chosen on one half of the trials: between what good and wrong pairs have, where that is apart; else where the
    /// good pairs of this half just pass.
    let thresholds (trials: Trial list) : VerdictThresholds =
        let chosen = trials |> List.filter _.Chosen
        let good = chosen |> List.filter (fun t -> t.Kind = GoodPair)
        let wrong = trulyWrong trials |> List.filter _.Chosen

        let finite pick trials =
            trials |> List.map (fun t -> pick t.Quality) |> List.filter Double.IsFinite

        let most values =
            if List.isEmpty values then 0.0 else List.max values

        /// Between the least of the good pairs and the most of those wrong ones that lie below it.
        let between (pick: RegistrationQuality -> float) =
            let least = good |> finite pick |> List.min
            let below = wrong |> finite pick |> List.filter (fun v -> v < 0.95 * least) |> most
            let look = max (0.8 * least) ((least + below) / 2.0)
            round3 (max 0.0 (2.0 * look - least)), round3 look

        let failedDetail, lookDetail = between _.DetailAfter
        let failedInner, lookInner = between _.InnerDetailAfter
        let _, lookHalf = between _.HalfDetailAfter
        let extreme = good |> finite _.ExtremeContentPercent |> most
        let lookExtreme = max 1.0 (1.5 * extreme)

        VerdictThresholds(
            FailedDetail = failedDetail,
            LookDetail = lookDetail,
            FailedInnerDetail = failedInner,
            LookInnerDetail = lookInner,
            LookHalfDetail = lookHalf,
            LookExtremePercent = round3 lookExtreme,
            FailedExtremePercent = round3 (max 10.0 (3.0 * lookExtreme))
        )

    /// Rates on the half that thresholds were not chosen on: how many pairs of each kind, and how many of them are ok; and the
    /// thresholds that the other half suggests.
    let toJson (trials: Trial list) : JsonObject =
        let node = JsonObject()
        let held = trials |> List.filter (_.Chosen >> not)
        let wrong = trulyWrong trials |> List.filter (_.Chosen >> not)

        for key, own in
            [
                "good", held |> List.filter (fun t -> t.Kind = GoodPair)
                "self", held |> List.filter (fun t -> t.Kind = SelfPair)
                "wrong", wrong
                "mirrored", held |> List.filter (fun t -> t.Name = mirrored)
            ] do
            let ok = own |> List.filter (fun t -> t.Quality.Verdict = Verdict.Ok)
            node.Add($"{key}_pairs", JsonValue.Create own.Length)
            node.Add($"{key}_ok", JsonValue.Create ok.Length)

        node.Add("thresholds", RuntimeCodecs.thresholds.Encode(thresholds trials))
        node
