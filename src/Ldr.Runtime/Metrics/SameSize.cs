using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Metrics;

/// <summary>Metrics compare voxel by voxel.</summary>
internal static class SameSize
{
    internal static void Check(Grid a, Grid b)
    {
        if (!a.SameSizeAs(b))
        {
            throw new ArgumentException(
                $"volumes to compare must have the same size, not {a.Nx}×{a.Ny}×{a.Nz} and {b.Nx}×{b.Ny}×{b.Nz}");
        }
    }
}
