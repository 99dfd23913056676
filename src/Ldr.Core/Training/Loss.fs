namespace Ldr

open TorchSharp

/// One term of a loss: a number of a batch, and how much it counts.
[<NoEquality; NoComparison>]
type Term =
    {
        Name: string
        Weight: float
        /// A scalar, as it is reported.
        Value: torch.Tensor
        /// What is added to the loss: the value times its weights, one after the other.
        Counted: torch.Tensor
    }

/// A loss of something: named, weighted terms, whose sum is lowered. Losses form a monoid under `Loss.plus` with `Loss.none`, and
/// `Loss.times` is linear.
type Loss<'on> = 'on -> Term list

/// A loss of a batch and what is predicted of it.
type Loss = Loss<Iteration>

/// A batch with the student's and the teacher's field in units of the teacher's (`Discrimination.normalise`).
[<NoEquality; NoComparison>]
type Compared =
    {
        Iteration: Iteration
        Student: torch.Tensor
        Teacher: torch.Tensor
    }

/// Losses as values: `Loss.similarity Correlation |> Loss.plus (Loss.smoothness |> Loss.times 0.02)`.
module Loss =
    /// No term at all.
    let none: Loss<'on> = fun _ -> []

    /// One term of weight 1: a scalar with its history.
    let term (name: string) (value: 'on -> torch.Tensor) : Loss<'on> =
        fun on ->
            let value = value on

            [
                {
                    Name = name
                    Weight = 1.0
                    Value = value
                    Counted = value
                }
            ]

    /// A number that is reported and does not count.
    let told (name: string) (value: 'on -> torch.Tensor) : Loss<'on> =
        fun on ->
            let value = (value on).detach()

            [
                {
                    Name = name
                    Weight = 0.0
                    Value = value
                    Counted = torch.zeros_like value
                }
            ]

    /// The terms of both: `first |> plus second`.
    let plus (second: Loss<'on>) (first: Loss<'on>) : Loss<'on> =
        fun on ->
            let terms = first on
            terms @ second on

    /// The terms of all, in their order.
    let sum (losses: Loss<'on> list) : Loss<'on> =
        (none, losses) ||> List.fold (fun before loss -> before |> plus loss)

    /// All terms times a number that depends on the batch.
    let timesBy (factor: 'on -> float) (loss: Loss<'on>) : Loss<'on> =
        fun on ->
            let factor = factor on

            loss on
            |> List.map (fun term ->
                { term with
                    Weight = term.Weight * factor
                    Counted = term.Counted * factor.ToScalar()
                })

    /// All terms times a number.
    let times (factor: float) (loss: Loss<'on>) : Loss<'on> = timesBy (fun _ -> factor) loss

    /// The loss where something holds; elsewhere it is not worked out.
    let where (holds: 'on -> bool) (loss: Loss<'on>) : Loss<'on> =
        fun on -> if holds on then loss on else []

    /// Under another name: all its terms.
    let named (name: string) (loss: Loss<'on>) : Loss<'on> =
        loss >> List.map (fun term -> { term with Name = name })

    /// The number that is lowered.
    let total (terms: Term list) : torch.Tensor =
        match terms with
        | [] -> invalidArg (nameof terms) "a loss without terms cannot be lowered"
        | terms -> terms |> List.map _.Counted |> List.reduce (+)

    let private value (loss: torch.Tensor) = float (loss.item<float32>())

    /// The values of terms; those of one name (a stage each) are added.
    let report (terms: Term list) : Metrics =
        terms
        |> List.groupBy _.Name
        |> List.map (fun (name, own) -> name, own |> List.sumBy (fun term -> value term.Value))

    /// `similarity`: 1 − the measure inside the mask, averaged over the batch.
    let similarity (measure: SimilarityMeasure) : Loss =
        term "similarity" (fun iteration ->
            1.0f.ToScalar()
            - (Similarity.measured
                measure
                (Some iteration.Mask)
                iteration.Fixed
                iteration.Student.Value.Moved)
                .mean())

    /// The same of a measure of one's own: from mask, fixed and moved image [N, 1, Z, Y, X] to a number for each sample, [N], that
    /// is 1 (or more) for equal images.
    let similarityBy (measure: torch.Tensor -> torch.Tensor -> torch.Tensor -> torch.Tensor) : Loss =
        term "similarity" (fun iteration ->
            1.0f.ToScalar()
            - (measure iteration.Mask iteration.Fixed iteration.Student.Value.Moved).mean())

    /// A term for each of several tensors of a prediction.
    let private each name (pick: Prediction -> torch.Tensor list) measure : Loss =
        fun iteration ->
            pick iteration.Student.Value
            |> List.collect (fun tensor -> term name (fun () -> measure tensor) ())

    /// `smoothness` of every deformable stage's own field, see `Regularity.smoothness`.
    let smoothness: Loss = each "smoothness" _.StageFields Regularity.smoothness

    /// `bending` of the same fields, see `Regularity.bending`.
    let bending: Loss = each "bending" _.StageFields Regularity.bending

    /// `log_jacobian` of the total field, see `Regularity.logJacobian`.
    let logJacobian: Loss =
        term "log_jacobian" (fun iteration -> Regularity.logJacobian iteration.Student.Value.Field)

    /// `inverse_consistency`: how far points end from where they began that go to the moving image by the total field, and come back
    /// by that of the pair turned round, squared, in voxels; averaged over the voxels and the batch. (Christensen and Johnson,
    /// Consistent image registration, 2001.)
    let inverseConsistency: Loss =
        term "inverse_consistency" (fun iteration ->
            let there, back = iteration.Student.Value.Field, iteration.TurnedRound.Value.Field
            use scope = torch.NewDisposeScope()
            scope.MoveToOuter((Field.compose back there).square().sum(1L).mean()))

    let private ofAffine name measure : Loss =
        each name (fun prediction -> prediction.Affine |> Option.map fst |> Option.toList) measure

    /// `determinant` of the affine stage, where there is one, see `Regularity.determinant`.
    let determinant: Loss = ofAffine "determinant" Regularity.determinant

    /// `orthogonality` of the affine stage, see `Regularity.orthogonality`.
    let orthogonality: Loss = ofAffine "orthogonality" Regularity.orthogonality

    let private ofMaps name (pick: Iteration -> (torch.Tensor * torch.Tensor) option) measure : Loss =
        fun iteration ->
            match pick iteration with
            | None -> []
            | Some(fixedMaps, movingMaps) ->
                term
                    name
                    (fun _ -> measure fixedMaps (Field.warp iteration.Student.Value.Field movingMaps))
                    ()

    /// `dice_loss`: 1 − the soft Dice overlap of the labels, where the batch has any, see `Similarity.dice`.
    let dice: Loss =
        ofMaps "dice_loss" _.Labels (fun fixedLabels moved ->
            1.0f.ToScalar() - (Similarity.dice fixedLabels moved).mean())

    /// `label_distance`: how deep voxels lie in labels, where the batch has that, see `Similarity.depthDifference`.
    let labelDistance: Loss =
        ofMaps "label_distance" _.Depths Similarity.depthDifference

    /// A loss of the student's and the teacher's field, both in the teacher's units; several of them are best joined first.
    let compared (loss: Loss<Compared>) : Loss =
        fun iteration ->
            let student, teacher = iteration.Student.Value.Field, iteration.TeacherField.Value

            loss
                {
                    Iteration = iteration
                    Student = Discrimination.normalise teacher student
                    Teacher = Discrimination.normalise teacher teacher
                }

/// Losses of the student's field against its teacher's, for `Loss.compared`.
module Between =
    let private voxels (weights: FieldWeights) (iteration: Iteration) : torch.Tensor option =
        match weights with
        | Even -> None
        | Strain -> Some(Discrimination.strain iteration.TeacherField.Value)
        | Content -> Some(Discrimination.content iteration.Mask iteration.Fixed)

    /// `field_distance`, told: the plain distance, by which trainings can be compared.
    let told: Loss<Compared> =
        Loss.told "field_distance" (fun on ->
            Discrimination.fieldDistance None (on.Student.detach ()) on.Teacher)

    /// `distance`: the mean squared length of the difference with its weights, and, times a factor above 0, the distance of the
    /// derivatives (`Discrimination.derivativeDistance`), which is told too, beside the plain distance.
    let distance (weights: FieldWeights) (derivatives: float) : Loss<Compared> =
        fun on ->
            let ofDerivatives =
                if derivatives > 0.0 then
                    let student = on.Iteration.Student.Value.Field
                    Some(Discrimination.derivativeDistance student on.Iteration.TeacherField.Value)
                else
                    None

            let ofFields =
                Discrimination.fieldDistance (voxels weights on.Iteration) on.Student on.Teacher

            let whole =
                match ofDerivatives with
                | Some own -> ofFields + own * derivatives.ToScalar()
                | None -> ofFields

            Loss.sum
                [
                    Loss.term "distance" (fun _ -> whole)
                    told
                    match ofDerivatives with
                    | Some own -> Loss.told "field_derivatives" (fun _ -> own)
                    | None -> Loss.none
                ]
                on

    let private images (iteration: Iteration) =
        torch.cat ([| iteration.Fixed; iteration.Moving |], 1L)

    /// `objective`: what a discriminator makes of the difference, see `Discrimination.studentTerm`. The discriminator is held.
    let judged (objective: Objective) (judge: Discriminator) : Loss<Compared> =
        Loss.term "objective" (fun on ->
            let images = images on.Iteration

            let judge field =
                if objective = FeatureGap then
                    judge.Judge(images, field)
                else
                    judge.JudgeMap(images, field)

            Discrimination.studentTerm objective (judge on.Student) (judge on.Teacher))

    /// `student_penalty`: the gradient penalty as a function of the student's field, with the teacher's share β in φ̂.
    let penalty (beta: float) (judge: Discriminator) : Loss<Compared> =
        Loss.term "student_penalty" (fun on ->
            let images = images on.Iteration

            Discrimination.jointOfStudent beta on.Teacher on.Student
            |> Discrimination.gradientNormOf judge images
            |> Discrimination.penalty)
