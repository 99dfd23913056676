using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>The affine map nearest to a displacement field.</summary>
internal static class AffineFit
{
    /// <summary>Points along each axis that the fit looks at.</summary>
    private const int Samples = 24;

    /// <summary>Least squares over a lattice of voxels, in world millimetres.</summary>
    internal static Affine Of(DisplacementField field)
    {
        Grid grid = field.Grid;
        (double cx, double cy, double cz) = grid.Centre;
        int plane = (int)grid.Count;
        double[,] normal = new double[4, 4];
        double[,] right = new double[4, 3];
        foreach (int z in Indices(grid.Nz))
        {
            foreach (int y in Indices(grid.Ny))
            {
                foreach (int x in Indices(grid.Nx))
                {
                    int i = x + (grid.Nx * (y + (grid.Ny * z)));
                    (double px, double py, double pz) = grid.VoxelToWorld.Apply(x, y, z);
                    (double ux, double uy, double uz) = grid.VoxelToWorld.ApplyLinear(
                        field.Vectors[i], field.Vectors[plane + i], field.Vectors[(2 * plane) + i]);
                    double[] basis = [px - cx, py - cy, pz - cz, 1];
                    double[] wanted = [ux, uy, uz];
                    for (int a = 0; a < 4; a++)
                    {
                        for (int b = 0; b < 4; b++)
                        {
                            normal[a, b] += basis[a] * basis[b];
                        }

                        for (int b = 0; b < 3; b++)
                        {
                            right[a, b] += basis[a] * wanted[b];
                        }
                    }
                }
            }
        }

        // Axes of one voxel leave the derivative along them open: a small ridge makes it 0.
        double ridge = 1e-9 * (normal[0, 0] + normal[1, 1] + normal[2, 2] + normal[3, 3]);
        for (int a = 0; a < 3; a++)
        {
            normal[a, a] += ridge;
        }

        LinearSystem.Solve(normal, right);
        double[] rows = new double[12];
        for (int row = 0; row < 3; row++)
        {
            for (int column = 0; column < 3; column++)
            {
                rows[(4 * row) + column] = right[column, row] + (row == column ? 1 : 0);
            }

            rows[(4 * row) + 3] = right[3, row] - ((right[0, row] * cx) + (right[1, row] * cy) + (right[2, row] * cz));
        }

        return Affine.FromRows(rows);
    }

    private static IEnumerable<int> Indices(int size)
    {
        int count = Math.Min(size, Samples);
        for (int i = 0; i < count; i++)
        {
            yield return count == 1 ? 0 : (int)((long)i * (size - 1) / (count - 1));
        }
    }
}
