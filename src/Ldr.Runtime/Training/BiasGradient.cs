using System.Runtime.CompilerServices;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>The gradient of a layer's biases: the sums of its outputs' gradients over positions and samples.</summary>
internal sealed unsafe class BiasGradient : Operation
{
    /// <summary>Channels of a chunk: a cache line.</summary>
    private const int Width = 16;

    private readonly Channels[] gradients;
    private readonly LayerNumbers target;

    internal BiasGradient(string name, Channels[] gradients, LayerNumbers target)
    {
        Name = name;
        this.gradients = gradients;
        this.target = target;
    }

    internal override string Name { get; }

    internal override int Chunks => (gradients[0].Count + Width - 1) / Width;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal override void Run(int chunk, byte* scratch)
    {
        int first = chunk * Width;
        int count = Math.Min(Width, gradients[0].Count - first);
        double* sums = stackalloc double[Width];
        float* row = stackalloc float[Width];
        new Span<double>(sums, Width).Clear();
        foreach (Channels channels in gradients)
        {
            FeatureMap map = channels.Map;
            for (int z = 0; z < map.Nz; z++)
            {
                for (int y = 0; y < map.Ny; y++)
                {
                    // A row in single precision: short enough to lose nothing.
                    new Span<float>(row, Width).Clear();
                    float* at = map.At(0, y, z) + channels.First + first;
                    for (int x = 0; x < map.Nx; x++, at += map.Channels)
                    {
                        for (int i = 0; i < count; i++)
                        {
                            row[i] += at[i];
                        }
                    }

                    for (int i = 0; i < count; i++)
                    {
                        sums[i] += row[i];
                    }
                }
            }
        }

        for (int i = 0; i < count; i++)
        {
            target.BiasGradient[first + i] = (float)sums[i];
        }
    }
}
