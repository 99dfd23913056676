using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Interpolating cubic B-splines (Unser, Aldroubi and Eden, IEEE Trans. Signal Processing 41, 1993), mirrored at the
/// border without repeating it: as scipy's <c>map_coordinates(order=3, mode="mirror")</c>.
/// </summary>
internal static class CubicSpline
{
    private static readonly double Pole = Math.Sqrt(3) - 2;

    /// <summary>The coefficients whose spline goes through the values.</summary>
    internal static float[] Coefficients(Volume volume, int threads)
    {
        Grid grid = volume.Grid;
        float[] data = (float[])volume.Values.Clone();
        int slice = grid.Nx * grid.Ny;
        Slices.ForEach(grid, threads, z =>
        {
            double[] line = new double[Math.Max(grid.Nx, grid.Ny)];
            for (int y = 0; y < grid.Ny; y++)
            {
                Filter(data, (z * slice) + (y * grid.Nx), 1, grid.Nx, line);
            }

            for (int x = 0; x < grid.Nx; x++)
            {
                Filter(data, (z * slice) + x, grid.Nx, grid.Ny, line);
            }
        });
        Parallel.For(0, grid.Ny, new ParallelOptions { MaxDegreeOfParallelism = threads == 0 ? Threads.Most : threads }, y =>
        {
            double[] line = new double[grid.Nz];
            for (int x = 0; x < grid.Nx; x++)
            {
                Filter(data, (y * grid.Nx) + x, slice, grid.Nz, line);
            }
        });
        return data;
    }

    /// <summary>The spline's value at a position in voxels, which is first moved into the grid.</summary>
    internal static float At(float[] coefficients, Grid grid, double x, double y, double z)
    {
        Span<double> wx = stackalloc double[4];
        Span<double> wy = stackalloc double[4];
        Span<double> wz = stackalloc double[4];
        Span<int> ix = stackalloc int[4];
        Span<int> iy = stackalloc int[4];
        Span<int> iz = stackalloc int[4];
        Prepare(x, grid.Nx, 1, wx, ix);
        Prepare(y, grid.Ny, grid.Nx, wy, iy);
        Prepare(z, grid.Nz, grid.Nx * grid.Ny, wz, iz);
        double sum = 0;
        for (int c = 0; c < 4; c++)
        {
            for (int b = 0; b < 4; b++)
            {
                int row = iz[c] + iy[b];
                double inner = (wx[0] * coefficients[row + ix[0]]) + (wx[1] * coefficients[row + ix[1]])
                    + (wx[2] * coefficients[row + ix[2]]) + (wx[3] * coefficients[row + ix[3]]);
                sum += wz[c] * wy[b] * inner;
            }
        }

        return (float)sum;
    }

    private static void Prepare(double position, int size, int stride, Span<double> weights, Span<int> offsets)
    {
        // The comparisons are written so that NaN becomes 0.
        double at = position > 0 ? (position < size - 1 ? position : size - 1) : 0;
        int start = (int)at;
        double t = at - start;
        double s = 1 - t;
        weights[0] = s * s * s / 6;
        weights[1] = (2.0 / 3) - (0.5 * t * t * (2 - t));
        weights[2] = (2.0 / 3) - (0.5 * s * s * (2 - s));
        weights[3] = t * t * t / 6;
        for (int i = 0; i < 4; i++)
        {
            offsets[i] = stride * Mirror(start - 1 + i, size);
        }
    }

    private static int Mirror(int index, int size)
    {
        if (size == 1)
        {
            return 0;
        }

        int period = 2 * (size - 1);
        int folded = ((index % period) + period) % period;
        return folded < size ? folded : period - folded;
    }

    private static void Filter(float[] data, int start, int stride, int size, double[] line)
    {
        if (size == 1)
        {
            return;
        }

        for (int i = 0; i < size; i++)
        {
            line[i] = 6 * data[start + (i * stride)];
        }

        // The sum over the mirrored signal, in closed form; beyond the horizon the pole's powers are below rounding.
        int horizon = Math.Min(size - 1, 64);
        double power = Pole;
        double last = Math.Pow(Pole, size - 1);
        double sum = line[0] + (last * line[size - 1]);
        for (int i = 1; i < horizon; i++)
        {
            sum += (power + (last * last / power)) * line[i];
            power *= Pole;
        }

        line[0] = sum / (1 - (last * last));
        for (int i = 1; i < size; i++)
        {
            line[i] += Pole * line[i - 1];
        }

        line[size - 1] = Pole / ((Pole * Pole) - 1) * (line[size - 1] + (Pole * line[size - 2]));
        for (int i = size - 2; i >= 0; i--)
        {
            line[i] = Pole * (line[i + 1] - line[i]);
        }

        for (int i = 0; i < size; i++)
        {
            data[start + (i * stride)] = (float)line[i];
        }
    }
}
