using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>One level of <see cref="AffineAlignment"/>: the similarity of a map, and its gradient.</summary>
internal sealed class AffineLevel
{
    /// <summary>Voxels along a side of a box.</summary>
    private const int Side = 6;

    /// <summary>Keeps flat boxes from mattering.</summary>
    private const double Noise = 1e-4;

    private readonly Grid grid;
    private readonly float[] f;
    private readonly float[]? weights;
    private readonly Volume moving;
    private readonly int threads;
    private readonly int boxesX;
    private readonly int boxesY;
    private readonly int boxesZ;
    private readonly double allVariance;

    /// <summary>Makes a level.</summary>
    /// <param name="reference">The fixed scan, and the intensities that become 0 and 1 (null when that is done).</param>
    /// <param name="moving">The moving scan, likewise.</param>
    /// <param name="mask">Where the fixed scan counts, likewise; everywhere when null.</param>
    /// <param name="voxels">Voxels of the fixed scan that the level has, about.</param>
    /// <param name="threads">How many threads at most; 0 for all.</param>
    internal AffineLevel(Input reference, Input moving, Input? mask, int voxels, int threads)
    {
        this.threads = threads;
        double spacing = WorkImage.SpacingFor(reference.Volume.Grid, voxels);
        grid = WorkImage.Coarser(reference.Volume.Grid, spacing);
        Fixed = reference.Reduce(grid, spacing, threads);
        f = Fixed.Values;
        this.moving = moving.Reduce(WorkImage.Coarser(moving.Volume.Grid, spacing), spacing, threads);
        Mask = mask?.Reduce(grid, spacing, threads);
        weights = Mask?.Values;
        boxesX = (grid.Nx + Side - 1) / Side;
        boxesY = (grid.Ny + Side - 1) / Side;
        boxesZ = (grid.Nz + Side - 1) / Side;
        (double cx, double cy, double cz) = grid.Centre;
        double radius = 0;
        for (int corner = 0; corner < 8; corner++)
        {
            (double x, double y, double z) = grid.VoxelToWorld.Apply(
                (corner & 1) * (grid.Nx - 1), ((corner >> 1) & 1) * (grid.Ny - 1), (corner >> 2) * (grid.Nz - 1));
            radius = Math.Max(radius, Math.Sqrt(((x - cx) * (x - cx)) + ((y - cy) * (y - cy)) + ((z - cz) * (z - cz))));
        }

        double turn = spacing / (0.6 * radius);
        MotionScale = [turn, turn, turn, spacing, spacing, spacing, turn, turn, turn, turn, turn, turn];
        double variance = 0;
        ForBoxes((x0, y0, z0) =>
        {
            Sums sums = default;
            Visit(x0, y0, z0, (i, _, _, _) => sums.Add(Weight(i), f[i], 0));
            return sums.VarianceF;
        }).ForEach(v => variance += v);
        allVariance = Math.Max(1e-12, variance);
    }

    /// <summary>The fixed scan, the moving scan and the mask (of 0 to 1) on this level, to make the next coarser level from.</summary>
    internal Volume Fixed { get; }

    internal Volume Moving => moving;

    internal Volume? Mask { get; }

    /// <summary>The size of each motion that moves voxels by about one voxel of this level.</summary>
    internal double[] MotionScale { get; }

    /// <summary>Where motions turn: the fixed grid's centre, in the moving world.</summary>
    internal (double X, double Y, double Z) Pivot(Affine map)
    {
        (double x, double y, double z) = grid.Centre;
        return map.Apply(x, y, z);
    }

    /// <summary>The share of the fixed variance that is explained, 0 to 1; and its gradient by small motions after the map.</summary>
    internal double Similarity(Affine map, double[]? gradient = null)
    {
        Rows toVoxel = new(grid.VoxelsTo(moving.Grid, map));
        Rows worldToVoxel = new(moving.Grid.WorldToVoxel);

        // Voxels of this level to the moving world, from the point where motions turn.
        (double px, double py, double pz) = Pivot(map);
        Rows toWorld = new(grid.VoxelToWorld.Then(map).Then(Affine.Translation(-px, -py, -pz)));
        List<(double Value, double[]? Gradient)> parts = ForBoxes((x0, y0, z0) =>
            Box(x0, y0, z0, toWorld, toVoxel, worldToVoxel, gradient is not null));
        double value = 0;
        gradient?.AsSpan().Clear();
        foreach ((double part, double[]? slope) in parts)
        {
            value += part;
            for (int i = 0; slope is not null && i < 12; i++)
            {
                gradient![i] += slope[i] / allVariance;
            }
        }

        return value / allVariance;
    }

