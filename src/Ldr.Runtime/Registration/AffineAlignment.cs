using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>How free the alignment of two scans as a whole is.</summary>
public enum AffineFreedom
{
    /// <summary>Rotation and translation.</summary>
    Rigid,

    /// <summary>All 12 numbers.</summary>
    Full,
}

/// <summary>An alignment of two scans as a whole.</summary>
/// <param name="World">From the fixed world to the moving world, mm, RAS+.</param>
/// <param name="Before">The similarity of the best start that the headers alone give, 0 to 1.</param>
/// <param name="After">The similarity reached, 0 to 1.</param>
/// <param name="Start">The map that has it: the headers', or that of the grids' centres; what was given, where something was.</param>
public sealed record AffineResult(Affine World, double Before, double After, Affine Start);

/// <summary>
/// Affine registration. The similarity is the share of the fixed scan's variance, box by box, that a linear function of the moving
/// scan explains (squared local correlation, weighted by the fixed variance), so that it survives changes of contrast. Starts
/// from headers, grid centres, centres of mass and turns about them; goes on from coarse to fine with BFGS on analytic
/// gradients, rigid first.
/// </summary>
public static class AffineAlignment
{
    /// <summary>Voxels of the fixed scan that the coarse and the fine level look at.</summary>
    private static readonly int[] LevelVoxels = [6_000, 30_000, 120_000];

    /// <summary>Aligns.</summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <param name="freedom">Which maps are allowed.</param>
    /// <param name="initial">Where to start, beside what is tried anyway; null for none.</param>
    /// <param name="fixedMask">Where the fixed scan counts (above 0); everywhere when null.</param>
    /// <param name="movingMask">Where the moving scan's centre of mass is taken (above 0); everywhere when null.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="cancellation">Stops between two steps.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static AffineResult Run(
        Volume fixedScan,
        Volume movingScan,
        AffineFreedom freedom,
        Affine? initial = null,
        Volume? fixedMask = null,
        Volume? movingMask = null,
        int threads = 0,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        AffineLevel[] levels = new AffineLevel[LevelVoxels.Length];
        AffineLevel.Input finerFixed = new(fixedScan, WorkImage.WindowOf(fixedScan, fixedMask));
        AffineLevel.Input finerMoving = new(movingScan, WorkImage.WindowOf(movingScan, movingMask));
        AffineLevel.Input? finerMask = fixedMask is null ? null : new(fixedMask, WorkImage.AboveZero);
        for (int i = levels.Length - 1; i >= 0; i--)
        {
            levels[i] = new AffineLevel(finerFixed, finerMoving, finerMask, LevelVoxels[i], threads);
            finerFixed = new(levels[i].Fixed, null);
            finerMoving = new(levels[i].Moving, null);
            finerMask = levels[i].Mask is Volume mask ? new(mask, null) : null;
        }

        Affine header = initial ?? Affine.Identity;
        Moments own = Moments.Of(levels[^1].Fixed, fixedMask);
        Moments other = Moments.Of(levels[^1].Moving, movingMask);
        Affine masses = Affine.Translation(other.X - own.X, other.Y - own.Y, other.Z - own.Z);
        Affine centres = InitialAlignment.BetweenCentres(fixedScan.Grid, movingScan.Grid);

        AffineLevel coarse = levels[0];
        Affine start = header;
        double before = levels[^1].Similarity(header);
        if (initial is null && levels[^1].Similarity(centres) is double byCentres && byCentres > before)
        {
            (start, before) = (centres, byCentres);
        }

        List<Affine> starts = [header];
        foreach (Affine shift in initial is null ? new[] { centres, masses } : [])
        {
            foreach (Affine turn in Turns(own))
            {
                starts.Add(turn.Then(shift));
            }
        }

        List<(double Similarity, Affine Map)> best = starts
            .Select(map => (coarse.Similarity(map), map)).OrderByDescending(pair => pair.Item1).Take(8)
            .Select(pair => Optimise(coarse, pair.map, rigid: true, 25, cancellation)).OrderByDescending(pair => pair.Similarity).Take(4)
            .ToList();
        (double similarity, Affine found) = best
            .Select(pair => freedom == AffineFreedom.Full ? Optimise(coarse, pair.Map, rigid: false, 25, cancellation) : pair)
            .MaxBy(pair => pair.Similarity);
        foreach (AffineLevel level in levels.Skip(1))
        {
            (similarity, found) = Optimise(level, found, freedom == AffineFreedom.Rigid, 20, cancellation);
        }

