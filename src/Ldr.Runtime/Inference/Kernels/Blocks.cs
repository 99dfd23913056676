using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>Square blocks of numbers, as many a side as a vector has lanes.</summary>
internal static unsafe class Blocks
{
    /// <summary>
    /// to[j][i] = from[i][j]. Interleaving the upper and the lower half of a list of rows, as often as the number of lanes
    /// can be halved, transposes it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Transpose<TLanes, TVector>(float* from, nint fromStride, float* to, nint toStride)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        if (TLanes.Count == 16)
        {
            Transpose16<TLanes, TVector>(from, fromStride, to, toStride);
            return;
        }

        float* a = stackalloc float[TLanes.Count * TLanes.Count];
        float* b = stackalloc float[TLanes.Count * TLanes.Count];
        for (int i = 0; i < TLanes.Count; i++)
        {
            TLanes.Store(TLanes.Load(from + (i * fromStride)), a + (i * TLanes.Count));
        }

        int half = TLanes.Count / 2;
        for (int left = half; left > 0; left /= 2)
        {
            for (int i = 0; i < half; i++)
            {
                (TVector low, TVector high) =
                    TLanes.Interleave(TLanes.Load(a + (i * TLanes.Count)), TLanes.Load(a + ((i + half) * TLanes.Count)));
                TLanes.Store(low, b + (2 * i * TLanes.Count));
                TLanes.Store(high, b + (((2 * i) + 1) * TLanes.Count));
            }

            float* swap = a;
            a = b;
            b = swap;
        }

        for (int i = 0; i < TLanes.Count; i++)
        {
            TLanes.Store(TLanes.Load(a + (i * TLanes.Count)), to + (i * toStride));
        }
    }

    /// <summary>The same for sixteen lanes, without a detour through memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose16<TLanes, TVector>(float* from, nint fromStride, float* to, nint toStride)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        TVector a0 = TLanes.Load(from + (0 * fromStride));
        TVector a1 = TLanes.Load(from + (1 * fromStride));
        TVector a2 = TLanes.Load(from + (2 * fromStride));
        TVector a3 = TLanes.Load(from + (3 * fromStride));
        TVector a4 = TLanes.Load(from + (4 * fromStride));
        TVector a5 = TLanes.Load(from + (5 * fromStride));
        TVector a6 = TLanes.Load(from + (6 * fromStride));
        TVector a7 = TLanes.Load(from + (7 * fromStride));
        TVector a8 = TLanes.Load(from + (8 * fromStride));
        TVector a9 = TLanes.Load(from + (9 * fromStride));
        TVector a10 = TLanes.Load(from + (10 * fromStride));
        TVector a11 = TLanes.Load(from + (11 * fromStride));
        TVector a12 = TLanes.Load(from + (12 * fromStride));
        TVector a13 = TLanes.Load(from + (13 * fromStride));
        TVector a14 = TLanes.Load(from + (14 * fromStride));
        TVector a15 = TLanes.Load(from + (15 * fromStride));
        (TVector b0, TVector b1) = TLanes.Interleave(a0, a8);
        (TVector b2, TVector b3) = TLanes.Interleave(a1, a9);
        (TVector b4, TVector b5) = TLanes.Interleave(a2, a10);
        (TVector b6, TVector b7) = TLanes.Interleave(a3, a11);
        (TVector b8, TVector b9) = TLanes.Interleave(a4, a12);
        (TVector b10, TVector b11) = TLanes.Interleave(a5, a13);
        (TVector b12, TVector b13) = TLanes.Interleave(a6, a14);
        (TVector b14, TVector b15) = TLanes.Interleave(a7, a15);
        (TVector c0, TVector c1) = TLanes.Interleave(b0, b8);
        (TVector c2, TVector c3) = TLanes.Interleave(b1, b9);
        (TVector c4, TVector c5) = TLanes.Interleave(b2, b10);
        (TVector c6, TVector c7) = TLanes.Interleave(b3, b11);
        (TVector c8, TVector c9) = TLanes.Interleave(b4, b12);
        (TVector c10, TVector c11) = TLanes.Interleave(b5, b13);
        (TVector c12, TVector c13) = TLanes.Interleave(b6, b14);
        (TVector c14, TVector c15) = TLanes.Interleave(b7, b15);
        (TVector d0, TVector d1) = TLanes.Interleave(c0, c8);
        (TVector d2, TVector d3) = TLanes.Interleave(c1, c9);
        (TVector d4, TVector d5) = TLanes.Interleave(c2, c10);
        (TVector d6, TVector d7) = TLanes.Interleave(c3, c11);
        (TVector d8, TVector d9) = TLanes.Interleave(c4, c12);
        (TVector d10, TVector d11) = TLanes.Interleave(c5, c13);
        (TVector d12, TVector d13) = TLanes.Interleave(c6, c14);
        (TVector d14, TVector d15) = TLanes.Interleave(c7, c15);
        (TVector e0, TVector e1) = TLanes.Interleave(d0, d8);
        (TVector e2, TVector e3) = TLanes.Interleave(d1, d9);
        (TVector e4, TVector e5) = TLanes.Interleave(d2, d10);
        (TVector e6, TVector e7) = TLanes.Interleave(d3, d11);
        (TVector e8, TVector e9) = TLanes.Interleave(d4, d12);
        (TVector e10, TVector e11) = TLanes.Interleave(d5, d13);
        (TVector e12, TVector e13) = TLanes.Interleave(d6, d14);
        (TVector e14, TVector e15) = TLanes.Interleave(d7, d15);
        TLanes.Store(e0, to + (0 * toStride));
        TLanes.Store(e1, to + (1 * toStride));
        TLanes.Store(e2, to + (2 * toStride));
        TLanes.Store(e3, to + (3 * toStride));
        TLanes.Store(e4, to + (4 * toStride));
        TLanes.Store(e5, to + (5 * toStride));
        TLanes.Store(e6, to + (6 * toStride));
        TLanes.Store(e7, to + (7 * toStride));
        TLanes.Store(e8, to + (8 * toStride));
        TLanes.Store(e9, to + (9 * toStride));
        TLanes.Store(e10, to + (10 * toStride));
        TLanes.Store(e11, to + (11 * toStride));
        TLanes.Store(e12, to + (12 * toStride));
        TLanes.Store(e13, to + (13 * toStride));
        TLanes.Store(e14, to + (14 * toStride));
        TLanes.Store(e15, to + (15 * toStride));
    }
}
