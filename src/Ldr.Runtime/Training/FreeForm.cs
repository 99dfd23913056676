using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// Sums of cubic B-splines with knots at even distances (Rueckert et al., 1999), at every voxel of a grid. No result depends on the
/// number of threads.
/// </summary>
internal static unsafe class FreeForm
{
    /// <summary>How many knots reach into an axis of so many voxels; the first lies one distance before the first voxel.</summary>
    internal static int Knots(int size, double distance) => (int)Math.Ceiling((size - 1) / distance) + 3;

    /// <summary>The values at the voxels.</summary>
    /// <param name="knots">[C, knots along z, y, x].</param>
    /// <param name="channels">C.</param>
    /// <param name="grid">Whose voxels; its place in the world does not matter.</param>
    /// <param name="distance">Between knots, in voxels.</param>
    /// <param name="target">[C, Z, Y, X].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Evaluate(
        float[] knots, int channels, Grid grid, (double X, double Y, double Z) distance, float* target, int threads)
    {
        int nx = grid.Nx;
        int ny = grid.Ny;
        int kx = Knots(nx, distance.X);
        int ky = Knots(ny, distance.Y);
        int kz = Knots(grid.Nz, distance.Z);
        float[] alongX = Basis(nx, kx, distance.X);
        float[] alongY = Basis(ny, ky, distance.Y);
        float[] alongZ = Basis(grid.Nz, kz, distance.Z);
        Slices.ForEach(channels * grid.Nz, channels * grid.Count, threads, index =>
        {
            (int channel, int z) = Math.DivRem(index, grid.Nz);
            float[] plane = new float[ky * kx];
            Sum(knots, channel * kz * plane.Length, alongZ, z, grid.Nz, plane);
            float[] line = new float[kx];
            for (int y = 0; y < ny; y++)
            {
                Sum(plane, 0, alongY, y, ny, line);
                Span<float> row = new(target + (((index * (nint)ny) + y) * nx), nx);
                row.Clear();
                for (int k = 0; k < kx; k++)
                {
                    WorkImage.AddScaled(row, alongX.AsSpan(k * nx, nx), line[k]);
                }
            }
        });
    }

    /// <summary>The pieces of <paramref name="from"/>, one for each knot, as the knots count at a voxel.</summary>
    private static void Sum(float[] from, int start, float[] basis, int voxel, int size, Span<float> into)
    {
        into.Clear();
        for (int k = 0; k < basis.Length / size; k++)
        {
            float weight = basis[(k * size) + voxel];
            if (weight != 0)
            {
                WorkImage.AddScaled(into, from.AsSpan(start + (k * into.Length), into.Length), weight);
            }
        }
    }

    /// <summary>Each knot's spline at the voxels of an axis, [knots, size]; the sums over the knots are 1.</summary>
    private static float[] Basis(int size, int knots, double distance)
    {
        float[] values = new float[knots * size];
        for (int k = 0; k < knots; k++)
        {
            for (int voxel = 0; voxel < size; voxel++)
            {
                double away = Math.Abs((voxel / distance) - (k - 1));
                double wide = Math.Max(0, 2 - away);
                double narrow = Math.Max(0, 1 - away);
                values[(k * size) + voxel] = (float)(((wide * wide * wide) - (4 * narrow * narrow * narrow)) / 6);
            }
        }

        return values;
    }
}
