namespace Ldr

open TorchSharp
open type TorchSharp.torch.optim

/// Weights of the reconstruction loss; the correlation loss itself has weight 1.
type LossWeights =
    {
        /// On each deformable stage's own field, see `Regularity.smoothness`.
        Smoothness: float
        /// On the affine stage, see `Regularity.determinant` and `Regularity.orthogonality`.
        Determinant: float
        Orthogonality: float
    }

/// Adversarial learning with distilling knowledge: how the student is drawn to the teacher's deformations.
type Distillation =
    {
        /// The name of an earlier training of the same experiment, or a model file.
        Teacher: string
        Objective: Objective
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
        Gamma: float
        /// [N, 1, Z, Y, X], intensities in [0, 1].
        Fixed: torch.Tensor
        Moving: torch.Tensor
        /// 1 inside the fixed scan.
        Mask: torch.Tensor
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

/// The teacher and the discriminator beside a student.
[<NoEquality; NoComparison>]
type Adversary =
    {
        TeacherNetwork: Network
        Judge: Learner<Discriminator>
        Distillation: Distillation
    }

module LossWeights =
    let codec: Codec<LossWeights> =
        Codec.record (fun smoothness determinant orthogonality ->
            {
                Smoothness = smoothness
                Determinant = determinant
                Orthogonality = orthogonality
            })
        |> Codec.optional "smoothness" Codec.notNegative 1.0 _.Smoothness
        |> Codec.optional "determinant" Codec.notNegative 0.1 _.Determinant
        |> Codec.optional "orthogonality" Codec.notNegative 0.1 _.Orthogonality
        |> Codec.seal

module Distillation =
    /// Defaults of the released code where it has any.
    let codec: Codec<Distillation> =
        Codec.record (fun teacher objective beta penalty schedule discriminator rate ->
            {
                Teacher = teacher
                Objective = objective
                Beta = beta
                Penalty = penalty
                Schedule = schedule
                Discriminator = discriminator
                DiscriminatorRate = rate
            })
        |> Codec.required "teacher" Codec.string _.Teacher
        |> Codec.optional "objective" Objective.codec SquaredGap _.Objective
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

    /// `1 − CorrCoef(moved, fixed)` inside the fixed scan, averaged over the batch (design §5), and the weighted
    /// regularisers of the stages.
    let reconstruction (weights: LossWeights) (iteration: Iteration) =
        let prediction = iteration.Student.Value

        let similarity =
            1.0f.ToScalar()
            - (Similarity.correlation (Some iteration.Mask) iteration.Fixed prediction.Moved).mean()

        let regularity =
            [
                for field in prediction.StageFields do
                    yield "smoothness", weights.Smoothness, Regularity.smoothness field
                match prediction.Affine with
                | Some(w, _) ->
                    yield "determinant", weights.Determinant, Regularity.determinant w
                    yield "orthogonality", weights.Orthogonality, Regularity.orthogonality w
                | None -> ()
            ]

        similarity, regularity

    /// Both fields as the discriminator sees them: divided by the teacher's scale.
    let private normalised (iteration: Iteration) =
        let teacher = iteration.TeacherField.Value

        Discrimination.normalise teacher iteration.Student.Value.Field,
        Discrimination.normalise teacher teacher

    /// The discriminator learns to tell the student's fields from the teacher's. The student and the teacher are held.
    let discriminatorStep (adversary: Adversary) : Step<Iteration> =
        fun _ iteration ->
            let learner = adversary.Judge
            let student, teacher = normalised iteration
            let student = student.detach ()
            freeze false learner.Network
            learner.Optimiser.zero_grad ()
            let mStudent = learner.Network.forward student
            let mTeacher = learner.Network.forward teacher
            let joint = Discrimination.joint adversary.Distillation.Beta teacher student
            let penalty = Discrimination.gradientPenalty learner.Network.forward joint

            let term =
                Discrimination.discriminatorTerm adversary.Distillation.Objective mStudent mTeacher

            let loss = term + penalty * adversary.Distillation.Penalty.ToScalar()
            loss.backward ()
            learner.Optimiser.step () |> ignore

            [
                "discriminator", value loss
                "penalty", value penalty
                "gap", value ((mStudent - mTeacher).mean())
            ]

    /// The student lowers `γ l_rec + (1 − γ) l_adv + regularisation`. Teacher and discriminator are held.
    let studentStep
        (student: Learner<Network>)
        (weights: LossWeights)
        (adversary: Adversary option)
        : Step<Iteration> =
        fun _ iteration ->
            student.Optimiser.zero_grad ()
            let similarity, regularity = reconstruction weights iteration

            let regularisation =
                (similarity * 0.0f.ToScalar(), regularity)
                ||> List.fold (fun sum (_, weight, term) -> sum + term * weight.ToScalar())

            let adversarial =
                match adversary with
                | Some a when iteration.Gamma < 1.0 ->
                    freeze true a.Judge.Network
                    let student, teacher = normalised iteration

                    Discrimination.studentTerm
                        a.Distillation.Objective
                        (a.Judge.Network.forward student)
                        (a.Judge.Network.forward teacher)
                    |> Some
                | _ -> None

            let loss =
                match adversarial with
                | Some term ->
                    similarity * iteration.Gamma.ToScalar()
                    + term * (1.0 - iteration.Gamma).ToScalar()
                    + regularisation
                | None -> similarity + regularisation

            loss.backward ()
            student.Optimiser.step () |> ignore

            [
                yield "loss", value loss
                yield "similarity", value similarity
                yield! regularity |> List.map (fun (name, _, term) -> name, value term)
                match adversarial with
                | Some term -> yield "adversarial", value term
                | None -> ()
            ]

    /// One iteration: where γ < 1 the discriminator moves, then the student does.
    let step
        (student: Learner<Network>)
        (weights: LossWeights)
        (adversary: Adversary option)
        : Step<Iteration> =
        let discriminator =
            match adversary with
            | Some a -> discriminatorStep a |> Step.onlyWhen (fun i -> i.Gamma < 1.0)
            | None -> Step.nothing

        discriminator |> Step.andThen (studentStep student weights adversary)
