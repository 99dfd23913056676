using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Registration;

/// <summary>
/// The grid that a network works on: axes along RAS, the spacing that it was trained at, around the centre of the fixed
/// scan. Where the fixed scan has that orientation and spacing already, its own lattice is kept, so that nothing is
/// interpolated.
/// </summary>
public static class ModelGrid
{
    /// <summary>Spacings that differ by less than this share count as equal.</summary>
    public const double SpacingTolerance = 0.01;

    /// <summary>
    /// The most voxels that a network is run on, 512³. Scans that need more mostly state a wrong voxel size.
    /// </summary>
    public const long MostVoxels = 1L << 27;

    /// <summary>Voxels, 256³, that a network is run on for any scan, however few it has.</summary>
    private const long Always = 1L << 24;

    /// <summary>Beyond that, at most so many voxels are made of each of the scan's.</summary>
    private const long PerVoxel = 16;

    /// <summary>
    /// The most voxels that a network is run on for a scan: 256³, or 16 times its own where that is more, up to
    /// <see cref="MostVoxels"/>. So a small file of large voxels does not take gigabytes.
    /// </summary>
    /// <param name="fixedGrid">The fixed scan's grid.</param>
    public static long MostVoxelsFor(Grid fixedGrid)
    {
        ArgumentNullException.ThrowIfNull(fixedGrid);
        return Math.Clamp(PerVoxel * Math.Min(fixedGrid.Count, MostVoxels), Always, MostVoxels);
    }

    /// <summary>A grid that holds the whole fixed scan and is at least as large as the model's training size.</summary>
    /// <param name="fixedGrid">The fixed scan's grid.</param>
    /// <param name="spacing">The model's spacing, mm.</param>
    /// <param name="size">The model's training size, voxels.</param>
    /// <exception cref="ArgumentException">More than <see cref="MostVoxelsFor"/>, see <see cref="CountAround"/>.</exception>
    public static Grid Around(Grid fixedGrid, (double X, double Y, double Z) spacing, (int X, int Y, int Z) size)
    {
        double count = CountAround(fixedGrid, spacing, size);
        long most = MostVoxelsFor(fixedGrid);
        return count <= most
            ? Canvas(fixedGrid, spacing, SizeAround(fixedGrid, spacing, size))
            : throw new ArgumentException($"{count:G3} voxels, more than {most}", nameof(fixedGrid));
    }

    /// <summary>How many voxels <see cref="Around"/> needs; at least so many when that is beyond all bounds.</summary>
    public static double CountAround(Grid fixedGrid, (double X, double Y, double Z) spacing, (int X, int Y, int Z) size)
    {
        (int x, int y, int z) = SizeAround(fixedGrid, spacing, size);
        return (double)x * y * z;
    }

    /// <summary>A grid of exactly the given size around the fixed scan's centre; a larger scan is cropped.</summary>
    /// <param name="fixedGrid">The fixed scan's grid.</param>
    /// <param name="spacing">The model's spacing, mm.</param>
    /// <param name="size">Voxels along x, y and z.</param>
    public static Grid Canvas(Grid fixedGrid, (double X, double Y, double Z) spacing, (int X, int Y, int Z) size)
    {
        if (KeepsLattice(fixedGrid, spacing))
        {
            Affine shift = Affine.Translation(
                -Half(size.X - fixedGrid.Nx), -Half(size.Y - fixedGrid.Ny), -Half(size.Z - fixedGrid.Nz));
            return new Grid(size.X, size.Y, size.Z, shift.Then(fixedGrid.VoxelToWorld));
        }

        (double x, double y, double z) = fixedGrid.Centre;
        Affine toWorld = Affine
            .Translation(-(size.X - 1) / 2.0, -(size.Y - 1) / 2.0, -(size.Z - 1) / 2.0)
            .Then(Affine.Scaling(spacing.X, spacing.Y, spacing.Z))
            .Then(Affine.Translation(x, y, z));
        return new Grid(size.X, size.Y, size.Z, toWorld);
    }

    private static (int X, int Y, int Z) SizeAround(
        Grid fixedGrid, (double X, double Y, double Z) spacing, (int X, int Y, int Z) size)
    {
        ArgumentNullException.ThrowIfNull(fixedGrid);
        (int x, int y, int z) = VoxelsOf(fixedGrid, spacing);
        return (Math.Max(x, size.X), Math.Max(y, size.Y), Math.Max(z, size.Z));
    }

    private static double Half(int difference) => Math.Floor(difference / 2.0);

    private static bool KeepsLattice(Grid grid, (double X, double Y, double Z) spacing)
    {
        Affine map = grid.VoxelToWorld;
        ReadOnlySpan<double> wanted = [spacing.X, spacing.Y, spacing.Z];
        for (int row = 0; row < 3; row++)
        {
            for (int column = 0; column < 3; column++)
            {
                double right = row == column ? wanted[row] : 0;
                if (Math.Abs(map[row, column] - right) > SpacingTolerance * wanted[column])
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>How many voxels of the spacing cover the grid's box in world space.</summary>
    private static (int X, int Y, int Z) VoxelsOf(Grid grid, (double X, double Y, double Z) spacing)
    {
        if (KeepsLattice(grid, spacing))
        {
            return (grid.Nx, grid.Ny, grid.Nz);
        }

        Affine map = grid.VoxelToWorld;
        double Extent(int row) =>
            (Math.Abs(map[row, 0]) * grid.Nx) + (Math.Abs(map[row, 1]) * grid.Ny) + (Math.Abs(map[row, 2]) * grid.Nz);
        return (
            (int)Math.Ceiling((Extent(0) / spacing.X) - 1e-6),
            (int)Math.Ceiling((Extent(1) / spacing.Y) - 1e-6),
            (int)Math.Ceiling((Extent(2) / spacing.Z) - 1e-6));
    }
}
