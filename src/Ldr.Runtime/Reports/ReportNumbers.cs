using System.Globalization;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.Runtime.Reports;

/// <summary>One line of a report's table.</summary>
/// <param name="Name">What was measured, for people.</param>
/// <param name="Value">The number.</param>
/// <param name="Unit">Its unit; empty for none.</param>
/// <param name="Remark">What it means; empty for nothing.</param>
public sealed record ReportNumber(string Name, string Value, string Unit = "", string Remark = "");

/// <summary>The table of a registration's report.</summary>
internal static class ReportNumbers
{
    internal static IEnumerable<ReportNumber> Of(RegistrationResult result)
    {
        RegistrationQuality quality = result.Quality;
        yield return new(
            "Similarity before",
            Text(quality.SimilarityBefore, 3),
            Remark: "Correlation of the intensities where the scans overlap; 1 is best, 0 is none.");
        yield return new(
            "Similarity after", Text(quality.SimilarityAfter, 3), Remark: "Should be higher than before, unless the scans agreed already.");
        yield return new(
            "Detail explained before",
            Text(100 * quality.DetailBefore, 0),
            "%",
            "Share of the fixed scan's local detail that the moving scan explains.");
        yield return new(
            "Detail explained after",
            Text(100 * quality.DetailAfter, 0),
            "%",
            FormattableString.Invariant($"Below {100 * VerdictThresholds.Standard.LookDetail:0} % look; below {100 * VerdictThresholds.Standard.FailedDetail:0} % the scans do not show the same thing."));
        yield return new(
            "Folded voxels",
            Text(quality.Folding.FoldedPercent, 2),
            "%",
            "Places that the deformation turns inside out; should be 0 or nearly so.");
        yield return new(
            "Deformation, mean",
            Text(quality.MeanDeformationMm, 2),
            "mm",
            "How far places move, beyond the alignment of the scans as a whole: this is the deformation.");
        yield return new("Deformation, largest", Text(quality.MaxDeformationMm, 2), "mm");
        yield return new(
            "Displacement, mean", Text(quality.MeanDisplacementMm, 2), "mm", "The same together with that alignment: mostly how the scans lay in the scanner.");
        yield return new("Displacement, largest", Text(quality.MaxDisplacementMm, 2), "mm");
        yield return new(
            "Overlap at the start",
            Text(quality.OverlapPercent, 0),
            "%",
            "Share of the fixed scan where the moving scan lies after the alignment.");
        yield return new(
            "Content outside the moving scan",
            Text(quality.OutsideContentPercent, 0),
            "%",
            $"Share of what the fixed scan shows that the moving scan does not hold. With the air around it: {Text(quality.OutsidePercent, 0)} %.");
        yield return new(
            "There and back, mean",
            Text(quality.InverseError.MeanMm, 3),
            "mm",
            "By how much the deformation and its inverse miss each other; large where it folds.");
        yield return new("There and back, largest", Text(quality.InverseError.MaxMm, 3), "mm");
        yield return new(
            "Torn content",
            Text(quality.ExtremeContentPercent, 2),
            "%",
            "Share of the content whose volume shrinks to less than a third or grows to more than three times; should be 0 or nearly so.");
        yield return new(
            "Unevenness (SD log J)",
            Text(quality.Folding.SdLogJ, 3),
            Remark: "How much the volume change differs from place to place: the deviation of its logarithm.");
        if (result.Refined is Refined refined)
        {
            yield return new(
                "Refinement",
                refined.Steps.ToString(CultureInfo.InvariantCulture),
                "steps",
                FormattableString.Invariant($"Local correlation {refined.Before:F3} before, {refined.After:F3} after."));
        }

        if (result.Unfolded is Unfolded unfolded)
        {
            yield return new(
                "Unfolding, mean change",
                Text(unfolded.Fit.MeanChangeMm, 3),
                "mm",
                $"The deformation was brought to one without folds; before, {Text(unfolded.FoldedBeforePercent, 2)} % of the voxels folded.");
        }

        yield return new("Start", string.Empty, Remark: $"The scans were laid over each other {Words(result.StartedBy)}.");
        string unfolding = result.Unfolded is null ? string.Empty : $", unfolding {Seconds(result.Times.Unfolding)} s";
        yield return new(
            "Time",
            Seconds(result.Times.Total),
            "s",
            $"Alignment {Seconds(result.Times.Alignment)} s, network {Seconds(result.Times.Network)} s, refinement {Seconds(result.Times.Refinement)} s{unfolding}.");
    }

    private static string Words(StartedBy start) => start switch
    {
        StartedBy.World => "by the scans' positions in the world",
        StartedBy.Centres => "centre on centre",
        StartedBy.Given => "as given",
        StartedBy.Rigid => "turned and shifted (rigid, optimised)",
        _ => "turned, shifted, stretched (affine, optimised)",
    };

    /// <summary>So many decimals; a dash where there is no number.</summary>
    internal static string Text(double value, int digits) =>
        double.IsNaN(value) ? "–" : value.ToString("F" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static string Seconds(TimeSpan time) => Text(time.TotalSeconds, 2);
}
