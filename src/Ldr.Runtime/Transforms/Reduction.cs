using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Brings a volume onto a coarser grid along the same axes: intensities scaled by a window, blurred by a Gaussian and interpolated
/// linearly, all in one pass along each axis, so that nothing of the volume's full size is made.
/// </summary>
internal static class Reduction
{
    /// <summary>Reduces.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="window">The intensities that become 0 and 1, beyond which they are clamped; null to leave them.</param>
    /// <param name="grid">The grid of the result, as <see cref="WorkImage.Coarser"/> gives it.</param>
    /// <param name="spacingMm">The blur is what a lattice of this spacing needs.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    internal static Volume Apply(Volume volume, (double Low, double High)? window, Grid grid, double spacingMm, int threads)
    {
        Grid own = volume.Grid;
        Affine map = grid.VoxelsTo(own, Affine.Identity);
        (double sx, double sy, double sz) = own.Spacing;
        Filter alongX = new(own.Nx, grid.Nx, map[0, 0], map[0, 3], WorkImage.Sigma(sx, spacingMm));
        Filter alongY = new(own.Ny, grid.Ny, map[1, 1], map[1, 3], WorkImage.Sigma(sy, spacingMm));
        Filter alongZ = new(own.Nz, grid.Nz, map[2, 2], map[2, 3], WorkImage.Sigma(sz, spacingMm));
        if (window is null && alongX.IsIdentity && alongY.IsIdentity && alongZ.IsIdentity)
        {
            return volume;
        }

        int plane = grid.Nx * grid.Ny;
        float[] slices = GC.AllocateUninitializedArray<float>(plane * own.Nz);
        Slices.ForEach(own, threads, z =>
        {
            float[] row = new float[own.Nx];
            float[] rows = new float[grid.Nx * own.Ny];
            for (int y = 0; y < own.Ny; y++)
            {
                ReadOnlySpan<float> source = volume.Values.AsSpan(own.Nx * (y + (own.Ny * z)), own.Nx);
                if (window is (double low, double high))
                {
                    IntensityRule.Scale(source, low, high, row);
                    source = row;
                }

                alongX.Row(source, rows.AsSpan(y * grid.Nx, grid.Nx));
            }

            alongY.Lines(rows, slices.AsSpan(z * plane, plane), grid.Nx);
        });
        if (alongZ.IsIdentity)
        {
            return new Volume(grid, slices);
        }

        float[] values = GC.AllocateUninitializedArray<float>(checked((int)grid.Count));
        Slices.ForEach(grid, threads, z => alongZ.Line(slices, z, values.AsSpan(z * plane, plane)));
        return new Volume(grid, values);
    }

    /// <summary>The weights of each new place along an axis: a Gaussian, then linear interpolation, cut off at the border.</summary>
    private sealed class Filter
    {
        private readonly int[] first;
        private readonly float[][] weights;

        internal Filter(int size, int count, double step, double offset, double sigma)
        {
            IsIdentity = size == count && sigma == 0;
            first = new int[count];
            weights = new float[count][];
            int radius = (int)Math.Ceiling(2.5 * sigma);
            double[] kernel = [.. Enumerable.Range(-radius, (2 * radius) + 1).Select(k => sigma == 0 ? 1 : Math.Exp(-0.5 * k * k / (sigma * sigma)))];
            double sum = kernel.Sum();
            for (int place = 0; place < count; place++)
            {
                double position = IsIdentity ? place : Math.Clamp((place * step) + offset, 0, size - 1);
                int below = Math.Min((int)position, Math.Max(0, size - 2));
                double share = position - below;
                int from = Math.Max(0, below - radius);
                double[] here = new double[Math.Min(size - 1, below + 1 + radius) - from + 1];
                for (int k = -radius; k <= radius; k++)
                {
                    double weight = kernel[k + radius] / sum;
                    here[Math.Clamp(below + k, 0, size - 1) - from] += weight * (1 - share);
                    here[Math.Clamp(below + 1 + k, 0, size - 1) - from] += weight * share;
                }

                first[place] = from;
                weights[place] = Array.ConvertAll(here, w => (float)w);
            }
        }

        /// <summary>Whether it changes nothing.</summary>
        internal bool IsIdentity { get; }

        /// <summary>Numbers that lie next to each other.</summary>
        internal void Row(ReadOnlySpan<float> from, Span<float> to)
        {
            if (IsIdentity)
            {
                from.CopyTo(to);
                return;
            }

            for (int place = 0; place < to.Length; place++)
            {
                ReadOnlySpan<float> own = weights[place];
                ReadOnlySpan<float> source = from.Slice(first[place], own.Length);
                float sum = 0;
                for (int k = 0; k < own.Length; k++)
                {
                    sum += own[k] * source[k];
                }

                to[place] = sum;
            }
        }

        /// <summary>All lines that lie one after the other.</summary>
        internal void Lines(ReadOnlySpan<float> from, Span<float> to, int length)
        {
            for (int place = 0; place < first.Length; place++)
            {
                Line(from, place, to.Slice(place * length, length));
            }
        }

        /// <summary>One line of numbers.</summary>
        internal void Line(ReadOnlySpan<float> from, int place, Span<float> to)
        {
            to.Clear();
            float[] own = weights[place];
            for (int k = 0; k < own.Length; k++)
            {
                if (own[k] != 0)
                {
                    WorkImage.AddScaled(to, from.Slice((first[place] + k) * to.Length, to.Length), own[k]);
                }
            }
        }
    }
}
