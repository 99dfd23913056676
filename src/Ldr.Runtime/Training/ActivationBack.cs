using System.Runtime.CompilerServices;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>The way back through an activation, in place; a plane of z is a chunk.</summary>
internal sealed unsafe class ActivationBack(string name, FeatureMap gradient, FeatureMap values, float slope) : Operation
{
    internal override string Name => name;

    internal override int Chunks => gradient.Nz;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal override void Run(int chunk, byte* scratch)
    {
        for (int y = 0; y < gradient.Ny; y++)
        {
            float* at = gradient.At(0, y, chunk);
            float* value = values.At(0, y, chunk);
            for (nint i = 0; i < (nint)gradient.Nx * gradient.Channels; i++)
            {
                at[i] = value[i] > 0 ? at[i] : slope * at[i];
            }
        }
    }
}
