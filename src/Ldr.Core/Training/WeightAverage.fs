namespace Ldr

open TorchSharp

/// The exponential moving average of a network's weights (Polyak and Juditsky, Acceleration of stochastic approximation by
/// averaging, 1992): steadier than the last weights.
module WeightAverage =
    /// The decay in the n-th move (from 0): at most (n + 1) / (n + 10), so that the random start is soon forgotten.
    let decayAt (decay: float) (move: int) : float =
        min decay (float (move + 1) / float (move + 10))

    /// Copies all weights.
    let copy (source: Network) (target: Network) =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()

        for s, t in Seq.zip (source.parameters ()) (target.parameters ()) do
            t.copy_ s |> ignore

    /// average ← decay · average + (1 − decay) · weights.
    let update (decay: float) (network: Network) (average: Network) =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()

        for weights, mean in Seq.zip (network.parameters ()) (average.parameters ()) do
            mean.mul_(decay.ToScalar()).add_(weights, (1.0 - decay).ToScalar()) |> ignore
