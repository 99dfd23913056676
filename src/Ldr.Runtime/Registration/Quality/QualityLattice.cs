using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration.Quality;

/// <summary>
/// The fixed scan and the moving one, before and after a registration, on a coarse lattice of the fixed grid: every point is the mean of
/// up to eight voxels of its block. A point counts where the moving scan is there and some of the voxels are numbers, inside the mask where
/// there is one.
/// </summary>
internal sealed class QualityLattice
{
    /// <summary>The lattice is as fine as it can be with no more points than this.</summary>
    internal const double MostPoints = 100_000;

    private readonly Grid grid;
    private readonly int step;
    private readonly int nx;
    private readonly int ny;
    private readonly int nz;
    private readonly float[] reference;
    private readonly bool[] content;
    private readonly bool[]? counted;

    /// <summary>The lattice of a fixed scan.</summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="mask">On its grid: blocks that are not above 0 everywhere do not count; null: all do.</param>
    internal QualityLattice(Volume fixedScan, Volume? mask = null)
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
        if (mask is not null)
        {
            float[] inside = new float[Count];
            Blocks(WorkImage.Binary(mask).Values, inside);
            counted = Array.ConvertAll(inside, v => v == 1);
            LeaveOut(reference);
        }

        content = Content.Of(reference);
        int points = content.Count(c => c);
        Counted = counted?.Count(c => c) ?? Count;
        ContentShare = points / (double)Counted;
        ContentMm = Math.Cbrt(points * Math.Pow(step, 3) * Math.Abs(grid.VoxelToWorld.Determinant));
    }

    /// <summary>The share of the fixed scan that is not dark surround, 0 to 1.</summary>
    internal double ContentShare { get; }

    /// <summary>The side of a cube as large as the fixed scan's content, mm.</summary>
    internal double ContentMm { get; }

    /// <summary>The fixed scan's values; NaN where it does not count.</summary>
    internal float[] Reference => reference;

    /// <summary>How many points the lattice has.</summary>
    internal int Count => reference.Length;

    /// <summary>How many of them count.</summary>
    private int Counted { get; }

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
                        left[z] += Counts(i) ? 1 : 0;
                    }
                }
            }
        });
        outside = left.Sum() / (double)Counted;
        LeaveOut(values);
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
        int half = step / 2;
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
                for (int sz = 0; sz < Subs(z, grid.Nz); sz++)
                {
                    for (int sy = 0; sy < Subs(y, grid.Ny); sy++)
                    {
                        int n = 0;
                        for (int x = 0; x < nx; x++)
                        {
                            for (int sx = 0; sx < Subs(x, grid.Nx); sx++)
                            {
                                (px[n], py[n], pz[n]) = map.Apply((x * step) + (sx * half), (y * step) + (sy * half), (z * step) + (sz * half));
                                n++;
                            }
                        }

                        Sampling.LinearRow(moving.Values, moving.Grid, px.AsSpan(0, n), py.AsSpan(0, n), pz.AsSpan(0, n), row.AsSpan(0, n));
                        n = 0;
                        for (int x = 0; x < nx; x++)
                        {
                            for (int sx = 0; sx < Subs(x, grid.Nx); sx++)
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
                    covered[z] += inside && Counts(first + x) ? 1 : 0;
                    values[first + x] = inside && count[x] > 0 ? sum[x] / count[x] : float.NaN;
                }
            }
        });
        overlap = covered.Sum() / (double)Counted;
        LeaveOut(values);
        return values;
    }

    /// <summary>Whether all values that are numbers are the same one.</summary>
    internal static bool IsFlat(float[] values)
    {
        (float low, float high) = (float.PositiveInfinity, float.NegativeInfinity);
        foreach (float value in values)
        {
            if (float.IsFinite(value))
            {
                (low, high) = (Math.Min(low, value), Math.Max(high, value));
            }
        }

        // Means of equal numbers differ by rounding.
        return low <= high && high - low <= 1e-6f * Math.Max(Math.Abs(low), Math.Abs(high));
    }

    /// <summary>Share of the fixed scan's content where the moved scan is not, 0 to 1; NaN without content.</summary>
    /// <param name="moved">Values on the lattice, NaN where the moving scan is not.</param>
    internal double OutsideContent(float[] moved)
    {
        (int all, int left) = (0, 0);
        for (int i = 0; i < moved.Length; i++)
        {
            all += content[i] ? 1 : 0;
            left += content[i] && float.IsNaN(moved[i]) ? 1 : 0;
        }

        return left / (double)all;
    }

    /// <summary>Correlation with the fixed scan, see <see cref="Pearson.Correlation(ReadOnlySpan{float}, ReadOnlySpan{float})"/>.</summary>
    internal double Correlation(float[] other) => Pearson.Correlation(reference, other);

    /// <summary>How far the contents of the two scans overlap where both are there: Dice, 0 to 1; NaN when neither has any.</summary>
    internal double ContentOverlap(float[] other)
    {
        bool[] theirs = Content.Of(other);
        (int own, int both, int all) = (0, 0, 0);
        for (int i = 0; i < other.Length; i++)
        {
            if (!float.IsNaN(other[i]))
            {
                own += content[i] ? 1 : 0;
                all += theirs[i] ? 1 : 0;
                both += content[i] && theirs[i] ? 1 : 0;
            }
        }

        return 2.0 * both / (own + all);
    }

    /// <summary>Share of the fixed variance that a linear function of the other scan explains, box by box; NaN without boxes.</summary>
    internal double Detail(float[] other) => Explained(other, null);

    /// <summary>The same of a scan on the fixed grid.</summary>
    internal double DetailOf(Volume other)
    {
        float[] values = new float[Count];
        Blocks(other.Values, values);
        LeaveOut(values);
        return Detail(values);
    }

    /// <summary>
    /// The same over points that lie, with their six neighbours, in the content of both scans: what an outline against a dark
    /// surround explains does not count. NaN without boxes.
    /// </summary>
    internal double InnerDetail(float[] other) => Explained(other, Inner(Content.Of(other)));

    /// <summary>
    /// Detail in each half of the content, cut along each axis so that both halves have as many points; the least. What the moving scan
    /// lacks explains nothing. NaN without content.
    /// </summary>
    internal double HalfDetail(float[] other)
    {
        float[] known = Array.ConvertAll(other, v => float.IsNaN(v) ? 0 : v);
        int[] strides = [1, nx, nx * ny];
        int[] sizes = [nx, ny, nz];
        double least = double.NaN;
        for (int axis = 0; axis < 3; axis++)
        {
            int Place(int i) => i / strides[axis] % sizes[axis];
            int[] counts = new int[sizes[axis]];
            for (int i = 0; i < Count; i++)
            {
                counts[Place(i)] += content[i] ? 1 : 0;
            }

            int all = counts.Sum();
            int middle = 0;
            for (int sum = 0; middle < sizes[axis] && sum + counts[middle] <= all / 2; middle++)
            {
                sum += counts[middle];
            }

            for (int side = 0; side < 2; side++)
            {
                bool[] half = new bool[Count];
                for (int i = 0; i < Count; i++)
                {
                    half[i] = content[i] && Place(i) < middle == (side == 0);
                }

                double own = Explained(known, half);
                least = own < least || double.IsNaN(least) ? own : least;
            }
        }

        return least;
    }

    private double Explained(float[] other, bool[]? inner) =>
        ExplainedVariance.Share(reference, other, inner, (nx, ny, nz));

    /// <summary>Points that lie, with their six neighbours on the lattice, in the content of both scans.</summary>
    private bool[] Inner(bool[] theirs)
    {
        bool[] inner = new bool[Count];
        int plane = nx * ny;
        bool Both(int i) => content[i] && theirs[i];
        Each(z =>
        {
            for (int y = 0, i = z * plane; y < ny; y++)
            {
                for (int x = 0; x < nx; x++, i++)
                {
                    inner[i] = Both(i)
                        && (x == 0 || Both(i - 1)) && (x == nx - 1 || Both(i + 1))
                        && (y == 0 || Both(i - nx)) && (y == ny - 1 || Both(i + nx))
                        && (z == 0 || Both(i - plane)) && (z == nz - 1 || Both(i + plane));
                }
            }
        });
        return inner;
    }

    private bool Counts(int point) => counted is null || counted[point];

    private void LeaveOut(float[] values)
    {
        for (int i = 0; counted is not null && i < values.Length; i++)
        {
            values[i] = counted[i] ? values[i] : float.NaN;
        }
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

    /// <summary>How many voxels of a block along an axis are looked at: its first, and the one half a step further.</summary>
    private int Subs(int block, int size) => step == 1 || (block * step) + (step / 2) >= size ? 1 : 2;

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
