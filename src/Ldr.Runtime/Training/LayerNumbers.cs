namespace Ldr.Runtime.Training;

/// <summary>The numbers of a layer, in the caller's memory for the length of a call.</summary>
/// <param name="hasBias">Whether the layer has a bias.</param>
internal sealed unsafe class LayerNumbers(bool hasBias)
{
    internal bool HasBias => hasBias;

    internal float* Weights { get; set; }

    /// <summary>Null for none.</summary>
    internal float* Bias { get; set; }

    internal float* WeightGradient { get; set; }

    internal float* BiasGradient { get; set; }
}
