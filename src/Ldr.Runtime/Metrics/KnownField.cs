using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Metrics;

/// <summary>How a pair with a known field is made.</summary>
public sealed record KnownFieldOptions
{
    /// <summary>Mean length of the displacements in the scan's content, mm; null: twice the mean voxel spacing.</summary>
    public double? AmplitudeMm { get; init; }

    /// <summary>Deviation of the Gaussian that smooths the field, mm; null: eight times the mean voxel spacing.</summary>
    public double? SmoothnessMm { get; init; }

    /// <summary>Deviation of the normal noise in the fixed scan, as a share of its range (0.5 to 99.5 % of the values).</summary>
    public double Noise { get; init; } = 0.02;

    /// <summary>Noise in the dark surround too.</summary>
    public bool NoiseEverywhere { get; init; }

    /// <summary>What draws field and noise; the same on every machine.</summary>
    public int Seed { get; init; } = 1;
}

/// <summary>
/// A scan and the same scan, warped by a smooth random field: a pair whose right answer is known. The fixed scan is
/// <c>scan(x + u(x))</c> with noise, the moving scan is the scan itself.
/// </summary>
public sealed record KnownField
{
    private KnownField(Volume fixedScan, Volume moving, DisplacementField truth, bool[] region)
    {
        Fixed = fixedScan;
        Moving = moving;
        Truth = truth;
        Region = region;
    }

    /// <summary>The warped scan.</summary>
    public Volume Fixed { get; }

    /// <summary>The scan.</summary>
    public Volume Moving { get; }

    /// <summary>The displacement that a registration should find.</summary>
    public DisplacementField Truth { get; }

    /// <summary>Where errors count: the labels in the warped scan, or its content.</summary>
    public IReadOnlyList<bool> Region { get; }

    /// <summary>Makes a pair of a scan.</summary>
    /// <param name="scan">The scan.</param>
    /// <param name="labels">Its label map, on its grid; null: errors count in its content.</param>
    /// <param name="options">How.</param>
    public static KnownField Of(Volume scan, Volume? labels, KnownFieldOptions options)
    {
        ArgumentNullException.ThrowIfNull(scan);
        ArgumentNullException.ThrowIfNull(options);
        Grid grid = scan.Grid;
        (double sx, double sy, double sz) = grid.Spacing;
        double spacing = (sx + sy + sz) / 3;
        double sigma = options.SmoothnessMm ?? (8 * spacing);
        Noise random = new(options.Seed);
        int plane = (int)grid.Count;
        float[] vectors = new float[3 * plane];
        double[] perAxis = [sx, sy, sz];

        // Drawn on a wider grid, so that the field is as large at the border as in the middle.
        int[] margin = Array.ConvertAll(perAxis, own => (int)Math.Ceiling(2.5 * sigma / own));
        Grid wide = new(grid.Nx + (2 * margin[0]), grid.Ny + (2 * margin[1]), grid.Nz + (2 * margin[2]), Affine.Identity);
        for (int channel = 0; channel < 3; channel++)
        {
            float[] own = new float[wide.Count];
            for (int i = 0; i < own.Length; i++)
            {
                own[i] = (float)random.Next();
            }

            for (int axis = 0; axis < 3; axis++)
            {
                own = Gaussian.BlurAxis(own, wide, axis, sigma / perAxis[axis], 0);
            }

            for (int z = 0, to = channel * plane; z < grid.Nz; z++)
            {
                for (int y = 0; y < grid.Ny; y++, to += grid.Nx)
                {
                    int from = margin[0] + (wide.Nx * (y + margin[1] + (wide.Ny * (z + margin[2]))));
                    for (int x = 0; x < grid.Nx; x++)
                    {
                        vectors[to + x] = (float)(own[from + x] / perAxis[channel]);
                    }
                }
            }
        }

        double length = MeanLength(new DisplacementField(grid, vectors), null, Content.Of(scan));
        float factor = (float)((options.AmplitudeMm ?? (2 * spacing)) / length);
        DisplacementField truth = new(grid, Array.ConvertAll(vectors, v => factor * v));
        Volume warped = Warp.Linear(scan, truth);
        bool[] content = Content.Of(warped);
        bool[] region = labels is null ? content : Array.ConvertAll(Warp.Nearest(labels, truth).Values, v => v != 0);
        double[] range = Percentile.Of(scan.Values, 0.5, 99.5);
        double noise = options.Noise * (range[1] - range[0]);
        for (int i = 0; i < plane; i++)
        {
            double own = noise * random.Next();
            warped.Values[i] += options.NoiseEverywhere || content[i] ? (float)own : 0;
        }

        return new KnownField(warped, scan, truth, region);
    }

    /// <summary>The mean distance, mm, in the region, between where a field takes a point and where it should.</summary>
    /// <param name="found">A total displacement on the scan's grid; null: what doing nothing misses.</param>
    public double ErrorMm(DisplacementField? found) => MeanLength(Truth, found, Region);

    private static double MeanLength(DisplacementField truth, DisplacementField? found, IReadOnlyList<bool> region)
    {
        Grid grid = truth.Grid;
        int plane = (int)grid.Count;
        double sum = 0;
        long count = 0;
        for (int i = 0; i < plane; i++)
        {
            if (region[i])
            {
                double Rest(int channel) =>
                    truth.Vectors[(channel * plane) + i] - (found is null ? 0 : found.Vectors[(channel * plane) + i]);
                (double x, double y, double z) = grid.VoxelToWorld.ApplyLinear(Rest(0), Rest(1), Rest(2));
                sum += Math.Sqrt((x * x) + (y * y) + (z * z));
                count++;
            }
        }

        return count == 0 ? double.NaN : sum / count;
    }

    /// <summary>Normal numbers by SplitMix64 (Steele, Lea, Flood 2014) and Box and Muller's rule.</summary>
    private sealed class Noise(int seed)
    {
        private ulong state = (ulong)seed * 0x9E3779B97F4A7C15UL;
        private double? kept;

        internal double Next()
        {
            if (kept is double second)
            {
                kept = null;
                return second;
            }

            double radius = Math.Sqrt(-2 * Math.Log(1 - Uniform()));
            double angle = 2 * Math.PI * Uniform();
            kept = radius * Math.Sin(angle);
            return radius * Math.Cos(angle);
        }

        private double Uniform()
        {
            state += 0x9E3779B97F4A7C15UL;
            ulong z = state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
            return ((z ^ (z >> 31)) >> 11) * (1.0 / (1UL << 53));
        }
    }
}
