using System.Runtime.CompilerServices;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Copies planes into a map, channels last, or a map into planes; a plane of z is a chunk.</summary>
internal sealed unsafe class Interleaving : Operation
{
    private readonly PlanarField planes;
    private readonly FeatureMap map;
    private readonly bool outwards;

    private Interleaving(string name, PlanarField planes, FeatureMap map, bool outwards)
    {
        Name = name;
        this.planes = planes;
        this.map = map;
        this.outwards = outwards;
    }

    internal override string Name { get; }

    internal override int Chunks => map.Nz;

    /// <summary>From planes to a map.</summary>
    internal static Interleaving Into(string name, PlanarField planes, FeatureMap map) => new(name, planes, map, outwards: false);

    /// <summary>From a map to planes.</summary>
    internal static Interleaving From(string name, FeatureMap map, PlanarField planes) => new(name, planes, map, outwards: true);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal override void Run(int chunk, byte* scratch)
    {
        nint step = map.Channels;
        for (int y = 0; y < map.Ny; y++)
        {
            for (int channel = 0; channel < map.Channels; channel++)
            {
                float* row = planes.Row(channel, y, chunk);
                float* voxel = map.At(0, y, chunk) + channel;
                if (outwards)
                {
                    for (int x = 0; x < map.Nx; x++)
                    {
                        row[x] = voxel[x * step];
                    }
                }
                else
                {
                    for (int x = 0; x < map.Nx; x++)
                    {
                        voxel[x * step] = row[x];
                    }
                }
            }
        }
    }
}
