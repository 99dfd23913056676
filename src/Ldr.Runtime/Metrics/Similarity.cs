namespace Ldr.Runtime;

/// <summary>Similarity of intensities.</summary>
public static class Similarity
{
    /// <summary>
    /// Pearson's correlation over all voxels (population covariances), -1 to 1; 0 when either volume is constant, NaN when
    /// a voxel is not finite.
    /// </summary>
    /// <exception cref="ArgumentException">The volumes differ in size.</exception>
    public static double Correlation(Volume a, Volume b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        SameSize.Check(a.Grid, b.Grid);
        float[] x = a.Values;
        float[] y = b.Values;
        double meanX = Mean(x);
        double meanY = Mean(y);
        double xx = 0;
        double yy = 0;
        double xy = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double dx = x[i] - meanX;
            double dy = y[i] - meanY;
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }

        return xx == 0 || yy == 0 ? 0 : Math.Clamp(xy / (Math.Sqrt(xx) * Math.Sqrt(yy)), -1, 1);
    }

    /// <summary>
    /// The mean. Summed relative to the first value, so that a constant volume has exactly that value as its mean.
    /// </summary>
    private static double Mean(float[] values)
    {
        double first = values[0];
        double sum = 0;
        foreach (float value in values)
        {
            sum += value - first;
        }

        return first + (sum / values.Length);
    }
}
