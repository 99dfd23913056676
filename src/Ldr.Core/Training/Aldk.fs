namespace Ldr

open TorchSharp

/// How a student is drawn to a teacher, and the discriminator of an adversarial objective.
[<NoEquality; NoComparison>]
type Adversary =
    {
        Judge: Learner<Discriminator> option
        Distillation: Distillation
    }

module Adversary =
    /// A distillation with its discriminator, if it needs one, whose parameters depend on the seed alone.
    let create (seed: Seed) (distillation: Distillation) : Adversary =
        {
            Judge =
                if Objective.isAdversarial distillation.Objective then
                    Discriminator.create seed distillation.Discriminator
                    |> Learner.adam distillation.DiscriminatorRate
                    |> Some
                else
                    None
            Distillation = distillation
        }

/// The steps of a training. Each acts on its own learner only, and protects itself from the garbage collector (`NativeCalls`).
module Aldk =
    let private value (loss: torch.Tensor) = float (loss.item<float32>())

    let private freeze (frozen: bool) (network: torch.nn.Module) =
        for parameter in network.parameters () do
            parameter.requires_grad <- not frozen

    let private images (iteration: Iteration) =
        torch.cat ([| iteration.Fixed; iteration.Moving |], 1L)

    /// Adds a batch's share of the gradient.
    let private lower (share: float) (loss: torch.Tensor) =
        (if share = 1.0 then loss else loss * share.ToScalar()).backward()

    let private move (clock: StepClock) (learner: Learner<_>) =
        clock.Measure StepPart.Optimiser (fun () -> AdamMove.step learner.Optimiser)

    /// Sums the gradients of the batches of all ranks, in their order; the reports of all batches.
    let private gradientOfRanks
        (learner: Learner<_>)
        (batches: Iteration list)
        (gradient: Iteration -> Metrics)
        =
        let parameters =
            learner.Optimiser.parameters () |> Seq.cast<torch.Tensor> |> List.ofSeq

        let reports, gradients =
            [
                for batch in batches do
                    learner.Optimiser.zero_grad ()
                    gradient batch, FlatGradient.take parameters
            ]
            |> List.unzip

        learner.Ranks.Sum gradients |> FlatGradient.give parameters
        Ranks.reports learner.Ranks reports

    /// The mean gradient of the batches of all ranks; the means of what they report.
    let private meanGradient
        (learner: Learner<_>)
        (batches: Iteration list)
        (gradient: float -> Iteration -> Metrics)
        =
        learner.Optimiser.zero_grad ()
        let gradient = gradient (1.0 / float (batches.Length * learner.Ranks.Count))

        if learner.Ranks.Count = 1 then
            batches |> List.map gradient |> Metrics.average
        else
            gradientOfRanks learner batches gradient |> Metrics.average

    let private protecting (step: Step<Iteration list>) : Step<Iteration list> =
        fun index batches -> NativeCalls.protect (fun () -> step index batches)

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

            let student, teacher =
                Discrimination.normalise teacher student, Discrimination.normalise teacher teacher

            let ofStudent, ofTeacher = judge.Network.JudgeMaps(images, student, teacher)

            let norm =
                Discrimination.joint distillation.Beta teacher student
                |> Discrimination.gradientNormOf judge.Network images

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

        protecting (fun _ batches ->
            freeze false judge.Network
            let report = meanGradient judge batches gradient
            move batches.Head.Clock judge
            report)

    /// A network lowers a loss: one move by its mean gradient over the batches, cut to the norm `clip`, if there is one. It reports
    /// the loss, its terms and the mean length of the field. What is predicted of a batch is gone after that batch's gradient.
    let lowerBy (student: Learner<Network>) (clip: float option) (loss: Loss) : Step<Iteration list> =
        let gradient share (iteration: Iteration) =
            use _ = torch.NewDisposeScope()
            let terms = loss iteration
            let total = Loss.total terms
            lower share total
            let length = iteration.Student.Value.Field.detach().square().sum(1L).sqrt().mean()
            ("loss", value total) :: Loss.report terms @ [ "length", value length ]

        protecting (fun _ batches ->
            let report = meanGradient student batches gradient

            let norm =
                clip
                |> Option.map (fun limit ->
                    torch.nn.utils.clip_grad_norm_ (student.Network.parameters (), limit))

            move batches.Head.Clock student
            report @ (norm |> Option.map (fun n -> "student_gradient", n) |> Option.toList))

    /// The student's loss: γ · reconstruction + regularisation + (1 − γ) · (weight · objective + field_distance · distance); without
    /// a teacher reconstruction + regularisation.
    let loss (weights: LossWeights) (adversary: Adversary option) : Loss =
        let own, regular =
            LossWeights.reconstruction weights, LossWeights.regularity weights

        match adversary with
        | None -> own |> Loss.plus regular
        | Some { Judge = judge; Distillation = d } ->
            own
            |> Loss.timesBy (fun iteration -> Distillation.shareOfReconstruction d iteration.Turn)
            |> Loss.plus regular
            |> Loss.plus (Distillation.loss d (judge |> Option.map _.Network))

    /// Holds the discriminator, if there is one, while another step works.
    let private holding (adversary: Adversary option) (step: Step<Iteration list>) : Step<Iteration list> =
        match adversary with
        | Some { Judge = Some judge } ->
            fun index batches ->
                freeze true judge.Network
                step index batches
        | _ -> step

    /// The student lowers its loss. Teacher and discriminator are held.
    let studentStep
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration list> =
        lowerBy student clip (loss weights adversary) |> holding adversary

    let private timed part (step: Step<Iteration list>) : Step<Iteration list> =
        fun index batches -> batches.Head.Clock.Measure part (fun () -> step index batches)

    /// The discriminator, if there is one, moves as often as the turn says.
    let private discriminatorMoves (adversary: Adversary option) : Step<Iteration list> =
        match adversary with
        | Some {
                   Judge = Some judge
                   Distillation = distillation
               } ->
            let move = discriminatorStep judge distillation |> timed StepPart.Discriminator

            fun index (batches: Iteration list) ->
                Step.all (List.replicate batches.Head.Turn.DiscriminatorMoves move) index batches
        | _ -> Step.nothing

    /// One step with a loss of one's own for the student: the discriminator moves as often as the schedule says, then the student
    /// does.
    let stepBy
        (student: Learner<Network>)
        (clip: float option)
        (adversary: Adversary option)
        (loss: Loss)
        : Step<Iteration list> =
        discriminatorMoves adversary
        |> Step.andThen (lowerBy student clip loss |> holding adversary |> timed StepPart.Student)

    /// One step: the discriminator moves as often as the schedule says, then the student does.
    let step
        (student: Learner<Network>)
        (weights: LossWeights)
        (clip: float option)
        (adversary: Adversary option)
        : Step<Iteration list> =
        loss weights adversary |> stepBy student clip adversary
