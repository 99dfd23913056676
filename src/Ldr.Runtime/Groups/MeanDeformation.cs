using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// The mean of deformations, in the space of stationary velocities: v̄ = Σ wᵢ log φᵢ / Σ wᵢ. A template from which exp(v̄) is taken
/// has the mean shape of the scans (Guimond and others 2000, with the mean of Arsigny and others 2006).
/// </summary>
internal static class MeanDeformation
{
    /// <summary>
    /// The mean velocity, in voxels of the grid it is given on per unit time: a grid of half as many voxels along each axis, since
    /// deformations are smooth.
    /// </summary>
    /// <param name="count">How many deformations there are.</param>
    /// <param name="read">Gives one; null: it does not count.</param>
    /// <param name="weights">How much each counts.</param>
    /// <param name="grid">The grid of the deformations.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="cancellation">Stops between two deformations.</param>
    internal static DisplacementField Velocity(
        int count, Func<int, DisplacementField?> read, IReadOnlyList<double> weights, Grid grid, int threads, CancellationToken cancellation)
    {
        (double x, double y, double z) = grid.Spacing;
        Grid coarse = WorkImage.Coarser(grid, 2 * Math.Min(x, Math.Min(y, z)));
        double[] sum = new double[3 * coarse.Count];
        double total = 0;
        EachScan.Fold(
            count,
            threads,
            cancellation,
            i => read(i) is DisplacementField field ? DiffeomorphicFit.Logarithm(field.ResampleTo(coarse, 1), 1, cancellation).Vectors : null,
            (i, velocity) =>
            {
                total += velocity is null ? 0 : weights[i];
                for (int k = 0; velocity is not null && k < sum.Length; k++)
                {
                    sum[k] += weights[i] * velocity[k];
                }
            });
        return new DisplacementField(coarse, Array.ConvertAll(sum, v => (float)(total > 0 ? v / total : 0)));
    }

    /// <summary>The field of exp(−v), on a grid.</summary>
    internal static DisplacementField Undo(DisplacementField velocity, Grid grid, int threads) =>
        StationaryVelocity.Flow(velocity, -1, StationaryVelocity.SquaringsFor(velocity), threads).ResampleTo(grid, threads);
}
