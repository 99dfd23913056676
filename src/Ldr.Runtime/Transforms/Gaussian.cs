using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Smoothing by Gaussians, one axis after the other; beyond the border its value goes on.</summary>
internal static class Gaussian
{
    /// <summary>A plane of a grid, smoothed by as many voxels along each axis.</summary>
    internal static float[] Blur(float[] from, Grid grid, double sigma, int threads) =>
        BlurAxis(BlurAxis(BlurAxis(from, grid, 0, sigma, threads), grid, 1, sigma, threads), grid, 2, sigma, threads);

    /// <summary>A plane of a grid, smoothed along one axis by sigma voxels; the plane itself where that is nothing.</summary>
    internal static float[] BlurAxis(float[] from, Grid grid, int axis, double sigma, int threads)
    {
        int size = axis == 0 ? grid.Nx : axis == 1 ? grid.Ny : grid.Nz;
        if (sigma == 0 || size == 1)
        {
            return from;
        }

        int radius = (int)Math.Ceiling(2.5 * sigma);
        float[] kernel = new float[(2 * radius) + 1];
        double sum = 0;
        for (int i = -radius; i <= radius; i++)
        {
            sum += Math.Exp(-0.5 * i * i / (sigma * sigma));
        }

        for (int i = -radius; i <= radius; i++)
        {
            kernel[i + radius] = (float)(Math.Exp(-0.5 * i * i / (sigma * sigma)) / sum);
        }

        int nx = grid.Nx;
        int ny = grid.Ny;
        float[] to = GC.AllocateUninitializedArray<float>(from.Length);
        Slices.ForEach(grid, threads, z =>
        {
            for (int y = 0; y < ny; y++)
            {
                Span<float> row = to.AsSpan(nx * (y + (ny * z)), nx);
                row.Clear();
                for (int k = -radius; k <= radius; k++)
                {
                    float weight = kernel[k + radius];
                    if (axis == 0)
                    {
                        ReadOnlySpan<float> source = from.AsSpan(nx * (y + (ny * z)), nx);
                        int left = Math.Clamp(-k, 0, nx);
                        int right = Math.Clamp(nx - k, 0, nx);
                        for (int x = 0; x < left; x++)
                        {
                            row[x] += weight * source[0];
                        }

                        if (right > left)
                        {
                            WorkImage.AddScaled(row[left..right], source.Slice(left + k, right - left), weight);
                        }

                        for (int x = Math.Max(left, right); x < nx; x++)
                        {
                            row[x] += weight * source[nx - 1];
                        }
                    }
                    else
                    {
                        int sy = axis == 1 ? Math.Clamp(y + k, 0, ny - 1) : y;
                        int sz = axis == 2 ? Math.Clamp(z + k, 0, grid.Nz - 1) : z;
                        WorkImage.AddScaled(row, from.AsSpan(nx * (sy + (ny * sz)), nx), weight);
                    }
                }
            }
        });
        return to;
    }
}
