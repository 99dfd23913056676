using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Groups;

/// <summary>How the labels of several atlases become one.</summary>
public enum FusionMethod
{
    /// <summary>Every atlas has one vote at its own voxel.</summary>
    Majority,

    /// <summary>Votes are weighted by the similarity of the patches around the voxel; the atlases' errors count as independent.</summary>
    Weighted,

    /// <summary>
    /// Joint label fusion: as weighted, but atlases that are probably wrong together share their vote (Wang and others, IEEE PAMI 2013).
    /// </summary>
    Joint,
}

/// <summary>How labels are fused.</summary>
public sealed record FusionOptions
{
    /// <summary>The method.</summary>
    public FusionMethod Method { get; init; } = FusionMethod.Joint;

    /// <summary>Half the side of the patches that are compared, voxels; null: 2.5 mm, but at least one voxel.</summary>
    public int? PatchRadius { get; init; }

    /// <summary>How far an atlas's patch may lie from the voxel, voxels along each axis: mends small errors of the registration.</summary>
    public int SearchRadius { get; init; } = 1;

    /// <summary>What is added to the diagonal of the matrix of expected errors: how far the weights are drawn to equal ones.</summary>
    public double Alpha { get; init; } = 0.1;

    /// <summary>The power by which differences of intensities become expected errors.</summary>
    public double Beta { get; init; } = 2;

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>Half the side of the patches on a grid, voxels.</summary>
    internal int RadiusOn(Grid grid) =>
        PatchRadius ?? Math.Clamp((int)Math.Round(2.5 / Math.Cbrt(Math.Abs(grid.VoxelToWorld.Determinant))), 1, 3);
}

/// <summary>An atlas that lies on the target: scan and labels on the target's grid.</summary>
/// <param name="Scan">The atlas's scan, resampled.</param>
/// <param name="Labels">Its label map, resampled without mixing labels.</param>
public sealed record RegisteredAtlas(Volume Scan, Volume Labels);

/// <summary>Fused labels.</summary>
/// <param name="Labels">The most probable label of every voxel: one that an atlas has near there.</param>
/// <param name="Probabilities">The probabilities of all labels.</param>
/// <param name="Disagreement">The share of the atlases whose own label there is another one, 0 to 1.</param>
public sealed record FusedLabels(Volume Labels, LabelProbabilities Probabilities, Volume Disagreement);

/// <summary>Makes one label map of those of several atlases that lie on one target.</summary>
public static class LabelFusion
{
    /// <summary>The largest label whose number a volume holds exactly.</summary>
    private const float Largest = 1 << 24;

    /// <summary>Fuses.</summary>
    /// <param name="target">The scan that is labelled.</param>
    /// <param name="atlases">The atlases on its grid, the most trusted one first.</param>
    /// <param name="options">How; null for the standard.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <exception cref="ArgumentException">No atlas, one on another grid, or labels that are no whole numbers.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static FusedLabels Fuse(
        Volume target,
        IReadOnlyList<RegisteredAtlas> atlases,
        FusionOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(atlases);
        options ??= new FusionOptions();
        Check(target, atlases, options);
        int[] labels = Distinct([.. atlases.Select(atlas => atlas.Labels)]);
        ushort[][] places = [.. atlases.Select(atlas => PlacesOf(atlas.Labels, labels))];
        LabelProbabilities probabilities = options.Method == FusionMethod.Majority
            ? Majority(target.Grid, labels, places, null, options.Threads)
            : PatchFusion.Run(target, [.. atlases.Select(atlas => atlas.Scan)], labels, places, options, cancellation);
        Volume best = probabilities.Best();
        return new FusedLabels(best, probabilities, Disagreement(best, [.. atlases.Select(atlas => atlas.Labels)]));
    }

    /// <summary>The shares of the maps that have each label; a map's vote may have a weight.</summary>
    internal static LabelProbabilities Majority(Grid grid, int[] labels, ushort[][] places, double[]? weights, int threads) =>
        LabelProbabilities.Collect(grid, labels, threads, (voxel, ballot) =>
        {
            for (int i = 0; i < places.Length; i++)
            {
                ballot.Add(places[i][voxel], weights?[i] ?? 1);
            }
        });

    /// <summary>Every label of the maps, ascending.</summary>
    internal static int[] Distinct(IEnumerable<Volume> maps)
    {
        SortedSet<int> labels = [];
        foreach (Volume map in maps)
        {
            float last = float.NaN;
            foreach (float value in map.Values)
            {
                if (value != last)
                {
                    CheckLabel(value);
                    labels.Add((int)value);
                    last = value;
                }
            }
        }

        return labels.Count <= 1 << 16
            ? [.. labels]
            : throw new ArgumentException($"{labels.Count} different labels are more than {1 << 16}: is an intensity image among the label maps?");
    }

    /// <summary>The place of every voxel's label among the labels.</summary>
    internal static ushort[] PlacesOf(Volume map, int[] labels)
    {
        ushort[] places = new ushort[map.Values.Length];
        float last = float.NaN;
        ushort place = 0;
        for (int i = 0; i < places.Length; i++)
        {
            if (map.Values[i] != last)
            {
                last = map.Values[i];
                place = (ushort)Array.BinarySearch(labels, (int)last);
            }

            places[i] = place;
        }

        return places;
    }

    private static void CheckLabel(float value)
    {
        if (!(Math.Abs(value) <= Largest && value == MathF.Truncate(value)))
        {
            throw new ArgumentException(FormattableString.Invariant($"{value} is no label: labels are whole numbers up to {Largest}"));
        }
    }

    private static void Check(Volume target, IReadOnlyList<RegisteredAtlas> atlases, FusionOptions options)
    {
        if (atlases.Count == 0)
        {
            throw new ArgumentException("labels are fused of at least one atlas", nameof(atlases));
        }

        if (atlases.Any(atlas => !atlas.Scan.Grid.SameAs(target.Grid) || !atlas.Labels.Grid.SameAs(target.Grid)))
        {
            throw new ArgumentException("an atlas lies on another grid than the target", nameof(atlases));
        }

        ArgumentOutOfRangeException.ThrowIfNegative(options.PatchRadius ?? 0);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.PatchRadius ?? 0, 10);
        ArgumentOutOfRangeException.ThrowIfNegative(options.SearchRadius);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.SearchRadius, 3);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.Alpha);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.Beta);
    }

    private static Volume Disagreement(Volume best, Volume[] maps)
    {
        float[] others = new float[best.Values.Length];
        foreach (Volume map in maps)
        {
            for (int i = 0; i < others.Length; i++)
            {
                others[i] += map.Values[i] == best.Values[i] ? 0 : 1;
            }
        }

        return new Volume(best.Grid, Array.ConvertAll(others, count => count / maps.Length));
    }
}