    private double Weight(int i) => weights is null ? 1 : weights[i];

    private List<T> ForBoxes<T>(Func<int, int, int, T> body)
    {
        T[] results = new T[boxesX * boxesY * boxesZ];
        ParallelOptions options = new() { MaxDegreeOfParallelism = threads == 0 ? Threads.Most : threads };
        Parallel.For(0, boxesZ * boxesY, options, row =>
        {
            for (int x = 0; x < boxesX; x++)
            {
                results[(row * boxesX) + x] = body(Side * x, Side * (row % boxesY), Side * (row / boxesY));
            }
        });
        return [.. results];
    }

    private void Visit(int x0, int y0, int z0, Action<int, int, int, int> voxel)
    {
        for (int z = z0; z < Math.Min(z0 + Side, grid.Nz); z++)
        {
            for (int y = y0; y < Math.Min(y0 + Side, grid.Ny); y++)
            {
                for (int x = x0; x < Math.Min(x0 + Side, grid.Nx); x++)
                {
                    voxel(x + (grid.Nx * (y + (grid.Ny * z))), x, y, z);
                }
            }
        }
    }

    /// <summary>
    /// cov² / var_m of one box (sums over its voxels, not means), and its gradient: by the value of a voxel it is
    /// w · (2 cov / var_m · (f − μf) − 2 (cov / var_m)² · (m − μm)).
    /// </summary>
    private (double Value, double[]? Gradient) Box(
        int x0, int y0, int z0, in Rows toWorld, in Rows toVoxel, in Rows worldToVoxel, bool wantGradient)
    {
        const int most = Side * Side * Side;
        Span<BoxVoxel> voxels = stackalloc BoxVoxel[most];
        int count = 0;
        Sums sums = default;
        int endX = Math.Min(x0 + Side, grid.Nx);
        int endY = Math.Min(y0 + Side, grid.Ny);
        int endZ = Math.Min(z0 + Side, grid.Nz);
        for (int z = z0; z < endZ; z++)
        {
            for (int y = y0; y < endY; y++)
            {
                int row = grid.Nx * (y + (grid.Ny * z));
                for (int x = x0; x < endX; x++)
                {
                    double weight = Weight(row + x);
                    toVoxel.Apply(x, y, z, out double vx, out double vy, out double vz);
                    ref BoxVoxel voxel = ref voxels[count];
                    if (weight > 0 && Sample(vx, vy, vz, ref voxel))
                    {
                        voxel.X = x;
                        voxel.Y = y;
                        voxel.Z = z;
                        voxel.F = f[row + x];
                        voxel.Weight = weight;
                        count++;
                        sums.Add(weight, voxel.F, voxel.M);
                    }
                }
            }
        }

        if (count < 8)
        {
            return (0, null);
        }

        double variance = sums.VarianceM + (Noise * sums.Weight);
        double covariance = sums.Covariance;
        double ratio = covariance / variance;
        double[]? gradient = wantGradient && covariance != 0
            ? Gradient(voxels[..count], toWorld, worldToVoxel, ratio, sums.MeanF, sums.MeanM)
            : null;
        return (ratio * covariance, gradient);
    }

    /// <summary>The gradient of a box by small motions of the moving side.</summary>
    private static double[] Gradient(
        ReadOnlySpan<BoxVoxel> voxels, in Rows toWorld, in Rows worldToVoxel, double ratio, double meanF, double meanM)
    {
        // Sums of the slopes, and of the slopes times the place, from which all motions follow.
        double sx = 0, sy = 0, sz = 0, xx = 0, xy = 0, xz = 0, yx = 0, yy = 0, yz = 0, zx = 0, zy = 0, zz = 0;
        foreach (ref readonly BoxVoxel voxel in voxels)
        {
            double force = 2 * voxel.Weight * ratio * ((voxel.F - meanF) - (ratio * (voxel.M - meanM)));

            // From moving voxels to the moving world: the slope's covector through the map.
            worldToVoxel.Transposed(voxel.Gx * force, voxel.Gy * force, voxel.Gz * force, out double wx, out double wy, out double wz);
            toWorld.Apply(voxel.X, voxel.Y, voxel.Z, out double qx, out double qy, out double qz);
            sx += wx;
            sy += wy;
            sz += wz;
            xx += wx * qx;
            xy += wx * qy;
            xz += wx * qz;
            yx += wy * qx;
            yy += wy * qy;
            yz += wy * qz;
            zx += wz * qx;
            zy += wz * qy;
            zz += wz * qz;
        }

        return [zy - yz, xz - zx, yx - xy, sx, sy, sz, xx, yy, zz, xy + yx, xz + zx, yz + zy];
    }

