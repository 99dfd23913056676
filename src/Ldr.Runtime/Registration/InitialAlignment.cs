using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Registration;

/// <summary>The transform that a registration starts from.</summary>
public static class InitialAlignment
{
    /// <summary>
    /// Scans whose boxes overlap by less than this share of the smaller one are not usable as they lie: their centres
    /// are brought together.
    /// </summary>
    public const double SmallestOverlap = 0.5;

    /// <summary>
    /// The alignment that is used, and its map of fixed world to moving world (mm). Scans that hardly overlap are brought
    /// together by their centres where their world positions were wanted.
    /// </summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <param name="wanted">How they are to be laid over each other.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public static (Alignment Used, Affine Map) Find(
        Volume fixedScan, Volume movingScan, Alignment wanted, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        return wanted switch
        {
            Alignment.Affine =>
                (wanted, AffineAlignment.Run(fixedScan, movingScan, AffineFreedom.Full, threads: threads).World),
            Alignment.World when fixedScan.Grid.OverlapWith(movingScan.Grid) >= SmallestOverlap =>
                (wanted, Affine.Identity),
            _ => (Alignment.Centres, BetweenCentres(fixedScan.Grid, movingScan.Grid)),
        };
    }

    /// <summary>The translation between the centres of two grids, fixed world to moving world, mm.</summary>
    public static Affine BetweenCentres(Grid fixedGrid, Grid movingGrid)
    {
        ArgumentNullException.ThrowIfNull(fixedGrid);
        ArgumentNullException.ThrowIfNull(movingGrid);
        (double fx, double fy, double fz) = fixedGrid.Centre;
        (double mx, double my, double mz) = movingGrid.Centre;
        return Affine.Translation(mx - fx, my - fy, mz - fz);
    }
}
