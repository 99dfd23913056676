using System.Diagnostics;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>How a deformation is refined for one pair.</summary>
public sealed record RefinementOptions
{
    /// <summary>Gradient steps at each level but the finest, which has half as many.</summary>
    public int Steps { get; init; } = 40;

    /// <summary>No step begins after this time.</summary>
    public TimeSpan? Budget { get; init; }

    /// <summary>
    /// Distance of the control points at the finest level, mm; twice as much at each coarser level. Null: by the size of what the
    /// fixed scan shows, see <see cref="Refinement.ControlSpacingFor"/>.
    /// </summary>
    public double? ControlSpacingMm { get; init; }

    /// <summary>Halves of the side of the box in which intensities are correlated, voxels of the level.</summary>
    public int Radius { get; init; } = 2;

    /// <summary>Weight of the smoothness of the control points.</summary>
    public double Smoothness { get; init; } = 0.03;

    /// <summary>
    /// Weight of the mean squared logarithm of the Jacobian determinants (<see cref="LogJacobian"/>) of what the refinement adds,
    /// which is between the squared local correlation's 0 and 1.
    /// </summary>
    public double LogJacobian { get; init; } = 0;

    /// <summary>The most voxels that the finest level works on.</summary>
    public double MostVoxels { get; init; } = 1_300_000;

    /// <summary>Levels, each at twice the spacing of the next.</summary>
    public int Levels { get; init; } = 3;

    /// <summary>The first step's length, voxels of the level.</summary>
    public double StepVoxels { get; init; } = 0.25;

    /// <summary>Where the fixed scan counts (above 0); everywhere when null.</summary>
    public Volume? FixedMask { get; init; }

    /// <summary>
    /// Where the moving scan counts (above 0): for its window of intensities, and, without a fixed mask, as it lies before the
    /// refinement; everywhere when null.
    /// </summary>
    public Volume? MovingMask { get; init; }

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>No refinement.</summary>
    public static RefinementOptions None { get; } = new() { Steps = 0 };

    /// <summary>Progress callback: level, step, similarity.</summary>
    public Action<int, int, double>? Progress { get; init; }
}

/// <summary>A refined deformation.</summary>
/// <param name="Field">The deformation, on the fixed grid; what moves the world as a whole is not in it.</param>
/// <param name="Before">Mean squared local correlation at the finest level of what the refinement started from, 0 to 1.</param>
/// <param name="After">The same of what is given, never less.</param>
/// <param name="Steps">Steps that were taken.</param>
/// <param name="Elapsed">What it took.</param>
public sealed record Refined(DisplacementField Field, double Before, double After, int Steps, TimeSpan Elapsed);

/// <summary>
/// Deforms a moving scan further onto a fixed one: gradient ascent on the squared local correlation, which survives changes of
/// contrast, with Adam (Kingma and Ba 2015) on cubic B-splines, from coarse to fine.
/// </summary>
public static class Refinement
{
    /// <summary>Distances of control points along a cube as large as what the fixed scan shows.</summary>
    private const double AlongContent = 8;

    /// <summary>The largest distance of control points that is derived, mm: people differ at that scale, however large the scan.</summary>
    private const double MostControlMm = 8;

    /// <summary>The least distance of control points that is derived, voxels of the coarsest axis, but no more than so many mm.</summary>
    private const double LeastControlVoxels = 4;

    private const double MostLeastControlMm = 10;

    /// <summary>Refines.</summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <param name="initial">From the fixed world to the moving world, mm: what aligns the scans as a whole.</param>
    /// <param name="start">
    /// A deformation to start from, before <paramref name="initial"/> for a point; null for none. It stays as it is: what is left over
    /// is refined, and the two are composed.
    /// </param>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static Refined Run(
        Volume fixedScan,
        Volume movingScan,
        Affine initial,
        DisplacementField? start,
        RefinementOptions options,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        ArgumentNullException.ThrowIfNull(initial);
        ArgumentNullException.ThrowIfNull(options);
        Stopwatch clock = Stopwatch.StartNew();
        double control = options.ControlSpacingMm ?? ControlSpacingFor(fixedScan, options.FixedMask);
        Refined found = From(fixedScan, movingScan, initial, start, control, options, clock, cancellation);
        if (start is not null)
        {
            // What a network gets wrong on a small scale, splines cannot undo: so what is coarse of its field is a start too, and the
            // better end is kept.
            (double x, double y, double z) = start.Grid.Spacing;
            DisplacementField coarse = Smoothed(start, (control / x, control / y, control / z), options.Threads);
            Refined other = From(fixedScan, movingScan, initial, coarse, control, options, clock, cancellation);
            found = (other.After > found.After ? other : found) with { Before = found.Before, Steps = found.Steps + other.Steps };
        }

