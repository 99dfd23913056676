using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration.Quality;

/// <summary>
/// What a quality check measured on a registered pair, and what it makes of it. Nobody changes it. Similarities are taken only where the
/// scans overlap, on a lattice of at most about a hundred thousand points, each the mean of up to eight voxels.
/// </summary>
public sealed record RegistrationQuality
{
    /// <summary>Whether the registration is usable.</summary>
    public required Verdict Verdict { get; init; }

    /// <summary>Why it is not <see cref="Verdict.Ok"/>, each reason a line of words, the gravest first; empty when it is.</summary>
    public required IReadOnlyList<string> Reasons { get; init; }

    /// <summary>
    /// Correlation of fixed and moving scan as they lie after the initial alignment, -1 to 1; NaN when they do not overlap.
    /// </summary>
    public required double SimilarityBefore { get; init; }

    /// <summary>Correlation of fixed and moved scan, -1 to 1; NaN when nothing of the moving scan is there.</summary>
    public required double SimilarityAfter { get; init; }

    /// <summary>
    /// Share of the fixed scan's variance, box by box, that a linear function of the moving scan explains after the initial
    /// alignment: squared local correlation, 0 to 1, which survives changes of contrast; NaN when they do not overlap.
    /// </summary>
    public required double DetailBefore { get; init; }

    /// <summary>The same of the moved scan.</summary>
    public required double DetailAfter { get; init; }

    /// <summary>
    /// The same share where both scans have content, away from its edge: an outline against a dark surround does not count. After the
    /// initial alignment; NaN where there is no such place.
    /// </summary>
    public required double InnerDetailBefore { get; init; }

    /// <summary>The same of the moved scan.</summary>
    public required double InnerDetailAfter { get; init; }

    /// <summary>
    /// Detail after, of the fixed scan's content alone, in the half (left or right, front or back, lower or upper, by voxel axes) where it is
    /// least; NaN where that cannot be told.
    /// </summary>
    public required double HalfDetailAfter { get; init; }

    /// <summary>How far the contents (all that is not dark surround) of fixed and moved scan overlap: Dice, percent; NaN without any.</summary>
    public required double ContentOverlapPercent { get; init; }

    /// <summary>Share of the fixed scan that is content, percent.</summary>
    public required double ContentPercent { get; init; }

    /// <summary>The side of a cube as large as the fixed scan's content, mm.</summary>
    public required double ContentMm { get; init; }

    /// <summary>By how much the initial alignment enlarges volumes, at least 1: shrinking to a third counts as 3.</summary>
    public required double VolumeFactor { get; init; }

    /// <summary>Share of the fixed scan's voxels that the moving scan covers after the initial alignment, percent.</summary>
    public required double OverlapPercent { get; init; }

    /// <summary>Share of the fixed scan's voxels that the field takes out of the moving scan, percent.</summary>
    public required double OutsidePercent { get; init; }

    /// <summary>The same of the fixed scan's content alone, without the dark surround; NaN without content.</summary>
    public required double OutsideContentPercent { get; init; }

    /// <summary>How regular the field is: folded voxels, spread of the Jacobian determinants.</summary>
    public required FoldingMeasure Folding { get; init; }

    /// <summary>
    /// Share of the fixed scan's content (inside its mask, where there is one) whose volume shrinks to less than a third or grows to
    /// more than three times, percent.
    /// </summary>
    public required double ExtremeContentPercent { get; init; }

    /// <summary>Mean length of the total displacement, the initial alignment included, mm.</summary>
    public required double MeanDisplacementMm { get; init; }

    /// <summary>The longest total displacement, mm.</summary>
    public required double MaxDisplacementMm { get; init; }

    /// <summary>Mean length of the deformation alone, without the initial alignment, mm.</summary>
    public required double MeanDeformationMm { get; init; }

    /// <summary>The longest displacement of the deformation alone, mm.</summary>
    public required double MaxDeformationMm { get; init; }

    /// <summary>
    /// How far from where they came from points end that go through the deformation and back through its numerical inverse: mean
    /// and largest, mm. 0 for a deformation that is one-to-one; found on about eight thousand points.
    /// </summary>
    public required InverseConsistency InverseError { get; init; }

    /// <summary>
    /// What of the two scans lies outside what the model was trained on (spacing, size, intensities), in words; empty when
    /// nothing does, when that is not known, and without a model.
    /// </summary>
    public required IReadOnlyList<string> OutsideTraining { get; init; }

    /// <summary>What the check took.</summary>
    public required TimeSpan Elapsed { get; init; }
}
