using System.Globalization;

namespace Ldr.Runtime.Groups;

/// <summary>Which values of a measure speak against a registration.</summary>
public enum Suspicious
{
    /// <summary>Low ones.</summary>
    Low,

    /// <summary>High ones.</summary>
    High,

    /// <summary>Both.</summary>
    Both,
}

/// <summary>A number by which pairs of a group are compared with each other.</summary>
/// <param name="Key">Its key.</param>
/// <param name="Name">What it is, for people.</param>
/// <param name="Unit">Its unit; empty for none.</param>
/// <param name="Suspicious">Which values speak against a pair.</param>
/// <param name="Least">The least spread that is assumed: smaller differences mean nothing.</param>
/// <param name="Words">What it tells, in a sentence.</param>
public sealed record GroupMeasure(string Key, string Name, string Unit, Suspicious Suspicious, double Least, string Words)
{
    /// <summary>All measures, in the order in which they are shown.</summary>
    public static IReadOnlyList<GroupMeasure> All { get; } =
    [
        new("similarity_after", "Similarity", string.Empty, Suspicious.Low, 0.005, "Correlation of fixed and moved scan; 1 is best."),
        new("detail_after", "Detail", string.Empty, Suspicious.Low, 0.01, "Share of the fixed scan's local detail that the moved scan explains."),
        new("inner_detail_after", "Inner detail", string.Empty, Suspicious.Low, 0.01, "The same away from the outline, where a wrong organ cannot hide."),
        new("half_detail_after", "Detail of the worse half", string.Empty, Suspicious.Low, 0.01, "Detail in the half of the scan where it is least: low where a part is missing."),
        new(GroupSides.Key, "Sides", string.Empty, Suspicious.Low, 0.02, "How far left and right differ as in the other pairs: low where they are swapped."),
        new("content_overlap_percent", "Outline overlap", "%", Suspicious.Low, 0.5, "How far the outlines of both scans cover each other (Dice)."),
        new("dice", "Dice", string.Empty, Suspicious.Low, 0.01, "Mean overlap of the structures of the label maps."),
        new("tre_mm", "Landmark distance", "mm", Suspicious.High, 0.3, "Mean distance of the landmarks."),
        new("folded_percent", "Folding", "%", Suspicious.High, 0.05, "Share of the voxels that the deformation turns inside out."),
        new("extreme_content_percent", "Strong volume change", "%", Suspicious.High, 0.5, "Share of the content that shrinks to less than a third or grows to more than three times."),
        new("sdlogj", "Unevenness", string.Empty, Suspicious.High, 0.01, "How much the volume change differs from place to place (SD log J)."),
        new("inverse_error_mean_mm", "There and back", "mm", Suspicious.High, 0.02, "By how much the deformation and its inverse miss each other."),
        new("mean_deformation_mm", "Deformation", "mm", Suspicious.High, 0.1, "How far places move beyond the alignment as a whole, on average."),
        new("mean_displacement_mm", "Displacement", "mm", Suspicious.High, 0.5, "The same with the alignment as a whole: large where a scan lies elsewhere."),
        new("log_volume_ratio", "Size ratio (log)", string.Empty, Suspicious.Both, 0.02, "Logarithm of the factor by which the alignment as a whole changes volumes."),
        new("outside_percent", "Outside", "%", Suspicious.High, 1, "Share of the fixed scan whose content the moving scan does not hold."),
    ];

    /// <summary>A value as it is shown.</summary>
    internal string Text(double value)
    {
        string digits = Unit == "%" || Math.Abs(value) >= 10 ? "0.0" : "0.000";
        string number = value.ToString(digits, CultureInfo.InvariantCulture);
        return Unit.Length == 0 ? number : $"{number} {Unit}";
    }
}
