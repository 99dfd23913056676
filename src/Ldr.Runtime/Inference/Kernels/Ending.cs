namespace Ldr.Runtime.Inference.Kernels;

/// <summary>What is done with a sum before it is written: an activation, or on the way back that of one.</summary>
/// <param name="Activation">The activation of values.</param>
/// <param name="Values">
/// For gradients: the activation's outputs, in a map of the same size and channels. A sum is taken as it is where the value
/// is positive, times <paramref name="Slope"/> elsewhere. Null for values.
/// </param>
/// <param name="Slope">The slope of the activation of negative values.</param>
/// <param name="Adds">Whether a gradient is added to what is there.</param>
/// <param name="Linear">For gradients: the channel from which on there is no activation.</param>
internal sealed record Ending(
    Activation Activation, FeatureMap? Values = null, float Slope = 0, bool Adds = false, int Linear = int.MaxValue)
{
    /// <summary>An activation.</summary>
    public static implicit operator Ending(Activation activation) => new(activation);

    /// <summary>The way back through an activation whose outputs are these.</summary>
    internal static Ending Back(Activation activation, FeatureMap values, bool adds, int linear = int.MaxValue) =>
        new(Activation.None, values, activation == Activation.LeakyRelu ? 0.1f : 0, adds, linear);
}
