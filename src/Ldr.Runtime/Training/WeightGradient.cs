using System.Runtime.CompilerServices;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>
/// The gradient of a layer's weights over all samples: Σ wide(stride · p − 1 + tap)[row] · narrow(p)[lane] over all positions p of
/// the narrow maps. For a convolution the wide maps are its inputs and the narrow ones the gradients of its outputs; for a
/// transposed one it is the other way round. Every number is summed by one chunk in a fixed order.
/// </summary>
internal sealed unsafe class WeightGradient<TLanes, TVector> : Operation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Positions between two additions to the sums in memory: both maps stay in the first-level cache.</summary>
    private const int BlockPositions = 128;

    private readonly Channels[] wide;
    private readonly Channels[] narrow;
    private readonly LayerNumbers target;
    private readonly FilterShape shape;
    private readonly int stride;
    private readonly bool mirrored;
    private readonly bool dense;

    /// <summary>A gradient.</summary>
    /// <param name="name">What profiles call it.</param>
    /// <param name="shape">From the wide channels (inputs) to the narrow ones (outputs).</param>
    /// <param name="wide">A map for each sample.</param>
    /// <param name="narrow">A map for each sample.</param>
    /// <param name="target">Where the gradient goes.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="mirrored">Whether tap t of the sum above is the last tap but t of the kernel.</param>
    internal WeightGradient(
        string name,
        FilterShape shape,
        Channels[] wide,
        Channels[] narrow,
        LayerNumbers target,
        int stride = 2,
        bool mirrored = false)
    {
        Name = name;
        this.shape = shape;
        this.wide = wide;
        this.narrow = narrow;
        this.target = target;
        this.stride = stride;
        this.mirrored = mirrored;
        dense = wide[0].Count == wide[0].Map.Channels;
        FeatureMap map = narrow[0].Map;
        Flops = 2.0 * narrow.Length * map.Nx * map.Ny * map.Nz * shape.Taps * shape.Inputs * shape.Outputs;
    }

    internal override string Name { get; }

    internal override double Flops { get; }

    /// <summary>A row of the kernel and two vectors of lanes each.</summary>
    internal override int Chunks => shape.Side * shape.Side * LaneBlocks;

    internal override int ScratchBytes => sizeof(float) * Sums * 2 * TLanes.Count;

    private int LaneBlocks => (shape.Outputs + (2 * TLanes.Count) - 1) / (2 * TLanes.Count);

    private int Sums => shape.Side * shape.Inputs;

    /// <inheritdoc/>
    [SkipLocalsInit]
    internal override void Run(int chunk, byte* scratch)
    {
        int firstLane = chunk % LaneBlocks * 2 * TLanes.Count;
        int kernelRow = chunk / LaneBlocks;
        int lanes = Math.Min(2 * TLanes.Count, shape.Outputs - firstLane);
        float* sums = (float*)scratch;
        new Span<float>(sums, Sums * 2 * TLanes.Count).Clear();
        for (int sample = 0; sample < wide.Length; sample++)
        {
            Add(wide[sample], narrow[sample], kernelRow, firstLane, lanes <= TLanes.Count, sums);
        }

        Write(kernelRow, firstLane, lanes, sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(Channels rows, Channels columns, int kernelRow, int firstLane, bool single, float* sums)
    {
        FeatureMap map = columns.Map;
        Walk rowWalk = new((nint)stride * rows.Map.Channels, stride * rows.Map.Row, stride * rows.Map.Plane);
        Walk laneWalk = new(map.Channels, map.Row, map.Plane);
        int ny = Math.Clamp(BlockPositions / map.Nx, 1, map.Ny);
        int nz = Math.Clamp(BlockPositions / (map.Nx * map.Ny), 1, map.Nz);
        for (int z = 0; z < map.Nz; z += nz)
        {
            for (int y = 0; y < map.Ny; y += ny)
            {
                Positions3 size = new(map.Nx, Math.Min(ny, map.Ny - y), Math.Min(nz, map.Nz - z));
                float* at = rows.Map.At(-1, (stride * y) - 1 + (kernelRow % shape.Side), (stride * z) - 1 + (kernelRow / shape.Side))
                    + rows.First;
                float* with = map.At(0, y, z) + columns.First + firstLane;
                if (dense)
                {
                    AddRows(at, rowWalk, with, laneWalk, size, Sums, single, sums);
                    continue;
                }

                for (int tap = 0; tap < shape.Side; tap++)
                {
                    AddRows(
                        at + ((nint)tap * rows.Map.Channels),
                        rowWalk,
                        with,
                        laneWalk,
                        size,
                        shape.Inputs,
                        single,
                        sums + ((nint)tap * shape.Inputs * 2 * TLanes.Count));
                }
            }
        }
    }

    /// <summary>Adds to the sums of consecutive rows; the last eight of them may overlap those before, or reach beyond.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddRows(
        float* rows, Walk rowWalk, float* lanes, Walk laneWalk, Positions3 size, int count, bool single, float* sums)
    {
        const int Tile = OuterProducts<TLanes, TVector>.Rows;
        float* area = stackalloc float[(Tile * 2 * TLanes.Count) + 16];
        float* found = (float*)(((nint)area + 63) & ~63);
        for (int row = 0; row < count; row += Tile)
        {
            // The last tile begins earlier where it can, so that it reads nothing that is not there.
            int begin = Math.Max(0, Math.Min(row, count - Tile));
            OuterProducts<TLanes, TVector>.Sum(rows + begin, rowWalk, lanes, laneWalk, size, single, found);
            for (int i = row; i < Math.Min(row + Tile, count); i++)
            {
                float* to = sums + ((nint)i * 2 * TLanes.Count);
                float* from = found + ((i - begin) * 2 * TLanes.Count);
                TLanes.Store(TLanes.Add(TLanes.Load(to), TLanes.Load(from)), to);
                if (!single)
                {
                    TLanes.Store(TLanes.Add(TLanes.Load(to + TLanes.Count), TLanes.Load(from + TLanes.Count)), to + TLanes.Count);
                }
            }
        }
    }

    /// <summary>[tap along x][row][lane] to the order of the weights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Write(int kernelRow, int firstLane, int lanes, float* sums)
    {
        int side = shape.Side;
        for (int lane = 0; lane < lanes; lane++)
        {
            float* to = target.WeightGradient + ((nint)(firstLane + lane) * shape.OutputStride);
            for (int row = 0; row < shape.Inputs; row++)
            {
                for (int x = 0; x < side; x++)
                {
                    int tap = (kernelRow * side) + x;
                    to[((nint)row * shape.InputStride) + (mirrored ? shape.Taps - 1 - tap : tap)] =
                        sums[((((nint)x * shape.Inputs) + row) * 2 * TLanes.Count) + lane];
                }
            }
        }
    }
}
