using System.Numerics;

namespace Ldr.Runtime;

/// <summary>Images as the optimisers want them: reduced to a coarser lattice without aliasing, intensities near [0, 1].</summary>
internal static class WorkImage
{
    /// <summary>Percentiles that become 0 and 1; values beyond them are clamped.</summary>
    private const double LowPercent = 0.5;

    private const double HighPercent = 99.5;

    /// <summary>Scales the intensities by percentiles of what the mask (all, when null) holds.</summary>
    internal static Volume Normalise(Volume volume, Volume? mask)
    {
        float[] kept = volume.Values;
        if (mask is not null)
        {
            float[] inside = new float[kept.Length];
            int count = 0;
            for (int i = 0; i < kept.Length; i++)
            {
                inside[count] = kept[i];
                count += mask.Values[i] > 0 ? 1 : 0;
            }

            kept = inside[..count];
        }

        double[] window = Percentile.Of(kept, LowPercent, HighPercent);
        (double low, double high) = window[1] > window[0] ? (window[0], window[1]) : volume.Range;
        return high > low
            ? new IntensityRule.Window(low, high).Apply(volume)
            : new Volume(volume.Grid, new float[volume.Values.Length]);
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

    /// <summary>A volume on a coarser grid; itself where it lies on that grid.</summary>
    internal static Volume Reduce(Volume volume, Grid grid, Affine map, double spacingMm, int threads) =>
        map.Equals(Affine.Identity) && volume.Grid.Equals(grid)
            ? volume
            : Resampler.Apply(
                Blur(volume, spacingMm, threads), new Transform.Linear(map), grid, Interpolation.Linear, null, threads);

    /// <summary>Above 0 becomes 1, all else 0.</summary>
    internal static Volume Binary(Volume mask) => new(mask.Grid, Array.ConvertAll(mask.Values, v => v > 0 ? 1f : 0f));

    /// <summary>Blurs as much as a lattice of the wanted spacing needs; each axis by a Gaussian.</summary>
    private static Volume Blur(Volume volume, double spacingMm, int threads)
    {
        (double sx, double sy, double sz) = volume.Grid.Spacing;
        float[] values = volume.Values;
        values = Gaussian.BlurAxis(values, volume.Grid, 0, Sigma(sx, spacingMm), threads);
        values = Gaussian.BlurAxis(values, volume.Grid, 1, Sigma(sy, spacingMm), threads);
        values = Gaussian.BlurAxis(values, volume.Grid, 2, Sigma(sz, spacingMm), threads);
        return new Volume(volume.Grid, values);
    }

    private static double Sigma(double own, double wanted) =>
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
