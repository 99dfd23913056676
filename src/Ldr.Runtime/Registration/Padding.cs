using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Registration;

/// <summary>
/// Scans that were turned and resampled onto a larger grid, so that a constant number surrounds their content. Where only one scan of a
/// pair of crops is like that, the edge of the padding looks like anatomy to all that compares intensities.
/// </summary>
public static class Padding
{
    /// <summary>At least so many of a scan's eight corners hold the same number when it is padded.</summary>
    private const int FewestCorners = 6;

    /// <summary>At least this share of the voxels is padding, or it is left alone.</summary>
    private const double SmallestShare = 0.03;

    /// <summary>Share of a crop's faces that is not dark.</summary>
    private const double BrightFaces = 0.5;

    /// <summary>Intensities below this share of the range (0.5 to 99.5 %) are dark.</summary>
    private const double Dark = 0.05;

    /// <summary>
    /// The pair, the padding of one scan replaced by the nearest content when the other scan is a crop without padding (content
    /// up to its faces); the volumes themselves otherwise. A whole head or brain before a dark surround is no crop: its outline stays.
    /// </summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <returns>What to compare; to be resampled is still the moving scan itself.</returns>
    public static (Volume Fixed, Volume Moving) Fill(Volume fixedScan, Volume movingScan)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);

        // The cheapest question first: few scans have padding before a crop, and to follow it takes longest.
        bool[]? PaddingBefore(Volume scan, Volume other) =>
            Surround(scan) is not null && IsCrop(other) && Of(other) is null ? Of(scan) : null;
        return PaddingBefore(movingScan, fixedScan) is bool[] ofMoving ? (fixedScan, Filled(movingScan, ofMoving))
            : PaddingBefore(fixedScan, movingScan) is bool[] ofFixed ? (Filled(fixedScan, ofFixed), movingScan)
            : (fixedScan, movingScan);
    }

    private static int[] Corners(Grid grid) =>
        [.. Enumerable.Range(0, 8).Select(c =>
            ((c & 1) * (grid.Nx - 1)) + (grid.Nx * ((((c >> 1) & 1) * (grid.Ny - 1)) + (grid.Ny * (c >> 2) * (grid.Nz - 1)))))];

    /// <summary>The corners that hold the same number; null when they are few.</summary>
    private static IGrouping<float, int>? Surround(Volume scan)
    {
        IGrouping<float, int> most = Corners(scan.Grid).GroupBy(i => scan.Values[i]).MaxBy(group => group.Count())!;
        return most.Count() < FewestCorners ? null : most;
    }

    /// <summary>The voxels that hold the corners' number and hang together with a corner; null when there are few.</summary>
    private static bool[]? Of(Volume scan)
    {
        if (Surround(scan) is not { } most)
        {
            return null;
        }

        Grid grid = scan.Grid;
        float[] values = scan.Values;
        bool[] padding = new bool[values.Length];
        Stack<int> open = new();
        int count = 0;
        void Reach(int i)
        {
            if (!padding[i] && values[i].Equals(most.Key))
            {
                padding[i] = true;
                count++;
                open.Push(i);
            }
        }

        foreach (int corner in most)
        {
            Reach(corner);
        }

        while (open.TryPop(out int i))
        {
            ForNeighbours(grid, i, Reach);
        }

        return count >= SmallestShare * padding.Length && count < padding.Length ? padding : null;
    }

    private static bool IsCrop(Volume scan)
    {
        Grid grid = scan.Grid;
        double[] range = Percentile.Of(scan.Values, 0.5, 99.5);
        double dark = range[0] + (Dark * (range[1] - range[0]));
        (int bright, int all) = (0, 0);
        for (int z = 0, i = 0; z < grid.Nz; z++)
        {
            for (int y = 0; y < grid.Ny; y++)
            {
                for (int x = 0; x < grid.Nx; x++, i++)
                {
                    if (x == 0 || y == 0 || z == 0 || x == grid.Nx - 1 || y == grid.Ny - 1 || z == grid.Nz - 1)
                    {
                        all++;
                        bright += scan.Values[i] > dark ? 1 : 0;
                    }
                }
            }
        }

        return bright > BrightFaces * all;
    }

    /// <summary>Grows the content into the padding, layer by layer; its outermost layer, which interpolation has mixed, is replaced too.</summary>
    private static Volume Filled(Volume scan, bool[] padding)
    {
        Grid grid = scan.Grid;
        float[] values = (float[])scan.Values.Clone();
        bool[] missing = (bool[])padding.Clone();
        List<int> layer = [];
        for (int i = 0; i < padding.Length; i++)
        {
            if (padding[i])
            {
                ForNeighbours(grid, i, next => missing[next] = true);
            }
        }

        for (int i = 0; i < missing.Length; i++)
        {
            if (missing[i])
            {
                AddWhenReached(i);
            }
        }

        while (layer.Count > 0)
        {
            float[] means = [.. layer.Select(MeanAround)];
            List<int> done = layer;
            layer = [];
            for (int k = 0; k < done.Count; k++)
            {
                values[done[k]] = means[k];
                missing[done[k]] = false;
            }

            HashSet<int> seen = [];
            foreach (int i in done)
            {
                ForNeighbours(grid, i, next =>
                {
                    if (missing[next] && seen.Add(next))
                    {
                        layer.Add(next);
                    }
                });
            }
        }

        return new Volume(grid, values, scan.StoredAs);

        void AddWhenReached(int i)
        {
            bool reached = false;
            ForNeighbours(grid, i, next => reached |= !missing[next]);
            if (reached)
            {
                layer.Add(i);
            }
        }

        float MeanAround(int i)
        {
            (float sum, int count) = (0, 0);
            ForNeighbours(grid, i, next =>
            {
                if (!missing[next])
                {
                    sum += values[next];
                    count++;
                }
            });
            return sum / count;
        }
    }

    private static void ForNeighbours(Grid grid, int i, Action<int> visit)
    {
        int plane = grid.Nx * grid.Ny;
        (int x, int y, int z) = (i % grid.Nx, i % plane / grid.Nx, i / plane);
        if (x > 0)
        {
            visit(i - 1);
        }

        if (x < grid.Nx - 1)
        {
            visit(i + 1);
        }

        if (y > 0)
        {
            visit(i - grid.Nx);
        }

        if (y < grid.Ny - 1)
        {
            visit(i + grid.Nx);
        }

        if (z > 0)
        {
            visit(i - plane);
        }

        if (z < grid.Nz - 1)
        {
            visit(i + plane);
        }
    }
}
