using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Some channels of a map.</summary>
/// <param name="Map">The map.</param>
/// <param name="First">The first of them.</param>
/// <param name="Count">How many.</param>
internal sealed record Channels(FeatureMap Map, int First, int Count)
{
    /// <summary>All of a map.</summary>
    internal static Channels Of(FeatureMap map) => new(map, 0, map.Channels);
}
