using System.Text.Json.Nodes;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>How two scans were laid over each other before anything was deformed.</summary>
public enum StartedBy
{
    /// <summary>By the headers.</summary>
    World,

    /// <summary>By the grids' centres.</summary>
    Centres,

    /// <summary>As given.</summary>
    Given,

    /// <summary>By an optimised rotation and translation.</summary>
    Rigid,

    /// <summary>By an optimised affine map.</summary>
    Affine,
}

/// <summary>What was done to a deformation so that its Jacobian determinants are within bounds.</summary>
/// <param name="Fit">The deformation within the bounds, and how far it is from what was found.</param>
/// <param name="FoldedBeforePercent">Share of the voxels that folded before.</param>
public sealed record Unfolded(DiffeomorphicFit Fit, double FoldedBeforePercent);

/// <summary>What the stages of a registration took.</summary>
/// <param name="Alignment">The alignment as a whole, where it was optimised or given.</param>
/// <param name="Network">The network.</param>
/// <param name="Refinement">The refinement.</param>
/// <param name="Unfolding">Bringing the determinants within bounds.</param>
/// <param name="Warp">The last resampling.</param>
/// <param name="Total">From two scans to the moved one; the check is not in it.</param>
public readonly record struct RegistrationTimes(
    TimeSpan Alignment, TimeSpan Network, TimeSpan Refinement, TimeSpan Unfolding, TimeSpan Warp, TimeSpan Total);

/// <summary>A registered pair.</summary>
public sealed class RegistrationResult
{
    private readonly IFieldPredictor? predictor;
    private readonly RegistrationOptions options;
    private readonly Lock gate = new();
    private RegistrationQuality? quality;

    internal RegistrationResult(IFieldPredictor? predictor, RegistrationOptions options, Volume fixedScan, Volume moving)
    {
        this.predictor = predictor;
        this.options = options;
        Fixed = fixedScan;
        Moving = moving;
    }

    /// <summary>The fixed scan as it was given.</summary>
    public Volume Fixed { get; }

    /// <summary>The moving scan as it was given.</summary>
    public Volume Moving { get; }

    /// <summary>
    /// The total displacement on the fixed scan's grid, the initial alignment included: from fixed to moving, in voxels.
    /// </summary>
    public required DisplacementField Field { get; init; }

    /// <summary>Its part without the initial alignment, on the fixed scan's grid.</summary>
    public required DisplacementField Deformation { get; init; }

    /// <summary>The initial alignment: fixed world to moving world, mm.</summary>
    public required Affine Initial { get; init; }

    /// <summary>The moving scan on the fixed scan's grid, resampled once.</summary>
    public required Volume Moved { get; init; }

    /// <summary>How the scans were laid over each other.</summary>
    public required StartedBy StartedBy { get; init; }

    /// <summary>Whether the network's deformation was left out: the scans agreed better without it.</summary>
    public required bool NetworkLeftOut { get; init; }

    /// <summary>The optimised alignment; null where none was asked for.</summary>
    public required AffineResult? Affine { get; init; }

    /// <summary>What the refinement did; null where there was none.</summary>
    public required Refined? Refined { get; init; }

    /// <summary>What the unfolding did; null where there was none.</summary>
    public required Unfolded? Unfolded { get; init; }

    /// <summary>What the stages took.</summary>
    public required RegistrationTimes Times { get; init; }

    /// <summary>The whole transform: the initial alignment, and the deformation before it for a point.</summary>
    public Transform Transform => Transform.Compose(new Transform.Linear(Initial), new Transform.Dense(Deformation));

    /// <summary>What was measured of the result, and what is made of it; found when it is asked for first.</summary>
    public RegistrationQuality Quality => Check(default);

    /// <summary>Whether the registration is usable; <see cref="RegistrationQuality.Reasons"/> says why not.</summary>
    public Verdict Verdict => Quality.Verdict;

    /// <summary>The transform back, as a displacement field on the moving scan's grid.</summary>
    /// <param name="residual">How far points end from where they came from, there and back.</param>
    public DisplacementField Inverse(out InverseConsistency residual)
    {
        DisplacementField back = Inverse();
        residual = InverseConsistency.Measure(Transform, new Transform.Dense(back), Moving.Grid);
        return back;
    }