        return found with { Elapsed = clock.Elapsed };
    }

    private static DisplacementField Smoothed(DisplacementField field, (double X, double Y, double Z) sigma, int threads)
    {
        int plane = (int)field.Grid.Count;
        float[] vectors = new float[3 * plane];
        for (int channel = 0; channel < 3; channel++)
        {
            float[] own = field.Vectors[(channel * plane)..((channel + 1) * plane)];
            own = Gaussian.BlurAxis(own, field.Grid, 0, sigma.X, threads);
            own = Gaussian.BlurAxis(own, field.Grid, 1, sigma.Y, threads);
            own = Gaussian.BlurAxis(own, field.Grid, 2, sigma.Z, threads);
            own.CopyTo(vectors, channel * plane);
        }

        return new DisplacementField(field.Grid, vectors);
    }

    /// <summary>Refines from one start.</summary>
    private static Refined From(
        Volume fixedScan,
        Volume movingScan,
        Affine initial,
        DisplacementField? start,
        double control,
        RefinementOptions options,
        Stopwatch clock,
        CancellationToken cancellation)
    {
        (Volume moving, Volume? movingMask, Affine map) = (movingScan, options.MovingMask, initial);
        if (start is not null)
        {
            // What is left over is looked for between the fixed scan and the moving one as it lies now.
            Transform whole = Transform.Compose(new Transform.Linear(initial), new Transform.Dense(start));
            Volume Carried(Volume volume) =>
                Resampler.Apply(volume, whole, fixedScan.Grid, Interpolation.Linear, null, options.Threads);
            (moving, movingMask, map) = (Carried(movingScan), movingMask is null ? null : Carried(WorkImage.Binary(movingMask)), Affine.Identity);
        }

        double finest = WorkImage.SpacingFor(fixedScan.Grid, options.MostVoxels);
        List<(Volume Fixed, Volume Moving)> levels = [];
        for (int level = 0; level < options.Levels; level++)
        {
            // Each level comes from the next finer one.
            double spacing = finest * (1 << level);
            Grid grid = WorkImage.Coarser(fixedScan.Grid, spacing);
            levels.Add(level == 0
                ? (Reduction.Apply(fixedScan, WorkImage.WindowOf(fixedScan, options.FixedMask), grid, spacing, options.Threads),
                    WorkImage.Reduce(moving, WorkImage.WindowOf(movingScan, options.MovingMask), grid, map, spacing, options.Threads))
                : (Reduction.Apply(levels[^1].Fixed, null, grid, spacing, options.Threads),
                    Reduction.Apply(levels[^1].Moving, null, grid, spacing, options.Threads)));
        }

        RefinementLevel At(int level, DisplacementField? from) => new(
            levels[level].Fixed,
            levels[level].Moving,
            Weights(levels[level].Fixed.Grid, map, movingMask, options),
            from?.ResampleTo(levels[level].Fixed.Grid, options.Threads),
            control * (1 << level),
            options);

        DisplacementField? added = null;
        int taken = 0;
        for (int level = options.Levels - 1; level > 0; level--)
        {
            RefinementLevel work = At(level, added);
            taken += work.Optimise(options.Steps, clock, level, cancellation);
            added = work.Field();
        }

        RefinementLevel last = At(0, null);
        double before = last.Similarity();
        double after = before;
        if (added is not null)
        {
            // Coarse levels do not see what the finest does: where they made it worse, they were of no help.
            RefinementLevel going = At(0, added);
            double sofar = going.Similarity();
            (last, added, after) = sofar > before ? (going, added, sofar) : (last, null, before);
        }

        taken += last.Optimise((options.Steps + 1) / 2, clock, 0, cancellation);
        double final = last.Similarity();
        (added, after) = final > after ? (last.Field(), final) : (added, after);
        DisplacementField field = (added ?? DisplacementField.Zero(fixedScan.Grid)).ResampleTo(fixedScan.Grid, options.Threads);
        return new Refined(
            start is null ? field : DisplacementField.Compose(start.ResampleTo(fixedScan.Grid, options.Threads), field, options.Threads),
            before,
            after,
            taken,
            clock.Elapsed);
    }

    /// <summary>
    /// The distance of control points (mm) that suits a scan: an eighth of the side of a cube as large as what it shows, at most 8 mm,
    /// but at least four voxels of its coarsest axis (up to 10 mm): thick slices show no more.
    /// </summary>
    /// <param name="fixedScan">The scan.</param>
    /// <param name="mask">Where it counts (above 0); everywhere when null.</param>
    public static double ControlSpacingFor(Volume fixedScan, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        bool[] content = Content.Of(fixedScan);
        long count = 0;
        for (int i = 0; i < content.Length; i++)
        {
            count += content[i] && (mask is null || mask.Values[i] > 0) ? 1 : 0;
        }

        (double x, double y, double z) = fixedScan.Grid.Spacing;
        double side = Math.Cbrt(count * Math.Abs(fixedScan.Grid.VoxelToWorld.Determinant));
        double least = Math.Min(LeastControlVoxels * Math.Max(x, Math.Max(y, z)), MostLeastControlMm);
        return Math.Max(Math.Min(side / AlongContent, MostControlMm), least);
    }

    private static float[]? Weights(Grid grid, Affine initial, Volume? movingMask, RefinementOptions options)
    {
        float[]? weights = null;
        void Multiply(Volume? mask, Affine map)
        {
            if (mask is null)
            {
                return;
            }

            float[] values = Resampler.Apply(WorkImage.Binary(mask), new Transform.Linear(map), grid, Interpolation.Linear, 0, options.Threads).Values;
            weights = weights is null ? values : [.. weights.Zip(values, (a, b) => a * b)];
        }

        Multiply(options.FixedMask, Affine.Identity);

        // The moving mask moves with every step; where the two differ before is where the deformation has to go, so it only keeps
        // out what the fixed mask does not judge.
        if (options.FixedMask is null)
        {
            Multiply(movingMask, initial);
        }

        return weights;
    }
}
