using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Metrics;

/// <summary>What of a scan shows something, and what is dark surround.</summary>
public static class Content
{
    /// <summary>Values below this share of a scan's range (0.5 to 99.5 % of it) are what surrounds its content.</summary>
    private const double Dark = 0.05;

    /// <summary>Which voxels are content: neither missing nor dark.</summary>
    public static bool[] Of(Volume scan)
    {
        ArgumentNullException.ThrowIfNull(scan);
        return Of(scan.Values);
    }

    /// <summary>The same of as many values.</summary>
    internal static bool[] Of(float[] values)
    {
        double dark = DarkOf(values);
        return Array.ConvertAll(values, v => v > dark);
    }

    /// <summary>Up to this value, what surrounds the content.</summary>
    internal static double DarkOf(float[] values)
    {
        double[] range = Percentile.Of(values, 0.5, 99.5);
        return range[0] + (Dark * (range[1] - range[0]));
    }
}
