using System.Diagnostics;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration.Quality;

/// <summary>
/// Judges a registered pair, by <see cref="VerdictThresholds"/>.
/// </summary>
public static class QualityCheck
{
    /// <summary>Points, about, that go through the deformation and back.</summary>
    private const double InversePoints = 8_000;

    /// <summary>Measures and judges.</summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan as it was read.</param>
    /// <param name="moved">The moved scan, on the fixed grid.</param>
    /// <param name="field">The total displacement, on the fixed grid.</param>
    /// <param name="deformation">Its part without the initial alignment, on the fixed grid.</param>
    /// <param name="initial">The initial alignment: fixed world to moving world, mm.</param>
    /// <param name="training">What the model was trained on; null when that is not known, and without a model.</param>
    /// <param name="fixedMask">Where the fixed scan counts (above 0), on its grid; everywhere when null.</param>
    /// <param name="thresholds">The model's own; null: <see cref="VerdictThresholds.Standard"/>.</param>
    /// <param name="cancellation">Stops between two measurements.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    /// <exception cref="ArgumentException">The mask lies on another grid than the fixed scan.</exception>
    public static RegistrationQuality Run(
        Volume fixedScan,
        Volume movingScan,
        Volume moved,
        DisplacementField field,
        DisplacementField deformation,
        Affine initial,
        TrainingRange? training = null,
        Volume? fixedMask = null,
        VerdictThresholds? thresholds = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        ArgumentNullException.ThrowIfNull(moved);
        ArgumentNullException.ThrowIfNull(field);
        ArgumentNullException.ThrowIfNull(deformation);
        ArgumentNullException.ThrowIfNull(initial);
        if (fixedMask is not null && !fixedMask.Grid.SameAs(fixedScan.Grid))
        {
            throw new ArgumentException("The mask lies on another grid than the fixed scan.", nameof(fixedMask));
        }

        Stopwatch clock = Stopwatch.StartNew();

        // Folding looks at every voxel; what else there is takes as long on another thread.
        Task<(FoldingMeasure All, FoldingMeasure Content)> folding = Task.Run(() => Folding.Measure(field, fixedMask, fixedScan));
        QualityLattice lattice = new(fixedScan, fixedMask);
        float[] before = lattice.Unmoved(movingScan, initial, out double overlap);
        float[] after = lattice.Moved(moved, field, movingScan.Grid, out double outside);
        cancellation.ThrowIfCancellationRequested();
        (double Mean, double Max) deformed = deformation.Lengths(fixedMask);
        (double Mean, double Max) displaced = ReferenceEquals(field, deformation) ? deformed : field.Lengths(fixedMask);
        cancellation.ThrowIfCancellationRequested();
        RegistrationQuality measured = new()
        {
            Verdict = Verdict.Ok,
            Reasons = [],
            SimilarityBefore = lattice.Correlation(before),
            SimilarityAfter = lattice.Correlation(after),
            DetailBefore = lattice.Detail(before),
            DetailAfter = lattice.Detail(after),
            InnerDetailBefore = lattice.InnerDetail(before),
            InnerDetailAfter = lattice.InnerDetail(after),
            HalfDetailAfter = lattice.HalfDetail(after),
            ContentOverlapPercent = 100 * lattice.ContentOverlap(after),
            ContentPercent = 100 * lattice.ContentShare,
            ContentMm = lattice.ContentMm,
            VolumeFactor = Math.Max(Math.Abs(initial.Determinant), 1 / Math.Abs(initial.Determinant)),
            OverlapPercent = 100 * overlap,
            OutsidePercent = 100 * outside,
            OutsideContentPercent = 100 * lattice.OutsideContent(after),
            MeanDeformationMm = deformed.Mean,
            MaxDeformationMm = deformed.Max,
            MeanDisplacementMm = displaced.Mean,
            MaxDisplacementMm = displaced.Max,
            InverseError = InverseErrorOf(deformation),
            OutsideTraining = training?.Outside(fixedScan, movingScan) ?? [],
            Folding = folding.Result.All,
            ExtremeContentPercent = folding.Result.Content.ExtremePercent,
            Elapsed = clock.Elapsed,
        };
        string? empty =
            QualityLattice.IsFlat(lattice.Reference) ? "the fixed scan is empty: what counts of it has one value everywhere"
            : QualityLattice.IsFlat(after) ? "the moving scan is empty: it has one value everywhere over the fixed scan"
            : null;
        return empty is null
            ? Judge(measured, fixedScan.Grid, training is not null, thresholds)
            : measured with { Verdict = Verdict.Failed, Reasons = [empty, .. measured.OutsideTraining] };
    }

