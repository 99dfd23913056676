using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Metrics;

/// <summary>Regularity of displacement fields.</summary>
public static class Folding
{
    /// <summary>Of J + 3 where J = 1: sums relative to it are exact for a field that moves nothing.</summary>
    private static readonly double DampedAtOne = Math.Log(4);

    /// <summary>A change of volume beyond this factor, either way, is extreme: healthy anatomy does not differ so much voxel by voxel.</summary>
    public const double ExtremeFactor = 3;

    /// <summary>Determinants below this count as this in the deviation of log J.</summary>
    public const double LeastDeterminant = 1e-3;

    /// <summary>
    /// Folding and spread of the Jacobian determinants J over the interior voxels, those with a neighbour on every side; over
    /// all voxels when an axis has fewer than 3. A determinant that is not a number counts as folded.
    /// </summary>
    /// <param name="field">The field.</param>
    /// <param name="mask">Nothing, or a volume on the field's grid: voxels where it is 0 do not count.</param>
    public static FoldingMeasure Measure(DisplacementField field, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(field);
        return OfSlices(field.Grid, SlicesOf(field), mask, null).All;
    }

    /// <summary>The same from determinants that are at hand, as <see cref="Jacobian.Determinants"/> gives them.</summary>
    public static FoldingMeasure OfDeterminants(Volume determinants, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(determinants);
        int slice = determinants.Grid.Nx * determinants.Grid.Ny;
        return OfSlices(determinants.Grid, z => determinants.Values.AsMemory(z * slice, slice), mask, null).All;
    }

    /// <summary>The same of all voxels, and of a scan's content; where there is a mask, of what it lets count.</summary>
    internal static (FoldingMeasure All, FoldingMeasure Content) Measure(DisplacementField field, Volume? mask, Volume scan) =>
        OfSlices(field.Grid, SlicesOf(field), mask, scan.Values);

    /// <summary>Determinants slice by slice: those of a large field would take as much memory as a scan.</summary>
    private static Func<int, ReadOnlyMemory<float>> SlicesOf(DisplacementField field) => z =>
    {
        float[] slice = new float[field.Grid.Nx * field.Grid.Ny];
        Jacobian.Slice(field, z, slice);
        return slice;
    };

    private static (FoldingMeasure All, FoldingMeasure Content) OfSlices(
        Grid grid, Func<int, ReadOnlyMemory<float>> slice, Volume? mask, float[]? scan)
    {
        if (mask is not null && !mask.Grid.SameAs(grid))
        {
            throw new ArgumentException("The mask lies on another grid than the field.", nameof(mask));
        }

        double dark = scan is null ? 0 : Content.DarkOf(scan);
        int border = Math.Min(grid.Nx, Math.Min(grid.Ny, grid.Nz)) < 3 ? 0 : 1;
        (Tally All, Tally Content)[] parts = new (Tally, Tally)[grid.Nz];
        Slices.ForEach(grid, 0, z =>
        {
            if (z < border || z >= grid.Nz - border)
            {
                return;
            }

            ReadOnlySpan<float> determinants = slice(z).Span;
            Tally own = default;
            Tally ownContent = default;
            for (int y = border; y < grid.Ny - border; y++)
            {
                ReadOnlySpan<float> interior = determinants.Slice((y * grid.Nx) + border, grid.Nx - (2 * border));
                int row = (grid.Nx * (y + (grid.Ny * z))) + border;
                for (int x = 0; x < interior.Length; x++)
                {
                    if (mask is not null && mask.Values[row + x] == 0)
                    {
                        continue;
                    }

                    own.Add(interior[x]);
                    if (scan is not null && scan[row + x] > dark)
                    {
                        ownContent.Add(interior[x]);
                    }
                }
            }

            parts[z] = (own, ownContent);
        });
        Tally all = default;
        Tally allContent = default;
        foreach ((Tally part, Tally partContent) in parts)
        {
            all.Add(part);
            allContent.Add(partContent);
        }

        return (all.Measure(), allContent.Measure());
    }

    /// <summary>Whether a determinant is outside 1/3 to 3, or no number.</summary>
    internal static bool IsExtreme(double determinant) => !(determinant is >= 1 / ExtremeFactor and <= ExtremeFactor);

    private struct Tally
    {
        private long count;
        private long folded;
        private long extreme;
        private Spread plain;
        private Spread damped;

        internal void Add(float determinant)
        {
            count++;
            folded += determinant > 0 ? 0 : 1;
            extreme += IsExtreme(determinant) ? 1 : 0;
            plain.Add(Math.Log(determinant > LeastDeterminant ? determinant : LeastDeterminant));
            double shifted = determinant + 3.0;
            damped.Add(Math.Log(shifted > 1e-9 ? Math.Min(shifted, 1e9) : 1e-9) - DampedAtOne);
        }

        internal void Add(in Tally other)
        {
            count += other.count;
            folded += other.folded;
            extreme += other.extreme;
            plain.Add(other.plain);
            damped.Add(other.damped);
        }

        internal readonly FoldingMeasure Measure() => count == 0
            ? new FoldingMeasure(0, double.NaN, double.NaN, 0)
            : new FoldingMeasure(100.0 * folded / count, plain.Deviation(count), damped.Deviation(count), 100.0 * extreme / count);
    }

    private struct Spread
    {
        private double sum;
        private double squares;

        internal void Add(double value)
        {
            sum += value;
            squares += value * value;
        }

        internal void Add(in Spread other)
        {
            sum += other.sum;
            squares += other.squares;
        }

        internal readonly double Deviation(long count)
        {
            double mean = sum / count;
            return Math.Sqrt(Math.Max(0, (squares / count) - (mean * mean)));
        }
    }
}
