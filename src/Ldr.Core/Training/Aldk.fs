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
        /// On the total field, see `Regularity.logJacobian`; 0: it is not worked out.
        LogJacobian: float
        /// On the affine stage, see `Regularity.determinant` and `Regularity.orthogonality`.
        Determinant: float
        Orthogonality: float
        /// Of 1 − the soft Dice overlap of the training labels, see `Similarity.dice`; 0: labels are not looked at.
        Dice: float
        /// Of the squared difference of how deep voxels lie in the training labels, see `Similarity.depthDifference`; 0: it is
        /// not worked out. Unlike Dice, it rises when a structure is mapped into its middle.
        LabelDistance: float
    }

/// Adversarial learning with distilling knowledge: how the student is drawn to the teacher's deformations.
type Distillation =
    {
        /// The name of an earlier training of the same experiment, a model file, a folder of fields (`FieldStore`), "optimisation"
        /// (`OptimisedField`) or "known" (`KnownPairs`).
        Teacher: string
        Objective: Objective
        /// The factor of the objective's term, beside 1 − γ.
        Weight: float
        /// The factor of the mean squared distance to the teacher's field beside an adversarial objective, beside 1 − γ.
        FieldDistance: float
        /// How voxels count in that distance, and in the objective `FieldDistance`.
        FieldWeights: FieldWeights
        /// The factor of the distance between the fields' derivatives (`Discrimination.derivativeDistance`), wherever the
        /// distance between the fields counts and relative to it; 0: it is not worked out.
        FieldDerivatives: float
        /// The share of the teacher's field in the joint field, on which the gradient penalty is taken.
        Beta: float
        /// The weight λ of the gradient penalty.
        Penalty: float
        Schedule: Schedule
        Discriminator: DiscriminatorOptions
        /// The discriminator's learning rate.
        DiscriminatorRate: float
    }

/// A batch and what is predicted of it, when it is first asked for. A step works on one or more, one after the other, and adds
/// their gradients up.
[<NoEquality; NoComparison>]
type Iteration =
    {
        Turn: Turn
        Clock: StepClock
        /// [N, 1, Z, Y, X], intensities in [0, 1].
        Fixed: torch.Tensor
        Moving: torch.Tensor
        /// 1 inside the fixed scan.
        Mask: torch.Tensor
        /// Label maps of the fixed and the moving image, a channel for each label, [N, L, Z, Y, X]; where Dice counts.
        Labels: (torch.Tensor * torch.Tensor) option
        /// How deep voxels lie in each label, in units of `TrainingSet.mostDepth`; where that counts.
        Depths: (torch.Tensor * torch.Tensor) option
        Student: Lazy<Prediction>
        /// The student's total field without its history, for the discriminator.
        StudentField: Lazy<torch.Tensor>
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
            LogJacobian = 0.0
            Determinant = 0.1
            Orthogonality = 0.1
            Dice = 0.0
            LabelDistance = 0.0
        }

    let codec: Codec<LossWeights> =
        codec {
            let! similarity =
                optional "similarity" SimilarityMeasure.codec standard.Similarity _.Similarity

            and! smoothness =
                optional "smoothness" Codec.notNegative standard.Smoothness _.Smoothness

            and! bending = optional "bending" Codec.notNegative standard.Bending _.Bending

            and! logJacobian =
                optional "log_jacobian" Codec.notNegative standard.LogJacobian _.LogJacobian

            and! determinant =
                optional "determinant" Codec.notNegative standard.Determinant _.Determinant

            and! orthogonality =
                optional "orthogonality" Codec.notNegative standard.Orthogonality _.Orthogonality

            and! dice = optional "dice" Codec.notNegative standard.Dice _.Dice

            and! labelDistance =
                optional "label_distance" Codec.notNegative standard.LabelDistance _.LabelDistance

            return
                {
                    Similarity = similarity
                    Smoothness = smoothness
                    Bending = bending
                    LogJacobian = logJacobian
                    Determinant = determinant
                    Orthogonality = orthogonality
                    Dice = dice
                    LabelDistance = labelDistance
                }
        }

