namespace Ldr

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
        /// In whose loss it is.
        PenaltyPlayers: PenaltyPlayers
        Schedule: Schedule
        Discriminator: DiscriminatorOptions
        /// The discriminator's learning rate.
        DiscriminatorRate: float
    }

module Distillation =
    /// What an experiment means that says nothing: the released code's values where it has any; the teacher is a training of that
    /// name.
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
            PenaltyPlayers = DiscriminatorAlone
            Schedule = Schedule.reference
            Discriminator = DiscriminatorOptions.standard
            DiscriminatorRate = 1e-4
        }

    /// ALDK as the paper writes it: L_adv = γ l_rec + (1 − γ) l_dis, l_dis = ‖D(φ_s) − D(φ_t)‖₂² + λ (‖∇D(φ̂)‖₂ − 1)². What the
    /// paper leaves open is read as its formula goes: D is the vector of the last layer's means, since a norm is taken of it; the
    /// penalty is in the student's loss too, since l_dis is; no ReLU follows the discriminator's first layer. Numbers are the
    /// released code's. docs/reference/distillation.md has each with its source.
    let published: Distillation =
        { standard with
            Objective = MeanFeatures
            PenaltyPlayers = BothPlayers
            Discriminator = DiscriminatorOptions.published
        }

    /// What our table shows to be best (docs/lab/distillation.md, `strain-labels`): no discriminator, the distance to the teacher's field, weighted
    /// by how much the teacher deforms, with derivatives; γ is 0.1 at every step.
    let recommended: Distillation =
        { standard with
            Objective = FieldDistance
            FieldWeights = Strain
            FieldDerivatives = 0.3
            Schedule =
                [
                    {
                        Steps = None
                        Cycle = [ 0.1 ]
                        DiscriminatorMoves = None
                    }
                ]
        }

    let private presets = [ "published", published; "recommended", recommended ]

    let private full: Codec<Distillation> =
        codec {
            let! _ =
                maybe "preset" (Codec.choice [ for name, _ in presets -> name, name ]) (fun _ -> None)

            and! teacher = required "teacher" Codec.string _.Teacher
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

            and! penaltyPlayers =
                added "penalty_players" PenaltyPlayers.codec standard.PenaltyPlayers _.PenaltyPlayers

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
                    PenaltyPlayers = penaltyPlayers
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

    /// As JSON. "preset" is "published" or "recommended": its keys, but for the teacher, under the object's own.
    let codec: Codec<Distillation> = full |> Codec.preset "preset" presets [ "teacher" ]

    /// Whether the student learns from its teacher at a step.
    let drawsStudent (distillation: Distillation) (turn: Turn) =
        turn.Gamma < 1.0 && distillation.Objective <> Off

    /// Whether anything of a step looks at the teacher's field: the student, or the discriminator.
    let asksTeacher (distillation: Distillation) (turn: Turn) =
        drawsStudent distillation turn
        || (turn.DiscriminatorMoves > 0 && Objective.isAdversarial distillation.Objective)

    let private share (on: Compared) = 1.0 - on.Iteration.Turn.Gamma

    /// The terms of an adversarial objective, each times its weight and 1 − γ.
    let private adversarial (distillation: Distillation) (judge: Discriminator) : Loss<Compared> =
        let d = distillation

        Loss.sum
            [
                Between.judged d.Objective judge |> Loss.timesBy (fun on -> share on * d.Weight)

                if d.PenaltyPlayers = BothPlayers then
                    Between.penalty d.Beta judge
                    |> Loss.timesBy (fun on -> share on * d.Weight * d.Penalty)

                // A factor of 0 would cost a way back through the field at every step, for nothing.
                if d.FieldDistance > 0.0 then
                    Between.distance d.FieldWeights d.FieldDerivatives
                    |> Loss.timesBy (fun on -> share on * d.FieldDistance)
                else
                    Between.told
            ]

    /// The distance as the objective itself.
    let private plain (distillation: Distillation) : Loss<Compared> =
        let d = distillation

        let asObjective (term: Term) =
            if term.Name = "distance" then
                { term with Name = "objective" }
            else
                term

        Between.distance d.FieldWeights d.FieldDerivatives
        |> Loss.timesBy (fun on -> share on * (d.Weight + d.FieldDistance))
        |> fun loss -> loss >> List.map asObjective

    /// What draws the student to its teacher, with its weights; nothing at steps where it does not learn from it. The discriminator,
    /// where there is one, is held.
    let loss (distillation: Distillation) (judge: Discriminator option) : Loss =
        match judge with
        | Some judge -> adversarial distillation judge
        | None -> plain distillation
        |> Loss.compared
        |> Loss.where (fun iteration -> drawsStudent distillation iteration.Turn)

    /// γ where the student learns from its teacher, else 1: how much its own reconstruction counts.
    let shareOfReconstruction (distillation: Distillation) (turn: Turn) : float =
        if drawsStudent distillation turn then turn.Gamma else 1.0
