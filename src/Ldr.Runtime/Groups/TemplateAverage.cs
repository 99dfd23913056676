using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>Averages of scans that lie on one grid.</summary>
public static class TemplateAverage
{
    /// <summary>What the median of a scan's content becomes; its surround becomes 0.</summary>
    public const double Median = 100;

    /// <summary>Deviations from the mean up to which a scan's voxel counts fully; beyond, in inverse proportion (Huber 1964).</summary>
    private const double Huber = 1.5;

    /// <summary>
    /// How sharp an image is: the root mean square of its gradient's length where it shows something, as a share of its content's
    /// median, 1/mm. An average of scans that lie badly on each other is blurred and has less.
    /// </summary>
    /// <param name="image">The image.</param>
    public static double Sharpness(Volume image)
    {
        ArgumentNullException.ThrowIfNull(image);
        bool[] content = Content.Of(image);
        Grid grid = image.Grid;
        (double sx, double sy, double sz) = grid.Spacing;
        float[] v = image.Values;
        double sum = 0;
        long count = 0;
        for (int z = 1; z < grid.Nz - 1; z++)
        {
            for (int y = 1; y < grid.Ny - 1; y++)
            {
                int row = grid.Nx * (y + (grid.Ny * z));
                for (int i = row + 1; i < row + grid.Nx - 1; i++)
                {
                    if (content[i])
                    {
                        double x = (v[i + 1] - v[i - 1]) / (2 * sx);
                        double d = (v[i + grid.Nx] - v[i - grid.Nx]) / (2 * sy);
                        double e = (v[i + (grid.Nx * grid.Ny)] - v[i - (grid.Nx * grid.Ny)]) / (2 * sz);
                        sum += (x * x) + (d * d) + (e * e);
                        count++;
                    }
                }
            }
        }

        double middle = MedianOf(image, content);
        return count == 0 || !(middle > 0) ? 0 : Math.Sqrt(sum / count) / middle;
    }

    /// <summary>A scan with its surround at 0 and its content's median at 100.</summary>
    internal static Volume Normalised(Volume scan, Volume? mask)
    {
        double dark = Percentile.Of(scan.Values, 0.5)[0];
        bool[] content = Content.Of(scan);
        for (int i = 0; mask is not null && i < content.Length; i++)
        {
            content[i] &= mask.Values[i] > 0;
        }

        double middle = MedianOf(scan, content);
        double scale = middle > dark ? Median / (middle - dark) : 1;
        return new Volume(scan.Grid, Array.ConvertAll(scan.Values, v => float.IsFinite(v) ? (float)((v - dark) * scale) : 0));
    }

    /// <summary>
    /// The robust mean: of every voxel, Huber's mean about the plain one. Each scan is made twice, and few are in memory.
    /// </summary>
    /// <param name="grid">Where the scans lie.</param>
    /// <param name="count">How many there are.</param>
    /// <param name="make">Gives one, normalised, with the share by which each voxel counts (null: all); null: the scan does not count.</param>
    /// <param name="weights">How much each scan counts.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="cancellation">Stops between two scans.</param>
    internal static Volume Robust(
        Grid grid,
        int count,
        Func<int, (float[] Values, float[]? Shares)?> make,
        IReadOnlyList<double> weights,
        int threads,
        CancellationToken cancellation)
    {
        int n = (int)grid.Count;
        double[] sum = new double[n];
        double[] squares = new double[n];
        double[] total = new double[n];
        EachScan.Fold(count, threads, cancellation, make, (scan, made) => Each(scan, made, (i, value, weight) =>
        {
            sum[i] += weight * value;
            squares[i] += weight * value * value;
            total[i] += weight;
        }));
        double[] mean = [.. sum.Zip(total, (s, t) => t > 0 ? s / t : 0)];
        double[] reach = [.. squares.Select((s, i) => total[i] > 0 ? Huber * Math.Sqrt(Math.Max(0, (s / total[i]) - (mean[i] * mean[i]))) : 0)];
        Array.Clear(sum);
        Array.Clear(total);
        EachScan.Fold(count, threads, cancellation, make, (scan, made) => Each(scan, made, (i, value, weight) =>
        {
            double off = Math.Abs(value - mean[i]);
            double robust = off > reach[i] && reach[i] > 0 ? weight * reach[i] / off : weight;
            sum[i] += robust * value;
            total[i] += robust;
        }));
        return new Volume(grid, [.. sum.Zip(total, (s, t) => t > 0 ? (float)(s / t) : 0)]);

        void Each(int scan, (float[] Values, float[]? Shares)? made, Action<int, double, double> add)
        {
            if (made is (float[] values, var shares))
            {
                Slices.ForEach(grid, threads, z =>
                {
                    for (int i = z * grid.Nx * grid.Ny; i < (z + 1) * grid.Nx * grid.Ny; i++)
                    {
                        add(i, values[i], weights[scan] * (shares?[i] ?? 1));
                    }
                });
            }
        }
    }

    /// <summary>An image whose detail, what a blur of one voxel takes away, is raised.</summary>
    internal static Volume Sharpened(Volume image, double amount, int threads)
    {
        if (amount == 0)
        {
            return image;
        }

        float[] smooth = Gaussian.Blur(image.Values, image.Grid, 1, threads);
        return new Volume(image.Grid, [.. image.Values.Select((v, i) => Math.Max(0, v + ((float)amount * (v - smooth[i]))))]);
    }

    private static double MedianOf(Volume image, bool[] content)
    {
        float[] inside = [.. image.Values.Where((_, i) => content[i])];
        return inside.Length == 0 ? 0 : Percentile.Of(inside, 50)[0];
    }
}
