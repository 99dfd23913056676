namespace Ldr.Runtime;

/// <summary>
/// The fixed scan and the moving one, before and after a registration, on a coarse lattice of the fixed grid: every point is the mean of
/// up to eight voxels of its block. A point counts where the moving scan is there and some of the voxels are numbers.
/// </summary>
internal sealed class QualityLattice
{
    /// <summary>The lattice is as fine as it can be with no more points than this.</summary>
    internal const double MostPoints = 100_000;

    /// <summary>Points along a side of a box in which intensities are correlated.</summary>
    private const int Side = 6;

    /// <summary>Boxes with fewer points are left out.</summary>
    private const int FewestPoints = 27;

    /// <summary>Share of the moving scan's variance that is added to each box's, so that flat boxes do not matter.</summary>
    private const double Noise = 1e-3;

    private readonly Grid grid;
    private readonly int step;
    private readonly int nx;
    private readonly int ny;
    private readonly int nz;
    private readonly float[] reference;

    internal QualityLattice(Volume fixedScan)
    {
        grid = fixedScan.Grid;
        step = 1;
        while (Points(grid, step) > MostPoints)
        {
            step++;
        }

        nx = Along(grid.Nx);
        ny = Along(grid.Ny);
        nz = Along(grid.Nz);
        reference = new float[nx * ny * nz];
        Blocks(fixedScan.Values, reference);
    }

    /// <summary>How many points the lattice has.</summary>
    internal int Count => reference.Length;

    /// <summary>A volume on the fixed grid.</summary>
    /// <param name="moved">The moved scan.</param>
    /// <param name="field">The total displacement that moved it, in voxels of the fixed grid.</param>
    /// <param name="moving">The moving scan's grid.</param>
    /// <param name="outside">The share of points that the field takes out of the moving scan, 0 to 1.</param>
    /// <returns>Its values on the lattice, NaN where the moving scan is not.</returns>
    internal float[] Moved(Volume moved, DisplacementField field, Grid moving, out double outside)
    {
        float[] values = new float[Count];
        Blocks(moved.Values, values);
        Affine map = Warp.MapBetween(grid, moving);
        float[] u = field.Vectors;
        int plane = (int)grid.Count;
        int[] left = new int[nz];
        Each(z =>
        {
            int i = z * nx * ny;
            for (int y = 0; y < ny; y++)
            {
                int row = grid.Nx * ((y * step) + (grid.Ny * z * step));
                for (int x = 0; x < nx; x++, i++)
                {
                    int voxel = row + (x * step);
                    (double px, double py, double pz) = map.Apply(
                        (x * step) + (double)u[voxel], (y * step) + (double)u[plane + voxel], (z * step) + (double)u[(2 * plane) + voxel]);
                    if (!Inside(moving, px, py, pz))
                    {
                        values[i] = float.NaN;
                        left[z]++;
                    }
                }
            }
        });
        outside = left.Sum() / (double)Count;
        return values;
    }

    /// <summary>The moving scan after the initial alignment alone.</summary>
    /// <param name="moving">The moving scan.</param>
    /// <param name="initial">Fixed world to moving world, mm.</param>
    /// <param name="overlap">The share of points that the moving scan covers, 0 to 1.</param>
    /// <returns>Its values on the lattice, NaN where the moving scan is not.</returns>
    internal float[] Unmoved(Volume moving, Affine initial, out double overlap)
    {
        Affine map = grid.VoxelsTo(moving.Grid, initial);
        float[] values = new float[Count];
        int[] covered = new int[nz];
        Each(z =>
        {
            double[] px = new double[2 * nx];
            double[] py = new double[2 * nx];
            double[] pz = new double[2 * nx];
            float[] row = new float[2 * nx];
            float[] sum = new float[nx];
            int[] count = new int[nx];
            for (int y = 0; y < ny; y++)
            {
                Array.Clear(sum);
                Array.Clear(count);
                foreach (int vz in Subs(z, grid.Nz))
                {
                    foreach (int vy in Subs(y, grid.Ny))
                    {
                        int n = 0;
                        for (int x = 0; x < nx; x++)
                        {
                            foreach (int vx in Subs(x, grid.Nx))
                            {
                                (px[n], py[n], pz[n]) = map.Apply(vx, vy, vz);
                                n++;
                            }
                        }

                        Sampling.LinearRow(moving.Values, moving.Grid, px.AsSpan(0, n), py.AsSpan(0, n), pz.AsSpan(0, n), row.AsSpan(0, n));
                        n = 0;
                        for (int x = 0; x < nx; x++)
                        {
                            foreach (int _ in Subs(x, grid.Nx))
                            {
                                Add(row[n++], ref sum[x], ref count[x]);
                            }
                        }
                    }
                }

                int first = nx * (y + (ny * z));
                for (int x = 0; x < nx; x++)
                {
                    (double ax, double ay, double az) = map.Apply(x * step, y * step, z * step);
                    bool inside = Inside(moving.Grid, ax, ay, az);
                    covered[z] += inside ? 1 : 0;
                    values[first + x] = inside && count[x] > 0 ? sum[x] / count[x] : float.NaN;
                }
            }
        });
        overlap = covered.Sum() / (double)Count;
        return values;
    }

