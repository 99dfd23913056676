namespace Ldr

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

    /// All different pairs that a training sees, in the order of their first appearance, as indices of subjects.
    let pairs (options: TrainingOptions) (seed: Seed) (group: SubjectGroup) : (int * int) list =
        Seq.init options.Steps (drawn options seed group)
        |> Seq.concat
        |> Seq.distinct
        |> List.ofSeq

    /// What a step does where its pairs' fields are not known, and a teacher that knows has nothing to say.
    let private withoutTeacher: Turn = { Gamma = 1.0; DiscriminatorMoves = 0 }

    /// One batch of a step: its pairs and their tensors, and what is predicted of them. `first` is the place of its first pair
    /// in the step; `known` makes pairs whose fields are known, of the fixed scans.
    let private batch
        (job: TrainingJob)
        (clock: StepClock)
        (student: Network)
        (index: int)
        (turn: Turn)
        (known: KnownPairs option)
        (first: int)
        (subjects: (int * int) list)
        : Iteration =
        let set = job.Set

        let subjects =
            if known.IsSome then
                subjects |> List.map (fun (f, _) -> f, f)
            else
                subjects

        let pairs = subjects |> List.map (fun own -> own, TrainingSet.pair set own)
        let grid = (snd pairs.Head).Grid

        let tensor (channels: int) (values: float32[] list) =
            let shape =
                [|
                    int64 pairs.Length
                    int64 channels
                    int64 grid.Nz
                    int64 grid.Ny
                    int64 grid.Nx
                |]

            values |> Array.concat |> Bridge.toTensor job.Device shape

        let images pick =
            pairs |> List.map (snd >> pick) |> tensor 1

        let weights = job.Options.Loss

        // What is wanted of the labels goes through the augmentation together, as channels.
        let ofLabels =
            [
                if weights.Dice > 0.0 then
                    TrainingSet.labelsOf
                if weights.LabelDistance > 0.0 then
                    TrainingSet.depthsOf
            ]

        let labels =
            if ofLabels.IsEmpty then
                None
            else
                let channels = ofLabels.Length * set.Labels.Value[0].Length

                let maps =
                    pairs
                    |> List.map (fun (own, pair) ->
                        let all = ofLabels |> List.map (fun make -> make set own pair)
                        all |> List.map fst |> Array.concat, all |> List.map snd |> Array.concat)

                Some(maps |> List.map fst |> tensor channels, maps |> List.map snd |> tensor channels)

        let step = job.Seed |> Seed.split "augmentation" |> Seed.at index

        let vary change value =
            match job.Options.Augmentation with
            | Some augmentation -> change augmentation (fun item -> Seed.at (first + item) step) value
            | None -> value

        // The teacher sees the pair deformed as the student does, but its intensities as they are.
        let plain: Augmentation.Batch =
            {
                Fixed = images _.Fixed
                Moving = images _.Moving
                Mask = images _.Inside
                Labels = labels
            }

        let clean, truth =
            match known with
            | Some known ->
                let own item = Seed.at (first + item) step
                let batch, field = KnownPairs.make known job.Options.Augmentation own grid plain
                batch, Some field
            | None -> plain |> vary (fun options own -> Augmentation.deform options own grid), None

        let seen name images =
            if known.IsSome then
                images
            else
                vary (fun options own -> Augmentation.intensities options own name) images

        let fixedImage = clean.Fixed |> seen "fixed"
        let moving = clean.Moving |> seen "moving"

        let timed part action = clock.Measure part action

        /// The channels of the i-th of what is wanted of the labels.
        let part (index: int64) (fixedMaps: torch.Tensor, movingMaps: torch.Tensor) =
            let count = fixedMaps.shape[1] / int64 ofLabels.Length
            fixedMaps.narrow (1L, index * count, count), movingMaps.narrow (1L, index * count, count)

        let predict () = student.Predict(fixedImage, moving)
        let prediction = lazy timed StepPart.Student predict

        let teacherField =
            lazy
                timed StepPart.Teacher (fun () ->
                    match truth, job.Teacher with
                    | Some field, _ -> field
                    | None, None -> invalidOp "a training without a teacher asked for its field"
                    | None, Some(Online teacher) ->
                        use _ = torch.no_grad ()
                        teacher.Predict(clean.Fixed, clean.Moving).Field
                    | None, Some(Fields teacher) ->
                        pairs |> List.map (fun (own, pair) -> teacher own pair) |> tensor 3)

        match job.Teacher, job.Options.Distillation with
        // As with the images: within the step they would use up what a protected call may allocate.
        | Some(Fields _), Some distillation when Distillation.asksTeacher distillation turn ->
            teacherField.Force() |> ignore
        | _ -> ()

        {
            Turn = turn
            Clock = clock
            Fixed = fixedImage
            Moving = moving
            Mask = clean.Mask
            Labels =
                if weights.Dice > 0.0 then
                    clean.Labels |> Option.map (part 0L)
                else
                    None
            Depths =
                if weights.LabelDistance > 0.0 then
                    clean.Labels |> Option.map (part (int64 ofLabels.Length - 1L))
                else
                    None
            Student = prediction
            StudentField =
                lazy
                    (if job.Options.Accumulate = 1 then
                         prediction.Value.Field.detach ()
                     else
                         // The histories of all batches together would take the memory of a large batch: each is predicted again.
                         use _ = torch.no_grad ()
                         (timed StepPart.Student predict).Field)
            TeacherField = teacherField
        }

    /// The batches of a step.
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
            |> List.mapi (fun part own ->
                batch job clock student index turn known (part * job.Options.Batch) own))
