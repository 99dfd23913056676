namespace Ldr

open System

/// A part of a training: for so many steps (or to the end), γ takes the values of the cycle in turn.
type Phase =
    { Steps: int option; Cycle: float list }

/// The learning strategy: the weight γ of the reconstruction loss at every step. γ = 1 is reconstruction alone.
type Schedule = Phase list

/// How the learning rate goes on from its initial value.
type Decay =
    | Constant
    /// Half a cosine, down to zero at the last step.
    | Cosine

type LearningRate = { Initial: float; Decay: Decay }

module Schedule =
    /// The released code's strategy: of every 3 steps, 2 with γ = 1 and 1 with γ = 0.3, until step 8000; then γ = 1.
    let reference: Schedule =
        [
            {
                Steps = Some 8000
                Cycle = [ 1.0; 1.0; 0.3 ]
            }
            { Steps = None; Cycle = [ 1.0 ] }
        ]

    /// γ at a step (counted from 0). After the last phase γ is 1.
    let rec gamma (schedule: Schedule) (step: int) : float =
        match schedule with
        | [] -> 1.0
        | { Steps = Some steps } :: rest when step >= steps -> gamma rest (step - steps)
        | { Cycle = cycle } :: _ -> cycle[step % cycle.Length]

    let private phase: Codec<Phase> =
        Codec.record (fun steps cycle -> { Steps = steps; Cycle = cycle })
        |> Codec.maybe "steps" Codec.positiveInt _.Steps
        |> Codec.required
            "cycle"
            (Codec.list Codec.fraction
             |> Codec.where "at least one number from 0 to 1" (List.isEmpty >> not))
            _.Cycle
        |> Codec.seal

    let codec: Codec<Schedule> = Codec.list phase

module LearningRate =
    /// The rate at a step (counted from 0) of `steps`.
    let at (steps: int) (step: int) (rate: LearningRate) : float =
        match rate.Decay with
        | Constant -> rate.Initial
        | Cosine -> rate.Initial * 0.5 * (1.0 + cos (Math.PI * float step / float steps))

    let codec: Codec<LearningRate> =
        Codec.record (fun initial decay -> { Initial = initial; Decay = decay })
        |> Codec.required "initial" Codec.positive _.Initial
        |> Codec.optional "decay" (Codec.choice [ "constant", Constant; "cosine", Cosine ]) Constant _.Decay
        |> Codec.seal
