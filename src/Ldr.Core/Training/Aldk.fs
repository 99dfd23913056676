namespace Ldr

open TorchSharp
open type TorchSharp.torch.optim

/// The reconstruction loss: the measure of similarity, whose loss has weight 1, and the weights of all else.
type LossWeights =
    {
        Similarity: SimilarityMeasure
        /// On each deformable stage's own field, see `Regularity.smoothness`.
        Smoothness: float
        /// On the same fields, see `Regularity.bending`; 0: it is not worked out.
        Bending: float
        /// On the affine stage, see `Regularity.determinant` and `Regularity.orthogonality`.
        Determinant: float
        Orthogonality: float
        /// Of 1 − the soft Dice overlap of the training labels, see `Similarity.dice`; 0: labels are not looked at.
        Dice: float
    }

/// Adversarial learning with distilling knowledge: how the student is drawn to the teacher's deformations.
type Distillation =
    {
        /// The name of an earlier training of the same experiment, a model file, or a folder of fields (`FieldStore`).
        Teacher: string
        Objective: Objective
        /// The factor of the objective's term, beside 1 − γ.
        Weight: float
        /// The factor of the mean squared distance to the teacher's field beside an adversarial objective, beside 1 − γ.
        FieldDistance: float
        /// The share of the teacher's field in the joint field, on which the gradient penalty is taken.
        Beta: float
        /// The weight λ of the gradient penalty.
        Penalty: float
        Schedule: Schedule
        Discriminator: DiscriminatorOptions
        /// The discriminator's learning rate.
        DiscriminatorRate: float
    }

/// What the steps of one iteration share. The predictions are made when they are first asked for.
[<NoEquality; NoComparison>]
type Iteration =
    {
        Turn: Turn
        /// [N, 1, Z, Y, X], intensities in [0, 1].
        Fixed: torch.Tensor
        Moving: torch.Tensor
        /// 1 inside the fixed scan.
        Mask: torch.Tensor
        /// Label maps of the fixed and the moving image, a channel for each label, [N, L, Z, Y, X]; where Dice counts.
        Labels: (torch.Tensor * torch.Tensor) option
        Student: Lazy<Prediction>
        /// The frozen teacher's total field for the same pair.
        TeacherField: Lazy<torch.Tensor>
    }

/// A network with its optimiser.
[<NoEquality; NoComparison>]
type Learner<'network when 'network :> torch.nn.Module> =
    {
        Network: 'network
        Optimiser: Modules.Adam
    }

/// How a student is drawn to a teacher, and the discriminator of an adversarial objective.
[<NoEquality; NoComparison>]
type Adversary =
    {
        Judge: Learner<Discriminator> option
        Distillation: Distillation
    }

module LossWeights =
    /// What the released code has.
    let standard =
        {
            Similarity = Correlation
            Smoothness = 1.0
            Bending = 0.0
            Determinant = 0.1
            Orthogonality = 0.1
            Dice = 0.0
        }

    let codec: Codec<LossWeights> =
        Codec.record (fun similarity smoothness bending determinant orthogonality dice ->
            {
                Similarity = similarity
                Smoothness = smoothness
                Bending = bending
                Determinant = determinant
                Orthogonality = orthogonality
                Dice = dice
            })
        |> Codec.optional "similarity" SimilarityMeasure.codec standard.Similarity _.Similarity
        |> Codec.optional "smoothness" Codec.notNegative standard.Smoothness _.Smoothness
        |> Codec.optional "bending" Codec.notNegative standard.Bending _.Bending
        |> Codec.optional "determinant" Codec.notNegative standard.Determinant _.Determinant
        |> Codec.optional "orthogonality" Codec.notNegative standard.Orthogonality _.Orthogonality
        |> Codec.optional "dice" Codec.notNegative standard.Dice _.Dice
        |> Codec.seal

