using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// The first convolution (kernel 3 or 4, stride 2, padding 1): it reads the pair (fixed, moving) from the two images
/// themselves, with zeros around them, and interleaves a few rows at a time in its own memory.
/// </summary>
internal sealed unsafe class PairConvolution<TLanes, TVector> : FilteredOperation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Rows of the output that a chunk makes; two halves of four make the tiles of sixteen positions.</summary>
    private const int BandRows = 8;

    private readonly PlanarImage first;
    private readonly PlanarImage second;
    private readonly (int X, int Y, int Z) size;
    private readonly (int X, int Y, int Z) before;
    private readonly FeatureMap output;
    private readonly PackedFilter packed;
    private readonly FilterPacking packing;
    private readonly Activation activation;
    private readonly int outputs;
    private readonly int side;
    private readonly nint[] runs;
    private readonly bool narrow;

    /// <summary>A first layer.</summary>
    /// <param name="name">What profiles call it.</param>
    /// <param name="shape">A convolution of two inputs.</param>
    /// <param name="first">The fixed image.</param>
    /// <param name="second">The moving image.</param>
    /// <param name="size">The images' size.</param>
    /// <param name="before">Zeros in front of each axis, beside the convolution's own padding.</param>
    /// <param name="output">Where its outputs go, from the first channel on.</param>
    /// <param name="activation">What follows.</param>
    internal PairConvolution(
        string name,
        FilterShape shape,
        PlanarImage first,
        PlanarImage second,
        (int X, int Y, int Z) size,
        (int X, int Y, int Z) before,
        FeatureMap output,
        Activation activation)
    {
        Name = name;
        this.first = first;
        this.second = second;
        this.size = size;
        this.before = before;
        this.output = output;
        this.activation = activation;
        outputs = shape.Outputs;
        side = shape.Side;
        narrow = TLanes.ManyRegisters && outputs <= TLanes.Count;
        packed = new PackedFilter(narrow ? TLanes.Count : 2 * TLanes.Count, outputs, 2 * shape.Taps);
        packing = new FilterPacking(shape, TLanes.Count);
        packing.Add(packed, FilterPacking.InOrder(shape.Taps, mirrored: false), 0);
        Row = ((2 * RowVoxels) + 15) & ~15;
        runs = new nint[side * side];
        for (int i = 0; i < runs.Length; i++)
        {
            runs[i] = (i / side * Plane) + (i % side * Row);
        }

        Flops = 2.0 * output.Nx * output.Ny * output.Nz * outputs * packed.Length;
    }

    internal override string Name { get; }

    internal override double Flops { get; }

    internal override int Chunks => output.Nz * Bands;

    internal override int ScratchBytes => (int)((side * Plane * sizeof(float)) + 256);

    internal override int PackingChunks => packing.Chunks;

    private int Bands => (output.Ny + BandRows - 1) / BandRows;

    /// <summary>Voxels of an input row that the outputs of a row see.</summary>
    private int RowVoxels => (2 * output.Nx) + side - 2;

    private nint Row { get; }

    private int Rows => (2 * BandRows) + side - 2;

    private nint Plane => Rows * Row;

    /// <inheritdoc/>
    internal override void Pack(int chunk, float* weights, float* bias) => packing.Pack<TLanes, TVector>(chunk, weights, bias);

    /// <inheritdoc/>
    [SkipLocalsInit]
    internal override void Run(int chunk, byte* scratch)
    {
        int z = chunk / Bands;
        int y = chunk % Bands * BandRows;
        float* rows = (float*)scratch;
        for (int plane = 0; plane < side; plane++)
        {
            for (int row = 0; row < Rows; row++)
            {
                Interleave((2 * z) + plane - 1 - before.Z, (2 * y) + row - 1 - before.Y, rows + (plane * Plane) + (row * Row));
            }
        }

        if (narrow)
        {
            RunNarrow(y, z, rows);
        }
        else
        {
            RunWide(y, z, rows);
        }
    }

    /// <summary>A row of pairs; zeros outside the images.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Interleave(int z, int y, float* to)
    {
        if (z < 0 || z >= size.Z || y < 0 || y >= size.Y)
        {
            new Span<float>(to, (int)Row).Clear();
            return;
        }

        // Voxel x of the images is voxel x + 1 + before of the row.
        int start = 1 + before.X;
        int count = Math.Min(size.X, RowVoxels - start);
        new Span<float>(to, 2 * start).Clear();
        new Span<float>(to + (2 * (start + count)), (int)Row - (2 * (start + count))).Clear();
        nint voxel = (((nint)z * size.Y) + y) * size.X;
        float* a = first.Data + voxel;
        float* b = second.Data + voxel;
        to += 2 * start;
        int x = 0;
        for (; x <= count - TLanes.Count; x += TLanes.Count)
        {
            (TVector low, TVector high) = TLanes.Interleave(TLanes.Load(a + x), TLanes.Load(b + x));
            TLanes.Store(low, to + (2 * x));
            TLanes.Store(high, to + (2 * x) + TLanes.Count);
        }

        for (; x < count; x++)
        {
            to[2 * x] = a[x];
            to[(2 * x) + 1] = b[x];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RunNarrow(int y, int z, float* rows)
    {
        const int Half = BandRows / 2;
        float** inputs = stackalloc float*[8];
        float** targets = stackalloc float*[16];
        float* area = stackalloc float[(16 * TLanes.Count) + TLanes.Count + 16];
        float* sums = (float*)(((nint)area + 63) & ~63);
        float* nowhere = sums + (16 * TLanes.Count);
        int positions = Half * output.Nx;
        int nx = output.Nx;
        nint channels = output.Channels;
        nint outputRow = output.Row;
        nint inputRow = 2 * Row;
        int rowsThere = output.Ny - y;
        float* target = output.At(0, y, z);
        float* weights = packed.WeightsOf(0);
        float* bias = packed.BiasOf(0);
        int x = 0;
        int row = 0;
        fixed (nint* offsets = runs)
        {
            for (int tile = 0; tile < positions; tile += 8)
            {
                for (int i = 0; i < 8; i++)
                {
                    // Positions after the last one repeat it, and go nowhere.
                    bool surplus = row == Half;
                    float* to = target + (row * outputRow) + (x * channels);
                    inputs[i] = surplus ? inputs[0] : rows + (row * inputRow) + (4 * x);
                    targets[i] = surplus || row >= rowsThere ? nowhere : to;
                    targets[i + 8] = surplus || row + Half >= rowsThere ? nowhere : to + (Half * outputRow);
                    if (++x == nx && !surplus)
                    {
                        x = 0;
                        row++;
                    }
                }

                Tile<TLanes, TVector>.AccumulateNarrow(
                    inputs, Half * inputRow, offsets, runs.Length, 2 * side, weights, bias, sums);
                for (int i = 0; i < 16; i++)
                {
                    Tile<TLanes, TVector>.Finish(sums + (i * TLanes.Count), targets[i], outputs, activation);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RunWide(int y, int z, float* rows)
    {
        float** inputs = stackalloc float*[8];
        float** targets = stackalloc float*[8];
        float* area = stackalloc float[(8 * Tile<TLanes, TVector>.Channels) + 16];
        float* sums = (float*)(((nint)area + 63) & ~63);
        int positions = Math.Min(BandRows, output.Ny - y) * output.Nx;
        fixed (nint* offsets = runs)
        {
            for (int tile = 0; tile < positions; tile += 8)
            {
                int count = Math.Min(8, positions - tile);
                for (int i = 0; i < 8; i++)
                {
                    int position = tile + Math.Min(i, count - 1);
                    int row = position / output.Nx;
                    int x = position - (row * output.Nx);
                    inputs[i] = rows + (2 * row * Row) + (4 * x);
                    targets[i] = output.At(x, y + row, z);
                }

                for (int block = 0; block < packed.Blocks; block++)
                {
                    Tile<TLanes, TVector>.Accumulate(
                        inputs, offsets, runs.Length, 2 * side, packed.WeightsOf(block), packed.BiasOf(block), 0, sums);
                    int channel = block * Tile<TLanes, TVector>.Channels;
                    for (int i = 0; i < count; i++)
                    {
                        float* sum = sums + (i * Tile<TLanes, TVector>.Channels);
                        Tile<TLanes, TVector>.Finish(sum, targets[i] + channel, outputs - channel, activation);
                        int rest = outputs - channel - TLanes.Count;
                        if (rest > 0)
                        {
                            Tile<TLanes, TVector>.Finish(
                                sum + TLanes.Count, targets[i] + channel + TLanes.Count, rest, activation);
                        }
                    }
                }
            }
        }
    }
}
