using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>Sums of numbers that lie side by side, such as those of fields. No result depends on the number of threads.</summary>
internal static unsafe class FieldSums
{
    /// <summary>Numbers of a share.</summary>
    private const int Share = 1 << 15;

    /// <summary>target := from · factor.</summary>
    internal static void Scale(float* from, float factor, float* target, nint count, int threads) =>
        InShares(count, threads, (first, length) => ScaleShare(from + first, factor, target + first, length));

    /// <summary>target := target + from.</summary>
    internal static void Add(float* from, float* target, nint count, int threads) =>
        InShares(count, threads, (first, length) => AddShare(from + first, target + first, length));

    private static void InShares(nint count, int threads, Action<nint, int> body) =>
        Slices.ForEach((int)((count + Share - 1) / Share), count, threads, share =>
        {
            nint first = share * (nint)Share;
            body(first, (int)Math.Min(Share, count - first));
        });

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScaleShare(float* from, float factor, float* target, int count)
    {
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store(factor * Vector.Load(from + i), target + i);
        }

        for (; i < count; i++)
        {
            target[i] = factor * from[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddShare(float* from, float* target, int count)
    {
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store(Vector.Load(target + i) + Vector.Load(from + i), target + i);
        }

        for (; i < count; i++)
        {
            target[i] += from[i];
        }
    }
}
