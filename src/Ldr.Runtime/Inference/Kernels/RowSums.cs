using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// Sums over the channels of transposed rows, with positions along x as lanes and weights broadcast: sums[i][x] =
/// Σ row[channel][x] · weight[row][channel][i]. Of eighteen or more sums in registers each input is read once.
/// </summary>
internal static unsafe class RowSums<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Twelve sums: three outputs, two phases, two taps.</summary>
    /// <param name="rows">Transposed rows: [block of two vectors][channel][x].</param>
    /// <param name="rowCount">How many.</param>
    /// <param name="channels">Channels of a row.</param>
    /// <param name="width">Voxels of a row, in whole pairs of vectors.</param>
    /// <param name="weights">For each row and channel, one number for each sum.</param>
    /// <param name="sums">Rows of sums.</param>
    /// <param name="sumStride">From one of them to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Twelve(
        float** rows, int rowCount, int channels, nint width, float* weights, float* sums, nint sumStride)
    {
        nint block = 2 * TLanes.Count;
        for (nint x = 0; x < width; x += block)
        {
            nint start = x * channels;
            if (TLanes.ManyRegisters)
            {
                TwelveWide(rows, rowCount, channels, start, weights, sums + x, sumStride);
            }
            else
            {
                TwelveNarrow(rows, rowCount, channels, start, weights, sums + x, sumStride);
                TwelveNarrow(rows, rowCount, channels, start + TLanes.Count, weights, sums + x + TLanes.Count, sumStride);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwelveWide(
        float** rows, int rowCount, int channels, nint start, float* weights, float* sums, nint sumStride)
    {
        TVector a0 = default;
        TVector b0 = default;
        TVector a1 = default;
        TVector b1 = default;
        TVector a2 = default;
        TVector b2 = default;
        TVector a3 = default;
        TVector b3 = default;
        TVector a4 = default;
        TVector b4 = default;
        TVector a5 = default;
        TVector b5 = default;
        TVector a6 = default;
        TVector b6 = default;
        TVector a7 = default;
        TVector b7 = default;
        TVector a8 = default;
        TVector b8 = default;
        TVector a9 = default;
        TVector b9 = default;
        TVector a10 = default;
        TVector b10 = default;
        TVector a11 = default;
        TVector b11 = default;
        for (int row = 0; row < rowCount; row++)
        {
            float* from = rows[row] + start;
            for (int channel = 0; channel < channels; channel++)
            {
                TVector v = TLanes.Load(from);
                TVector u = TLanes.Load(from + TLanes.Count);
                TVector w = TLanes.Broadcast(weights[0]);
                a0 = TLanes.MultiplyAdd(v, w, a0);
                b0 = TLanes.MultiplyAdd(u, w, b0);
                w = TLanes.Broadcast(weights[1]);
                a1 = TLanes.MultiplyAdd(v, w, a1);
                b1 = TLanes.MultiplyAdd(u, w, b1);
                w = TLanes.Broadcast(weights[2]);
                a2 = TLanes.MultiplyAdd(v, w, a2);
                b2 = TLanes.MultiplyAdd(u, w, b2);
                w = TLanes.Broadcast(weights[3]);
                a3 = TLanes.MultiplyAdd(v, w, a3);
                b3 = TLanes.MultiplyAdd(u, w, b3);
                w = TLanes.Broadcast(weights[4]);
                a4 = TLanes.MultiplyAdd(v, w, a4);
                b4 = TLanes.MultiplyAdd(u, w, b4);
                w = TLanes.Broadcast(weights[5]);
                a5 = TLanes.MultiplyAdd(v, w, a5);
                b5 = TLanes.MultiplyAdd(u, w, b5);
                w = TLanes.Broadcast(weights[6]);
                a6 = TLanes.MultiplyAdd(v, w, a6);
                b6 = TLanes.MultiplyAdd(u, w, b6);
                w = TLanes.Broadcast(weights[7]);
                a7 = TLanes.MultiplyAdd(v, w, a7);
                b7 = TLanes.MultiplyAdd(u, w, b7);
                w = TLanes.Broadcast(weights[8]);
                a8 = TLanes.MultiplyAdd(v, w, a8);
                b8 = TLanes.MultiplyAdd(u, w, b8);
                w = TLanes.Broadcast(weights[9]);
                a9 = TLanes.MultiplyAdd(v, w, a9);
                b9 = TLanes.MultiplyAdd(u, w, b9);
                w = TLanes.Broadcast(weights[10]);
                a10 = TLanes.MultiplyAdd(v, w, a10);
                b10 = TLanes.MultiplyAdd(u, w, b10);
                w = TLanes.Broadcast(weights[11]);
                a11 = TLanes.MultiplyAdd(v, w, a11);
                b11 = TLanes.MultiplyAdd(u, w, b11);
                weights += 12;
                from += 2 * TLanes.Count;
            }
        }

        TLanes.Store(a0, sums + (0 * sumStride));
        TLanes.Store(b0, sums + (0 * sumStride) + TLanes.Count);
        TLanes.Store(a1, sums + (1 * sumStride));
        TLanes.Store(b1, sums + (1 * sumStride) + TLanes.Count);
        TLanes.Store(a2, sums + (2 * sumStride));
        TLanes.Store(b2, sums + (2 * sumStride) + TLanes.Count);
        TLanes.Store(a3, sums + (3 * sumStride));
        TLanes.Store(b3, sums + (3 * sumStride) + TLanes.Count);
        TLanes.Store(a4, sums + (4 * sumStride));
        TLanes.Store(b4, sums + (4 * sumStride) + TLanes.Count);
        TLanes.Store(a5, sums + (5 * sumStride));
        TLanes.Store(b5, sums + (5 * sumStride) + TLanes.Count);
        TLanes.Store(a6, sums + (6 * sumStride));
        TLanes.Store(b6, sums + (6 * sumStride) + TLanes.Count);
        TLanes.Store(a7, sums + (7 * sumStride));
        TLanes.Store(b7, sums + (7 * sumStride) + TLanes.Count);
        TLanes.Store(a8, sums + (8 * sumStride));
        TLanes.Store(b8, sums + (8 * sumStride) + TLanes.Count);
        TLanes.Store(a9, sums + (9 * sumStride));
        TLanes.Store(b9, sums + (9 * sumStride) + TLanes.Count);
        TLanes.Store(a10, sums + (10 * sumStride));
        TLanes.Store(b10, sums + (10 * sumStride) + TLanes.Count);
        TLanes.Store(a11, sums + (11 * sumStride));
        TLanes.Store(b11, sums + (11 * sumStride) + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwelveNarrow(
        float** rows, int rowCount, int channels, nint start, float* weights, float* sums, nint sumStride)
    {
        TVector a0 = default;
        TVector a1 = default;
        TVector a2 = default;
        TVector a3 = default;
        TVector a4 = default;
        TVector a5 = default;
        TVector a6 = default;
        TVector a7 = default;
        TVector a8 = default;
        TVector a9 = default;
        TVector a10 = default;
        TVector a11 = default;
        for (int row = 0; row < rowCount; row++)
        {
            float* from = rows[row] + start;
            for (int channel = 0; channel < channels; channel++)
            {
                TVector v = TLanes.Load(from);
                a0 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[0]), v, a0);
                a1 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[1]), v, a1);
                a2 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[2]), v, a2);
                a3 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[3]), v, a3);
                a4 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[4]), v, a4);
                a5 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[5]), v, a5);
                a6 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[6]), v, a6);
                a7 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[7]), v, a7);
                a8 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[8]), v, a8);
                a9 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[9]), v, a9);
                a10 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[10]), v, a10);
                a11 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[11]), v, a11);
                weights += 12;
                from += 2 * TLanes.Count;
            }
        }

        TLanes.Store(a0, sums + (0 * sumStride));
        TLanes.Store(a1, sums + (1 * sumStride));
        TLanes.Store(a2, sums + (2 * sumStride));
        TLanes.Store(a3, sums + (3 * sumStride));
        TLanes.Store(a4, sums + (4 * sumStride));
        TLanes.Store(a5, sums + (5 * sumStride));
        TLanes.Store(a6, sums + (6 * sumStride));
        TLanes.Store(a7, sums + (7 * sumStride));
        TLanes.Store(a8, sums + (8 * sumStride));
        TLanes.Store(a9, sums + (9 * sumStride));
        TLanes.Store(a10, sums + (10 * sumStride));
        TLanes.Store(a11, sums + (11 * sumStride));
    }

    /// <summary>Nine sums: three outputs, three taps.</summary>
    /// <param name="rows">Transposed rows: [block of two vectors][channel][x].</param>
    /// <param name="rowCount">How many.</param>
    /// <param name="channels">Channels of a row.</param>
    /// <param name="width">Voxels of a row, in whole pairs of vectors.</param>
    /// <param name="weights">For each row and channel, one number for each sum.</param>
    /// <param name="sums">Rows of sums.</param>
    /// <param name="sumStride">From one of them to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Nine(
        float** rows, int rowCount, int channels, nint width, float* weights, float* sums, nint sumStride)
    {
        nint block = 2 * TLanes.Count;
        for (nint x = 0; x < width; x += block)
        {
            nint start = x * channels;
            if (TLanes.ManyRegisters)
            {
                NineWide(rows, rowCount, channels, start, weights, sums + x, sumStride);
            }
            else
            {
                NineNarrow(rows, rowCount, channels, start, weights, sums + x, sumStride);
                NineNarrow(rows, rowCount, channels, start + TLanes.Count, weights, sums + x + TLanes.Count, sumStride);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NineWide(
        float** rows, int rowCount, int channels, nint start, float* weights, float* sums, nint sumStride)
    {
        TVector a0 = default;
        TVector b0 = default;
        TVector a1 = default;
        TVector b1 = default;
        TVector a2 = default;
        TVector b2 = default;
        TVector a3 = default;
        TVector b3 = default;
        TVector a4 = default;
        TVector b4 = default;
        TVector a5 = default;
        TVector b5 = default;
        TVector a6 = default;
        TVector b6 = default;
        TVector a7 = default;
        TVector b7 = default;
        TVector a8 = default;
        TVector b8 = default;
        for (int row = 0; row < rowCount; row++)
        {
            float* from = rows[row] + start;
            for (int channel = 0; channel < channels; channel++)
            {
                TVector v = TLanes.Load(from);
                TVector u = TLanes.Load(from + TLanes.Count);
                TVector w = TLanes.Broadcast(weights[0]);
                a0 = TLanes.MultiplyAdd(v, w, a0);
                b0 = TLanes.MultiplyAdd(u, w, b0);
                w = TLanes.Broadcast(weights[1]);
                a1 = TLanes.MultiplyAdd(v, w, a1);
                b1 = TLanes.MultiplyAdd(u, w, b1);
                w = TLanes.Broadcast(weights[2]);
                a2 = TLanes.MultiplyAdd(v, w, a2);
                b2 = TLanes.MultiplyAdd(u, w, b2);
                w = TLanes.Broadcast(weights[3]);
                a3 = TLanes.MultiplyAdd(v, w, a3);
                b3 = TLanes.MultiplyAdd(u, w, b3);
                w = TLanes.Broadcast(weights[4]);
                a4 = TLanes.MultiplyAdd(v, w, a4);
                b4 = TLanes.MultiplyAdd(u, w, b4);
                w = TLanes.Broadcast(weights[5]);
                a5 = TLanes.MultiplyAdd(v, w, a5);
                b5 = TLanes.MultiplyAdd(u, w, b5);
                w = TLanes.Broadcast(weights[6]);
                a6 = TLanes.MultiplyAdd(v, w, a6);
                b6 = TLanes.MultiplyAdd(u, w, b6);
                w = TLanes.Broadcast(weights[7]);
                a7 = TLanes.MultiplyAdd(v, w, a7);
                b7 = TLanes.MultiplyAdd(u, w, b7);
                w = TLanes.Broadcast(weights[8]);
                a8 = TLanes.MultiplyAdd(v, w, a8);
                b8 = TLanes.MultiplyAdd(u, w, b8);
                weights += 9;
                from += 2 * TLanes.Count;
            }
        }

        TLanes.Store(a0, sums + (0 * sumStride));
        TLanes.Store(b0, sums + (0 * sumStride) + TLanes.Count);
        TLanes.Store(a1, sums + (1 * sumStride));
        TLanes.Store(b1, sums + (1 * sumStride) + TLanes.Count);
        TLanes.Store(a2, sums + (2 * sumStride));
        TLanes.Store(b2, sums + (2 * sumStride) + TLanes.Count);
        TLanes.Store(a3, sums + (3 * sumStride));
        TLanes.Store(b3, sums + (3 * sumStride) + TLanes.Count);
        TLanes.Store(a4, sums + (4 * sumStride));
        TLanes.Store(b4, sums + (4 * sumStride) + TLanes.Count);
        TLanes.Store(a5, sums + (5 * sumStride));
        TLanes.Store(b5, sums + (5 * sumStride) + TLanes.Count);
        TLanes.Store(a6, sums + (6 * sumStride));
        TLanes.Store(b6, sums + (6 * sumStride) + TLanes.Count);
        TLanes.Store(a7, sums + (7 * sumStride));
        TLanes.Store(b7, sums + (7 * sumStride) + TLanes.Count);
        TLanes.Store(a8, sums + (8 * sumStride));
        TLanes.Store(b8, sums + (8 * sumStride) + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NineNarrow(
        float** rows, int rowCount, int channels, nint start, float* weights, float* sums, nint sumStride)
    {
        TVector a0 = default;
        TVector a1 = default;
        TVector a2 = default;
        TVector a3 = default;
        TVector a4 = default;
        TVector a5 = default;
        TVector a6 = default;
        TVector a7 = default;
        TVector a8 = default;
        for (int row = 0; row < rowCount; row++)
        {
            float* from = rows[row] + start;
            for (int channel = 0; channel < channels; channel++)
            {
                TVector v = TLanes.Load(from);
                a0 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[0]), v, a0);
                a1 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[1]), v, a1);
                a2 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[2]), v, a2);
                a3 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[3]), v, a3);
                a4 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[4]), v, a4);
                a5 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[5]), v, a5);
                a6 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[6]), v, a6);
                a7 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[7]), v, a7);
                a8 = TLanes.MultiplyAdd(TLanes.Broadcast(weights[8]), v, a8);
                weights += 9;
                from += 2 * TLanes.Count;
            }
        }

        TLanes.Store(a0, sums + (0 * sumStride));
        TLanes.Store(a1, sums + (1 * sumStride));
        TLanes.Store(a2, sums + (2 * sumStride));
        TLanes.Store(a3, sums + (3 * sumStride));
        TLanes.Store(a4, sums + (4 * sumStride));
        TLanes.Store(a5, sums + (5 * sumStride));
        TLanes.Store(a6, sums + (6 * sumStride));
        TLanes.Store(a7, sums + (7 * sumStride));
        TLanes.Store(a8, sums + (8 * sumStride));
    }
}