module Distillation =
    /// Defaults of the released code where it has any.
    let codec: Codec<Distillation> =
        Codec.record (fun teacher objective weight distance beta penalty schedule discriminator rate ->
            {
                Teacher = teacher
                Objective = objective
                Weight = weight
                FieldDistance = distance
                Beta = beta
                Penalty = penalty
                Schedule = schedule
                Discriminator = discriminator
                DiscriminatorRate = rate
            })
        |> Codec.required "teacher" Codec.string _.Teacher
        |> Codec.optional "objective" Objective.codec SquaredGap _.Objective
        |> Codec.optional "weight" Codec.notNegative 1.0 _.Weight
        |> Codec.optional "field_distance" Codec.notNegative 0.0 _.FieldDistance
        |> Codec.optional "beta" Codec.fraction 0.1 _.Beta
        |> Codec.optional "penalty" Codec.notNegative 0.1 _.Penalty
        |> Codec.optional "schedule" Schedule.codec Schedule.reference _.Schedule
        |> Codec.optional
            "discriminator"
            DiscriminatorOptions.codec
            DiscriminatorOptions.standard
            _.Discriminator
        |> Codec.optional "discriminator_rate" Codec.positive 1e-4 _.DiscriminatorRate
        |> Codec.seal

/// The steps of a training. Each acts on its own learner only.
module Aldk =
    let private value (loss: torch.Tensor) = float (loss.item<float32>())

    let private freeze (frozen: bool) (network: torch.nn.Module) =
        for parameter in network.parameters () do
            parameter.requires_grad <- not frozen

    /// The terms of the reconstruction loss with their weights: 1 − the measure of similarity inside the fixed scan, averaged
    /// over the batch (design §5: `1 − CorrCoef(moved, fixed)`), and 1 − Dice where it counts. The first one is the similarity.
    let reconstruction (weights: LossWeights) (iteration: Iteration) : (string * float * torch.Tensor) list =
        let prediction = iteration.Student.Value
        let one = 1.0f.ToScalar()

        [
            "similarity",
            1.0,
            one
            - (Similarity.measured weights.Similarity (Some iteration.Mask) iteration.Fixed prediction.Moved)
                .mean()

            match iteration.Labels with
            | Some(fixedLabels, movingLabels) when weights.Dice > 0.0 ->
                let moved = Field.warp prediction.Field movingLabels
                "dice_loss", weights.Dice, one - (Similarity.dice fixedLabels moved).mean()
            | _ -> ()
        ]

    /// The regularisers of the stages with their weights.
    let private regularity (weights: LossWeights) (prediction: Prediction) =
        [
            for field in prediction.StageFields do
                "smoothness", weights.Smoothness, Regularity.smoothness field

                if weights.Bending > 0.0 then
                    "bending", weights.Bending, Regularity.bending field
            match prediction.Affine with
            | Some(w, _) ->
                "determinant", weights.Determinant, Regularity.determinant w
                "orthogonality", weights.Orthogonality, Regularity.orthogonality w
            | None -> ()
        ]

    let private weighted (terms: (string * float * torch.Tensor) list) =
        terms
        |> List.map (fun (_, weight, term) -> term * weight.ToScalar())
        |> List.reduce (+)

    /// The metrics of terms; those of one name (a stage each) are added.
    let private report (terms: (string * float * torch.Tensor) list) : Metrics =
        terms
        |> List.groupBy (fun (name, _, _) -> name)
        |> List.map (fun (name, group) -> name, group |> List.sumBy (fun (_, _, term) -> value term))

    /// Both fields in units of the teacher's (`Discrimination.normalise`).
    let private normalised (iteration: Iteration) =
        let teacher = iteration.TeacherField.Value

        Discrimination.normalise teacher iteration.Student.Value.Field,
        Discrimination.normalise teacher teacher

    let private images (iteration: Iteration) =
        torch.cat ([| iteration.Fixed; iteration.Moving |], 1L)

    /// The discriminator learns to tell the student's fields from the teacher's. The student and the teacher are held.
    let discriminatorStep (judge: Learner<Discriminator>) (distillation: Distillation) : Step<Iteration> =
        fun _ iteration ->
            let images = images iteration
            let student, teacher = normalised iteration
            let student = student.detach ()
            freeze false judge.Network
            judge.Optimiser.zero_grad ()
            let ofStudent = judge.Network.Judge(images, student)
            let ofTeacher = judge.Network.Judge(images, teacher)

            let norm =
                Discrimination.joint distillation.Beta teacher student
                |> Discrimination.gradientNorm (fun field ->
                    Discrimination.mean (judge.Network.Judge(images, field)))

            let penalty = Discrimination.penalty norm

            let term =
                Discrimination.discriminatorTerm distillation.Objective ofStudent ofTeacher

            let loss = term + penalty * distillation.Penalty.ToScalar()
            loss.backward ()
            judge.Optimiser.step () |> ignore

            [
                "discriminator", value loss
                "penalty", value penalty
                "gradient_norm", value (norm.mean ())
                "judged_student", value (ofStudent.Map.mean ())
                "judged_teacher", value (ofTeacher.Map.mean ())
            ]

    /// The objective's term for the student, and the mean distance to the teacher's field in the teacher's units.
    let private distilled (adversary: Adversary) (iteration: Iteration) =
        let student, teacher = normalised iteration
        let distance = Discrimination.fieldDistance student teacher

        match adversary.Judge with
        | Some judge ->
            let images = images iteration
            freeze true judge.Network

            let term =
                Discrimination.studentTerm
                    adversary.Distillation.Objective
                    (judge.Network.Judge(images, student))
                    (judge.Network.Judge(images, teacher))

            term, distance
        | None -> distance, distance

    /// The student lowers γ · reconstruction + (1 − γ) · (weight · objective + field_distance · distance) + regularisation.
    /// Teacher and discriminator are held. Its gradient is cut to the norm `clip`, if there is one.
    let studentStep
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration> =
        fun _ iteration ->
            student.Optimiser.zero_grad ()
            let alike = reconstruction weights iteration
            let regular = regularity weights iteration.Student.Value
            let gamma = iteration.Turn.Gamma

            let distilled =
                match adversary with
                | Some a when gamma < 1.0 && a.Distillation.Objective <> Off -> Some(a, distilled a iteration)
                | _ -> None

            let loss =
                match distilled with
                | Some(a, (term, distance)) ->
                    let share = 1.0 - gamma

                    let drawn =
                        weighted alike * gamma.ToScalar()
                        + term * (share * a.Distillation.Weight).ToScalar()

                    // A factor of 0 would cost a way back through the field at every step, for nothing.
                    if a.Distillation.FieldDistance > 0.0 then
                        drawn + distance * (share * a.Distillation.FieldDistance).ToScalar()
                    else
                        drawn
                | None -> weighted alike

            let loss = if regular.IsEmpty then loss else loss + weighted regular

            loss.backward ()

            let norm =
                clip
                |> Option.map (fun limit ->
                    torch.nn.utils.clip_grad_norm_ (student.Network.parameters (), limit))

            student.Optimiser.step () |> ignore

            [
                yield "loss", value loss
                yield! report alike
                yield! report regular
                yield! norm |> Option.map (fun n -> "student_gradient", n) |> Option.toList
                match distilled with
                | Some(_, (term, distance)) ->
                    yield "objective", value term
                    yield "field_distance", value distance
                | None -> ()
            ]

    /// One iteration: the discriminator moves as often as the schedule says, then the student does.
    let step
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration> =
        let discriminator =
            match adversary with
            | Some {
                       Judge = Some judge
                       Distillation = distillation
                   } ->
                let move = discriminatorStep judge distillation

                fun index iteration ->
                    Step.all (List.replicate iteration.Turn.DiscriminatorMoves move) index iteration
            | _ -> Step.nothing

        discriminator |> Step.andThen (studentStep student weights clip adversary)
