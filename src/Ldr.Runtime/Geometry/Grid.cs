namespace Ldr.Runtime.Geometry;

/// <summary>
/// Where the voxels of a volume are: three sizes and the map from voxel indices to world millimetres (RAS+).
/// Voxel (0,0,0) is the centre of the first voxel. Immutable.
/// </summary>
public sealed class Grid : IEquatable<Grid>
{
    /// <summary>Makes a grid of <c>nx × ny × nz</c> voxels.</summary>
    /// <exception cref="ArgumentException">
    /// A size below 1, more voxels than one array can hold, or a map that is singular or not finite.
    /// </exception>
    public Grid(int nx, int ny, int nz, Affine voxelToWorld)
    {
        ArgumentNullException.ThrowIfNull(voxelToWorld);
        if (nx < 1 || ny < 1 || nz < 1)
        {
            throw new ArgumentException($"a grid of {nx}×{ny}×{nz} voxels has an axis without voxels");
        }

        if ((Int128)nx * ny * nz > Array.MaxLength)
        {
            throw new ArgumentException($"a grid of {nx}×{ny}×{nz} voxels is larger than {Array.MaxLength} voxels");
        }

        if (!voxelToWorld.IsFinite || voxelToWorld.IsSingular)
        {
            throw new ArgumentException($"the voxel-to-world map {voxelToWorld} is singular or not finite", nameof(voxelToWorld));
        }

        Nx = nx;
        Ny = ny;
        Nz = nz;
        VoxelToWorld = voxelToWorld;
        WorldToVoxel = voxelToWorld.Inverse();
    }

    /// <summary>Number of voxels along the first axis, the fastest in memory.</summary>
    public int Nx { get; }

    /// <summary>Number of voxels along the second axis.</summary>
    public int Ny { get; }

    /// <summary>Number of voxels along the third axis, the slowest in memory.</summary>
    public int Nz { get; }

    /// <summary>The map from voxel indices to world millimetres (RAS+).</summary>
    public Affine VoxelToWorld { get; }

    /// <summary>The map from world millimetres (RAS+) to voxel indices.</summary>
    public Affine WorldToVoxel { get; }

    /// <summary>Number of voxels.</summary>
    public long Count => (long)Nx * Ny * Nz;

    /// <summary>Distance between neighbouring voxel centres along each voxel axis, in millimetres.</summary>
    public (double X, double Y, double Z) Spacing =>
        (VoxelToWorld.ColumnLength(0), VoxelToWorld.ColumnLength(1), VoxelToWorld.ColumnLength(2));

    /// <summary>World position of the grid's centre, voxel ((nx-1)/2, (ny-1)/2, (nz-1)/2), in millimetres.</summary>
    public (double X, double Y, double Z) Centre =>
        VoxelToWorld.Apply((Nx - 1) / 2.0, (Ny - 1) / 2.0, (Nz - 1) / 2.0);

    /// <summary>
    /// The anatomical direction that each voxel axis points to, such as "RAS" or "LIA": Right or Left, Anterior or
    /// Posterior, Superior or Inferior. Oblique axes take the nearest one, each world axis once, by the nearest
    /// rotation of the map, as nibabel's <c>aff2axcodes</c>.
    /// </summary>
    public string Orientation => OrientationCode.Of(VoxelToWorld);

    /// <summary>
    /// Whether the other grid has the same sizes and no voxel of it lies further than the tolerance (mm) from its
    /// counterpart here.
    /// </summary>
    public bool SameAs(Grid other, double toleranceMm = 1e-3)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (!SameSizeAs(other))
        {
            return false;
        }

        // The distance between two affine images of a box is largest at one of its corners.
        for (int corner = 0; corner < 8; corner++)
        {
            double x = (corner & 1) * (Nx - 1);
            double y = ((corner >> 1) & 1) * (Ny - 1);
            double z = ((corner >> 2) & 1) * (Nz - 1);
            (double ax, double ay, double az) = VoxelToWorld.Apply(x, y, z);
            (double bx, double by, double bz) = other.VoxelToWorld.Apply(x, y, z);
            if (!(Math.Sqrt(Square(ax - bx) + Square(ay - by) + Square(az - bz)) <= toleranceMm))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>
    /// How much two grids cover the same place: volume of the intersection of their bounding boxes along the world
    /// axes (voxels taken with their full extent), divided by the smaller box's volume. 0 apart, 1 one inside the other.
    /// </summary>
    public double OverlapWith(Grid other)
    {
        ArgumentNullException.ThrowIfNull(other);
        (double Low, double High)[] a = BoundingBox();
        (double Low, double High)[] b = other.BoundingBox();
        double shared = 1;
        double volumeA = 1;
        double volumeB = 1;
        for (int axis = 0; axis < 3; axis++)
        {
            shared *= Math.Max(0, Math.Min(a[axis].High, b[axis].High) - Math.Max(a[axis].Low, b[axis].Low));
            volumeA *= a[axis].High - a[axis].Low;
            volumeB *= b[axis].High - b[axis].Low;
        }

        return Math.Min(1, shared / Math.Min(volumeA, volumeB));
    }

    /// <summary>Whether sizes and maps are exactly equal.</summary>
    public bool Equals(Grid? other) =>
        other is not null && SameSizeAs(other) && VoxelToWorld.Equals(other.VoxelToWorld);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Grid);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Nx, Ny, Nz, VoxelToWorld);

    /// <summary>Sizes, spacing and orientation, such as <c>128×128×96, 1×1×1.5 mm, RAS</c>.</summary>
    public override string ToString() =>
        FormattableString.Invariant($"{Nx}×{Ny}×{Nz}, {Spacing.X:0.###}×{Spacing.Y:0.###}×{Spacing.Z:0.###} mm, {Orientation}");

    /// <summary>Whether the other grid has as many voxels along each axis.</summary>
    internal bool SameSizeAs(Grid other) => Nx == other.Nx && Ny == other.Ny && Nz == other.Nz;

    /// <summary>The map from voxels of this grid to voxels of another, through a map from this world to that one.</summary>
    internal Affine VoxelsTo(Grid other, Affine world) =>
        VoxelToWorld.Then(world).Then(other.WorldToVoxel);

    private static double Square(double value) => value * value;

    private (double Low, double High)[] BoundingBox()
    {
        (double Low, double High)[] box = new (double Low, double High)[3];
        for (int axis = 0; axis < 3; axis++)
        {
            double middle = (axis == 0 ? Centre.X : axis == 1 ? Centre.Y : Centre.Z);
            double half = 0.5 * ((Nx * Math.Abs(VoxelToWorld[axis, 0]))
                + (Ny * Math.Abs(VoxelToWorld[axis, 1])) + (Nz * Math.Abs(VoxelToWorld[axis, 2])));
            box[axis] = (middle - half, middle + half);
        }

        return box;
    }
}
