using System.Runtime.CompilerServices;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Positions of two maps that belong together, in rows and planes; distances are in numbers.</summary>
internal readonly record struct Positions3(int Nx, int Ny, int Nz);

/// <summary>How a map is walked through: from one position to the next, from row to row, from plane to plane.</summary>
internal readonly record struct Walk(nint X, nint Y, nint Z);

/// <summary>
/// The register tile under the gradients of weights: sums[row][lane] = Σ rows[position][row] · lanes[position][lane], for eight
/// rows, which are broadcast, and one or two vectors of lanes.
/// </summary>
internal static unsafe class OuterProducts<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Rows of a tile.</summary>
    internal const int Rows = 8;

    /// <summary>Eight rows of one or two vectors; sums are [row][two vectors] in both cases.</summary>
    internal static void Sum(
        float* rows, Walk rowWalk, float* lanes, Walk laneWalk, Positions3 size, bool single, float* sums)
    {
        if (single)
        {
            EightSingle(rows, rowWalk, lanes, laneWalk, size, sums);
        }
        else if (TLanes.ManyRegisters)
        {
            Eight(rows, rowWalk, lanes, laneWalk, size, sums);
        }
        else
        {
            Four(rows, rowWalk, lanes, laneWalk, size, sums);
            Four(rows + 4, rowWalk, lanes, laneWalk, size, sums + (8 * TLanes.Count));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Eight(float* rows, Walk rowWalk, float* lanes, Walk laneWalk, Positions3 size, float* sums)
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
        nint stepR = rowWalk.X;
        nint stepL = laneWalk.X;
        for (int z = 0; z < size.Nz; z++)
        {
            for (int y = 0; y < size.Ny; y++)
            {
                float* r = rows + (z * rowWalk.Z) + (y * rowWalk.Y);
                float* l = lanes + (z * laneWalk.Z) + (y * laneWalk.Y);
                for (int x = size.Nx; x > 0; x--)
                {
                    TVector g0 = TLanes.Load(l);
                    TVector g1 = TLanes.Load(l + TLanes.Count);
                    TVector v = TLanes.Broadcast(r[0]);
                    a0 = TLanes.MultiplyAdd(v, g0, a0);
                    b0 = TLanes.MultiplyAdd(v, g1, b0);
                    v = TLanes.Broadcast(r[1]);
                    a1 = TLanes.MultiplyAdd(v, g0, a1);
                    b1 = TLanes.MultiplyAdd(v, g1, b1);
                    v = TLanes.Broadcast(r[2]);
                    a2 = TLanes.MultiplyAdd(v, g0, a2);
                    b2 = TLanes.MultiplyAdd(v, g1, b2);
                    v = TLanes.Broadcast(r[3]);
                    a3 = TLanes.MultiplyAdd(v, g0, a3);
                    b3 = TLanes.MultiplyAdd(v, g1, b3);
                    v = TLanes.Broadcast(r[4]);
                    a4 = TLanes.MultiplyAdd(v, g0, a4);
                    b4 = TLanes.MultiplyAdd(v, g1, b4);
                    v = TLanes.Broadcast(r[5]);
                    a5 = TLanes.MultiplyAdd(v, g0, a5);
                    b5 = TLanes.MultiplyAdd(v, g1, b5);
                    v = TLanes.Broadcast(r[6]);
                    a6 = TLanes.MultiplyAdd(v, g0, a6);
                    b6 = TLanes.MultiplyAdd(v, g1, b6);
                    v = TLanes.Broadcast(r[7]);
                    a7 = TLanes.MultiplyAdd(v, g0, a7);
                    b7 = TLanes.MultiplyAdd(v, g1, b7);
                    r += stepR;
                    l += stepL;
                }
            }
        }

        nint step = 2 * TLanes.Count;
        TLanes.Store(a0, sums);
        TLanes.Store(b0, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a1, sums);
        TLanes.Store(b1, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a2, sums);
        TLanes.Store(b2, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a3, sums);
        TLanes.Store(b3, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a4, sums);
        TLanes.Store(b4, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a5, sums);
        TLanes.Store(b5, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a6, sums);
        TLanes.Store(b6, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a7, sums);
        TLanes.Store(b7, sums + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(float* rows, Walk rowWalk, float* lanes, Walk laneWalk, Positions3 size, float* sums)
    {
        TVector a0 = default;
        TVector b0 = default;
        TVector a1 = default;
        TVector b1 = default;
        TVector a2 = default;
        TVector b2 = default;
        TVector a3 = default;
        TVector b3 = default;
        nint stepR = rowWalk.X;
        nint stepL = laneWalk.X;
        for (int z = 0; z < size.Nz; z++)
        {
            for (int y = 0; y < size.Ny; y++)
            {
                float* r = rows + (z * rowWalk.Z) + (y * rowWalk.Y);
                float* l = lanes + (z * laneWalk.Z) + (y * laneWalk.Y);
                for (int x = size.Nx; x > 0; x--)
                {
                    TVector g0 = TLanes.Load(l);
                    TVector g1 = TLanes.Load(l + TLanes.Count);
                    TVector v = TLanes.Broadcast(r[0]);
                    a0 = TLanes.MultiplyAdd(v, g0, a0);
                    b0 = TLanes.MultiplyAdd(v, g1, b0);
                    v = TLanes.Broadcast(r[1]);
                    a1 = TLanes.MultiplyAdd(v, g0, a1);
                    b1 = TLanes.MultiplyAdd(v, g1, b1);
                    v = TLanes.Broadcast(r[2]);
                    a2 = TLanes.MultiplyAdd(v, g0, a2);
                    b2 = TLanes.MultiplyAdd(v, g1, b2);
                    v = TLanes.Broadcast(r[3]);
                    a3 = TLanes.MultiplyAdd(v, g0, a3);
                    b3 = TLanes.MultiplyAdd(v, g1, b3);
                    r += stepR;
                    l += stepL;
                }
            }
        }

        nint step = 2 * TLanes.Count;
        TLanes.Store(a0, sums);
        TLanes.Store(b0, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a1, sums);
        TLanes.Store(b1, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a2, sums);
        TLanes.Store(b2, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a3, sums);
        TLanes.Store(b3, sums + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightSingle(float* rows, Walk rowWalk, float* lanes, Walk laneWalk, Positions3 size, float* sums)
    {
        TVector a0 = default;
        TVector a1 = default;
        TVector a2 = default;
        TVector a3 = default;
        TVector a4 = default;
        TVector a5 = default;
        TVector a6 = default;
        TVector a7 = default;
        nint stepR = rowWalk.X;
        nint stepL = laneWalk.X;
        for (int z = 0; z < size.Nz; z++)
        {
            for (int y = 0; y < size.Ny; y++)
            {
                float* r = rows + (z * rowWalk.Z) + (y * rowWalk.Y);
                float* l = lanes + (z * laneWalk.Z) + (y * laneWalk.Y);
                for (int x = size.Nx; x > 0; x--)
                {
                    TVector g = TLanes.Load(l);
                    a0 = TLanes.MultiplyAdd(TLanes.Broadcast(r[0]), g, a0);
                    a1 = TLanes.MultiplyAdd(TLanes.Broadcast(r[1]), g, a1);
                    a2 = TLanes.MultiplyAdd(TLanes.Broadcast(r[2]), g, a2);
                    a3 = TLanes.MultiplyAdd(TLanes.Broadcast(r[3]), g, a3);
                    a4 = TLanes.MultiplyAdd(TLanes.Broadcast(r[4]), g, a4);
                    a5 = TLanes.MultiplyAdd(TLanes.Broadcast(r[5]), g, a5);
                    a6 = TLanes.MultiplyAdd(TLanes.Broadcast(r[6]), g, a6);
                    a7 = TLanes.MultiplyAdd(TLanes.Broadcast(r[7]), g, a7);
                    r += stepR;
                    l += stepL;
                }
            }
        }

        nint step = 2 * TLanes.Count;
        TLanes.Store(a0, sums);
        TLanes.Store(a1, sums + step);
        TLanes.Store(a2, sums + (2 * step));
        TLanes.Store(a3, sums + (3 * step));
        TLanes.Store(a4, sums + (4 * step));
        TLanes.Store(a5, sums + (5 * step));
        TLanes.Store(a6, sums + (6 * step));
        TLanes.Store(a7, sums + (7 * step));
    }
}
