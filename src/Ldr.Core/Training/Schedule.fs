namespace Ldr

open System

/// A part of a training: for so many steps (or to the end), γ takes the values of the cycle in turn.
type Phase =
    {
        Steps: int option
        Cycle: float list
        /// How often the discriminator moves before the student does, at each place of the cycle; where nothing is said,
        /// once where γ < 1.
        DiscriminatorMoves: int list option
    }

/// The learning strategy: the weight γ of the reconstruction loss at every step, and who moves. γ = 1 is reconstruction
/// alone.
type Schedule = Phase list

/// What a schedule says of one step.
type Turn =
    {
        Gamma: float
        DiscriminatorMoves: int
    }

/// How the learning rate goes on from its initial value.
type Decay =
    | Constant
    /// Half a cosine, down to zero at the last step.
    | Cosine

type LearningRate =
    {
        Initial: float
        Decay: Decay
        /// How often the decay happens: the training is cut into so many equal parts, and each starts from the initial rate
        /// again (Loshchilov and Hutter, SGDR, 2017).
        Cycles: int
    }

module Schedule =
    /// The released code's strategy: of every 3 steps, 2 with γ = 1 and 1 with γ = 0.3, until step 8000; then γ = 1.
    let reference: Schedule =
        let phase steps cycle =
            {
                Steps = steps
                Cycle = cycle
                DiscriminatorMoves = None
            }

        [ phase (Some 8000) [ 1.0; 1.0; 0.3 ]; phase None [ 1.0 ] ]

    /// What happens at a step (counted from 0). After the last phase γ is 1.
    let rec at (schedule: Schedule) (step: int) : Turn =
        match schedule with
        | [] -> { Gamma = 1.0; DiscriminatorMoves = 0 }
        | { Steps = Some steps } :: rest when step >= steps -> at rest (step - steps)
        | phase :: _ ->
            let place = step % phase.Cycle.Length
            let gamma = phase.Cycle[place]

            {
                Gamma = gamma
                DiscriminatorMoves =
                    match phase.DiscriminatorMoves with
                    | Some moves -> moves[place]
                    | None -> if gamma < 1.0 then 1 else 0
            }

    let private phase: Codec<Phase> =
        codec {
            let! steps = maybe "steps" Codec.positiveInt _.Steps

            and! cycle =
                required
                    "cycle"
                    (Codec.list Codec.fraction
                     |> Codec.where "at least one number from 0 to 1" (List.isEmpty >> not))
                    _.Cycle

            and! discriminatorMoves =
                maybe
                    "discriminator_moves"
                    (Codec.list (
                        Codec.int
                        |> Codec.where "a whole number from 0 to 100" (fun n -> n >= 0 && n <= 100)
                    ))
                    _.DiscriminatorMoves

            return
                {
                    Steps = steps
                    Cycle = cycle
                    DiscriminatorMoves = discriminatorMoves
                }
        }
        |> Codec.where "as many \"discriminator_moves\" as numbers in \"cycle\"" (fun phase ->
            phase.DiscriminatorMoves
            |> Option.forall (fun moves -> moves.Length = phase.Cycle.Length))

    let codec: Codec<Schedule> = Codec.list phase

module LearningRate =
    let standard =
        {
            Initial = 1e-4
            Decay = Constant
            Cycles = 1
        }

    /// The rate at a step (counted from 0) of `steps`.
    let at (steps: int) (step: int) (rate: LearningRate) : float =
        match rate.Decay with
        | Constant -> rate.Initial
        | Cosine when step >= steps -> 0.0
        | Cosine ->
            let part = float step * float rate.Cycles / float steps
            rate.Initial * 0.5 * (1.0 + cos (Math.PI * (part - floor part)))

    let codec: Codec<LearningRate> =
        codec {
            let! initial = required "initial" Codec.positive _.Initial

            and! decay =
                optional
                    "decay"
                    (Codec.choice [ "constant", Constant; "cosine", Cosine ])
                    standard.Decay
                    _.Decay

            and! cycles = optional "cycles" Codec.positiveInt standard.Cycles _.Cycles

            return
                {
                    Initial = initial
                    Decay = decay
                    Cycles = cycles
                }
        }
