namespace Ldr.Runtime;

/// <summary>Distances between the surfaces of labelled structures.</summary>
public static class SurfaceDistance
{
    /// <summary>
    /// The 95th percentile, in millimetres, of the distances from each surface voxel of one mask to the nearest surface
    /// voxel of the other, both ways pooled. A surface voxel has one of its six neighbours outside the mask or the volume.
    /// Distances use the first volume's spacing along its own axes. NaN when either mask is empty.
    /// </summary>
    /// <exception cref="ArgumentException">The volumes differ in size.</exception>
    public static double Hd95(Volume a, Volume b, int label)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        SameSize.Check(a.Grid, b.Grid);
        Box box = new(a.Grid);
        bool hasA = box.Include(a, label);
        bool hasB = box.Include(b, label);
        if (!hasA || !hasB)
        {
            return double.NaN;
        }

        bool[] surfaceA = Surface(a, label, box);
        bool[] surfaceB = Surface(b, label, box);
        List<double> distances = [];
        Collect(surfaceA, DistanceTransform.SquaredDistances(surfaceB, box.Nx, box.Ny, box.Nz, a.Grid.Spacing), distances);
        Collect(surfaceB, DistanceTransform.SquaredDistances(surfaceA, box.Nx, box.Ny, box.Nz, a.Grid.Spacing), distances);
        double[] sorted = [.. distances];
        Array.Sort(sorted);
        return Percentile.OfSorted(sorted, 95);
    }

    private static void Collect(bool[] surface, double[] squared, List<double> distances)
    {
        for (int i = 0; i < surface.Length; i++)
        {
            if (surface[i])
            {
                distances.Add(Math.Sqrt(squared[i]));
            }
        }
    }

    private static bool[] Surface(Volume volume, int label, Box box)
    {
        Grid grid = volume.Grid;
        float[] values = volume.Values;
        int strideY = grid.Nx;
        int strideZ = grid.Nx * grid.Ny;
        bool[] surface = new bool[box.Nx * box.Ny * box.Nz];
        int to = 0;
        for (int z = box.LowZ; z <= box.HighZ; z++)
        {
            for (int y = box.LowY; y <= box.HighY; y++)
            {
                for (int x = box.LowX; x <= box.HighX; x++, to++)
                {
                    int i = x + (y * strideY) + (z * strideZ);
                    surface[to] = values[i] == label
                        && !(x > 0 && values[i - 1] == label && x < grid.Nx - 1 && values[i + 1] == label
                            && y > 0 && values[i - strideY] == label && y < grid.Ny - 1 && values[i + strideY] == label
                            && z > 0 && values[i - strideZ] == label && z < grid.Nz - 1 && values[i + strideZ] == label);
                }
            }
        }

        return surface;
    }

    /// <summary>The smallest box of voxels that holds what was included; limits are inclusive.</summary>
    private sealed class Box(Grid grid)
    {
        internal int LowX { get; private set; } = grid.Nx;

        internal int LowY { get; private set; } = grid.Ny;

        internal int LowZ { get; private set; } = grid.Nz;

        internal int HighX { get; private set; } = -1;

        internal int HighY { get; private set; } = -1;

        internal int HighZ { get; private set; } = -1;

        internal int Nx => HighX - LowX + 1;

        internal int Ny => HighY - LowY + 1;

        internal int Nz => HighZ - LowZ + 1;

        /// <summary>Grows by the voxels of a label; false when there are none.</summary>
        internal bool Include(Volume volume, float label)
        {
            bool any = false;
            int rows = volume.Grid.Ny * volume.Grid.Nz;
            for (int row = 0; row < rows; row++)
            {
                ReadOnlySpan<float> line = volume.Values.AsSpan(row * volume.Grid.Nx, volume.Grid.Nx);
                int first = line.IndexOf(label);
                if (first >= 0)
                {
                    any = true;
                    LowX = Math.Min(LowX, first);
                    HighX = Math.Max(HighX, line.LastIndexOf(label));
                    LowY = Math.Min(LowY, row % volume.Grid.Ny);
                    HighY = Math.Max(HighY, row % volume.Grid.Ny);
                    LowZ = Math.Min(LowZ, row / volume.Grid.Ny);
                    HighZ = Math.Max(HighZ, row / volume.Grid.Ny);
                }
            }

            return any;
        }
    }
}
