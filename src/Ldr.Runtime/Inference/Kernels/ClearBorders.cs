namespace Ldr.Runtime.Inference.Kernels;

/// <summary>Makes the borders of maps zero again, whose memory other maps have used.</summary>
internal sealed unsafe class ClearBorders(IReadOnlyList<FeatureMap> maps) : Operation
{
    internal override string Name => "borders";

    internal override int Chunks => maps.Count;

    internal override void Run(int chunk, byte* scratch) => maps[chunk].ClearBorder();
}