    /// <summary>The transform back, as a displacement field on the moving scan's grid.</summary>
    public DisplacementField Inverse() => Transform.Inverse().ToField(Moving.Grid, options.Threads);

    /// <summary>A label map of the moving scan on the fixed scan's grid: the nearest label of each place.</summary>
    /// <param name="labels">On the moving scan's grid.</param>
    /// <exception cref="ArgumentException">It lies on another grid.</exception>
    public Volume MoveLabels(Volume labels)
    {
        ArgumentNullException.ThrowIfNull(labels);
        return labels.Grid.SameAs(Moving.Grid)
            ? Warp.Nearest(labels, Field, options.Threads)
            : throw new ArgumentException("the label map lies on another grid than the moving scan", nameof(labels));
    }

    /// <summary>
    /// How well the label maps of both scans agree, label by label in ascending order: after the initial alignment alone, and in the
    /// end.
    /// </summary>
    /// <param name="fixedLabels">On the fixed scan's grid.</param>
    /// <param name="movingLabels">On the moving scan's grid.</param>
    /// <exception cref="ArgumentException">One lies on another grid.</exception>
    public IReadOnlyList<LabelAgreement> CompareLabels(Volume fixedLabels, Volume movingLabels)
    {
        ArgumentNullException.ThrowIfNull(fixedLabels);
        Volume moved = MoveLabels(movingLabels);
        int[] labels = [.. Overlap.Labels(fixedLabels).Union(Overlap.Labels(movingLabels)).Order()];
        DisplacementField start = DisplacementField.Zero(Fixed.Grid).After(Initial);
        IReadOnlyList<OverlapMeasure> before = Overlap.Measure(fixedLabels, Warp.Nearest(movingLabels, start, options.Threads), labels);
        return [.. before.Zip(Overlap.Measure(fixedLabels, moved, labels), (first, last) => new LabelAgreement(first, last))];
    }

    /// <summary>
    /// The same pair with another deformation, on the fixed scan's grid; what stages found is no longer in it.
    /// </summary>
    /// <param name="deformation">Without the initial alignment.</param>
    public RegistrationResult With(DisplacementField deformation)
    {
        ArgumentNullException.ThrowIfNull(deformation);
        DisplacementField field = deformation.After(Initial);
        return new RegistrationResult(predictor, options, Fixed, Moving)
        {
            Field = field,
            Deformation = deformation,
            Initial = Initial,
            Moved = Warp.Linear(Moving, field, options.Threads),
            StartedBy = StartedBy,
            NetworkLeftOut = false,
            Affine = Affine,
            Refined = null,
            Unfolded = null,
            Times = Times,
        };
    }

    /// <summary>Measures and judges, once.</summary>
    internal RegistrationQuality Check(CancellationToken cancellation)
    {
        lock (gate)
        {
            return quality ??= QualityCheck.Run(
                Fixed,
                Moving,
                Moved,
                Field,
                Deformation,
                Initial,
                predictor?.Training,
                options.FixedMask,
                predictor?.Thresholds,
                cancellation);
        }
    }
}

/// <summary>How well one label of two scans agrees.</summary>
/// <param name="Before">After the initial alignment alone.</param>
/// <param name="After">After the registration.</param>
public sealed record LabelAgreement(OverlapMeasure Before, OverlapMeasure After)
{
    /// <summary>In the keys of JSON: mean Dice before and after, then label by label; null for what is no number.</summary>
    /// <param name="labels">Those of a pair, at least one.</param>
    public static JsonObject ToJson(IReadOnlyList<LabelAgreement> labels) => new()
    {
        ["dice_before"] = Number(labels.Average(label => label.Before.Dice)),
        ["dice"] = Number(labels.Average(label => label.After.Dice)),
        ["per_label"] = new JsonArray([.. labels.Select(label => new JsonObject
        {
            ["label"] = label.After.Label,
            ["dice_before"] = Number(label.Before.Dice),
            ["dice"] = Number(label.After.Dice),
        })]),
    };

    private static JsonValue? Number(double value) => double.IsFinite(value) ? JsonValue.Create(Math.Round(value, 6)) : null;
}