module Distillation =
    /// The released code's values where it has any; the teacher is a training of that name.
    let standard: Distillation =
        {
            Teacher = "teacher"
            Objective = SquaredGap
            Weight = 1.0
            FieldDistance = 0.0
            FieldWeights = Even
            FieldDerivatives = 0.0
            Beta = 0.1
            Penalty = 0.1
            Schedule = Schedule.reference
            Discriminator = DiscriminatorOptions.standard
            DiscriminatorRate = 1e-4
        }

    let codec: Codec<Distillation> =
        codec {
            let! teacher = required "teacher" Codec.string _.Teacher
            and! objective = optional "objective" Objective.codec standard.Objective _.Objective
            and! weight = optional "weight" Codec.notNegative standard.Weight _.Weight

            and! fieldDistance =
                optional "field_distance" Codec.notNegative standard.FieldDistance _.FieldDistance

            and! fieldWeights =
                optional "field_weights" FieldWeights.codec standard.FieldWeights _.FieldWeights

            and! fieldDerivatives =
                optional "field_derivatives" Codec.notNegative standard.FieldDerivatives _.FieldDerivatives

            and! beta = optional "beta" Codec.fraction standard.Beta _.Beta
            and! penalty = optional "penalty" Codec.notNegative standard.Penalty _.Penalty
            and! schedule = optional "schedule" Schedule.codec standard.Schedule _.Schedule

            and! discriminator =
                optional "discriminator" DiscriminatorOptions.codec standard.Discriminator _.Discriminator

            and! discriminatorRate =
                optional "discriminator_rate" Codec.positive standard.DiscriminatorRate _.DiscriminatorRate

            return
                {
                    Teacher = teacher
                    Objective = objective
                    Weight = weight
                    FieldDistance = fieldDistance
                    FieldWeights = fieldWeights
                    FieldDerivatives = fieldDerivatives
                    Beta = beta
                    Penalty = penalty
                    Schedule = schedule
                    Discriminator = discriminator
                    DiscriminatorRate = discriminatorRate
                }
        }
        |> Codec.where
            "\"field_weights\" and \"field_derivatives\" beside the objective \"field-distance\" or a \"field_distance\" above 0"
            (fun d ->
                d.Objective = FieldDistance
                || d.FieldDistance > 0.0
                || (d.FieldWeights = Even && d.FieldDerivatives = 0.0))

    /// Whether the student learns from its teacher at a step.
    let drawsStudent (distillation: Distillation) (turn: Turn) =
        turn.Gamma < 1.0 && distillation.Objective <> Off

    /// Whether anything of a step looks at the teacher's field: the student, or the discriminator.
    let asksTeacher (distillation: Distillation) (turn: Turn) =
        drawsStudent distillation turn
        || (turn.DiscriminatorMoves > 0 && Objective.isAdversarial distillation.Objective)

