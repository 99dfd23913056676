namespace Ldr

open System.Threading
open TorchSharp
open Ldr.Runtime

/// A subject with its scan and its labels as stored.
[<NoEquality; NoComparison>]
type LabelledScan =
    {
        Name: string
        Image: Volume
        Labels: Volume
    }

/// The pairs that a method is scored on.
[<NoEquality; NoComparison>]
type EvaluationSet =
    {
        Scans: LabelledScan[]
        Pairs: (int * int) list
        IgnoredLabels: int list
        /// Measure surface distances.
        Surface: bool
    }

module Evaluator =
    let private read (subject: Subject) : LabelledScan =
        match subject.Labels with
        | Some labelsStored ->
            let image, labels = subject.Image.Read(), labelsStored.Read()

            if not (labels.Grid.SameAs image.Grid) then
                raise (
                    Error.Raised(
                        BadInput
                            $"subject {subject.Name}: its label map ({labels.Grid}) lies on another grid than its scan ({image.Grid}); give the label map that belongs to it"
                    )
                )

            LabelMap.check (labelsStored.Where |> Option.defaultValue $"subject {subject.Name}") labels

            {
                Name = subject.Name
                Image = image
                Labels = labels
            }
        | None ->
            raise (
                Error.Raised(
                    BadInput $"subject {subject.Name} has no label map; scores need one for every subject"
                )
            )

    /// Reads the subjects of a group and draws at most `wanted` of its pairs by a seed.
    let load (seed: Seed) (wanted: int) (ignored: int list) (group: SubjectGroup) : EvaluationSet =
        if group.Members.Length < 2 then
            raise (Error.Raised(BadInput "scores need at least two subjects"))

        let pairs = Pairs.evaluation seed wanted group

        if pairs.IsEmpty then
            raise (
                Error.Raised(
                    BadInput $"part \"{group.Part}\" of the data set has no pairs; choose another one"
                )
            )

        let scans = group.Members |> List.map read |> Array.ofList

        {
            Scans = scans
            Pairs = pairs
            IgnoredLabels = ignored
            Surface = true
        }

    let private scored (set: EvaluationSet) (stop: CancellationToken) (progress: int -> int -> unit) fieldOf =
        let count = set.Pairs.Length

        set.Pairs
        |> List.mapi (fun index (f, m) ->
            stop.ThrowIfCancellationRequested()
            let fixedScan, moving = set.Scans[f], set.Scans[m]
            let field, milliseconds = fieldOf fixedScan.Image moving.Image

            let score =
                Scores.ofPair
                    set.IgnoredLabels
                    set.Surface
                    (fixedScan.Name, moving.Name)
                    fixedScan.Labels
                    moving.Labels
                    field
                    milliseconds

            progress (index + 1) count
            score)

    /// Scores what registers a fixed and a moving scan with the model of a card.
    let by
        (card: ModelCard)
        (register: Volume -> Volume -> Registered)
        (set: EvaluationSet)
        stop
        progress
        : PairScore list =
        for scan in set.Scans do
            Registration.grid card scan.Name scan.Image.Grid |> ignore

        scored set stop progress (fun fixedScan moving ->
            let registered = register fixedScan moving
            registered.Field, registered.TotalMs)

    /// Scores a model, by libtorch.
    let model (device: torch.Device) (model: Model) (set: EvaluationSet) stop progress : PairScore list =
        by model.Card (Registration.run device model None) set stop progress

    /// Scores the initial alignment alone.
    let untouched (alignment: Alignment) (set: EvaluationSet) stop : PairScore list =
        scored set stop (fun _ _ -> ()) (fun fixedScan moving ->
            let struct (_, initial) = InitialAlignment.Find(fixedScan, moving, alignment)
            (DisplacementField.Zero fixedScan.Grid).After initial, 0.0)
