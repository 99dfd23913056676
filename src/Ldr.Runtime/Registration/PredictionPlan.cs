using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// What follows from the grids of two scans and their initial alignment: it is kept as long as they stay the same.
/// </summary>
internal sealed class PredictionPlan
{
    /// <summary>Grids that agree to a hundred-thousandth of a voxel count as equal.</summary>
    private const double Tolerance = 1e-5;

    internal PredictionPlan(StudentModel model, Volume fixedScan, Volume movingScan, Alignment? wanted, int threads)
    {
        Grid fixedGrid = fixedScan.Grid;
        Grid movingGrid = movingScan.Grid;
        Fixed = fixedGrid;
        Moving = movingGrid;
        Wanted = wanted;
        (Alignment, Initial) = wanted == Alignment.World
            ? (Alignment.World, Affine.Identity)
            : InitialAlignment.Find(fixedScan, movingScan, wanted ?? model.Alignment, threads);
        Grid = ModelGrid.Around(fixedGrid, model.Spacing, model.Size);
        FixedMap = MapTo(Grid, fixedGrid, Affine.Identity);
        MovingMap = MapTo(Grid, movingGrid, Initial);
        IsFixedGrid = IsSame(Grid, fixedGrid);
        FieldMap = IsFixedGrid ? Affine.Identity : fixedGrid.VoxelsTo(Grid, Affine.Identity);
        Turn = IsFixedGrid ? Affine.Identity : Grid.VoxelsTo(fixedGrid, Affine.Identity);
        IsIdentity = Initial.Equals(Affine.Identity);
        World = fixedGrid.VoxelsTo(fixedGrid, Initial);
        WarpMap = Warp.MapBetween(fixedGrid, movingGrid);
    }

    internal Grid Fixed { get; }

    internal Grid Moving { get; }

    internal Alignment? Wanted { get; }

    internal Alignment Alignment { get; }

    /// <summary>Fixed world to moving world, mm.</summary>
    internal Affine Initial { get; }

    /// <summary>The grid that the network works on.</summary>
    internal Grid Grid { get; }

    /// <summary>Voxels of the network's grid to voxels of the fixed scan.</summary>
    internal Affine FixedMap { get; }

    /// <summary>Voxels of the network's grid to voxels of the moving scan, initially aligned.</summary>
    internal Affine MovingMap { get; }

    /// <summary>Whether the network works on the fixed scan's own grid.</summary>
    internal bool IsFixedGrid { get; }

    /// <summary>Voxels of the fixed scan to voxels of the network's grid.</summary>
    internal Affine FieldMap { get; }

    /// <summary>Vectors of the network's grid to vectors of the fixed grid.</summary>
    internal Affine Turn { get; }

    /// <summary>Whether the initial alignment moves nothing.</summary>
    internal bool IsIdentity { get; }

    /// <summary>The initial alignment in voxels of the fixed grid.</summary>
    internal Affine World { get; }

    /// <summary>Voxels of the fixed grid to voxels of the moving scan, where both lie in the world.</summary>
    internal Affine WarpMap { get; }

    internal bool Fits(Grid fixedGrid, Grid movingGrid, Alignment? wanted) =>
        Alignment != Alignment.Affine && wanted == Wanted && fixedGrid.Equals(Fixed) && movingGrid.Equals(Moving);

    private static bool IsSame(Grid a, Grid b)
    {
        (double x, double y, double z) = a.Spacing;
        return a.SameAs(b, Tolerance * Math.Min(x, Math.Min(y, z)));
    }

    /// <summary>The identity, exactly, where the two lattices coincide.</summary>
    private static Affine MapTo(Grid from, Grid to, Affine world)
    {
        Affine map = from.VoxelsTo(to, world);
        return from.Nx == to.Nx && from.Ny == to.Ny && from.Nz == to.Nz && map.IsCloseTo(Affine.Identity, Tolerance / 1000)
            ? Affine.Identity
            : map;
    }
}
