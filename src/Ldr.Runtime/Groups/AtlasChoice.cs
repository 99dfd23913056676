using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>An atlas laid over a target as a whole.</summary>
/// <param name="Atlas">The atlas.</param>
/// <param name="Alignment">From the target's world to the atlas's, mm.</param>
/// <param name="MutualInformation">Of the two scans' intensities after it, bits.</param>
public sealed record AlignedAtlas(Atlas Atlas, Affine Alignment, double MutualInformation);

/// <summary>Orders atlases by how much their scans tell of a target's, after an affine alignment.</summary>
public static class AtlasChoice
{
    private const int Bins = 32;

    /// <summary>All atlases, the most similar one first; of equal ones the one that was given first.</summary>
    /// <param name="target">The scan that is to be labelled.</param>
    /// <param name="atlases">The atlases; the scan of one for each thread is in memory at a time.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="done">Is told how many are aligned.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static IReadOnlyList<AlignedAtlas> Rank(
        Volume target,
        IReadOnlyList<Atlas> atlases,
        int threads = 0,
        Action<int>? done = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(atlases);
        int count = 0;
        AlignedAtlas[] aligned = EachScan.Run(atlases.Count, threads, cancellation, i =>
        {
            Volume scan = atlases[i].ReadScan();
            Affine map = AffineAlignment.Run(target, scan, AffineFreedom.Full, threads: 1, cancellation: cancellation).World;
            Volume moved = Warp.Resample(scan, target.Grid, map, threads: 1);
            done?.Invoke(Interlocked.Increment(ref count));
            return new AlignedAtlas(atlases[i], map, MutualInformation(target, moved));
        });
        return [.. aligned.OrderByDescending(atlas => atlas.MutualInformation)];
    }

    /// <summary>
    /// The mutual information of two scans on one grid, bits, where either shows something: of a histogram of 32 × 32 bins between
    /// their percentiles 0.5 and 99.5.
    /// </summary>
    internal static double MutualInformation(Volume a, Volume b)
    {
        bool[] inA = Content.Of(a);
        bool[] inB = Content.Of(b);
        (double lowA, double highA) = WorkImage.WindowOf(a, null);
        (double lowB, double highB) = WorkImage.WindowOf(b, null);
        double[] joint = new double[Bins * Bins];
        for (int i = 0; i < inA.Length; i++)
        {
            if (inA[i] || inB[i])
            {
                joint[(Bins * Bin(a.Values[i], lowA, highA)) + Bin(b.Values[i], lowB, highB)]++;
            }
        }

        double total = joint.Sum();
        double information = 0;
        double[] rows = [.. Enumerable.Range(0, Bins).Select(i => joint.AsSpan(i * Bins, Bins).ToArray().Sum())];
        double[] columns = [.. Enumerable.Range(0, Bins).Select(j => Enumerable.Range(0, Bins).Sum(i => joint[(i * Bins) + j]))];
        for (int i = 0; i < joint.Length; i++)
        {
            if (joint[i] > 0)
            {
                information += joint[i] / total * Math.Log2(joint[i] * total / (rows[i / Bins] * columns[i % Bins]));
            }
        }

        return information;
    }

    private static int Bin(float value, double low, double high) =>
        high > low && value > low ? (int)Math.Min(Bins - 1, Bins * (value - low) / (high - low)) : 0;
}
