using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>
/// The gradient of a layer's weights over all samples: Σ wide(stride · p − 1 + tap)[row] · narrow(p)[lane] over all positions p of
/// the narrow maps. For a convolution the wide maps are its inputs and the narrow ones the gradients of its outputs; for a
/// transposed one it is the other way round. Large maps are cut into a fixed number of segments, so that they are read once; then
/// <see cref="Summation"/> adds up what the segments found. On small maps a chunk sums a row of the kernel over everything. Every
/// number is summed in a fixed order.
/// </summary>
internal sealed unsafe class WeightGradient<TLanes, TVector> : Operation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>How many segments a large map is cut into.</summary>
    private const int Segments = 8;

    /// <summary>Positions of a sample from which on a map is large.</summary>
    private const int LargeMap = 2048;

    /// <summary>Positions between two additions to the sums in memory: both maps stay in the first-level cache.</summary>
    private const int BlockPositions = 128;

    private readonly Channels[] wide;
    private readonly Channels[] narrow;
    private readonly LayerNumbers target;
    private readonly FilterShape shape;
    private readonly int stride;
    private readonly bool mirrored;
    private readonly bool dense;

    /// <summary>[segment][row of the kernel][block of lanes][tap along x][row][lane].</summary>
    private readonly Arena found = new();

    /// <summary>A gradient.</summary>
    /// <param name="name">The layer's.</param>
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
        Name = $"{name}, weights";
        this.shape = shape;
        this.wide = wide;
        this.narrow = narrow;
        this.target = target;
        this.stride = stride;
        this.mirrored = mirrored;
        dense = wide[0].Count == wide[0].Map.Channels;
        FeatureMap map = narrow[0].Map;
        if ((long)map.Nx * map.Ny * map.Nz >= LargeMap)
        {
            found.Reserve((long)Segments * shape.Side * shape.Side * LaneBlocks * Sums * 2 * TLanes.Count);
            found.Allocate();
            Summation = new SumSegments(this);
        }

        Flops = 2.0 * narrow.Length * map.Nx * map.Ny * map.Nz * shape.Taps * shape.Inputs * shape.Outputs;
    }

    /// <summary>All that is to be done, in order.</summary>
    internal Operation[] Operations => Summation is null ? [this] : [this, Summation];

    internal override string Name { get; }

    internal override double Flops { get; }

    /// <summary>What is left to do after it, if anything.</summary>
    private Operation? Summation { get; }

    /// <summary>Segments; or a row of the kernel and two vectors of lanes each.</summary>
    internal override int Chunks => Summation is null ? Blocks : Segments;

    internal override int ScratchBytes => Summation is null ? sizeof(float) * Sums * 2 * TLanes.Count : 0;

    /// <summary>Rows of the kernel, each with two vectors of lanes.</summary>
    private int Blocks => shape.Side * shape.Side * LaneBlocks;

    private int LaneBlocks => (shape.Outputs + (2 * TLanes.Count) - 1) / (2 * TLanes.Count);

    private int Sums => shape.Side * shape.Inputs;

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        if (Summation is null)
        {
            RunBlock(chunk, (float*)scratch);
        }
        else
        {
            RunSegment(chunk);
        }
    }

    /// <summary>A row of the kernel over all positions.</summary>
    private void RunBlock(int block, float* sums)
    {
        new Span<float>(sums, Sums * 2 * TLanes.Count).Clear();
        FeatureMap map = narrow[0].Map;
        int nz = Math.Clamp(BlockPositions / (map.Nx * map.Ny), 1, map.Nz);
        for (int sample = 0; sample < wide.Length; sample++)
        {
            for (int z = 0; z < map.Nz; z += nz)
            {
                for (int y = 0; y < map.Ny; y += RowsOfBlock)
                {
                    Positions3 size = new(map.Nx, Math.Min(RowsOfBlock, map.Ny - y), Math.Min(nz, map.Nz - z));
                    Add(sample, y, z, size, block, sums);
                }
            }
        }

        Write(block, sums);
    }

    /// <summary>Some slices of all samples, for all rows of the kernel.</summary>
    private void RunSegment(int segment)
    {
        nint length = (nint)Sums * 2 * TLanes.Count;
        float* own = found.At(0) + (segment * Blocks * length);
        new Span<float>(own, (int)(Blocks * length)).Clear();
        FeatureMap map = narrow[0].Map;
        int slices = map.Nz * wide.Length;
        for (int slice = slices * segment / Segments; slice < slices * (segment + 1) / Segments; slice++)
        {
            for (int y = 0; y < map.Ny; y += RowsOfBlock)
            {
                Positions3 size = new(map.Nx, Math.Min(RowsOfBlock, map.Ny - y), 1);
                for (int block = 0; block < Blocks; block++)
                {
                    Add(slice / map.Nz, y, slice % map.Nz, size, block, own + (block * length));
                }
            }
        }
    }

    private int RowsOfBlock => Math.Clamp(BlockPositions / narrow[0].Map.Nx, 1, narrow[0].Map.Ny);

    /// <summary>Adds what a box of positions gives to a row of the kernel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(int sample, int y, int z, Positions3 size, int block, float* sums)
    {
        FeatureMap rows = wide[sample].Map;
        FeatureMap map = narrow[sample].Map;
        int firstLane = block % LaneBlocks * 2 * TLanes.Count;
        int kernelRow = block / LaneBlocks;
        bool single = shape.Outputs - firstLane <= TLanes.Count;
        Walk rowWalk = new((nint)stride * rows.Channels, stride * rows.Row, stride * rows.Plane);
        Walk laneWalk = new(map.Channels, map.Row, map.Plane);
        float* at = rows.At(-1, (stride * y) - 1 + (kernelRow % shape.Side), (stride * z) - 1 + (kernelRow / shape.Side))
            + wide[sample].First;
        float* with = map.At(0, y, z) + narrow[sample].First + firstLane;
        if (dense)
        {
            AddRows(at, rowWalk, with, laneWalk, size, Sums, single, sums);
            return;
        }

        for (int tap = 0; tap < shape.Side; tap++)
        {
            float* to = sums + ((nint)tap * shape.Inputs * 2 * TLanes.Count);
            AddRows(at + ((nint)tap * rows.Channels), rowWalk, with, laneWalk, size, shape.Inputs, single, to);
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
    private void Write(int block, float* sums)
    {
        int side = shape.Side;
        int kernelRow = block / LaneBlocks;
        int firstLane = block % LaneBlocks * 2 * TLanes.Count;
        int lanes = Math.Min(2 * TLanes.Count, shape.Outputs - firstLane);
        int whole = side == 4 && !mirrored ? lanes / 4 * 4 : 0;
        nint step = (nint)shape.Inputs * 2 * TLanes.Count;
        for (int lane = 0; lane < whole; lane += 4)
        {
            float* to = target.WeightGradient + ((nint)(firstLane + lane) * shape.OutputStride) + (4 * kernelRow);
            for (int row = 0; row < shape.Inputs; row++)
            {
                float* from = sums + ((nint)row * 2 * TLanes.Count) + lane;
                WriteFour(from, step, to + ((nint)row * shape.InputStride), shape.OutputStride);
            }
        }

        for (int lane = whole; lane < lanes; lane++)
        {
            float* to = target.WeightGradient + ((nint)(firstLane + lane) * shape.OutputStride);
            for (int row = 0; row < shape.Inputs; row++)
            {
                for (int x = 0; x < side; x++)
                {
                    int tap = (kernelRow * side) + x;
                    to[((nint)row * shape.InputStride) + (mirrored ? shape.Taps - 1 - tap : tap)] =
                        sums[(x * step) + ((nint)row * 2 * TLanes.Count) + lane];
                }
            }
        }
    }

    /// <summary>Four taps of four lanes, to four taps side by side of each lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteFour(float* from, nint fromStep, float* to, nint toStep)
    {
        Vector128<float> a = Vector128.Load(from);
        Vector128<float> b = Vector128.Load(from + fromStep);
        Vector128<float> c = Vector128.Load(from + (2 * fromStep));
        Vector128<float> d = Vector128.Load(from + (3 * fromStep));
        (Vector128<float> lowAc, Vector128<float> highAc) = Lanes128.Interleave(a, c);
        (Vector128<float> lowBd, Vector128<float> highBd) = Lanes128.Interleave(b, d);
        (a, b) = Lanes128.Interleave(lowAc, lowBd);
        (c, d) = Lanes128.Interleave(highAc, highBd);
        a.Store(to);
        b.Store(to + toStep);
        c.Store(to + (2 * toStep));
        d.Store(to + (3 * toStep));
    }

    /// <summary>Adds up the segments, and writes the weights' gradient.</summary>
    private sealed class SumSegments(WeightGradient<TLanes, TVector> gradient) : Operation
    {
        internal override string Name => gradient.Name + ", sum";

        internal override int Chunks => gradient.Blocks;

        /// <inheritdoc/>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal override void Run(int chunk, byte* scratch)
        {
            nint length = (nint)gradient.Sums * 2 * TLanes.Count;
            float* first = gradient.found.At(0) + (chunk * length);
            for (int segment = 1; segment < Segments; segment++)
            {
                float* other = first + (segment * gradient.Blocks * length);
                for (nint i = 0; i < length; i += TLanes.Count)
                {
                    TLanes.Store(TLanes.Add(TLanes.Load(first + i), TLanes.Load(other + i)), first + i);
                }
            }

            gradient.Write(chunk, first);
        }
    }
}
