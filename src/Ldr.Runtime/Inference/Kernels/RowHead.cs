using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// The last layer, of three outputs: too few to fill a vector with channels, so here the lanes are positions along x. Rows
/// are transposed to [block][channel][x] in the thread's own memory; every tap of the kernel along x has a sum of its own over
/// aligned inputs, and the sums are shifted against each other when they are added at the end.
/// </summary>
internal abstract unsafe class RowHead<TLanes, TVector> : FilteredOperation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Planes of a chunk: their neighbours are read twice, which costs more than the memory of a larger ring.</summary>
    private const int BandPlanes = 8;

    /// <summary>Rows of a chunk.</summary>
    private const int BandRows = 32;

    private readonly FeatureMap first;
    private readonly FeatureMap? second;
    private readonly int firstChannels;

    /// <summary>A head over the channels of two maps of one size, or over the first channels of one.</summary>
    protected RowHead(FeatureMap first, FeatureMap? second, int channels, int sums)
    {
        this.first = first;
        this.second = second;
        firstChannels = second is null ? channels : first.Channels;
        Channels = channels;
        Sums = sums;
    }

    internal sealed override int PackingChunks => 1;

    internal sealed override int Chunks => Bands * ((Nz + BandPlanes - 1) / BandPlanes);

    internal sealed override int ScratchBytes =>
        (int)(sizeof(float) * (((BandPlanes + 2) * 3 * RowLength) + (Sums * SumLength) + (4 * Width) + 64));

    /// <summary>Sums of a voxel: outputs × taps along x.</summary>
    protected int Sums { get; }

    protected int Channels { get; }

    protected int Nx => first.Nx;

    protected int Ny => first.Ny;

    protected int Nz => first.Nz;

    /// <summary>Voxels of a transposed row, in whole pairs of vectors.</summary>
    protected int Width => (Nx + (2 * TLanes.Count) - 1) / (2 * TLanes.Count) * 2 * TLanes.Count;

    private int Bands => (Ny + BandRows - 1) / BandRows;

    /// <summary>Voxels of a block of a transposed row, which lies together for all channels.</summary>
    private static nint BlockWidth => 2 * TLanes.Count;

    /// <summary>Numbers of a row of sums: a vector of zeros at both ends.</summary>
    protected nint SumLength => Width + (2 * Margin);

    /// <summary>Zeros at the ends of a row of sums, so that it can be shifted by one.</summary>
    protected static int Margin => Math.Max(TLanes.Count, 16);

    private nint RowLength => (nint)Channels * Width;

    /// <inheritdoc/>
    internal sealed override void Run(int chunk, byte* scratch)
    {
        float* rows = (float*)scratch;
        float* sums = rows + ((BandPlanes + 2) * 3 * RowLength);
        float* spare = sums + (Sums * SumLength);
        new Span<float>(sums, (int)(Sums * SumLength)).Clear();
        int begin = chunk / Bands * BandPlanes;
        int end = Math.Min(begin + BandPlanes, Nz);
        float** near = stackalloc float*[9];
        int top = chunk % Bands * BandRows;
        int bottom = Math.Min(top + BandRows, Ny);
        for (int y = top - 1; y <= bottom; y++)
        {
            // The ring holds rows y − 2, y − 1 and y of all planes; row y − 1 has all its neighbours now.
            for (int z = begin - 1; z <= end; z++)
            {
                Transpose(y, z, RowAt(rows, y, z - begin));
            }

            if (y <= top)
            {
                continue;
            }

            for (int z = begin; z < end; z++)
            {
                for (int i = 0; i < 9; i++)
                {
                    near[i] = RowAt(rows, y - 2 + (i % 3), z - begin + (i / 3) - 1);
                }

                MakeRow(y - 1, z, near, sums, spare);
            }
        }
    }

    /// <summary>Makes what belongs to a row of the input.</summary>
    /// <param name="y">Which row.</param>
    /// <param name="z">Of which plane.</param>
    /// <param name="near">The rows of planes z − 1, z, z + 1 at y − 1, y, y + 1, transposed.</param>
    /// <param name="sums">Rows of sums, with zeros around.</param>
    /// <param name="spare">Four times the width of a row.</param>
    protected abstract void MakeRow(int y, int z, float** near, float* sums, float* spare);

    private float* RowAt(float* rows, int y, int plane) => rows + (((((y + 3) % 3) * (BandPlanes + 2)) + plane + 1) * RowLength);

    private void Transpose(int y, int z, float* to)
    {
        Transpose(first, firstChannels, y, z, to);
        if (second is not null)
        {
            Transpose(second, second.Channels, y, z, to + (firstChannels * BlockWidth));
        }
    }

    /// <summary>[x][channel] to [block][channel][x]; zeros after the last voxel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Transpose(FeatureMap map, int channels, int y, int z, float* to)
    {
        float* from = map.At(0, y, z);
        nint step = map.Channels;
        int lanes = TLanes.Count;
        int wholeChannels = lanes > 1 ? channels / lanes * lanes : 0;
        int whole = wholeChannels > 0 ? Nx / lanes * lanes : 0;
        for (int x = 0; x < whole; x += lanes)
        {
            float* column = to + (x / BlockWidth * BlockWidth * Channels) + (x % BlockWidth);
            for (int channel = 0; channel < wholeChannels; channel += lanes)
            {
                Blocks.Transpose<TLanes, TVector>(
                    from + (x * step) + channel, step, column + (channel * BlockWidth), BlockWidth);
            }
        }

        for (int x = 0; x < Width; x++)
        {
            float* column = to + (x / BlockWidth * BlockWidth * Channels) + (x % BlockWidth);
            for (int channel = x < whole ? wholeChannels : 0; channel < channels; channel++)
            {
                column[channel * BlockWidth] = x < Nx ? from[(x * step) + channel] : 0;
            }
        }
    }
}
