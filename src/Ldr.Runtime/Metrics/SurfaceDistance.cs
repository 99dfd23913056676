using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Metrics;

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

    /// <summary>
    /// How far a structure's surface, carried by a field, lies from the same structure's surface in the moving scan: the 95th
    /// percentile, in millimetres, of the distances both ways, pooled, to about half a voxel. A field that collapses the structure into its middle,
    /// where any resampled label map overlaps, carries the surface there and is far. NaN when either map lacks the label.
    /// </summary>
    /// <param name="fixedLabels">The fixed label map, on any grid.</param>
    /// <param name="movingLabels">The moving label map.</param>
    /// <param name="field">The total displacement.</param>
    /// <param name="label">The structure.</param>
    public static double Carried95(Volume fixedLabels, Volume movingLabels, DisplacementField field, int label)
    {
        ArgumentNullException.ThrowIfNull(fixedLabels);
        ArgumentNullException.ThrowIfNull(movingLabels);
        ArgumentNullException.ThrowIfNull(field);
        Box fixedBox = new(fixedLabels.Grid);
        Box box = new(movingLabels.Grid);
        if (!fixedBox.Include(fixedLabels, label) || !box.Include(movingLabels, label))
        {
            return double.NaN;
        }

        bool[] surface = Surface(fixedLabels, label, fixedBox);
        List<(double X, double Y, double Z)> carried = [];
        Grid moving = movingLabels.Grid;
        for (int i = 0; i < surface.Length; i++)
        {
            if (surface[i])
            {
                (int x, int y, int z) = fixedBox.VoxelAt(i);
                (double wx, double wy, double wz) = fixedLabels.Grid.VoxelToWorld.Apply(x, y, z);
                (double px, double py, double pz) = field.MapPoint(wx, wy, wz);
                (double vx, double vy, double vz) = moving.WorldToVoxel.Apply(px, py, pz);
                if (!double.IsFinite(vx + vy + vz))
                {
                    return double.PositiveInfinity;
                }

                // What is carried far out of the scan is far, and does not need a box that reaches there.
                (double X, double Y, double Z) point = (Near(vx, moving.Nx), Near(vy, moving.Ny), Near(vz, moving.Nz));
                carried.Add(point);
                box.Include((int)Math.Round(point.X), (int)Math.Round(point.Y), (int)Math.Round(point.Z));
            }
        }

        box.Widen();
        bool[] target = Surface(movingLabels, label, box);
        bool[] reached = new bool[target.Length];
        double[] toTarget = DistanceTransform.SquaredDistances(target, box.Nx, box.Ny, box.Nz, moving.Spacing);
        List<double> distances = [];
        foreach ((double x, double y, double z) in carried)
        {
            reached[box.IndexOf((int)Math.Round(x), (int)Math.Round(y), (int)Math.Round(z))] = true;
            distances.Add(box.DistanceAt(toTarget, x, y, z));
        }

        Collect(target, DistanceTransform.SquaredDistances(reached, box.Nx, box.Ny, box.Nz, moving.Spacing), distances);
        double[] sorted = [.. distances];
        Array.Sort(sorted);
        return Percentile.OfSorted(sorted, 95);
    }

    private static double Near(double index, int size) => Math.Clamp(index, -size, 2 * size);

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
                    surface[to] = x >= 0 && x < grid.Nx && y >= 0 && y < grid.Ny && z >= 0 && z < grid.Nz && values[i] == label
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

        /// <summary>Grows by a voxel, which may lie beyond the grid.</summary>
        internal void Include(int x, int y, int z)
        {
            (LowX, HighX) = (Math.Min(LowX, x), Math.Max(HighX, x));
            (LowY, HighY) = (Math.Min(LowY, y), Math.Max(HighY, y));
            (LowZ, HighZ) = (Math.Min(LowZ, z), Math.Max(HighZ, z));
        }

        /// <summary>Grows by a voxel on every side.</summary>
        internal void Widen()
        {
            Include(LowX - 1, LowY - 1, LowZ - 1);
            Include(HighX + 1, HighY + 1, HighZ + 1);
        }

        internal (int X, int Y, int Z) VoxelAt(int index) =>
            (LowX + (index % Nx), LowY + (index / Nx % Ny), LowZ + (index / (Nx * Ny)));

        internal int IndexOf(int x, int y, int z) => x - LowX + (Nx * (y - LowY + (Ny * (z - LowZ))));

        /// <summary>Distances between voxels, trilinear, from squared distances at the voxels of the box.</summary>
        internal double DistanceAt(double[] squared, double x, double y, double z)
        {
            (int x0, int y0, int z0) = ((int)Math.Floor(x), (int)Math.Floor(y), (int)Math.Floor(z));
            double sum = 0;
            for (int corner = 0; corner < 8; corner++)
            {
                (int dx, int dy, int dz) = (corner & 1, (corner >> 1) & 1, corner >> 2);
                double weight = Share(x - x0, dx) * Share(y - y0, dy) * Share(z - z0, dz);
                sum += weight == 0 ? 0 : weight * Math.Sqrt(squared[IndexOf(x0 + dx, y0 + dy, z0 + dz)]);
            }

            return sum;
        }

        private static double Share(double fraction, int upper) => upper == 1 ? fraction : 1 - fraction;

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
