namespace Ldr.Runtime;

/// <summary>Work shared out over the z-slices of a grid.</summary>
internal static class Slices
{
    /// <summary>Below this many voxels, threads cost more than they bring.</summary>
    private const long WorthThreads = 1 << 14;

    /// <summary>Runs the body for every slice, on at most <paramref name="threads"/> threads (0: all).</summary>
    internal static void ForEach(Grid grid, int threads, Action<int> slice)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        int workers = threads == 0 ? Threads.Most : threads;
        if (workers == 1 || grid.Nz == 1 || grid.Count < WorthThreads)
        {
            for (int z = 0; z < grid.Nz; z++)
            {
                slice(z);
            }

            return;
        }

        Parallel.For(0, grid.Nz, new ParallelOptions { MaxDegreeOfParallelism = workers }, slice);
    }
}
