namespace Ldr.Runtime.Geometry;

/// <summary>Names the anatomical directions of voxel axes.</summary>
internal static class OrientationCode
{
    /// <summary>Three letters, one per voxel axis; see <see cref="Grid.Orientation"/>.</summary>
    internal static string Of(Affine voxelToWorld)
    {
        Affine rotation = NearestRotation(voxelToWorld);

        // Voxel axes choose their world axis in the order of how well they lie along one.
        int[] order = [0, 1, 2];
        double[] fit = Array.ConvertAll(order, column => -Enumerable.Range(0, 3).Max(row => Math.Abs(rotation[row, column])));
        Array.Sort(fit, order);

        char[] letters = new char[3];
        bool[] taken = new bool[3];
        foreach (int column in order)
        {
            int best = -1;
            for (int row = 0; row < 3; row++)
            {
                if (!taken[row] && (best < 0 || Math.Abs(rotation[row, column]) > Math.Abs(rotation[best, column])))
                {
                    best = row;
                }
            }

            taken[best] = true;
            letters[column] = (rotation[best, column] < 0 ? "LPI" : "RAS")[best];
        }

        return new string(letters);
    }

    /// <summary>
    /// The orthogonal factor of the polar decomposition of the linear part with unit columns, by Newton's iteration
    /// <c>R ← (R + R⁻ᵀ) / 2</c> (Higham, SIAM J. Sci. Stat. Comput. 7, 1986).
    /// </summary>
    private static Affine NearestRotation(Affine map)
    {
        Affine current = Affine.Scaling(1 / map.ColumnLength(0), 1 / map.ColumnLength(1), 1 / map.ColumnLength(2)).Then(map);
        for (int iteration = 0; iteration < 60; iteration++)
        {
            if (!current.IsFinite || current.IsSingular)
            {
                // Numbers at the ends of their range: the axes as they are must do.
                return map;
            }

            Affine inverse = current.Inverse();
            double[] next = new double[12];
            for (int row = 0; row < 3; row++)
            {
                for (int column = 0; column < 3; column++)
                {
                    next[(4 * row) + column] = 0.5 * (current[row, column] + inverse[column, row]);
                }
            }

            Affine improved = Affine.FromRows(next);
            if (iteration > 0 && improved.IsCloseTo(current, 1e-14))
            {
                return improved;
            }

            current = improved;
        }

        return current;
    }
}
