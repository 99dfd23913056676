using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// A displacement of every voxel of a grid, the fixed image's. It points from fixed to moving ("pull"):
/// <c>moved(x) = moving(x + u(x))</c>, with x and u in voxels of the grid.
/// </summary>
public sealed class DisplacementField
{
    /// <summary>Wraps vectors without copying them.</summary>
    /// <param name="grid">The grid that the field lives on.</param>
    /// <param name="vectors">
    /// Three planes one after the other: all x components, all y, all z, each with x fastest; in voxels of the grid.
    /// </param>
    /// <exception cref="ArgumentException">Not three numbers per voxel.</exception>
    public DisplacementField(Grid grid, float[] vectors)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(vectors);
        if (vectors.LongLength != 3 * grid.Count)
        {
            throw new ArgumentException(
                $"{vectors.LongLength} numbers for a field on {grid.Nx}×{grid.Ny}×{grid.Nz} voxels, which takes {3 * grid.Count}",
                nameof(vectors));
        }

        Grid = grid;
        Vectors = vectors;
    }

    /// <summary>The grid that the field lives on.</summary>
    public Grid Grid { get; }

    /// <summary>The x plane, the y plane and the z plane, in voxels of the grid. Not a copy.</summary>
    public float[] Vectors { get; }

    /// <summary>Mean length of the displacements, in millimetres.</summary>
    public double MeanLengthMm => Lengths().Mean;

    /// <summary>Length of the longest displacement, in millimetres.</summary>
    public double MaxLengthMm => Lengths().Max;

    /// <summary>The field that moves nothing.</summary>
    public static DisplacementField Zero(Grid grid)
    {
        ArgumentNullException.ThrowIfNull(grid);
        return new DisplacementField(grid, new float[checked((int)(3 * grid.Count))]);
    }

    /// <summary>
    /// <c>(a ∘ b)(x) = a(x + b(x)) + b(x)</c>: an image goes through <paramref name="a"/> first, then
    /// <paramref name="b"/>; a point goes through <paramref name="b"/> first. Trilinear, clamped at the border.
    /// </summary>
    /// <exception cref="ArgumentException">The two fields are on different grids.</exception>
    public static DisplacementField Compose(DisplacementField a, DisplacementField b, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        if (!a.Grid.SameAs(b.Grid))
        {
            throw new ArgumentException($"fields to compose must share a grid, not {a.Grid} and {b.Grid}");
        }

        float[] sum = GC.AllocateUninitializedArray<float>(b.Vectors.Length);
        ComposeInto(a.Vectors, b.Vectors, b.Grid, threads, sum);
        return new DisplacementField(b.Grid, sum);
    }

    /// <summary>The same for vectors on one grid, into an array that is neither of them.</summary>
    internal static void ComposeInto(float[] a, float[] b, Grid grid, int threads, float[] sum)
    {
        Sampling.Linear(a, grid, 3, grid, b, Affine.Identity, threads, sum);
        int slice = grid.Nx * grid.Ny;
        int plane = slice * grid.Nz;
        Slices.ForEach(grid, threads, z =>
        {
            for (int channel = 0; channel < 3; channel++)
            {
                Span<float> target = sum.AsSpan((channel * plane) + (z * slice), slice);
                ReadOnlySpan<float> source = b.AsSpan((channel * plane) + (z * slice), slice);
                for (int i = 0; i < slice; i++)
                {
                    target[i] += source[i];
                }
            }
        });
    }

    /// <summary>
    /// This field followed by a map of the world, such as the initial alignment (fixed world → moving world): the field
    /// of p ↦ T(p + u(p)). An image goes through <paramref name="world"/> first.
    /// </summary>
    public DisplacementField After(Affine world)
    {
        ArgumentNullException.ThrowIfNull(world);
        if (!world.IsFinite)
        {
            throw new ArgumentException($"the world map {world} is not finite", nameof(world));
        }

        Affine m = Grid.VoxelsTo(Grid, world);
        float[] result = new float[Vectors.Length];
        Slices.ForEach(Grid, 0, z =>
        {
            int plane = (int)Grid.Count;
            int i = z * Grid.Nx * Grid.Ny;
            for (int y = 0; y < Grid.Ny; y++)
            {
                for (int x = 0; x < Grid.Nx; x++, i++)
                {
                    (double px, double py, double pz) =
                        m.Apply(x + (double)Vectors[i], y + (double)Vectors[plane + i], z + (double)Vectors[(2 * plane) + i]);
                    result[i] = (float)(px - x);
                    result[plane + i] = (float)(py - y);
                    result[(2 * plane) + i] = (float)(pz - z);
                }
            }
        });
        return new DisplacementField(Grid, result);
    }

    /// <summary>
    /// The same physical displacement on another grid: trilinear interpolation of the world vectors, clamped at the
    /// border of this grid; the result is in voxels of <paramref name="target"/>.
    /// </summary>
    public DisplacementField ResampleTo(Grid target, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(target);

        // Turning vectors is linear, so it may come after the interpolation.
        Affine turn = Grid.VoxelsTo(target, Affine.Identity);
        float[] vectors = Sampling.Linear(
            Vectors, Grid, 3, target, null, target.VoxelsTo(Grid, Affine.Identity), threads);
        Slices.ForEach(target, threads, z =>
        {
            int slice = target.Nx * target.Ny;
            int plane = (int)target.Count;
            for (int i = z * slice; i < (z + 1) * slice; i++)
            {
                (double x, double y, double d) = turn.ApplyLinear(vectors[i], vectors[plane + i], vectors[(2 * plane) + i]);
                vectors[i] = (float)x;
                vectors[plane + i] = (float)y;
                vectors[(2 * plane) + i] = (float)d;
            }
        });
        return new DisplacementField(target, vectors);
    }

    /// <summary>
    /// Takes a point of the fixed image to its counterpart in the moving image, both in world millimetres (RAS+): p ↦ p + u(p),
    /// u interpolated trilinearly, clamped at the border of the grid.
    /// </summary>
    public (double X, double Y, double Z) MapPoint(double x, double y, double z)
    {
        (double vx, double vy, double vz) = Grid.WorldToVoxel.Apply(x, y, z);
        Span<float> u = stackalloc float[3];
        Sampling.LinearAt(Vectors, Grid, (float)vx, (float)vy, (float)vz, u);
        (double dx, double dy, double dz) = Grid.VoxelToWorld.ApplyLinear(u[0], u[1], u[2]);
        return (x + dx, y + dy, z + dz);
    }

    /// <summary>Both lengths in millimetres by one pass over the field; where a mask on its grid is above 0, if there is one.</summary>
    internal (double Mean, double Max) Lengths(Volume? mask = null)
    {
        // Sums of slices, added in order: the result does not depend on the number of threads.
        (double Sum, double Max, int Count)[] slices = new (double, double, int)[Grid.Nz];
        double[] m = Grid.VoxelToWorld.ToRows();
        Slices.ForEach(Grid, 0, z => slices[z] = LengthsOf(z, m, mask));
        return (slices.Sum(slice => slice.Sum) / slices.Sum(slice => (double)slice.Count), slices.Max(slice => slice.Max));
    }

    /// <summary>Sum, maximum and number of the lengths of a slice, under the map of voxels to world.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private (double Sum, double Max, int Count) LengthsOf(int z, ReadOnlySpan<double> m, Volume? mask)
    {
        int slice = Grid.Nx * Grid.Ny;
        int plane = slice * Grid.Nz;
        ReadOnlySpan<float> u = Vectors.AsSpan(z * slice, slice);
        ReadOnlySpan<float> v = Vectors.AsSpan(plane + (z * slice), slice);
        ReadOnlySpan<float> w = Vectors.AsSpan((2 * plane) + (z * slice), slice);
        double sum = 0;
        double max = 0;
        int count = 0;
        for (int i = 0; i < slice; i++)
        {
            if (mask is not null && !(mask.Values[(z * slice) + i] > 0))
            {
                continue;
            }

            double x = (m[0] * u[i]) + (m[1] * v[i]) + (m[2] * w[i]);
            double y = (m[4] * u[i]) + (m[5] * v[i]) + (m[6] * w[i]);
            double d = (m[8] * u[i]) + (m[9] * v[i]) + (m[10] * w[i]);
            double length = Math.Sqrt((x * x) + (y * y) + (d * d));
            sum += length;
            max = Math.Max(max, length);
            count++;
        }

        return (sum, max, count);
    }
}