    /// <summary>The trilinear value and its exact slopes (per voxel); false outside the moving grid.</summary>
    private bool Sample(double x, double y, double z, ref BoxVoxel voxel)
    {
        Grid g = moving.Grid;
        if (!(x >= 0 && y >= 0 && z >= 0 && x <= g.Nx - 1 && y <= g.Ny - 1 && z <= g.Nz - 1))
        {
            return false;
        }

        int ix = Math.Min((int)x, Math.Max(0, g.Nx - 2));
        int iy = Math.Min((int)y, Math.Max(0, g.Ny - 2));
        int iz = Math.Min((int)z, Math.Max(0, g.Nz - 2));
        double fx = x - ix;
        double fy = y - iy;
        double fz = z - iz;
        int dx = g.Nx > 1 ? 1 : 0;
        int dy = g.Ny > 1 ? g.Nx : 0;
        int dz = g.Nz > 1 ? g.Nx * g.Ny : 0;
        float[] v = moving.Values;
        int i = ix + (g.Nx * (iy + (g.Ny * iz)));
        double a00 = v[i];
        double a10 = v[i + dy];
        double a01 = v[i + dz];
        double a11 = v[i + dy + dz];
        double d00 = v[i + dx] - a00;
        double d10 = v[i + dx + dy] - a10;
        double d01 = v[i + dx + dz] - a01;
        double d11 = v[i + dx + dy + dz] - a11;
        double b00 = a00 + (fx * d00);
        double b10 = a10 + (fx * d10);
        double b01 = a01 + (fx * d01);
        double b11 = a11 + (fx * d11);
        double c0 = b00 + (fy * (b10 - b00));
        double c1 = b01 + (fy * (b11 - b01));
        voxel.M = c0 + (fz * (c1 - c0));
        voxel.Gx = ((1 - fz) * (d00 + (fy * (d10 - d00)))) + (fz * (d01 + (fy * (d11 - d01))));
        voxel.Gy = ((1 - fz) * (b10 - b00)) + (fz * (b11 - b01));
        voxel.Gz = c1 - c0;
        return true;
    }

    /// <summary>A volume, and the intensities that become 0 and 1; null where that is done.</summary>
    internal readonly record struct Input(Volume Volume, (double Low, double High)? Window)
    {
        internal Volume Reduce(Grid coarser, double spacing, int threads) =>
            Reduction.Apply(Volume, Window, coarser, spacing, threads);
    }

    /// <summary>A voxel of a box: its place, both values, the slopes of the moving one.</summary>
    private struct BoxVoxel
    {
        internal double X, Y, Z, F, Weight, M, Gx, Gy, Gz;
    }

    /// <summary>The numbers of an affine map, near at hand.</summary>
    private readonly struct Rows(Affine map)
    {
        private readonly double xx = map[0, 0], xy = map[0, 1], xz = map[0, 2], x1 = map[0, 3];
        private readonly double yx = map[1, 0], yy = map[1, 1], yz = map[1, 2], y1 = map[1, 3];
        private readonly double zx = map[2, 0], zy = map[2, 1], zz = map[2, 2], z1 = map[2, 3];

        internal void Apply(double x, double y, double z, out double ax, out double ay, out double az)
        {
            ax = (xx * x) + (xy * y) + (xz * z) + x1;
            ay = (yx * x) + (yy * y) + (yz * z) + y1;
            az = (zx * x) + (zy * y) + (zz * z) + z1;
        }

        /// <summary>The transposed linear part.</summary>
        internal void Transposed(double x, double y, double z, out double ax, out double ay, out double az)
        {
            ax = (xx * x) + (yx * y) + (zx * z);
            ay = (xy * x) + (yy * y) + (zy * z);
            az = (xz * x) + (yz * y) + (zz * z);
        }
    }

    /// <summary>Weighted sums of two values and their products.</summary>
    private struct Sums
    {
        private double f;
        private double m;
        private double ff;
        private double mm;
        private double fm;

        internal double Weight { get; private set; }

        internal readonly double MeanF => f / Weight;

        internal readonly double MeanM => m / Weight;

        internal readonly double VarianceF => Weight > 0 ? Math.Max(0, ff - (f * f / Weight)) : 0;

        internal readonly double VarianceM => Math.Max(0, mm - (m * m / Weight));

        internal readonly double Covariance => fm - (f * m / Weight);

        internal void Add(double weight, double a, double b)
        {
            Weight += weight;
            f += weight * a;
            m += weight * b;
            ff += weight * a * a;
            mm += weight * b * b;
            fm += weight * a * b;
        }
    }
}
