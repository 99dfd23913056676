using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>The label with the largest trilinear weight among the eight voxels around a position.</summary>
internal static class LabelVote
{
    /// <summary>Positions are moved into the grid; of two equal weights, the label of the nearer voxel wins.</summary>
    internal static float At(float[] labels, Grid grid, double x, double y, double z)
    {
        (int x0, int x1, double fx) = Axis(x, grid.Nx);
        (int y0, int y1, double fy) = Axis(y, grid.Ny);
        (int z0, int z1, double fz) = Axis(z, grid.Nz);
        Span<float> values = stackalloc float[8];
        Span<double> weights = stackalloc double[8];
        for (int corner = 0; corner < 8; corner++)
        {
            bool right = (corner & 1) != 0;
            bool back = (corner & 2) != 0;
            bool top = (corner & 4) != 0;
            values[corner] = labels[(right ? x1 : x0) + (grid.Nx * ((back ? y1 : y0) + (grid.Ny * (top ? z1 : z0))))];
            weights[corner] = (right ? fx : 1 - fx) * (back ? fy : 1 - fy) * (top ? fz : 1 - fz);
        }

        float nearest = labels[Sampling.NearestIndex(grid, x, y, z)];
        float best = nearest;
        double most = Votes(values, weights, nearest) + 1e-9;
        foreach (float candidate in values)
        {
            double votes = candidate == best ? 0 : Votes(values, weights, candidate);
            if (votes > most)
            {
                best = candidate;
                most = votes;
            }
        }

        return best;
    }

    private static double Votes(ReadOnlySpan<float> values, ReadOnlySpan<double> weights, float label)
    {
        double sum = 0;
        for (int i = 0; i < values.Length; i++)
        {
            sum += values[i] == label ? weights[i] : 0;
        }

        return sum;
    }

    private static (int Low, int High, double Fraction) Axis(double position, int size)
    {
        double at = position > 0 ? (position < size - 1 ? position : size - 1) : 0;
        int low = (int)at;
        return (low, Math.Min(low + 1, size - 1), at - low);
    }
}
