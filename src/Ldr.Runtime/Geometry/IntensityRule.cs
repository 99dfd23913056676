using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Geometry;

/// <summary>How intensities are brought to [0, 1] before a network sees them. A closed choice of two cases.</summary>
public abstract record IntensityRule
{
    private IntensityRule()
    {
    }

    /// <summary>
    /// Maps the window to [0, 1], linearly, clamped; voxels that are not finite become 0, and a constant image
    /// becomes all 0. The result is a new float32 volume on the same grid.
    /// </summary>
    public Volume Apply(Volume volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        (double low, double high) = WindowOf(volume);
        float[] scaled = new float[volume.Values.Length];
        Scale(volume.Values, low, high, scaled);
        return new Volume(volume.Grid, scaled);
    }

    /// <summary>Maps a window to [0, 1].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Scale(ReadOnlySpan<float> values, double low, double high, Span<float> scaled)
    {
        if (!(high > low))
        {
            scaled.Clear();
            return;
        }

        double scale = 1 / (high - low);
        for (int i = 0; i < scaled.Length; i++)
        {
            float value = values[i];
            scaled[i] = float.IsFinite(value) ? (float)Math.Clamp((value - low) * scale, 0, 1) : 0;
        }
    }

    /// <summary><see cref="WindowOf(Volume)"/>, with memory that is used again.</summary>
    internal abstract (double Low, double High) WindowOf(Volume volume, Percentile.Workspace workspace);

    /// <summary>The two intensities that this rule maps to 0 and 1 on this volume; not ordered when the image is constant.</summary>
    public abstract (double Low, double High) WindowOf(Volume volume);

    /// <summary>
    /// A window between two percentiles (in percent) of the volume's own finite values. Where the two percentiles
    /// coincide although the image is not constant (a small object in an empty image), its full range is the window.
    /// </summary>
    public sealed record Percentiles : IntensityRule
    {
        /// <summary>Makes the rule.</summary>
        /// <exception cref="ArgumentException">Unless 0 ≤ low &lt; high ≤ 100.</exception>
        public Percentiles(double low, double high)
        {
            if (!(low >= 0 && low < high && high <= 100))
            {
                throw new ArgumentException($"percentiles must satisfy 0 ≤ low < high ≤ 100, not {low} and {high}");
            }

            Low = low;
            High = high;
        }

        /// <summary>The percentile that becomes 0.</summary>
        public double Low { get; }

        /// <summary>The percentile that becomes 1.</summary>
        public double High { get; }

        /// <inheritdoc/>
        public override (double Low, double High) WindowOf(Volume volume)
        {
            ArgumentNullException.ThrowIfNull(volume);
            return WindowOf(volume, new Percentile.Workspace());
        }

        internal override (double Low, double High) WindowOf(Volume volume, Percentile.Workspace workspace)
        {
            Span<double> window = stackalloc double[2];
            Percentile.Of(volume.Values, [Low, High], window, workspace);
            return window[1] > window[0] ? (window[0], window[1]) : volume.Range;
        }
    }

    /// <summary>A fixed window in the image's own units, such as Hounsfield units.</summary>
    public sealed record Window : IntensityRule
    {
        /// <summary>Makes the rule.</summary>
        /// <exception cref="ArgumentException">Unless both are finite and low &lt; high.</exception>
        public Window(double low, double high)
        {
            if (!(double.IsFinite(low) && double.IsFinite(high) && low < high))
            {
                throw new ArgumentException($"a window needs two finite numbers, low < high, not {low} and {high}");
            }

            Low = low;
            High = high;
        }

        /// <summary>The intensity that becomes 0.</summary>
        public double Low { get; }

        /// <summary>The intensity that becomes 1.</summary>
        public double High { get; }

        /// <inheritdoc/>
        public override (double Low, double High) WindowOf(Volume volume) => (Low, High);

        internal override (double Low, double High) WindowOf(Volume volume, Percentile.Workspace workspace) => (Low, High);
    }
}