    /// <summary>
    /// Whether a deformation spoils what was good: the scans agreed after the initial alignment alone
    /// (<see cref="VerdictThresholds.AgreeingDetail"/>), and agree less when they are deformed.
    /// </summary>
    /// <param name="fixedScan">The fixed scan.</param>
    /// <param name="movingScan">The moving scan.</param>
    /// <param name="initial">Fixed world to moving world, mm.</param>
    /// <param name="moved">The moved scan.</param>
    /// <param name="fixedMask">Where the fixed scan counts (above 0); everywhere when null.</param>
    public static bool Spoils(Volume fixedScan, Volume movingScan, Affine initial, Volume moved, Volume? fixedMask = null)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        ArgumentNullException.ThrowIfNull(initial);
        ArgumentNullException.ThrowIfNull(moved);
        QualityLattice lattice = new(fixedScan, fixedMask);
        double before = lattice.Detail(lattice.Unmoved(movingScan, initial, out _));
        return before >= VerdictThresholds.AgreeingDetail && lattice.DetailOf(moved) < before;
    }

    private static RegistrationQuality Judge(RegistrationQuality q, Grid grid, bool byModel, VerdictThresholds? own)
    {
        VerdictThresholds limits = own ?? VerdictThresholds.Standard;
        (double x, double y, double z) = grid.Spacing;
        bool finite = double.IsFinite(q.MeanDeformationMm);
        bool agree = q.DetailAfter >= VerdictThresholds.AgreeingDetail;

        // An alignment alone promises no deformation.
        bool deformed = !(q.MaxDeformationMm == 0);
        List<string> failures = [];
        List<string> doubts = [];
        void When(bool holds, List<string> list, FormattableString reason)
        {
            if (holds)
            {
                list.Add(FormattableString.Invariant(reason));
            }
        }

        bool measurable = double.IsFinite(q.SimilarityAfter - q.SimilarityBefore);
        When(!finite, failures, $"the displacement field has numbers that are not finite");
        When(
            finite && measurable && !agree && q.SimilarityAfter < q.SimilarityBefore - VerdictThresholds.SimilarityTolerance,
            failures,
            $"the scans are less alike than before (correlation {q.SimilarityBefore:F3} before, {q.SimilarityAfter:F3} after)");
        When(
            q.DetailAfter < limits.FailedDetail,
            failures,
            $"the scans do not show the same thing: the moved scan explains {100 * q.DetailAfter:F0} % of the fixed scan's detail");
        When(
            q.DetailAfter >= limits.FailedDetail && q.DetailAfter < limits.LookDetail,
            doubts,
            $"the scans agree poorly: the moved scan explains {100 * q.DetailAfter:F0} % of the fixed scan's detail");
        bool whole = q.ContentPercent < VerdictThresholds.WholePercent;

        // Of a crop inner detail says no more than detail, unless its limits were chosen for it.
        bool judged = whole || own is not null;
        When(
            judged && double.IsNaN(q.InnerDetailAfter) && !double.IsNaN(q.DetailAfter),
            failures,
            $"the scans do not show the same thing inside: away from the outlines, their contents have nothing in common to compare");
        When(
            judged && q.InnerDetailAfter < limits.FailedInnerDetail,
            failures,
            $"the scans do not show the same thing inside: away from the outline, the moved scan explains {100 * q.InnerDetailAfter:F0} % of the fixed scan's detail");
        When(
            judged
                ? q.InnerDetailAfter >= limits.FailedInnerDetail && q.InnerDetailAfter < limits.LookInnerDetail
                : q.InnerDetailAfter < limits.FailedInnerDetail,
            doubts,
            $"the scans agree poorly inside: away from the outline, the moved scan explains {100 * q.InnerDetailAfter:F0} % of the fixed scan's detail");
        When(
            whole && q.ContentOverlapPercent < VerdictThresholds.ContentOverlapPercent,
            doubts,
            $"the outlines differ: the contents of the scans overlap by {q.ContentOverlapPercent:F0} %");
        When(
            !byModel && q.MeanDeformationMm > VerdictThresholds.FarDeformation * q.ContentMm,
            doubts,
            $"the deformation is large: {q.MeanDeformationMm:F0} mm on average, for a content of about {q.ContentMm:F0} mm");
        When(
            q.VolumeFactor > VerdictThresholds.VolumeFactor,
            doubts,
            $"the initial alignment changes volumes by a factor of {q.VolumeFactor:F1}");
        When(
            q.HalfDetailAfter < limits.LookHalfDetail,
            doubts,
            $"one half of the scans agrees poorly: there, the moved scan explains {100 * q.HalfDetailAfter:F0} % of the fixed scan's detail");
        When(
            q.ExtremeContentPercent > limits.FailedExtremePercent,
            failures,
            $"the field tears space: {q.ExtremeContentPercent:F0} % of the content shrinks to less than a third of its volume or grows to more than three times");
        When(
            q.ExtremeContentPercent > limits.LookExtremePercent && q.ExtremeContentPercent <= limits.FailedExtremePercent,
            doubts,
            $"volumes change strongly: {q.ExtremeContentPercent:F1} % of the content shrinks to less than a third of its volume or grows to more than three times");
        When(q.Folding.FoldedPercent > VerdictThresholds.FoldedPercent, doubts, $"{q.Folding.FoldedPercent:F1} % of the voxels are folded");
        When(
            q.OutsidePercent > VerdictThresholds.OutsidePercent,
            doubts,
            $"the field takes {q.OutsidePercent:F0} % of the voxels out of the moving scan ({q.OutsideContentPercent:F0} % of the content)");
        When(
            finite && deformed && !agree && q.MeanDeformationMm < VerdictThresholds.NearIdentity * Math.Min(x, Math.Min(y, z)),
            doubts,
            $"the field is near identity ({q.MeanDeformationMm:F3} mm on average)");
        When(
            !measurable || !double.IsFinite(q.DetailAfter),
            doubts,
            $"the similarity cannot be measured: too few voxels are finite in both scans where they overlap and count");
        When(
            failures.Count == 0 && deformed && !agree && q.SimilarityAfter < q.SimilarityBefore,
            doubts,
            $"the scans are no more alike than before (correlation {q.SimilarityBefore:F4} before, {q.SimilarityAfter:F4} after)");
        doubts.AddRange(q.OutsideTraining);
        return q with
        {
            Verdict = failures.Count > 0 ? Verdict.Failed : doubts.Count > 0 ? Verdict.Look : Verdict.Ok,
            Reasons = [.. failures, .. doubts],
        };
    }

    /// <summary>Points y go to p = y + u(y) and back by the fixed-point iteration q ← p − u(q); |q − y|.</summary>
    private static InverseConsistency InverseErrorOf(DisplacementField deformation)
    {
        const int iterations = 12;
        Grid grid = deformation.Grid;
        int step = Math.Max(1, (int)Math.Ceiling(Math.Cbrt(grid.Count / InversePoints)));
        int slices = (grid.Nz + step - 1) / step;
        (double Sum, double Max, int Count)[] parts = new (double, double, int)[slices];
        Parallel.For(0, slices, new ParallelOptions { MaxDegreeOfParallelism = Threads.Most }, slice =>
        {
            Span<float> u = stackalloc float[3];
            int z = slice * step;
            for (int y = 0; y < grid.Ny; y += step)
            {
                for (int x = 0; x < grid.Nx; x += step)
                {
                    Sampling.LinearAt(deformation.Vectors, grid, x, y, z, u);
                    (float px, float py, float pz) = (x + u[0], y + u[1], z + u[2]);
                    (float qx, float qy, float qz) = (px, py, pz);
                    for (int i = 0; i < iterations; i++)
                    {
                        Sampling.LinearAt(deformation.Vectors, grid, qx, qy, qz, u);
                        (qx, qy, qz) = (px - u[0], py - u[1], pz - u[2]);
                    }

                    (double dx, double dy, double dz) = grid.VoxelToWorld.ApplyLinear(qx - x, qy - y, qz - z);
                    double length = Math.Sqrt((dx * dx) + (dy * dy) + (dz * dz));
                    parts[slice] = (parts[slice].Sum + length, Math.Max(parts[slice].Max, length), parts[slice].Count + 1);
                }
            }
        });
        return new InverseConsistency(parts.Sum(p => p.Sum) / parts.Sum(p => p.Count), parts.Max(p => p.Max));
    }
}
