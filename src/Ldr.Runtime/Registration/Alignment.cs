namespace Ldr.Runtime;

/// <summary>How two scans are laid over each other before anything is deformed.</summary>
public enum Alignment
{
    /// <summary>By the world positions that their files state.</summary>
    World,

    /// <summary>By a translation that brings the centres of the two grids together.</summary>
    Centres,
}

/// <summary>The transform that a registration starts from.</summary>
public static class InitialAlignment
{
    /// <summary>
    /// Scans whose boxes overlap by less than this share of the smaller one are not usable as they lie: their centres
    /// are brought together.
    /// </summary>
    public const double SmallestOverlap = 0.5;

    /// <summary>The alignment that is used: the wanted one, or centres when the scans hardly overlap.</summary>
    public static Alignment Choose(Grid fixedGrid, Grid movingGrid, Alignment wanted) =>
        fixedGrid.OverlapWith(movingGrid) < SmallestOverlap ? Alignment.Centres : wanted;

    /// <summary>The map of fixed world to moving world (mm): the identity, or a translation between the centres.</summary>
    public static Affine FixedToMoving(Grid fixedGrid, Grid movingGrid, Alignment alignment)
    {
        if (alignment == Alignment.World)
        {
            return Affine.Identity;
        }

        (double fx, double fy, double fz) = fixedGrid.Centre;
        (double mx, double my, double mz) = movingGrid.Centre;
        return Affine.Translation(mx - fx, my - fy, mz - fz);
    }
}
