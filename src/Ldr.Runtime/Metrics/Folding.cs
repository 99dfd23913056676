namespace Ldr.Runtime;

/// <summary>Regularity of displacement fields.</summary>
public static class Folding
{
    /// <summary>Of J + 3 where J = 1: sums relative to it are exact for a field that moves nothing.</summary>
    private static readonly double LogarithmAtOne = Math.Log(4);

    /// <summary>
    /// Folding and spread of the Jacobian determinants J over the interior voxels, those with a neighbour on every side; over
    /// all voxels when an axis has fewer than 3. A determinant that is not a number counts as folded. SDlogJ is the standard
    /// deviation of log(clip(J + 3, 1e-9, 1e9)): Learn2Reg's definition, with its + 3, which damps it about fourfold against
    /// the deviation of log J near J = 1.
    /// </summary>
    /// <param name="field">The field.</param>
    /// <param name="mask">Nothing, or a volume on the field's grid: voxels where it is 0 do not count.</param>
    public static FoldingMeasure Measure(DisplacementField field, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(field);
        Grid grid = field.Grid;
        return OfSlices(
            grid,
            z =>
            {
                float[] slice = new float[grid.Nx * grid.Ny];
                Jacobian.Slice(field, z, slice);
                return slice;
            },
            mask);
    }

    /// <summary>The same from determinants that are at hand, as <see cref="Jacobian.Determinants"/> gives them.</summary>
    public static FoldingMeasure OfDeterminants(Volume determinants, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(determinants);
        int slice = determinants.Grid.Nx * determinants.Grid.Ny;
        return OfSlices(determinants.Grid, z => determinants.Values.AsMemory(z * slice, slice), mask);
    }

    private static FoldingMeasure OfSlices(Grid grid, Func<int, ReadOnlyMemory<float>> slice, Volume? mask)
    {
        if (mask is not null && !mask.Grid.SameAs(grid))
        {
            throw new ArgumentException("The mask lies on another grid than the field.", nameof(mask));
        }

        int border = Math.Min(grid.Nx, Math.Min(grid.Ny, grid.Nz)) < 3 ? 0 : 1;
        (long Count, long Folded, double Sum, double Squares)[] parts = new (long, long, double, double)[grid.Nz];
        Slices.ForEach(grid, 0, z =>
        {
            if (z < border || z >= grid.Nz - border)
            {
                return;
            }

            ReadOnlySpan<float> determinants = slice(z).Span;
            (long count, long folded, double sum, double squares) = (0, 0, 0, 0);
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

                    float determinant = interior[x];
                    folded += determinant > 0 ? 0 : 1;
                    double shifted = determinant + 3.0;
                    double logarithm = Math.Log(shifted > 1e-9 ? Math.Min(shifted, 1e9) : 1e-9) - LogarithmAtOne;
                    sum += logarithm;
                    squares += logarithm * logarithm;
                    count++;
                }
            }

            parts[z] = (count, folded, sum, squares);
        });
        double all = parts.Sum(part => part.Count);
        if (all == 0)
        {
            return new FoldingMeasure(0, double.NaN);
        }

        double mean = parts.Sum(part => part.Sum) / all;
        double variance = (parts.Sum(part => part.Squares) / all) - (mean * mean);
        return new FoldingMeasure(100.0 * parts.Sum(part => part.Folded) / all, Math.Sqrt(Math.Max(0, variance)));
    }
}
