using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Registration.Quality;

/// <summary>
/// What a model was trained on, as its file states it, to tell which scans it has not been taught. The limits are in
/// <c>docs/reference/verdict.md</c>.
/// </summary>
/// <param name="Intensity">How intensities were brought to [0, 1].</param>
/// <param name="Spacing">Voxel spacing of the training grid along R, A and S, mm.</param>
/// <param name="Size">Size of the training grid along R, A and S, voxels.</param>
public sealed record TrainingRange(IntensityRule Intensity, (double X, double Y, double Z) Spacing, (int X, int Y, int Z) Size)
{
    /// <summary>A scan's voxels may be so many times as long, or as short, as the model's.</summary>
    public const double SpacingFactor = 1.75;

    /// <summary>A scan may be so many times as long as the training grid.</summary>
    public const double LargestFactor = 1.5;

    /// <summary>A scan may be as short as this share of the training grid.</summary>
    public const double SmallestFactor = 1 / 3.0;

    /// <summary>Share of the voxels that must lie inside a fixed window of intensities.</summary>
    public const double InsideWindow = 0.05;

    /// <summary>Share of a fixed window that the middle 98 % of the intensities must span.</summary>
    public const double SpannedWindow = 0.2;

    /// <summary>Intensities are judged by about so many voxels.</summary>
    private const int Samples = 100_000;

    /// <summary>What of the scans lies outside, each a line of words; empty when nothing does.</summary>
    public IReadOnlyList<string> Outside(Volume fixedScan, Volume movingScan)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        return [.. Outside("fixed", fixedScan), .. Outside("moving", movingScan)];
    }

    private IEnumerable<string> Outside(string name, Volume scan)
    {
        double[] own = new double[3];
        double[] voxels = new double[3];
        ReadOnlySpan<double> spacing = [Spacing.X, Spacing.Y, Spacing.Z];
        ReadOnlySpan<int> size = [Size.X, Size.Y, Size.Z];
        bool otherSpacing = false;
        bool otherSize = false;
        Affine map = scan.Grid.VoxelToWorld;
        for (int axis = 0; axis < 3; axis++)
        {
            (double a, double b, double c) = (map[axis, 0], map[axis, 1], map[axis, 2]);
            own[axis] = Math.Sqrt((a * a) + (b * b) + (c * c));
            voxels[axis] =
                ((Math.Abs(a) * scan.Grid.Nx) + (Math.Abs(b) * scan.Grid.Ny) + (Math.Abs(c) * scan.Grid.Nz)) / spacing[axis];
            double ratio = own[axis] / spacing[axis];
            double share = voxels[axis] / size[axis];
            otherSpacing |= ratio is > SpacingFactor or < 1 / SpacingFactor;
            otherSize |= share is > LargestFactor or < SmallestFactor;
        }

        List<string> found = [];
        void Say(FormattableString words) => found.Add(FormattableString.Invariant(words));
        if (otherSpacing)
        {
            Say($"the {name} scan's voxels are {own[0]:G3} × {own[1]:G3} × {own[2]:G3} mm, the model was trained on {spacing[0]:G3} × {spacing[1]:G3} × {spacing[2]:G3} mm");
        }

        if (otherSize)
        {
            Say($"the {name} scan fills {voxels[0]:F0} × {voxels[1]:F0} × {voxels[2]:F0} voxels of the model's spacing, the model was trained on {size[0]} × {size[1]} × {size[2]}");
        }

        float[] values = Sampled(scan.Values);
        double[] middle = Percentile.Of(values, 1, 99);
        if (Intensity is IntensityRule.Window window)
        {
            double inside = values.Count(v => v > window.Low && v < window.High) / (double)values.Length;
            double spanned = (Math.Min(middle[1], window.High) - Math.Max(middle[0], window.Low)) / (window.High - window.Low);
            if (inside < InsideWindow)
            {
                Say($"only {100 * inside:F0} % of the {name} scan's intensities lie in the window {window.Low:G6} to {window.High:G6} that the model was trained with");
            }
            else if (spanned < SpannedWindow)
            {
                Say($"the {name} scan's intensities span {100 * spanned:F0} % of the window {window.Low:G6} to {window.High:G6} that the model was trained with");
            }
        }
        else if (middle[0] == middle[1])
        {
            Say($"nearly all of the {name} scan's voxels have the same intensity, {middle[0]:G6}");
        }

        return found;
    }

    private static float[] Sampled(float[] values)
    {
        // An odd step does not keep to one plane of a grid of even size.
        int step = (values.Length / Samples) | 1;
        float[] sampled = new float[(values.Length + step - 1) / step];
        for (int i = 0; i < sampled.Length; i++)
        {
            sampled[i] = values[i * step];
        }

        return sampled;
    }
}
