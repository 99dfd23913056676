using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Metrics;

/// <summary>How deep voxels lie in a structure.</summary>
public static class SignedDistance
{
    /// <summary>
    /// The distance of every voxel to a structure's surface, mm: above 0 inside, below 0 outside, cut at ± a limit. The surface
    /// lies halfway between voxels of the structure and others. −limit everywhere for a structure that is not there, limit for
    /// one that fills the map.
    /// </summary>
    /// <param name="labels">The label map.</param>
    /// <param name="label">The structure.</param>
    /// <param name="limitMm">The limit, mm.</param>
    public static Volume Of(Volume labels, int label, double limitMm)
    {
        ArgumentNullException.ThrowIfNull(labels);
        Grid grid = labels.Grid;
        bool[] inside = Array.ConvertAll(labels.Values, v => v == label);
        double[] toInside = DistanceTransform.SquaredDistances(inside, grid.Nx, grid.Ny, grid.Nz, grid.Spacing);
        double[] toOutside = DistanceTransform.SquaredDistances(
            Array.ConvertAll(inside, own => !own), grid.Nx, grid.Ny, grid.Nz, grid.Spacing);
        (double x, double y, double z) = grid.Spacing;
        double half = Math.Min(x, Math.Min(y, z)) / 2;
        float[] depth = new float[inside.Length];
        for (int i = 0; i < depth.Length; i++)
        {
            double own = inside[i] ? Math.Sqrt(toOutside[i]) - half : half - Math.Sqrt(toInside[i]);
            depth[i] = (float)Math.Clamp(own, -limitMm, limitMm);
        }

        return new Volume(grid, depth);
    }
}
