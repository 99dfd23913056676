using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>Predicts how a moving scan deforms onto a fixed one: a network. <see cref="Registrar"/> does the rest.</summary>
public interface IFieldPredictor
{
    /// <summary>How scans are laid over each other before the network sees them, unless something else is asked for.</summary>
    Alignment Alignment { get; }

    /// <summary>What the network was trained on; null when that is not known.</summary>
    TrainingRange? Training { get; }

    /// <summary>The model's own thresholds of the verdict; null: <see cref="VerdictThresholds.Standard"/>.</summary>
    VerdictThresholds? Thresholds { get; }

    /// <summary>Predicts the deformation of a pair of scans of any size, spacing and orientation.</summary>
    /// <param name="fixedScan">The scan whose grid the result has.</param>
    /// <param name="movingScan">The scan that is deformed onto it.</param>
    /// <param name="alignment">
    /// How they are laid over each other first; null: as the model was trained, or by centres when they hardly overlap.
    /// </param>
    /// <param name="progress">Receives the share of the work that is done, 0 to 1, on this thread.</param>
    /// <param name="cancellation">Stops between two layers.</param>
    /// <exception cref="ArgumentException">The fixed scan needs too many voxels at the model's spacing.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    FieldPrediction Predict(
        Volume fixedScan,
        Volume movingScan,
        Alignment? alignment = null,
        IProgress<double>? progress = null,
        CancellationToken cancellation = default);
}

/// <summary>What a network predicts for a pair.</summary>
/// <param name="Field">The total displacement on the fixed scan's grid, the initial alignment included, voxels.</param>
/// <param name="Deformation">The network's part of it.</param>
/// <param name="Initial">The initial alignment: fixed world to moving world, mm.</param>
/// <param name="Alignment">How that was found.</param>
/// <param name="Moved">The moving scan on the fixed scan's grid, resampled once.</param>
/// <param name="NetworkTime">Time in the network.</param>
/// <param name="WarpTime">Time in the last warp.</param>
public sealed record FieldPrediction(
    DisplacementField Field,
    DisplacementField Deformation,
    Affine Initial,
    Alignment Alignment,
    Volume Moved,
    TimeSpan NetworkTime,
    TimeSpan WarpTime);
