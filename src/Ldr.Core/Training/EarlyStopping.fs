namespace Ldr

/// The best validation so far.
type BestValidation =
    {
        Dice: float
        /// Steps before it.
        Step: int
        /// Validations after it, none of them better.
        Since: int
    }

/// When a training ends before its last step.
module EarlyStopping =
    /// What is best after one more validation.
    let after (step: int) (dice: float) (best: BestValidation option) : BestValidation =
        match best with
        | Some best when not (dice > best.Dice) -> { best with Since = best.Since + 1 }
        | _ -> { Dice = dice; Step = step; Since = 0 }

    /// Whether there were so many validations without a better one.
    let isOver (patience: int option) (best: BestValidation option) : bool =
        match patience, best with
        | Some patience, Some best -> best.Since >= patience
        | _ -> false

    let codec: Codec<BestValidation> =
        codec {
            let! dice = required "dice" Codec.finite _.Dice
            and! step = required "step" Codec.countingInt _.Step
            and! since = required "since" Codec.countingInt _.Since

            return
                {
                    Dice = dice
                    Step = step
                    Since = since
                }
        }
