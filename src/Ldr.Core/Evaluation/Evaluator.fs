namespace Ldr

open System.Threading
open FsToolkit.ErrorHandling
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration

/// The pairs that a method is scored on.
[<NoEquality; NoComparison>]
type EvaluationSet =
    {
        Scans: ScoredScan[]
        Pairs: (int * int) list
        /// Scans that are tried with a known field, each with its place among the subjects that they were drawn of.
        Known: (int * int) list
        IgnoredLabels: int list
        /// Measure surface distances.
        Surface: bool
    }

module Evaluator =
    let private bad message : Result<'a, Error> = Error(BadInput message)

    /// A label map or mask of a subject, which must lie on the scan's grid.
    let private onGrid
        what
        (subject: Subject)
        (image: Volume)
        (stored: Stored<Volume>)
        : Result<Volume, Error> =
        let map = stored.Read()

        if map.Grid.SameAs image.Grid then
            Ok map
        else
            bad
                $"subject {subject.Name}: its {what} ({map.Grid}) lies on another grid than its scan ({image.Grid}); give the {what} that belongs to it"

    let private labelsOf (subject: Subject) (image: Volume) (stored: Stored<Volume>) : Result<Volume, Error> =
        result {
            let! labels = onGrid "label map" subject image stored
            do! LabelMap.check (stored.Where |> Option.defaultValue $"subject {subject.Name}") labels
            return labels
        }

    let private read (subject: Subject) : Result<ScoredScan, Error> =
        if subject.Labels.IsNone && subject.Points.IsNone then
            bad
                $"subject {subject.Name} has neither a label map nor landmarks; scores need one of them for every subject"
        else
            result {
                let image = subject.Image.Read()
                Budget.CheckVoxels(subject.Image.Where |> Option.defaultValue subject.Name, image.Grid)
                let! labels = subject.Labels |> Option.traverseResult (labelsOf subject image)
                let points = subject.Points |> Option.map _.Read()
                let! mask = subject.Mask |> Option.traverseResult (onGrid "mask" subject image)

                return
                    {
                        Name = subject.Name
                        Image = image
                        Labels = labels
                        Points = points
                        Mask = mask
                    }
            }

    /// Refuses a pair that nothing can be said of, and landmarks that are not the same places.
    let private checkPair (scans: ScoredScan[]) (f: int, m: int) : Result<unit, Error> =
        let fixedScan, moving = scans[f], scans[m]

        match fixedScan.Points, moving.Points with
        // A data set may have landmarks in general, and none of a scan.
        | Some p, Some q when p.Length > 0 && q.Length > 0 && p.Length <> q.Length ->
            bad
                $"{fixedScan.Name} has {p.Length} landmarks, {moving.Name} has {q.Length}; the i-th landmark of both must be the same place"
        | Some _, Some _ -> Ok()
        | _ when fixedScan.Labels.IsSome && moving.Labels.IsSome -> Ok()
        | _ ->
            bad
                $"{fixedScan.Name} and {moving.Name} have neither label maps nor landmarks both; scores need one of them for every pair"

    let private pairsOf (seed: Seed) (wanted: int) (group: SubjectGroup) : Result<(int * int) list, Error> =
        if group.Members.Length < 2 then
            bad "scores need at least two subjects"
        else
            match Pairs.evaluation seed wanted group with
            | [] -> bad $"part \"{group.Part}\" of the data set has no pairs; choose another one"
            | pairs -> Ok pairs

    /// Reads the subjects of the pairs, one after the other, as long as memory holds them.
    let private readAll (subjects: (int * Subject) list) : Result<(int * ScoredScan) list, Error> =
        let bytes (scan: ScoredScan) =
            [ Some scan.Image; scan.Labels; scan.Mask ]
            |> List.choose id
            |> List.sumBy (fun volume -> volume.Values.LongLength * 4L)

        let rec go held count (subjects: (int * Subject) list) scans =
            match subjects with
            | [] -> Ok(List.rev scans)
            | (place, subject) :: rest ->
                match read subject with
                | Error error -> Error error
                | Ok scan ->
                    let held, count = held + bytes scan, count + 1
                    let expected = held / int64 count * int64 (count + rest.Length)

                    if expected > Budget.Memory then
                        bad
                            $"the scans of {count + rest.Length} subjects take about {expected >>> 20} MB, and this machine has {Budget.Memory >>> 20} MB of memory; give fewer --pairs"
                    else
                        go held count rest ((place, scan) :: scans)

        go 0L 0 subjects []

    /// Scans that are tried with a known field: at most so many.
    let private knownScans = 12

    /// Draws at most `wanted` pairs of a group by a seed, and the scans that are tried with a known field by a seed of theirs, if
    /// there is one; reads the subjects that were drawn.
    let load
        (seed: Seed)
        (wanted: int)
        (known: Seed option)
        (ignored: int list)
        (group: SubjectGroup)
        : Result<EvaluationSet, Error> =
        result {
            let! pairs = pairsOf seed wanted group
            let members = Array.ofList group.Members

            let known =
                [
                    for seed in Option.toList known do
                        yield! Seed.permutation members.Length seed |> Seq.truncate knownScans
                ]

            let! scans =
                known @ (pairs |> List.collect (fun (f, m) -> [ f; m ]))
                |> List.distinct
                |> List.sort
                |> List.map (fun place -> place, members[place])
                |> readAll

            // The places of what was read.
            let places = scans |> List.mapi (fun i (place, _) -> place, i) |> dict
            let pairs = pairs |> List.map (fun (f, m) -> places[f], places[m])
            let scans = scans |> List.map snd |> Array.ofList

            for pair in pairs do
                do! checkPair scans pair

            return
                {
                    Scans = scans
                    Pairs = pairs
                    Known = known |> List.map (fun place -> places[place], place)
                    IgnoredLabels = ignored
                    Surface = true
                }
        }

    let private scored (set: EvaluationSet) (stop: CancellationToken) (progress: int -> int -> unit) score =
        let count = set.Pairs.Length

        set.Pairs
        |> List.mapi (fun index (f, m) ->
            stop.ThrowIfCancellationRequested()
            let own: PairScore = score set.Scans[f] set.Scans[m]
            progress (index + 1) count
            own)

    /// Refuses scans that are too large for the grid of a model's card.
    let checkGrids (card: ModelCard) (set: EvaluationSet) =
        for scan in set.Scans do
            ModelGrids.check card scan.Name scan.Image.Grid

    /// Registers by a registrar; the result is judged when its quality is asked for.
    let registering
        (registrar: Registrar)
        (options: RegistrationOptions)
        (stop: CancellationToken)
        (fixedScan: Volume)
        (moving: Volume)
        : RegistrationResult =
        registrar.Register(fixedScan, moving, options, null, stop)

    /// Scores what registers a fixed and a moving scan; with `inverse`, every pair is registered the other way round too, and
    /// how far the two are from undoing each other is measured.
    let by
        (register: Volume -> Volume -> RegistrationResult)
        (inverse: bool)
        (set: EvaluationSet)
        stop
        progress
        : PairScore list =
        scored set stop progress (fun fixedScan moving ->
            let registered = register fixedScan.Image moving.Image

            let score =
                Scores.ofPair
                    set.IgnoredLabels
                    set.Surface
                    fixedScan
                    moving
                    registered.Field
                    registered.Times.Total.TotalMilliseconds

            if inverse then
                let back = (register moving.Image fixedScan.Image).Field

                { score with
                    InverseMm = Scores.inverseMm set.IgnoredLabels fixedScan registered.Field back
                }
            else
                score)

    /// Does some work with what registers by a model (by libtorch), and releases that.
    let registeringBy
        (device: torch.Device)
        (model: Model)
        (stop: CancellationToken)
        (work: (Volume -> Volume -> RegistrationResult) -> 'a)
        : 'a =
        use registrar = new Registrar(TorchPredictor(device, model))
        work (registering registrar (RegistrationOptions(Check = false)) stop)

    /// Scores a model, by libtorch.
    let model (device: torch.Device) (model: Model) (set: EvaluationSet) stop progress : PairScore list =
        checkGrids model.Card set
        registeringBy device model stop (fun register -> by register false set stop progress)

    /// Scores the initial alignment alone.
    let untouched (alignment: Alignment) (set: EvaluationSet) stop : PairScore list =
        scored set stop (fun _ _ -> ()) (fun fixedScan moving ->
            let struct (_, initial) =
                InitialAlignment.Find(fixedScan.Image, moving.Image, alignment)

            let field = (DisplacementField.Zero fixedScan.Image.Grid).After initial
            Scores.ofPair set.IgnoredLabels set.Surface fixedScan moving field 0.0)

    /// Registers scans to themselves, warped by a known field, and compares what is found with it.
    let knownFields
        (register: Volume -> Volume -> RegistrationResult)
        (options: KnownFieldOptions)
        (set: EvaluationSet)
        (stop: CancellationToken)
        : KnownFieldError list =
        [
            for index, place in set.Known do
                stop.ThrowIfCancellationRequested()
                let scan = set.Scans[index]

                let pair =
                    KnownField.Of(
                        scan.Image,
                        Option.toObj scan.Labels,
                        KnownFieldOptions(
                            AmplitudeMm = options.AmplitudeMm,
                            SmoothnessMm = options.SmoothnessMm,
                            Noise = options.Noise,
                            NoiseEverywhere = options.NoiseEverywhere,
                            Seed = options.Seed + place
                        )
                    )

                {
                    BeforeMm = pair.ErrorMm null
                    FoundMm = pair.ErrorMm (register pair.Fixed pair.Moving).Field
                }
        ]
