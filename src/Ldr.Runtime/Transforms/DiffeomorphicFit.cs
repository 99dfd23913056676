using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// A displacement field brought to the nearest that we find without folds: the flow of a stationary velocity that is fitted to it.
/// Nobody changes it.
/// </summary>
public sealed record DiffeomorphicFit
{
    /// <summary>The least Jacobian determinant that a voxel keeps: above 0, so that no rounding folds it again.</summary>
    public const double LeastDeterminant = 0.01;

    /// <summary>The most voxels that a velocity is fitted on; of a larger grid every second voxel is, or every third, …</summary>
    private const long MostVoxels = 1L << 22;

    /// <summary>Corrections of the velocity, at most; each takes two flows.</summary>
    private const int Corrections = 12;

    /// <summary>Corrections end when one takes away less than this share of what is left.</summary>
    private const double WorthCorrecting = 0.03;

    /// <summary>How much a correction is smoothed, in voxels: what is finer than that, a flow cannot follow.</summary>
    private const double CorrectionSigma = 0.7;

    /// <summary>How often the velocity is smoothed around folds before it is damped as a whole.</summary>
    private const int Repairs = 40;

    private DiffeomorphicFit(DisplacementField field, DisplacementField velocity, int squarings, double meanChange, double maxChange)
    {
        Field = field;
        Velocity = velocity;
        Squarings = squarings;
        MeanChangeMm = meanChange;
        MaxChangeMm = maxChange;
    }

    /// <summary>The flow of the velocity after unit time. No voxel's Jacobian determinant is out of the bounds that were asked for.</summary>
    public DisplacementField Field { get; }

    /// <summary>The velocity, in voxels of the same grid per unit time. The flow of its negative undoes the field.</summary>
    public DisplacementField Velocity { get; }

    /// <summary>The doublings that <see cref="StationaryVelocity.Exponential"/> made the field with.</summary>
    public int Squarings { get; }

    /// <summary>Mean distance between where the two fields take a voxel, in millimetres.</summary>
    public double MeanChangeMm { get; }

    /// <summary>The largest such distance, in millimetres.</summary>
    public double MaxChangeMm { get; }

    /// <summary>Whether a field can be held between two determinants: one from <see cref="LeastDeterminant"/> to below 1, one above 1.</summary>
    /// <param name="least">The least determinant that a voxel keeps.</param>
    /// <param name="most">The largest one.</param>
    public static bool AllowsBounds(double least, double most) => least is >= LeastDeterminant and < 1 && most > 1;

    /// <summary>
    /// Fits a stationary velocity to a field, in the manner of an iterative logarithm: from v = u, each step adds to v what its flow
    /// still lacks, laid halfway along the flow's paths and smoothed a little. Then v is smoothed along the paths of the voxels that
    /// still fold, more each time, until none does; elsewhere it stays.
    /// </summary>
    /// <param name="field">The displacement field, on any grid.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="least">The least Jacobian determinant that a voxel keeps, <see cref="LeastDeterminant"/> to below 1.</param>
    /// <param name="most">The largest Jacobian determinant that a voxel keeps, above 1.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    /// <exception cref="ArgumentException">A vector is not finite, or a bound is not as said.</exception>
    public static DiffeomorphicFit To(
        DisplacementField field,
        int threads = 0,
        double least = LeastDeterminant,
        double most = double.PositiveInfinity,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(field);
        if (!AllowsBounds(least, most))
        {
            throw new ArgumentException(
                FormattableString.Invariant($"the bounds of the determinants are {least} and {most}; give one from {LeastDeterminant} to below 1, and one above 1"));
        }

        if (!double.IsFinite(field.MeanLengthMm))
        {
            throw new ArgumentException("the field has numbers that are not finite", nameof(field));
        }

        Grid grid = field.Grid;
        Grid coarse = WorkGrid(grid);
        DisplacementField velocity = Logarithm(field.ResampleTo(coarse, threads), threads, cancellation).ResampleTo(grid, threads);
        (DisplacementField flow, int squarings) = Unfold(ref velocity, threads, least, most, cancellation);
        float[] change = new float[field.Vectors.Length];
        for (int i = 0; i < change.Length; i++)
        {
            change[i] = field.Vectors[i] - flow.Vectors[i];
        }

        (double mean, double max) = new DisplacementField(grid, change).Lengths();
        return new DiffeomorphicFit(flow, velocity, squarings, mean, max);
    }

    private static Grid WorkGrid(Grid grid)
    {
        int factor = 1;
        int Size(int n) => ((n - 1) / factor) + 1;
        while ((long)Size(grid.Nx) * Size(grid.Ny) * Size(grid.Nz) > MostVoxels)
        {
            factor++;
        }

        return factor == 1
            ? grid
            : new Grid(
                Size(grid.Nx),
                Size(grid.Ny),
                Size(grid.Nz),
                Affine.Scaling(factor, factor, factor).Then(grid.VoxelToWorld));
    }

