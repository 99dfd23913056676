using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Resamples a moving volume through a transform onto any grid, once.</summary>
public static class Resampler
{
    /// <summary><c>result(p) = moving(T(p))</c> for every voxel p of the reference grid.</summary>
    /// <param name="moving">The volume to sample.</param>
    /// <param name="transform">From the reference's (fixed) world to the moving world.</param>
    /// <param name="reference">The grid of the result.</param>
    /// <param name="interpolation">How values between voxels are found.</param>
    /// <param name="outside">
    /// The value of voxels that come from more than half a voxel outside the moving volume; null for the nearest border value.
    /// </param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <returns>Float32 for linear and cubic, the moving volume's own number type for nearest and label.</returns>
    public static Volume Apply(
        Volume moving, Transform transform, Grid reference, Interpolation interpolation, float? outside = null, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(moving);
        ArgumentNullException.ThrowIfNull(transform);
        ArgumentNullException.ThrowIfNull(reference);
        Grid grid = moving.Grid;
        float[] result = GC.AllocateUninitializedArray<float>(checked((int)reference.Count));
        float[] source = interpolation == Interpolation.Cubic ? CubicSpline.Coefficients(moving, threads) : moving.Values;
        transform.MapRows(reference, grid, threads, (y, z, px, py, pz) =>
        {
            Span<float> row = result.AsSpan(reference.Nx * (y + (reference.Ny * z)), reference.Nx);
            switch (interpolation)
            {
                case Interpolation.Linear:
                    Sampling.LinearRow(source, grid, px, py, pz, row);
                    break;
                case Interpolation.Cubic:
                    for (int x = 0; x < row.Length; x++)
                    {
                        row[x] = CubicSpline.At(source, grid, px[x], py[x], pz[x]);
                    }

                    break;
                case Interpolation.Nearest:
                    for (int x = 0; x < row.Length; x++)
                    {
                        row[x] = source[Sampling.NearestIndex(grid, px[x], py[x], pz[x])];
                    }

                    break;
                default:
                    for (int x = 0; x < row.Length; x++)
                    {
                        row[x] = LabelVote.At(source, grid, px[x], py[x], pz[x]);
                    }

                    break;
            }

            if (outside is float value)
            {
                for (int x = 0; x < row.Length; x++)
                {
                    if (!(Within(px[x], grid.Nx) && Within(py[x], grid.Ny) && Within(pz[x], grid.Nz)))
                    {
                        row[x] = value;
                    }
                }
            }
        });
        bool labels = interpolation is Interpolation.Nearest or Interpolation.Label;
        return new Volume(reference, result, labels ? moving.StoredAs : VoxelType.Float32);
    }

    /// <summary>Within a voxel's half width of the centres; the small share forgives rounding.</summary>
    private static bool Within(double position, int size) => position >= -0.500001 && position <= size - 0.499999;
}
