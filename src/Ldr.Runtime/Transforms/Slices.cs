using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Work shared out over the z-slices of a grid.</summary>
internal static class Slices
{
    /// <summary>Below this many voxels, threads cost more than they bring.</summary>
    private const long WorthThreads = 1 << 14;

    /// <summary>Runs the body for every slice, on at most <paramref name="threads"/> threads (0: all).</summary>
    internal static void ForEach(Grid grid, int threads, Action<int> slice) =>
        ForEach(grid.Nz, grid.Count, threads, slice);

    /// <summary>The same, for slices that have so many voxels together.</summary>
    internal static void ForEach(int slices, long voxels, int threads, Action<int> slice)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        int workers = threads == 0 ? Threads.Most : threads;
        if (workers == 1 || !Worth(slices, voxels))
        {
            for (int z = 0; z < slices; z++)
            {
                slice(z);
            }

            return;
        }

        Parallel.For(0, slices, new ParallelOptions { MaxDegreeOfParallelism = workers }, slice);
    }

    /// <summary>Whether so many slices, of so many voxels together, are worth several threads.</summary>
    internal static bool Worth(int slices, long voxels) => slices > 1 && voxels >= WorthThreads;
}