    /// <summary>A velocity whose flow is near a field; where the field folds it cannot be.</summary>
    internal static DisplacementField Logarithm(DisplacementField field, int threads, CancellationToken cancellation)
    {
        Grid grid = field.Grid;
        DisplacementField velocity = field;
        DisplacementField best = velocity;
        double least = double.PositiveInfinity;
        float[] missing = new float[field.Vectors.Length];
        for (int correction = 0; ; correction++)
        {
            cancellation.ThrowIfCancellationRequested();
            int squarings = StationaryVelocity.SquaringsFor(velocity);
            float[] flow = StationaryVelocity.Flow(velocity, 1, squarings, threads).Vectors;
            double rest = 0;
            for (int i = 0; i < missing.Length; i++)
            {
                missing[i] = field.Vectors[i] - flow[i];
                rest += Math.Abs(missing[i]);
            }

            if (rest < least)
            {
                best = velocity;
            }

            if (!(rest < (1 - WorthCorrecting) * least) || rest == 0 || correction == Corrections)
            {
                return best;
            }

            least = rest;

            // A change of v at a place moves all paths through it: laid at their middles it acts where it is wanted.
            float[] halfway = StationaryVelocity.Flow(velocity, -0.5, squarings - 1, threads).Vectors;
            float[] laid = Sampling.Linear(missing, grid, 3, grid, halfway, Affine.Identity, threads);
            velocity = new DisplacementField(grid, Smoothed(laid, grid, CorrectionSigma, threads));
            for (int i = 0; i < missing.Length; i++)
            {
                velocity.Vectors[i] += best.Vectors[i];
            }
        }
    }

    /// <summary>Smooths a velocity where its flow folds until it folds nowhere; the flow, and the doublings that it takes.</summary>
    private static (DisplacementField Flow, int Squarings) Unfold(
        ref DisplacementField velocity, int threads, double least, double most, CancellationToken cancellation)
    {
        Grid grid = velocity.Grid;
        for (int repair = 0; ; repair++)
        {
            cancellation.ThrowIfCancellationRequested();
            int squarings = StationaryVelocity.SquaringsFor(velocity);
            DisplacementField flow = StationaryVelocity.Flow(velocity, 1, squarings, threads);
            float[] near = PathsOfFolds(flow, threads, least, most);
            if (near.Length == 0)
            {
                return (flow, squarings);
            }

            float[] calmer;
            if (repair < Repairs)
            {
                double sigma = 1 + (0.1 * repair);
                float[] weight = Gaussian.Blur(near, grid, sigma, threads);
                calmer = Smoothed(velocity.Vectors, grid, sigma, threads);
                for (int i = 0; i < calmer.Length; i++)
                {
                    // Three times, so that the folds' own voxels are smoothed wholly.
                    float share = Math.Min(1, 3 * weight[i % weight.Length]);
                    calmer[i] = (share * calmer[i]) + ((1 - share) * velocity.Vectors[i]);
                }
            }
            else
            {
                calmer = Array.ConvertAll(velocity.Vectors, v => 0.8f * v);
            }

            velocity = new DisplacementField(grid, calmer);
        }
    }

    /// <summary>1 for the voxels that lie on the way of one whose determinant is out of bounds, 0 elsewhere; empty when none is.</summary>
    private static float[] PathsOfFolds(DisplacementField flow, int threads, double least, double most)
    {
        Grid grid = flow.Grid;
        float[] determinants = Jacobian.Determinants(flow, threads).Values;
        float[] paths = [];
        int plane = determinants.Length;
        int i = 0;
        for (int z = 0; z < grid.Nz; z++)
        {
            for (int y = 0; y < grid.Ny; y++)
            {
                for (int x = 0; x < grid.Nx; x++, i++)
                {
                    if (determinants[i] >= least && determinants[i] <= most)
                    {
                        continue;
                    }

                    paths = paths.Length == 0 ? new float[plane] : paths;
                    (float dx, float dy, float dz) =
                        (flow.Vectors[i], flow.Vectors[plane + i], flow.Vectors[(2 * plane) + i]);
                    int steps = 1 + (int)Math.Ceiling(Math.Max(Math.Abs(dx), Math.Max(Math.Abs(dy), Math.Abs(dz))));
                    for (int step = 0; step <= steps; step++)
                    {
                        double s = (double)step / steps;
                        paths[Sampling.NearestIndex(grid, x + (s * dx), y + (s * dy), z + (s * dz))] = 1;
                    }
                }
            }
        }

        return paths;
    }

    private static float[] Smoothed(float[] vectors, Grid grid, double sigma, int threads)
    {
        int plane = (int)grid.Count;
        float[] result = new float[vectors.Length];
        for (int channel = 0; channel < 3; channel++)
        {
            Gaussian.Blur(vectors[(channel * plane)..((channel + 1) * plane)], grid, sigma, threads)
                .CopyTo(result, channel * plane);
        }

        return result;
    }
}
