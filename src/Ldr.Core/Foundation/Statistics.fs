namespace Ldr

module Statistics =
    /// The middle one of the values, the mean of the two in the middle of an even number of them; NaN of none.
    let median (values: float seq) : float =
        let sorted = values |> Seq.sort |> Array.ofSeq
        let half = sorted.Length / 2

        if sorted.Length = 0 then nan
        elif sorted.Length % 2 = 1 then sorted[half]
        else (sorted[half - 1] + sorted[half]) / 2.0
