namespace Ldr

open System
open TorchSharp
open Ldr.Runtime.Geometry

/// From the scans of a training set to the tensors of a step.
module Batches =
    /// The pairs of a step, fixed and moving, as indices of subjects.
    let drawn (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) : int -> (int * int) list =
        let pairAt =
            match options.Pairs with
            | None -> Pairs.draw seed group
            | Some wanted ->
                let all = Pairs.several (seed |> Seed.split "pairs") wanted group |> Array.ofList
                fun index -> all[index % all.Length]

        let size = options.Batch * options.Accumulate
        fun step -> List.init size (fun item -> pairAt (step * size + item))

    /// Whether a step asks a teacher for the fields of its pairs.
    let private asks (options: TrainingOptions) (seed: Seed) (step: int) : bool =
        match options.Distillation with
        | None -> false
        | Some distillation ->
            Distillation.asksTeacher distillation (Schedule.at distillation.Schedule step)
            && not (
                TrainingOptions.known options
                |> Option.exists (fun known -> KnownPairs.atStep known seed step)
            )

    /// All different pairs of some steps, in the order of their first appearance, as indices of subjects.
    let private ofSteps (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) (steps: int seq) =
        steps |> Seq.collect (drawn options seed group) |> Seq.distinct |> List.ofSeq

    /// All different pairs that a training sees.
    let pairs (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) : (int * int) list =
        Seq.init options.Steps id |> ofSteps options seed group

    /// Those of them for whose fields it asks its teacher.
    let asked (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) : (int * int) list =
        Seq.init options.Steps id
        |> Seq.filter (asks options seed)
        |> ofSteps options seed group

    /// What a step does where its pairs' fields are not known, and a teacher that knows has nothing to say.
    let private withoutTeacher: Turn = { Gamma = 1.0; DiscriminatorMoves = 0 }

    /// What a batch is made for.
    [<NoEquality; NoComparison>]
    type private Place =
        {
            Job: TrainingJob
            Clock: StepClock
            Student: Network
            /// The step.
            Index: int
            Turn: Turn
            /// Makes pairs whose fields are known, of the fixed scans.
            Known: KnownPairs option
            /// The place of the batch's first pair in the step.
            First: int
        }

        /// The seed of an item's draws.
        member this.SeedOf(item: int) =
            this.Job.Seed
            |> Seed.split "augmentation"
            |> Seed.at this.Index
            |> Seed.at (this.First + item)

    /// Pairs of subjects, by their indices, with their scans on one grid.
    type private PairList = ((int * int) * PreparedPair) list

    let private tensor
        (job: TrainingJob)
        (grid: Grid)
        (channels: int)
        (values: float32[] list)
        : torch.Tensor =
        let shape =
            [|
                int64 values.Length
                int64 channels
                int64 grid.Nz
                int64 grid.Ny
                int64 grid.Nx
            |]

        Bridge.ofParts job.Device shape values

    /// What is wanted of the labels. It goes through the augmentation together, as channels.
    let private labelMakers (weights: LossWeights) =
        [
            if weights.Dice > 0.0 then
                TrainingSet.labelsOf
            if weights.LabelDistance > 0.0 then
                TrainingSet.depthsOf
        ]

    let private labels (place: Place) (grid: Grid) (pairs: PairList) : (torch.Tensor * torch.Tensor) option =
        let job = place.Job

        match labelMakers job.Options.Loss with
        | [] -> None
        | makers ->
            let channelLabels =
                job.Seed
                |> Seed.split "labels"
                |> Seed.at place.Index
                |> Seed.at place.First
                |> TrainingSet.drawnLabels job.Set

            let channels = makers.Length * channelLabels.Length

            let maps =
                pairs
                |> List.map (fun (own, pair) ->
                    let all = makers |> List.map (fun make -> make job.Set channelLabels own pair)
                    all |> List.map fst |> Array.concat, all |> List.map snd |> Array.concat)

            let together pick =
                maps |> List.map pick |> tensor job grid channels

            Some(together fst, together snd)

    /// The scans as they are.
    let private plain (place: Place) (grid: Grid) (pairs: PairList) : Augmentation.Batch =
        let images pick =
            pairs |> List.map (snd >> pick) |> tensor place.Job grid 1

        {
            Fixed = images _.Fixed
            Moving = images _.Moving
            Mask = images _.Inside
            Labels = labels place grid pairs
        }

    /// The batch that the teacher sees, deformed as the student's but with its intensities as they are; the fields, where
    /// they are known.
    let private deformed
        (place: Place)
        (grid: Grid)
        (plain: Augmentation.Batch)
        : Augmentation.Batch * torch.Tensor option =
        match place.Known, place.Job.Options.Augmentation with
        | Some known, augmentation ->
            let batch, field = KnownPairs.make known augmentation place.SeedOf grid plain
            batch, Some field
        | None, Some augmentation -> Augmentation.deform augmentation place.SeedOf grid plain, None
        | None, None -> plain, None

    /// Images as the student sees them. Known pairs have their own intensities.
    let private seen (place: Place) (name: string) (images: torch.Tensor) : torch.Tensor =
        match place.Known, place.Job.Options.Augmentation with
        | None, Some augmentation -> Augmentation.intensities augmentation place.SeedOf name images
        | _ -> images

    /// The channels of the i-th of so many things wanted of the labels.
    let private channels (parts: int) (index: int) (fixedMaps: torch.Tensor, movingMaps: torch.Tensor) =
        let count = fixedMaps.shape[1] / int64 parts

        let part (maps: torch.Tensor) =
            maps.narrow (1L, int64 index * count, count)

        part fixedMaps, part movingMaps

    /// The teacher's field for a batch.
    let private taught
        (place: Place)
        (grid: Grid)
        (pairs: PairList)
        (clean: Augmentation.Batch)
        (truth: torch.Tensor option)
        : torch.Tensor =
        place.Clock.Measure StepPart.Teacher (fun () ->
            match truth, place.Job.Teacher with
            | Some field, _ -> field
            | None, None -> invalidOp "a training without a teacher asked for its field"
            | None, Some(Online teacher) ->
                use _ = torch.no_grad ()
                teacher.Predict(clean.Fixed, clean.Moving).Field
            | None, Some(Fields teacher) ->
                pairs
                |> List.map (fun (own, pair) -> teacher own pair)
                |> tensor place.Job grid 3)

    /// The student's field without its history.
    let private studentField
        (place: Place)
        (predict: unit -> Prediction)
        (prediction: Lazy<Prediction>)
        : torch.Tensor =
        if place.Job.Options.Accumulate = place.Job.Ranks.Count then
            prediction.Value.Field.detach ()
        else
            // The histories of several batches together would take the memory of a large one: each is predicted again.
            use _ = torch.no_grad ()
            (predict ()).Field

    /// One batch of a step: its pairs and their tensors, and what is predicted of them.
    let private batch (place: Place) (subjects: (int * int) list) : Iteration =
        let job, weights = place.Job, place.Job.Options.Loss

        let subjects =
            if place.Known.IsSome then
                subjects |> List.map (fun (f, _) -> f, f)
            else
                subjects

        let pairs = subjects |> List.map (fun own -> own, TrainingSet.pair job.Set own)
        let grid = (snd pairs.Head).Grid
        let clean, truth = plain place grid pairs |> deformed place grid
        let fixedImage = clean.Fixed |> seen place "fixed"
        let moving = clean.Moving |> seen place "moving"

        let predicted ofFixed ofMoving =
            place.Clock.Measure StepPart.Student (fun () -> place.Student.Predict(ofFixed, ofMoving))

        let predict () = predicted fixedImage moving

        let prediction = lazy predict ()
        let teacherField = lazy taught place grid pairs clean truth

        match job.Teacher, job.Options.Distillation with
        // As with the images: within the step they would use up what a protected call may allocate.
        | Some(Fields _), Some distillation when Distillation.asksTeacher distillation place.Turn ->
            teacherField.Force() |> ignore
        | _ -> ()

        let wanted = (labelMakers weights).Length

        let labels isWanted index =
            if isWanted then
                clean.Labels |> Option.map (channels wanted index)
            else
                None

        {
            Turn = place.Turn
            Clock = place.Clock
            Fixed = fixedImage
            Moving = moving
            Mask = clean.Mask
            Labels = labels (weights.Dice > 0.0) 0
            Depths = labels (weights.LabelDistance > 0.0) (wanted - 1)
            Student = prediction
            TurnedRound = lazy predicted moving fixedImage
            StudentField = lazy studentField place predict prediction
            TeacherField = teacherField
        }

    /// This rank's part of the batches of a step, with their places in it.
    let private own (job: TrainingJob) (batches: 'batch list) : (int * 'batch) list =
        let each = batches.Length / job.Ranks.Count
        batches |> List.indexed |> List.skip (job.Ranks.Rank * each) |> List.take each

    /// The batches of a step that are this rank's.
    let ofStep
        (job: TrainingJob)
        (clock: StepClock)
        (student: Network)
        (index: int)
        (turn: Turn)
        (subjects: (int * int) list)
        : Iteration list =
        let known =
            TrainingOptions.known job.Options
            |> Option.filter (fun known -> KnownPairs.atStep known job.Seed index)

        let turn =
            match job.Options.Distillation with
            | Some d when d.Teacher = KnownPairs.teacher && known.IsNone -> withoutTeacher
            | _ -> turn

        clock.Measure StepPart.Data (fun () ->
            subjects
            |> List.chunkBySize job.Options.Batch
            |> own job
            |> List.map (fun (part, own) ->
                let place =
                    {
                        Job = job
                        Clock = clock
                        Student = student
                        Index = index
                        Turn = turn
                        Known = known
                        First = part * job.Options.Batch
                    }

                batch place own))
