namespace Ldr.Runtime.Metrics;

/// <summary>
/// Exact Euclidean distances to a set of voxels, one axis after the other, by lower envelopes of parabolas
/// (Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012).
/// </summary>
internal static class DistanceTransform
{
    /// <summary>Squared distance (mm²) of each voxel to the nearest marked voxel; infinite when none is marked.</summary>
    internal static double[] SquaredDistances(
        bool[] marked, int nx, int ny, int nz, (double X, double Y, double Z) spacing)
    {
        double[] squared = Array.ConvertAll(marked, mark => mark ? 0 : double.PositiveInfinity);
        Line line = new(Math.Max(nx, Math.Max(ny, nz)));
        for (int row = 0; row < ny * nz; row++)
        {
            line.Transform(squared, row * nx, 1, nx, spacing.X);
        }

        for (int z = 0; z < nz; z++)
        {
            for (int x = 0; x < nx; x++)
            {
                line.Transform(squared, (z * nx * ny) + x, nx, ny, spacing.Y);
            }
        }

        for (int i = 0; i < nx * ny; i++)
        {
            line.Transform(squared, i, nx * ny, nz, spacing.Z);
        }

        return squared;
    }

    /// <summary>Working space for one line of voxels.</summary>
    private sealed class Line(int longest)
    {
        private readonly double[] heights = new double[longest];
        private readonly int[] parabolas = new int[longest];
        private readonly double[] starts = new double[longest];

        /// <summary>Replaces f(q) by the least over p of (q-p)²·spacing² + f(p).</summary>
        internal void Transform(double[] values, int first, int stride, int count, double spacing)
        {
            int last = -1;
            for (int q = 0; q < count; q++)
            {
                double height = values[first + (q * stride)];
                heights[q] = height;
                if (double.IsPositiveInfinity(height))
                {
                    continue;
                }

                double start = double.NegativeInfinity;
                while (last >= 0)
                {
                    int p = parabolas[last];

                    // Where the parabola of q starts to lie below that of p.
                    start = ((height - heights[p]) / (2 * spacing * spacing * (q - p))) + ((q + p) / 2.0);
                    if (start > starts[last])
                    {
                        break;
                    }

                    last--;
                    start = double.NegativeInfinity;
                }

                last++;
                parabolas[last] = q;
                starts[last] = start;
            }

            if (last < 0)
            {
                return;
            }

            int current = 0;
            for (int q = 0; q < count; q++)
            {
                while (current < last && starts[current + 1] < q)
                {
                    current++;
                }

                double steps = (q - parabolas[current]) * spacing;
                values[first + (q * stride)] = (steps * steps) + heights[parabolas[current]];
            }
        }
    }
}
