namespace Ldr

/// What goes wrong in a training without stopping it, told from the numbers that its steps report (means over several
/// steps). A loss that is not finite is not among them: that ends the training.
module Watchdog =
    /// Fields shorter than this on average (voxels) count as near identity.
    let private shortField = 0.05

    /// Means closer than this to 0 or 1 leave the discriminator's sigmoid without a slope.
    let private saturated = 0.02

    /// The norms of the discriminator's gradient, which the penalty draws to 1, that are worth no warning.
    let private slopes = 0.01, 10.0

    /// Warnings, each with a word for its kind, so that it need not be repeated.
    let warnings (metrics: Metrics) : (string * string) list =
        let known = Map.ofList metrics
        let find name = Map.tryFind name known

        [
            match find "length" with
            | Some length when length < shortField ->
                "identity",
                $"the predicted fields are near identity: {length:F3} voxels long on average; the network does not deform anything yet"
            | _ -> ()

            match find "judged_student", find "judged_teacher" with
            | Some student, Some teacher when
                max student teacher < saturated || min student teacher > 1.0 - saturated
                ->
                "saturation",
                $"the discriminator's output saturates: {student:F4} for the student, {teacher:F4} for the teacher; it gives hardly any gradient (try a lower discriminator_rate)"
            | _ -> ()

            match find "gradient_norm" with
            | Some norm when norm < fst slopes || norm > snd slopes ->
                let says =
                    if norm < fst slopes then
                        $"below {fst slopes:G3}: it hardly tells the student where to go"
                    else
                        $"above {snd slopes:G3}: it may throw the student off"

                "slope",
                $"the discriminator changes by {norm:G3} per unit of the field (the norm of its gradient, which the penalty draws to 1), {says}; try another distillation.penalty"
            | _ -> ()
        ]
