using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Something small that is done to each row of a map; a plane of z is a chunk.</summary>
/// <param name="name">What profiles call it.</param>
/// <param name="map">Whose rows.</param>
/// <param name="action">What is done with row y of plane z.</param>
internal sealed unsafe class Rows(string name, FeatureMap map, Rows.Action action) : Operation
{
    /// <summary>What is done with a row.</summary>
    internal delegate void Action(int y, int z);

    internal override string Name => name;

    internal override int Chunks => map.Nz;

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        for (int y = 0; y < map.Ny; y++)
        {
            action(y, chunk);
        }
    }
}