    /// <summary>Correlation with the fixed scan, see <see cref="Similarity.Correlation(ReadOnlySpan{float}, ReadOnlySpan{float})"/>.</summary>
    internal double Correlation(float[] other) => Similarity.Correlation(reference, other);

    /// <summary>Share of the fixed variance that a linear function of the other scan explains, box by box; NaN without boxes.</summary>
    internal double Detail(float[] other)
    {
        double mean = 0;
        double square = 0;
        int all = 0;
        foreach (float v in other)
        {
            if (float.IsFinite(v))
            {
                mean += v;
                square += (double)v * v;
                all++;
            }
        }

        double noise = all == 0 ? 0 : Noise * Math.Max(0, (square / all) - (mean / all * (mean / all)));
        double explained = 0;
        double variance = 0;
        for (int z0 = 0; z0 < nz; z0 += Side)
        {
            for (int y0 = 0; y0 < ny; y0 += Side)
            {
                for (int x0 = 0; x0 < nx; x0 += Side)
                {
                    (double f, double m, double ff, double mm, double fm, int n) = (0, 0, 0, 0, 0, 0);
                    for (int z = z0; z < Math.Min(z0 + Side, nz); z++)
                    {
                        for (int y = y0; y < Math.Min(y0 + Side, ny); y++)
                        {
                            int i = nx * (y + (ny * z));
                            for (int x = x0; x < Math.Min(x0 + Side, nx); x++)
                            {
                                double a = reference[i + x];
                                double b = other[i + x];
                                if (double.IsFinite(a + b))
                                {
                                    n++;
                                    f += a;
                                    m += b;
                                    ff += a * a;
                                    mm += b * b;
                                    fm += a * b;
                                }
                            }
                        }
                    }

                    if (n >= FewestPoints)
                    {
                        double covariance = fm - (f * m / n);
                        double spread = Math.Max(0, mm - (m * m / n)) + (noise * n);
                        variance += Math.Max(0, ff - (f * f / n));
                        explained += spread > 0 ? covariance * covariance / spread : 0;
                    }
                }
            }
        }

        return variance > 0 ? Math.Min(1, explained / variance) : double.NaN;
    }

    private static bool Inside(Grid g, double x, double y, double z) =>
        x >= -0.5 && y >= -0.5 && z >= -0.5 && x <= g.Nx - 0.5 && y <= g.Ny - 0.5 && z <= g.Nz - 0.5;

    private static double Points(Grid grid, int step) =>
        Math.Ceiling(grid.Nx / (double)step) * Math.Ceiling(grid.Ny / (double)step) * Math.Ceiling(grid.Nz / (double)step);

    private static void Add(float value, ref float sum, ref int count)
    {
        if (float.IsFinite(value))
        {
            sum += value;
            count++;
        }
    }

    private int Along(int n) => (n + step - 1) / step;

    /// <summary>The one or two voxels of a block along an axis that are looked at.</summary>
    private ReadOnlySpan<int> Subs(int block, int size)
    {
        int first = block * step;
        int second = first + (step / 2);
        return step == 1 || second >= size ? (int[])[first] : (int[])[first, second];
    }

    private void Each(Action<int> slice) =>
        Parallel.For(0, nz, new ParallelOptions { MaxDegreeOfParallelism = Threads.Most }, slice);

    /// <summary>Means of the voxels of each block that are numbers; NaN where none is.</summary>
    private void Blocks(float[] source, float[] target) => Each(z =>
    {
        int half = step / 2;
        for (int y = 0; y < ny; y++)
        {
            for (int x = 0; x < nx; x++)
            {
                float sum = 0;
                int count = 0;
                for (int dz = 0; dz <= half; dz += Math.Max(1, half))
                {
                    for (int dy = 0; dy <= half; dy += Math.Max(1, half))
                    {
                        for (int dx = 0; dx <= half; dx += Math.Max(1, half))
                        {
                            int vx = (x * step) + dx;
                            int vy = (y * step) + dy;
                            int vz = (z * step) + dz;
                            if (vx < grid.Nx && vy < grid.Ny && vz < grid.Nz)
                            {
                                Add(source[vx + (grid.Nx * (vy + (grid.Ny * vz)))], ref sum, ref count);
                            }
                        }
                    }
                }

                target[x + (nx * (y + (ny * z)))] = count > 0 ? sum / count : float.NaN;
            }
        }
    });
}
