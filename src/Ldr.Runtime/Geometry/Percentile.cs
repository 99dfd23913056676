using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Geometry;

/// <summary>
/// Percentiles by linear interpolation between order statistics, numpy's default definition
/// (Hyndman and Fan 1996, type 7), exact and in linear time.
/// </summary>
public static class Percentile
{
    private const int Buckets = 1 << 16;

    /// <summary>Percentiles of the finite values.</summary>
    /// <param name="values">Numbers in any order; those that are not finite do not count.</param>
    /// <param name="percents">Wanted percentiles, 0 to 100.</param>
    /// <returns>One number per wanted percentile; NaN when no value is finite.</returns>
    /// <exception cref="ArgumentOutOfRangeException">A percentile outside 0 to 100.</exception>
    public static double[] Of(ReadOnlySpan<float> values, params double[] percents)
    {
        ArgumentNullException.ThrowIfNull(percents);
        double[] result = new double[percents.Length];
        Of(values, percents, result, new Workspace());
        return result;
    }

    /// <summary>The same, with memory that is used again.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Of(
        ReadOnlySpan<float> values, ReadOnlySpan<double> percents, Span<double> result, Workspace workspace)
    {
        // A float's bits, with the order of negative numbers turned round, sort as its value does: two counting
        // passes over 16 bits each find any order statistic without sorting.
        workspace.Clear();
        int[] high = workspace.High;
        int count = 0;
        foreach (float value in values)
        {
            if (float.IsFinite(value))
            {
                high[Key(value) >> 16]++;
                count++;
            }
        }

        for (int i = 0; i < percents.Length; i++)
        {
            CheckPercent(percents[i]);
            if (count == 0)
            {
                result[i] = double.NaN;
                continue;
            }

            (int rank, double fraction) = Position(percents[i], count);
            double below = Select(values, workspace, rank);
            double above = fraction > 0 ? Select(values, workspace, rank + 1) : below;
            result[i] = below + ((above - below) * fraction);
        }
    }

    /// <summary>A percentile of numbers that are already in ascending order; NaN when there are none.</summary>
    internal static double OfSorted(ReadOnlySpan<double> sorted, double percent)
    {
        CheckPercent(percent);
        if (sorted.IsEmpty)
        {
            return double.NaN;
        }

        (int rank, double fraction) = Position(percent, sorted.Length);
        return fraction > 0 ? sorted[rank] + ((sorted[rank + 1] - sorted[rank]) * fraction) : sorted[rank];
    }

    private static void CheckPercent(double percent)
    {
        if (!(percent >= 0 && percent <= 100))
        {
            throw new ArgumentOutOfRangeException(nameof(percent), percent, "a percentile lies between 0 and 100");
        }
    }

    private static (int Rank, double Fraction) Position(double percent, int count)
    {
        double position = percent / 100 * (count - 1);
        int rank = Math.Min((int)position, count - 1);
        return (rank, rank == count - 1 ? 0 : position - rank);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Select(ReadOnlySpan<float> values, Workspace workspace, int rank)
    {
        int top = Locate(workspace.High, ref rank);
        if (!workspace.TryGet(top, out int[] inner))
        {
            foreach (float value in values)
            {
                if (float.IsFinite(value) && (int)(Key(value) >> 16) == top)
                {
                    inner[Key(value) & 0xFFFF]++;
                }
            }
        }

        return Value(((uint)top << 16) | (uint)Locate(inner, ref rank));
    }

    private static int Locate(int[] histogram, ref int rank)
    {
        int bucket = 0;
        while (rank >= histogram[bucket])
        {
            rank -= histogram[bucket];
            bucket++;
        }

        return bucket;
    }

    private static uint Key(float value)
    {
        int bits = BitConverter.SingleToInt32Bits(value);
        return (uint)bits ^ ((uint)(bits >> 31) | 0x80000000u);
    }

    private static float Value(uint key) =>
        BitConverter.UInt32BitsToSingle((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);

    /// <summary>The counts of the two passes.</summary>
    internal sealed class Workspace
    {
        private readonly List<int[]> inner = [];
        private readonly List<int> tops = [];

        internal int[] High { get; } = new int[Buckets];

        internal void Clear()
        {
            Array.Clear(High);
            tops.Clear();
        }

        /// <summary>The counts within a bucket; empty ones, to be filled, when they are not there yet.</summary>
        internal bool TryGet(int top, out int[] counts)
        {
            int index = tops.IndexOf(top);
            if (index >= 0)
            {
                counts = inner[index];
                return true;
            }

            if (tops.Count == inner.Count)
            {
                inner.Add(new int[Buckets]);
            }

            counts = inner[tops.Count];
            Array.Clear(counts);
            tops.Add(top);
            return false;
        }
    }
}
