using System.Diagnostics;

namespace Ldr.Runtime;

/// <summary>How a deformation is refined for one pair.</summary>
public sealed record RefinementOptions
{
    /// <summary>Gradient steps at each level but the finest, which has half as many.</summary>
    public int Steps { get; init; } = 40;

    /// <summary>No step begins after this time.</summary>
    public TimeSpan? Budget { get; init; }

    /// <summary>Distance of the control points at the finest level, mm; twice as much at each coarser level.</summary>
    public double ControlSpacingMm { get; init; } = 10;

    /// <summary>Halves of the side of the box in which intensities are correlated, voxels of the level.</summary>
    public int Radius { get; init; } = 3;

    /// <summary>Weight of the smoothness of the control points.</summary>
    public double Smoothness { get; init; } = 0.03;

    /// <summary>The most voxels that the finest level works on.</summary>
    public double MostVoxels { get; init; } = 1_300_000;

    /// <summary>Levels, each at twice the spacing of the next.</summary>
    public int Levels { get; init; } = 3;

    /// <summary>The first step's length, voxels of the level.</summary>
    public double StepVoxels { get; init; } = 0.5;

    /// <summary>Where the fixed scan counts (above 0); everywhere when null.</summary>
    public Volume? FixedMask { get; init; }

    /// <summary>
    /// Where the moving scan counts (above 0): for its window of intensities, and, without a fixed mask, as it lies before the
    /// refinement; everywhere when null.
    /// </summary>
    public Volume? MovingMask { get; init; }

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }

    /// <summary>Hears the level, the step and the similarity, to say what goes on.</summary>
    public Action<int, int, double>? Progress { get; init; }
}

/// <summary>A refined deformation.</summary>
/// <param name="Field">The deformation, on the fixed grid; what moves the world as a whole is not in it.</param>
/// <param name="Before">Mean squared local correlation at the finest level before, 0 to 1.</param>
/// <param name="After">The same after.</param>
/// <param name="Steps">Steps that were taken.</param>
/// <param name="Elapsed">What it took.</param>
public sealed record Refined(DisplacementField Field, double Before, double After, int Steps, TimeSpan Elapsed);

/// <summary>
/// Deforms a moving scan further onto a fixed one: gradient ascent on the squared local correlation, which survives changes of
/// contrast, with Adam (Kingma and Ba 2015) on cubic B-splines, from coarse to fine.
/// </summary>
public static class Refinement
{
    /// <summary>Refines.</summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <param name="initial">From the fixed world to the moving world, mm: what aligns the scans as a whole.</param>
    /// <param name="start">A deformation to start from, before <paramref name="initial"/> for a point; null for none.</param>
    /// <param name="options">How.</param>
    public static Refined Run(
        Volume fixedScan, Volume movingScan, Affine initial, DisplacementField? start, RefinementOptions options)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        ArgumentNullException.ThrowIfNull(initial);
        ArgumentNullException.ThrowIfNull(options);
        Stopwatch clock = Stopwatch.StartNew();
        double finest = WorkImage.SpacingFor(fixedScan.Grid, options.MostVoxels);
        DisplacementField? field = start;
        double before = double.NaN;
        double after = double.NaN;
        int taken = 0;
        List<(Volume Fixed, Volume Moving)> levels = [];
        for (int level = 0; level < options.Levels; level++)
        {
            // Each level comes from the next finer one.
            double spacing = finest * (1 << level);
            Grid grid = WorkImage.Coarser(fixedScan.Grid, spacing);
            levels.Add(level == 0
                ? (Reduction.Apply(fixedScan, WorkImage.WindowOf(fixedScan, options.FixedMask), grid, spacing, options.Threads),
                    WorkImage.Reduce(movingScan, WorkImage.WindowOf(movingScan, options.MovingMask), grid, initial, spacing, options.Threads))
                : (Reduction.Apply(levels[^1].Fixed, null, grid, spacing, options.Threads),
                    Reduction.Apply(levels[^1].Moving, null, grid, spacing, options.Threads)));
        }

        for (int level = options.Levels - 1; level >= 0; level--)
        {
            Grid grid = levels[level].Fixed.Grid;
            RefinementLevel work = new(
                levels[level].Fixed,
                levels[level].Moving,
                Weights(grid, initial, options),
                field?.ResampleTo(grid, options.Threads),
                options.ControlSpacingMm * (1 << level),
                options);
            if (level == 0)
            {
                before = work.Similarity();
            }

            int steps = level == 0 ? (options.Steps + 1) / 2 : options.Steps;
            taken += work.Optimise(steps, clock, level);
            field = work.Field();
            if (level == 0)
            {
                after = work.Similarity();
            }
        }

        field = (field ?? DisplacementField.Zero(fixedScan.Grid)).ResampleTo(fixedScan.Grid, options.Threads);
        return new Refined(field, before, after, taken, clock.Elapsed);
    }

    private static float[]? Weights(Grid grid, Affine initial, RefinementOptions options)
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
            Multiply(options.MovingMask, initial);
        }

        return weights;
    }
}