/// The steps of a training. Each acts on its own learner only.
module Aldk =
    let private value (loss: torch.Tensor) = float (loss.item<float32>())

    let private freeze (frozen: bool) (network: torch.nn.Module) =
        for parameter in network.parameters () do
            parameter.requires_grad <- not frozen

    /// The terms of the reconstruction loss with their weights: 1 − the measure of similarity inside the fixed scan, averaged
    /// over the batch, and what is asked of the labels where it counts. The first one is the similarity.
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

            match iteration.Depths with
            | Some(fixedDepths, movingDepths) ->
                let moved = Field.warp prediction.Field movingDepths
                "label_distance", weights.LabelDistance, Similarity.depthDifference fixedDepths moved
            | None -> ()
        ]

    /// The regularisers of the stages, and of what they make together, with their weights.
    let private regularity (weights: LossWeights) (prediction: Prediction) =
        [
            for field in prediction.StageFields do
                "smoothness", weights.Smoothness, Regularity.smoothness field

                if weights.Bending > 0.0 then
                    "bending", weights.Bending, Regularity.bending field
            if weights.LogJacobian > 0.0 then
                "log_jacobian", weights.LogJacobian, Regularity.logJacobian prediction.Field
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

    /// The student's and the teacher's field in units of the teacher's (`Discrimination.normalise`).
    let private normalised (student: torch.Tensor) (teacher: torch.Tensor) =
        Discrimination.normalise teacher student, Discrimination.normalise teacher teacher

    let private images (iteration: Iteration) =
        torch.cat ([| iteration.Fixed; iteration.Moving |], 1L)

    /// Adds a batch's share of the gradient.
    let private lower (share: float) (loss: torch.Tensor) =
        (if share = 1.0 then loss else loss * share.ToScalar()).backward()

    let private move (clock: StepClock) (learner: Learner<_>) =
        clock.Measure StepPart.Optimiser (fun () -> AdamMove.step learner.Optimiser)

    /// One move of a learner by the mean gradient of several batches; the means of what they report.
    let private moveBy
        (learner: Learner<_>)
        (batches: Iteration list)
        (gradient: float -> Iteration -> Metrics)
        =
        learner.Optimiser.zero_grad ()
        let share = 1.0 / float batches.Length
        batches |> List.map (gradient share) |> Metrics.average

    /// The discriminator learns to tell the student's fields from the teacher's. The student and the teacher are held.
    let discriminatorStep
        (judge: Learner<Discriminator>)
        (distillation: Distillation)
        : Step<Iteration list> =
        let gradient share (iteration: Iteration) =
            // Predictions last longer than this batch's gradient.
            let student, teacher = iteration.StudentField.Value, iteration.TeacherField.Value
            use _ = torch.NewDisposeScope()
            let images = images iteration
            let student, teacher = normalised student teacher
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
            lower share loss

            [
                "discriminator", value loss
                "penalty", value penalty
                "gradient_norm", value (norm.mean ())
                "judged_student", value (ofStudent.Map.mean ())
                "judged_teacher", value (ofTeacher.Map.mean ())
            ]

        fun _ batches ->
            freeze false judge.Network
            let report = moveBy judge batches gradient
            move batches.Head.Clock judge
            report

    /// The objective's term for the student, the distance to the teacher's field (in the teacher's units, with that of the
    /// derivatives where it counts), and what is reported of it.
    let private distilled (adversary: Adversary) (iteration: Iteration) =
        let options = adversary.Distillation
        let student, teacher = iteration.Student.Value.Field, iteration.TeacherField.Value

        let weights =
            match options.FieldWeights with
            | Even -> None
            | Strain -> Some(Discrimination.strain teacher)
            | Content -> Some(Discrimination.content iteration.Mask iteration.Fixed)

        let ofDerivatives =
            if options.FieldDerivatives > 0.0 then
                Some(Discrimination.derivativeDistance student teacher)
            else
                None

        let student, teacher = normalised student teacher
        let ofFields = Discrimination.fieldDistance weights student teacher

        let distance =
            match ofDerivatives with
            | Some term -> ofFields + term * options.FieldDerivatives.ToScalar()
            | None -> ofFields

        let term =
            match adversary.Judge with
            | Some judge ->
                let images = images iteration
                freeze true judge.Network

                Discrimination.studentTerm
                    options.Objective
                    (judge.Network.Judge(images, student))
                    (judge.Network.Judge(images, teacher))
            | None -> distance

        // Told without weights, so that trainings can be compared.
        let plain =
            if weights.IsNone then
                ofFields
            else
                Discrimination.fieldDistance None (student.detach ()) teacher

        let parts =
            ("field_distance", plain)
            :: (ofDerivatives
                |> Option.map (fun own -> "field_derivatives", own)
                |> Option.toList)

        term, distance, parts

    /// The terms of a student's loss for one batch.
    [<NoEquality; NoComparison>]
    type private StudentTerms =
        {
            Alike: (string * float * torch.Tensor) list
            Regular: (string * float * torch.Tensor) list
            /// The objective's term and the distance to the teacher's field, where the student learns from it.
            Distilled: (Distillation * torch.Tensor * torch.Tensor) option
            /// Told beside the terms.
            Parts: (string * torch.Tensor) list
        }

    let private studentTerms
        (weights: LossWeights)
        (adversary: Adversary option)
        (iteration: Iteration)
        : StudentTerms =
        let alike = reconstruction weights iteration
        let regular = regularity weights iteration.Student.Value

        match adversary with
        | Some a when Distillation.drawsStudent a.Distillation iteration.Turn ->
            let term, distance, parts = distilled a iteration

            {
                Alike = alike
                Regular = regular
                Distilled = Some(a.Distillation, term, distance)
                Parts = parts
            }
        | _ ->
            {
                Alike = alike
                Regular = regular
                Distilled = None
                Parts = []
            }

    /// γ · reconstruction + (1 − γ) · (weight · objective + field_distance · distance) + regularisation; without a teacher
    /// reconstruction + regularisation.
    let private studentLoss (gamma: float) (terms: StudentTerms) : torch.Tensor =
        let loss =
            match terms.Distilled with
            | Some(options, term, distance) ->
                let share = 1.0 - gamma

                let drawn =
                    weighted terms.Alike * gamma.ToScalar()
                    + term * (share * options.Weight).ToScalar()

                // A factor of 0 would cost a way back through the field at every step, for nothing.
                if options.FieldDistance > 0.0 then
                    drawn + distance * (share * options.FieldDistance).ToScalar()
                else
                    drawn
            | None -> weighted terms.Alike

        if terms.Regular.IsEmpty then
            loss
        else
            loss + weighted terms.Regular

    let private studentReport (loss: torch.Tensor) (length: torch.Tensor) (terms: StudentTerms) : Metrics =
        [
            yield "loss", value loss
            yield! report terms.Alike
            yield! report terms.Regular

            match terms.Distilled with
            | Some(_, term, _) -> yield "objective", value term
            | None -> ()

            for name, part in terms.Parts do
                yield name, value part

            yield "length", value length
        ]

    /// The student lowers γ · reconstruction + (1 − γ) · (weight · objective + field_distance · distance) + regularisation.
    /// Teacher and discriminator are held. Its gradient is cut to the norm `clip`, if there is one. What it predicts of a batch
    /// is gone after that batch's gradient.
    let studentStep
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration list> =
        let gradient share (iteration: Iteration) =
            use _ = torch.NewDisposeScope()
            let terms = studentTerms weights adversary iteration
            let loss = studentLoss iteration.Turn.Gamma terms
            lower share loss
            let length = iteration.Student.Value.Field.detach().norm(1).mean()
            studentReport loss length terms

        fun _ batches ->
            let report = moveBy student batches gradient

            let norm =
                clip
                |> Option.map (fun limit ->
                    torch.nn.utils.clip_grad_norm_ (student.Network.parameters (), limit))

            move batches.Head.Clock student
            report @ (norm |> Option.map (fun n -> "student_gradient", n) |> Option.toList)

    /// One step: the discriminator moves as often as the schedule says, then the student does.
    let step
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration list> =
        let timed part (step: Step<Iteration list>) : Step<Iteration list> =
            fun index batches -> batches.Head.Clock.Measure part (fun () -> step index batches)

        let discriminator =
            match adversary with
            | Some {
                       Judge = Some judge
                       Distillation = distillation
                   } ->
                let move = discriminatorStep judge distillation |> timed StepPart.Discriminator

                fun index (batches: Iteration list) ->
                    Step.all (List.replicate batches.Head.Turn.DiscriminatorMoves move) index batches
            | _ -> Step.nothing

        discriminator
        |> Step.andThen (studentStep student weights clip adversary |> timed StepPart.Student)
