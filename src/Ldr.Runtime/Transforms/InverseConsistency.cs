using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>How far a transform and its supposed inverse are from undoing each other.</summary>
/// <param name="MeanMm">Mean of |forward(backward(y)) − y|, in millimetres.</param>
/// <param name="MaxMm">The largest, in millimetres.</param>
public readonly record struct InverseConsistency(double MeanMm, double MaxMm)
{
    /// <summary>Measured at every voxel y of a grid.</summary>
    /// <param name="forward">The transform.</param>
    /// <param name="backward">What should undo it; it is applied first.</param>
    /// <param name="grid">Where to measure.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public static InverseConsistency Measure(Transform forward, Transform backward, Grid grid, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(forward);
        ArgumentNullException.ThrowIfNull(backward);
        ArgumentNullException.ThrowIfNull(grid);
        (double Sum, double Max)[] slices = new (double, double)[grid.Nz];
        Transform.Compose(forward, backward).MapRows(grid, grid, threads, (y, z, px, py, pz) =>
        {
            for (int x = 0; x < px.Length; x++)
            {
                (double dx, double dy, double dz) = grid.VoxelToWorld.ApplyLinear(px[x] - x, py[x] - y, pz[x] - z);
                double length = Math.Sqrt((dx * dx) + (dy * dy) + (dz * dz));
                slices[z] = (slices[z].Sum + length, Math.Max(slices[z].Max, length));
            }
        });
        return new InverseConsistency(slices.Sum(slice => slice.Sum) / grid.Count, slices.Max(slice => slice.Max));
    }
}
