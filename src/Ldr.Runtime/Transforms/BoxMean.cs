using System.Numerics;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Means over boxes around every voxel, cut off at the border, in time that does not depend on the box.</summary>
internal sealed class BoxMean(Grid grid, int radius, int threads)
{
    private readonly float[] between = new float[grid.Count];

    /// <summary>Replaces each volume by its box means.</summary>
    internal void Apply(params float[][] volumes)
    {
        int nx = grid.Nx;
        int ny = grid.Ny;
        int nz = grid.Nz;
        int slice = nx * ny;
        foreach (float[] volume in volumes)
        {
            Slices.ForEach(grid, threads, z =>
            {
                float[] rows = new float[slice];
                for (int y = 0; y < ny; y++)
                {
                    Along(volume.AsSpan((z * slice) + (y * nx), nx), rows.AsSpan(y * nx, nx));
                }

                Across(rows, 0, between, z * slice, nx, ny);
            });
            Parallel.For(0, ny, new ParallelOptions { MaxDegreeOfParallelism = threads == 0 ? Threads.Most : threads }, y =>
                Across(between, y * nx, volume, y * nx, slice, nz));
        }

        void Across(float[] from, int fromStart, float[] to, int toStart, int stride, int count)
        {
            Span<float> sum = stackalloc float[nx];
            sum.Clear();
            for (int i = 0; i < Math.Min(radius, count); i++)
            {
                WorkImage.AddScaled(sum, from.AsSpan(fromStart + (i * stride), nx), 1);
            }

            for (int i = 0; i < count; i++)
            {
                if (i + radius < count)
                {
                    WorkImage.AddScaled(sum, from.AsSpan(fromStart + ((i + radius) * stride), nx), 1);
                }

                if (i - radius - 1 >= 0)
                {
                    WorkImage.AddScaled(sum, from.AsSpan(fromStart + ((i - radius - 1) * stride), nx), -1);
                }

                int members = Math.Min(i + radius, count - 1) - Math.Max(i - radius, 0) + 1;
                Scale(sum, 1f / members, to.AsSpan(toStart + (i * stride), nx));
            }
        }
    }

    private static void Scale(ReadOnlySpan<float> from, float factor, Span<float> to)
    {
        int i = 0;
        for (; i <= to.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(from[i..]) * factor).CopyTo(to[i..]);
        }

        for (; i < to.Length; i++)
        {
            to[i] = from[i] * factor;
        }
    }

    private void Along(ReadOnlySpan<float> from, Span<float> to)
    {
        int n = from.Length;
        float sum = 0;
        for (int i = 0; i < Math.Min(radius, n); i++)
        {
            sum += from[i];
        }

        for (int i = 0; i < n; i++)
        {
            int last = i + radius;
            int before = i - radius - 1;
            if (last < n)
            {
                sum += from[last];
            }

            if (before >= 0)
            {
                sum -= from[before];
            }

            to[i] = sum / (Math.Min(last, n - 1) - Math.Max(before + 1, 0) + 1);
        }
    }
}
