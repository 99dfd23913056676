using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Metrics;

/// <summary>Correlation of intensities.</summary>
public static class Pearson
{
    /// <summary>
    /// Pearson's correlation (population covariances) over the voxels that are finite in both volumes, -1 to 1; 0 when
    /// either is constant there, NaN when there is no such voxel.
    /// </summary>
    /// <exception cref="ArgumentException">The volumes differ in size.</exception>
    public static double Correlation(Volume a, Volume b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        SameSize.Check(a.Grid, b.Grid);
        return Correlation(a.Values, b.Values);
    }

    /// <summary>The same of as many numbers each.</summary>
    internal static double Correlation(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        int first = 0;
        while (first < x.Length && !BothFinite(x[first], y[first]))
        {
            first++;
        }

        if (first == x.Length)
        {
            return double.NaN;
        }

        // The means, summed relative to the first voxel, so that a constant volume has exactly its value as its mean.
        long count = 0;
        double sumX = 0;
        double sumY = 0;
        for (int i = first; i < x.Length; i++)
        {
            if (BothFinite(x[i], y[i]))
            {
                sumX += (double)x[i] - x[first];
                sumY += (double)y[i] - y[first];
                count++;
            }
        }

        double meanX = x[first] + (sumX / count);
        double meanY = y[first] + (sumY / count);
        double xx = 0;
        double yy = 0;
        double xy = 0;
        for (int i = first; i < x.Length; i++)
        {
            if (BothFinite(x[i], y[i]))
            {
                double dx = x[i] - meanX;
                double dy = y[i] - meanY;
                xx += dx * dx;
                yy += dy * dy;
                xy += dx * dy;
            }
        }

        return xx == 0 || yy == 0 ? 0 : Math.Clamp(xy / (Math.Sqrt(xx) * Math.Sqrt(yy)), -1, 1);
    }

    private static bool BothFinite(float a, float b) => float.IsFinite(a) && float.IsFinite(b);
}
