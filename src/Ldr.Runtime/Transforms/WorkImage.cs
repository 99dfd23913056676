using System.Numerics;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Images as the optimisers want them: reduced to a coarser lattice without aliasing, intensities near [0, 1].</summary>
internal static class WorkImage
{
    /// <summary>Percentiles that become 0 and 1; values beyond them are clamped.</summary>
    private const double LowPercent = 0.5;

    private const double HighPercent = 99.5;

    /// <summary>The percentiles come from about so many voxels at most.</summary>
    private const int Samples = 1 << 22;

    /// <summary>What <see cref="Reduction"/> makes a mask of: all above 0 becomes 1.</summary>
    internal static readonly (double Low, double High) AboveZero = (0, 1e-30);

    /// <summary>The intensities that become 0 and 1: percentiles of what the mask (all, when null) holds.</summary>
    internal static (double Low, double High) WindowOf(Volume volume, Volume? mask)
    {
        float[] kept = volume.Values;
        int step = Math.Max(1, kept.Length / Samples) | 1;
        if (mask is not null || step > 1)
        {
            float[] inside = new float[(kept.Length + step - 1) / step];
            int count = 0;
            for (int i = 0; i < kept.Length; i += step)
            {
                inside[count] = kept[i];
                count += mask is null || mask.Values[i] > 0 ? 1 : 0;
            }

            kept = inside[..count];
        }

        double[] window = Percentile.Of(kept, LowPercent, HighPercent);
        return window[1] > window[0] ? (window[0], window[1]) : volume.Range;
    }

    /// <summary>A grid along the same axes whose spacing is at least the wanted one (mm), around the same centre.</summary>
    internal static Grid Coarser(Grid grid, double spacingMm)
    {
        (double sx, double sy, double sz) = grid.Spacing;
        (int nx, double fx) = Axis(grid.Nx, sx, spacingMm);
        (int ny, double fy) = Axis(grid.Ny, sy, spacingMm);
        (int nz, double fz) = Axis(grid.Nz, sz, spacingMm);
        Affine map = Affine.Scaling(fx, fy, fz)
            .Then(Affine.Translation(
                ((grid.Nx - 1) - ((nx - 1) * fx)) / 2, ((grid.Ny - 1) - ((ny - 1) * fy)) / 2, ((grid.Nz - 1) - ((nz - 1) * fz)) / 2))
            .Then(grid.VoxelToWorld);
        return nx == grid.Nx && ny == grid.Ny && nz == grid.Nz ? grid : new Grid(nx, ny, nz, map);
    }

    /// <summary>The spacing (mm) at which a grid has about as many voxels as wanted; its finest own spacing when it has fewer.</summary>
    internal static double SpacingFor(Grid grid, double voxels)
    {
        (double x, double y, double z) = grid.Spacing;
        double finest = Math.Min(x, Math.Min(y, z));
        double spacing = Math.Max(finest, Math.Cbrt(grid.Count * x * y * z / voxels));
        while (Coarser(grid, spacing).Count > 1.1 * voxels && spacing > finest)
        {
            spacing *= 1.03;
        }

        return spacing;
    }

    /// <summary>
    /// A moving volume on a grid of the fixed world, its intensities scaled by a window. On its own axes it is first made only twice as fine
    /// as the grid, which holds all that the blur leaves.
    /// </summary>
    internal static Volume Reduce(
        Volume volume, (double Low, double High) window, Grid grid, Affine map, double spacingMm, int threads)
    {
        Volume finer = Reduction.Apply(volume, window, Coarser(volume.Grid, spacingMm / 2), spacingMm, threads);
        return Resampler.Apply(finer, new Transform.Linear(map), grid, Interpolation.Linear, null, threads);
    }

    /// <summary>Above 0 becomes 1, all else 0.</summary>
    internal static Volume Binary(Volume mask) => new(mask.Grid, Array.ConvertAll(mask.Values, v => v > 0 ? 1f : 0f));

    /// <summary>The blur (voxels) that a lattice of the wanted spacing needs.</summary>
    internal static double Sigma(double own, double wanted) =>
        wanted > own * 1.2 ? 0.5 * Math.Sqrt((wanted * wanted / (own * own)) - 1) : 0;

    private static (int Count, double Factor) Axis(int count, double own, double wanted)
    {
        double factor = Math.Max(1, wanted / own);
        return factor < 1.2 ? (count, 1) : (Math.Max(1, (int)Math.Floor((count - 1) / factor) + 1), factor);
    }

    /// <summary>to += weight · from.</summary>
    internal static void AddScaled(Span<float> to, ReadOnlySpan<float> from, float weight)
    {
        int i = 0;
        for (; i <= to.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            (new Vector<float>(to[i..]) + (new Vector<float>(from[i..]) * weight)).CopyTo(to[i..]);
        }

        for (; i < to.Length; i++)
        {
            to[i] += weight * from[i];
        }
    }
}
