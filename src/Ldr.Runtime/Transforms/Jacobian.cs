using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>The Jacobian of x ↦ x + u(x).</summary>
public static class Jacobian
{
    /// <summary>
    /// det(I + ∂u/∂x) at every voxel: the factor by which the field changes local volume; at or below 0 it folds.
    /// Central differences, one-sided at the border; derivatives along an axis of one voxel are 0. The determinant is the
    /// same in voxels and in millimetres.
    /// </summary>
    /// <param name="field">The displacement field.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <returns>A float32 volume on the field's grid.</returns>
    public static Volume Determinants(DisplacementField field, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(field);
        Grid grid = field.Grid;
        float[] result = GC.AllocateUninitializedArray<float>((int)grid.Count);
        int slice = grid.Nx * grid.Ny;
        Slices.ForEach(grid, threads, z => Slice(field, z, result.AsSpan(z * slice, slice)));
        return new Volume(grid, result);
    }

    /// <summary>The same at the voxels of one slice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Slice(DisplacementField field, int z, Span<float> result)
    {
        Grid grid = field.Grid;
        float[] u = field.Vectors;
        int plane = (int)grid.Count;
        Difference dz = new(z, grid.Nz, grid.Nx * grid.Ny);
        for (int y = 0, to = 0; y < grid.Ny; y++)
        {
            Difference dy = new(y, grid.Ny, grid.Nx);
            int row = grid.Nx * (y + (grid.Ny * z));
            for (int x = 0; x < grid.Nx; x++, to++)
            {
                Difference dx = new(x, grid.Nx, 1);
                int i = row + x;
                double xx = 1 + dx.Of(u, i);
                double xy = dy.Of(u, i);
                double xz = dz.Of(u, i);
                double yx = dx.Of(u, i + plane);
                double yy = 1 + dy.Of(u, i + plane);
                double yz = dz.Of(u, i + plane);
                double zx = dx.Of(u, i + (2 * plane));
                double zy = dy.Of(u, i + (2 * plane));
                double zz = 1 + dz.Of(u, i + (2 * plane));
                result[to] = (float)((xx * ((yy * zz) - (yz * zy)))
                    - (xy * ((yx * zz) - (yz * zx)))
                    + (xz * ((yx * zy) - (yy * zx))));
            }
        }
    }

    /// <summary>The difference quotient along one axis at one index.</summary>
    private readonly struct Difference
    {
        private readonly int forward;
        private readonly int backward;
        private readonly double factor;

        internal Difference(int index, int size, int stride)
        {
            forward = index < size - 1 ? stride : 0;
            backward = index > 0 ? stride : 0;
            int steps = (forward > 0 ? 1 : 0) + (backward > 0 ? 1 : 0);
            factor = steps == 0 ? 0 : 1.0 / steps;
        }

        internal double Of(float[] values, int i) => ((double)values[i + forward] - values[i - backward]) * factor;
    }
}