        return new AffineResult(found, before, similarity, start);
    }

    /// <summary>The identity, and turns by 25° and 50° about each world axis, both ways, through the centre of mass.</summary>
    private static IEnumerable<Affine> Turns(Moments about)
    {
        yield return Affine.Identity;
        for (int axis = 0; axis < 3; axis++)
        {
            foreach (double degrees in (double[])[-50, -25, 25, 50])
            {
                double[] motion = new double[12];
                motion[axis] = degrees * Math.PI / 180;
                yield return Step(Affine.Identity, motion, (about.X, about.Y, about.Z));
            }
        }
    }

    /// <summary>
    /// BFGS over small motions of the moving side: 3 turns, 3 shifts, and for the full map 6 stretches and shears.
    /// </summary>
    private static (double Similarity, Affine Map) Optimise(AffineLevel level, Affine start, bool rigid, int iterations, CancellationToken cancellation)
    {
        int n = rigid ? 6 : 12;
        double[,] hessian = new double[n, n];
        Affine map = start;
        double[] gradient = new double[12];
        double value = level.Similarity(map, gradient);
        double[] scale = level.MotionScale;
        double[] Scaled(double[] raw) => [.. raw.Take(n).Select((g, i) => g * scale[i])];
        double[] g = Scaled(gradient);
        void Reset()
        {
            Array.Clear(hessian);
            double length = Math.Sqrt(g.Sum(x => x * x));
            for (int i = 0; i < n; i++)
            {
                // The first step moves voxels by about one voxel of the level.
                hessian[i, i] = 1 / Math.Max(1e-12, length);
            }
        }

        Reset();
        for (int iteration = 0; iteration < iterations; iteration++)
        {
            cancellation.ThrowIfCancellationRequested();
            double[] direction = new double[n];
            double slope = 0;
            for (int i = 0; i < n; i++)
            {
                for (int j = 0; j < n; j++)
                {
                    direction[i] += hessian[i, j] * g[j];
                }

                slope += direction[i] * g[i];
            }

            if (!(slope > 0))
            {
                Reset();
                direction = [.. Enumerable.Range(0, n).Select(i => hessian[i, i] * g[i])];
                slope = direction.Zip(g, (x, y) => x * y).Sum();
            }

            double longest = direction.Max(Math.Abs);
            double factor = longest > 3 ? 3 / longest : 1;
            bool found = false;
            double[] next = new double[12];
            for (int tries = 0; tries < 8 && !found; tries++, factor *= 0.4)
            {
                double[] motion = new double[12];
                for (int i = 0; i < n; i++)
                {
                    motion[i] = factor * direction[i] * scale[i];
                }

                Affine candidate = Step(map, motion, level.Pivot(map));
                double reached = level.Similarity(candidate, next);
                if (reached > value + (1e-4 * factor * slope))
                {
                    double[] nextScaled = Scaled(next);
                    Update(hessian, [.. direction.Select(d => factor * d)], [.. g.Zip(nextScaled, (old, now) => old - now)]);
                    bool small = reached - value < 1e-6;
                    (map, value, g) = (candidate, reached, nextScaled);
                    found = true;
                    if (small)
                    {
                        return (value, map);
                    }
                }
            }

            if (!found)
            {
                break;
            }
        }

        return (value, map);
    }

    /// <summary>The BFGS update of an inverse Hessian.</summary>
    private static void Update(double[,] inverse, double[] s, double[] y)
    {
        int n = s.Length;
        double sy = s.Zip(y, (a, b) => a * b).Sum();
        if (sy < 1e-12)
        {
            return;
        }

        double[] hy = new double[n];
        double yhy = 0;
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                hy[i] += inverse[i, j] * y[j];
            }

            yhy += y[i] * hy[i];
        }

        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                inverse[i, j] += ((1 + (yhy / sy)) * s[i] * s[j] / sy) - (((hy[i] * s[j]) + (s[i] * hy[j])) / sy);
            }
        }
    }

    /// <summary>
    /// A map followed by a motion about a pivot of the moving world: the matrix exponential of turns (3), shifts (3), stretches
    /// (3) and shears (3), so that turns and shifts alone stay rigid.
    /// </summary>
    private static Affine Step(Affine map, double[] motion, (double X, double Y, double Z) pivot)
    {
        (double a, double b, double c) = (motion[0], motion[1], motion[2]);
        double[,] generator =
        {
            { motion[6], motion[9] - c, motion[10] + b },
            { motion[9] + c, motion[7], motion[11] - a },
            { motion[10] - b, motion[11] + a, motion[8] },
        };
        double[,] sum = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };
        double[,] term = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };
        for (int order = 1; order <= 20; order++)
        {
            double[,] product = new double[3, 3];
            for (int i = 0; i < 27; i++)
            {
                product[i / 9, i / 3 % 3] += term[i / 9, i % 3] * generator[i % 3, i / 3 % 3] / order;
            }

            term = product;
            for (int i = 0; i < 9; i++)
            {
                sum[i / 3, i % 3] += term[i / 3, i % 3];
            }
        }

        Affine turn = Affine.FromRows(
            sum[0, 0], sum[0, 1], sum[0, 2], 0, sum[1, 0], sum[1, 1], sum[1, 2], 0, sum[2, 0], sum[2, 1], sum[2, 2], 0);
        return map
            .Then(Affine.Translation(-pivot.X, -pivot.Y, -pivot.Z)).Then(turn)
            .Then(Affine.Translation(pivot.X + motion[3], pivot.Y + motion[4], pivot.Z + motion[5]));
    }

    /// <summary>The centre of mass, mm.</summary>
    private readonly record struct Moments(double X, double Y, double Z)
    {
        /// <summary>Of the mask where there is one, of the intensities else.</summary>
        internal static Moments Of(Volume scan, Volume? mask)
        {
            Volume volume = mask ?? scan;
            double total = 0;
            double x = 0;
            double y = 0;
            double z = 0;
            Grid grid = volume.Grid;
            for (int k = 0, i = 0; k < grid.Nz; k++)
            {
                for (int j = 0; j < grid.Ny; j++)
                {
                    for (int l = 0; l < grid.Nx; l++, i++)
                    {
                        double mass = mask is null ? volume.Values[i] : volume.Values[i] > 0 ? 1 : 0;
                        total += mass;
                        x += mass * l;
                        y += mass * j;
                        z += mass * k;
                    }
                }
            }

            (double cx, double cy, double cz) = total > 0
                ? grid.VoxelToWorld.Apply(x / total, y / total, z / total)
                : grid.Centre;
            return new Moments(cx, cy, cz);
        }
    }
}
