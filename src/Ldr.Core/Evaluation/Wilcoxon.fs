namespace Ldr

open System

/// The paired signed-rank test of Wilcoxon (1945), two-sided.
type Wilcoxon =
    {
        /// Differences that are not 0.
        Count: int
        /// The mean of all differences, those of 0 included.
        MeanDifference: float
        /// The probability of ranks as uneven as these or more, if neither is better; 1 when there are no differences.
        P: float
    }

module Wilcoxon =
    /// Twice the upper tail of the standard normal distribution, by the continued fraction of the complementary error function
    /// (Press et al., Numerical Recipes, 2007, §6.2.2: relative error below 1.2e-7).
    let private twoTails (z: float) =
        let x = abs z / sqrt 2.0
        let t = 1.0 / (1.0 + 0.5 * x)

        let polynomial =
            [
                -1.26551223
                1.00002368
                0.37409196
                0.09678418
                -0.18628806
                0.27886807
                -1.13520398
                1.48851587
                -0.82215223
                0.17087277
            ]
            |> List.rev
            |> List.reduce (fun sum coefficient -> coefficient + t * sum)

        min 1.0 (t * exp (-x * x + polynomial))

    /// Tests paired values, first against second: differences of 0 are left out, equal ones share their mean rank, the sum of
    /// ranks is taken as normal with the correction for ties, without one for continuity. (As `scipy.stats.wilcoxon` with
    /// `method="approx"`; meant for 20 pairs or more.)
    let test (pairs: (float * float) list) : Wilcoxon =
        let differences = pairs |> List.map (fun (first, second) -> first - second)
        let nonZero = differences |> List.filter (fun d -> d <> 0.0)
        let n = float nonZero.Length

        // Groups of equal size, smallest first, with the mean rank of each.
        let groups = nonZero |> List.groupBy abs |> List.sortBy fst |> List.map snd

        let ranked =
            (0, groups)
            ||> List.mapFold (fun before group ->
                let size = group.Length
                (group, float before + float (size + 1) / 2.0), before + size)
            |> fst

        let rising =
            ranked
            |> List.sumBy (fun (group, rank) ->
                rank * float (group |> List.filter (fun d -> d > 0.0) |> List.length))

        let ties =
            groups
            |> List.sumBy (fun group ->
                let size = float group.Length
                size * size * size - size)

        let deviation = sqrt (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0)

        {
            Count = nonZero.Length
            MeanDifference =
                if differences.IsEmpty then
                    nan
                else
                    List.average differences
            P =
                if nonZero.IsEmpty then
                    1.0
                else
                    twoTails ((rising - n * (n + 1.0) / 4.0) / deviation)
        }
