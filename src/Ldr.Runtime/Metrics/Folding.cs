namespace Ldr.Runtime;

/// <summary>Regularity of displacement fields.</summary>
public static class Folding
{
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
        return OfDeterminants(Jacobian.Determinants(field), mask);
    }

    /// <summary>The same from determinants that are at hand, as <see cref="Jacobian.Determinants"/> gives them.</summary>
    public static FoldingMeasure OfDeterminants(Volume determinants, Volume? mask = null)
    {
        ArgumentNullException.ThrowIfNull(determinants);
        if (mask is not null && !mask.Grid.SameAs(determinants.Grid))
        {
            throw new ArgumentException("The mask lies on another grid than the field.", nameof(mask));
        }

        Grid grid = determinants.Grid;
        int border = Math.Min(grid.Nx, Math.Min(grid.Ny, grid.Nz)) < 3 ? 0 : 1;
        long count = 0;
        long folded = 0;
        double sum = 0;
        double squares = 0;
        for (int z = border; z < grid.Nz - border; z++)
        {
            for (int y = border; y < grid.Ny - border; y++)
            {
                int row = grid.Nx * (y + (grid.Ny * z));
                ReadOnlySpan<float> interior = determinants.Values.AsSpan(row + border, grid.Nx - (2 * border));
                for (int x = 0; x < interior.Length; x++)
                {
                    if (mask is not null && mask.Values[row + border + x] == 0)
                    {
                        continue;
                    }

                    float determinant = interior[x];
                    folded += determinant > 0 ? 0 : 1;
                    double shifted = determinant + 3.0;
                    double logarithm = Math.Log(shifted > 1e-9 ? Math.Min(shifted, 1e9) : 1e-9);
                    sum += logarithm;
                    squares += logarithm * logarithm;
                    count++;
                }
            }
        }

        if (count == 0)
        {
            return new FoldingMeasure(0, double.NaN);
        }

        double mean = sum / count;
        return new FoldingMeasure(100.0 * folded / count, Math.Sqrt(Math.Max(0, (squares / count) - (mean * mean))));
    }
}
