using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Where each atlas's patch lies that is most like the target's, by the correlation of their intensities; and how the two differ,
/// after both have been brought to mean 0 and deviation 1.
/// </summary>
internal sealed class PatchSearch
{
    /// <summary>Deviations below this share of the target's own are noise: such patches are flat.</summary>
    private const float Flat = 0.01f;

    private readonly FusionOptions options;
    private readonly CancellationToken cancellation;
    private readonly Scan target;
    private readonly int radius;
    private Scan[] atlases = [];

    internal PatchSearch(Grid grid, float[] target, FusionOptions options, CancellationToken cancellation)
    {
        Grid = grid;
        this.options = options;
        this.cancellation = cancellation;
        radius = options.RadiusOn(grid);
        this.target = Scan.Of(grid, target, radius);
        Moves = [.. Offsets(options.SearchRadius).OrderBy(Distance)];
    }

    internal Grid Grid { get; }

    /// <summary>The moves that are tried, as differences of voxel indices: none first, then the nearest.</summary>
    internal int[] Moves { get; }

    /// <summary>Each atlas's best move at every voxel.</summary>
    internal byte[][] Shifts { get; private set; } = [];

    /// <summary>The voxels of a cube around a voxel, as differences of indices.</summary>
    internal int[] Offsets(int radius)
    {
        List<int> offsets = [];
        for (int z = -radius; z <= radius; z++)
        {
            for (int y = -radius; y <= radius; y++)
            {
                for (int x = -radius; x <= radius; x++)
                {
                    offsets.Add(x + (Grid.Nx * (y + (Grid.Ny * z))));
                }
            }
        }

        return [.. offsets];
    }

    /// <summary>Searches for every atlas.</summary>
    internal void Run(float[][] scans)
    {
        atlases = new Scan[scans.Length];
        Shifts = new byte[scans.Length][];
        int most = options.Threads == 0 ? Threads.Most : options.Threads;
        try
        {
            Parallel.For(0, scans.Length, new ParallelOptions { MaxDegreeOfParallelism = most }, i =>
            {
                atlases[i] = Scan.Of(Grid, scans[i], radius);
                Shifts[i] = Best(atlases[i]);
            });
        }
        catch (AggregateException error) when (error.InnerExceptions.All(inner => inner is OperationCanceledException))
        {
            throw new OperationCanceledException(cancellation);
        }
    }

    /// <summary>The absolute differences of an atlas's patch from the target's at a voxel.</summary>
    internal void Errors(int atlas, int voxel, int[] patch, Span<float> errors)
    {
        Scan other = atlases[atlas];
        int moved = voxel + Moves[Shifts[atlas][voxel]];
        float scale = target.Scales[voxel];
        float otherScale = other.Scales[moved];
        float mean = (target.Means[voxel] * scale) - (other.Means[moved] * otherScale);
        float[] values = target.Values;
        float[] others = other.Values;
        for (int k = 0; k < patch.Length; k++)
        {
            errors[k] = Math.Abs((others[moved + patch[k]] * otherScale) - (values[voxel + patch[k]] * scale) + mean);
        }
    }

    /// <summary>How far a move goes, for an order: as the crow flies, squared.</summary>
    private int Distance(int move)
    {
        int slice = Grid.Nx * Grid.Ny;
        int z = (int)Math.Round((double)move / slice);
        int y = (int)Math.Round((double)(move - (z * slice)) / Grid.Nx);
        int x = move - (z * slice) - (y * Grid.Nx);
        return (x * x) + (y * y) + (z * z);
    }

    private byte[] Best(Scan atlas)
    {
        byte[] best = new byte[Grid.Count];
        if (Moves.Length == 1)
        {
            return best;
        }

        float[] most = new float[best.Length];
        float[] products = new float[best.Length];
        BoxMean box = new(Grid, radius, 1);
        Array.Fill(most, float.NegativeInfinity);
        for (int move = 0; move < Moves.Length; move++)
        {
            cancellation.ThrowIfCancellationRequested();
            int shift = Moves[move];
            int first = Math.Max(0, -shift);
            int count = best.Length - Math.Abs(shift);
            Multiply(target.Values.AsSpan(first, count), atlas.Values.AsSpan(first + shift, count), products.AsSpan(first, count));
            box.Apply(products);
            for (int i = first; i < first + count; i++)
            {
                float likeness = (products[i] - (target.Means[i] * atlas.Means[i + shift])) * atlas.Scales[i + shift];
                // A gain that rounding can make is none.
                if (likeness > most[i] + 1e-4f)
                {
                    most[i] = likeness;
                    best[i] = (byte)move;
                }
            }
        }

        return best;
    }

    private static void Multiply(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> product)
    {
        for (int i = 0; i < product.Length; i++)
        {
            product[i] = a[i] * b[i];
        }
    }

    /// <summary>A scan with the mean of the patch around every voxel, and what makes its deviation 1.</summary>
    private sealed record Scan(float[] Values, float[] Means, float[] Scales)
    {
        internal static Scan Of(Grid grid, float[] raw, int radius)
        {
            // Brought to deviation 1 as a whole first: sums of single precision stay exact enough whatever the scan's units.
            (double mean, double deviation) = Moments(raw);
            float factor = (float)(deviation > 0 ? 1 / deviation : 0);
            float[] values = Array.ConvertAll(raw, v => float.IsFinite(v) ? (v - (float)mean) * factor : 0);
            float[] means = [.. values];
            float[] squares = Array.ConvertAll(values, v => v * v);
            new BoxMean(grid, radius, 1).Apply(means, squares);
            for (int i = 0; i < squares.Length; i++)
            {
                float variance = Math.Max(0, squares[i] - (means[i] * means[i]));
                squares[i] = 1 / Math.Max(Flat, MathF.Sqrt(variance));
            }

            return new Scan(values, means, squares);
        }

        private static (double Mean, double Deviation) Moments(float[] values)
        {
            double sum = 0;
            double squares = 0;
            long count = 0;
            foreach (float value in values)
            {
                if (float.IsFinite(value))
                {
                    sum += value;
                    squares += (double)value * value;
                    count++;
                }
            }

            double mean = count == 0 ? 0 : sum / count;
            return (mean, count == 0 ? 0 : Math.Sqrt(Math.Max(0, (squares / count) - (mean * mean))));
        }
    }
}
