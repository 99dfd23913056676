using System.Text.Json.Serialization;
using Ldr.App.Api;
using Ldr.Runtime.Transforms;

namespace Ldr.App.Jobs;

/// <summary>What <c>POST /api/jobs</c> takes: files by their ids, and the options of <c>ldr-fs register</c>.</summary>
internal sealed record JobRequest
{
    /// <summary>The scan whose grid the result has.</summary>
    public required string Fixed { get; init; }

    /// <summary>The scan that is deformed onto it.</summary>
    public required string Moving { get; init; }

    /// <summary>A label map of the moving scan.</summary>
    public string? Labels { get; init; }

    /// <summary>A label map of the fixed scan, whose outlines are shown.</summary>
    public string? FixedLabels { get; init; }

    /// <summary>Where the fixed scan counts.</summary>
    public string? FixedMask { get; init; }

    /// <summary>Where the moving scan counts.</summary>
    public string? MovingMask { get; init; }

    /// <summary>Points marked on the fixed scan, which are taken to the moving scan.</summary>
    public string? Points { get; init; }

    /// <summary>A model's name, <c>none</c>, or <c>auto</c> (also null): the first one whose training range holds both scans, else none.</summary>
    public string? Model { get; init; }

    /// <summary><c>none</c>, <c>centres</c>, <c>rigid</c>, <c>full</c> or <c>auto</c>; null: as the model was trained, <c>auto</c> without one.</summary>
    public string? Affine { get; init; }

    /// <summary>A transform to start from.</summary>
    public string? Init { get; init; }

    /// <summary>Gradient steps at each level.</summary>
    public int? Refine { get; init; }

    /// <summary>Seconds after which no step of the refinement begins.</summary>
    public double? Budget { get; init; }

    /// <summary>Distance of the refinement's control points, mm.</summary>
    public double? ControlSpacing { get; init; }

    /// <summary>Weight of a penalty on changes of volume.</summary>
    public double? LogJacobian { get; init; }

    /// <summary>Bring the deformation to one that folds nowhere.</summary>
    public bool Diffeomorphic { get; init; }

    /// <summary>With <see cref="Diffeomorphic"/>: the least and the largest factor by which a voxel's volume may change.</summary>
    public IReadOnlyList<double>? JacobianBounds { get; init; }

    /// <summary>Which volume of the files that hold several.</summary>
    public int? Volume { get; init; }

    /// <summary>The model that is asked for; a serializer leaves what a client does not say empty.</summary>
    [JsonIgnore]
    public string WantedModel => Model ?? "auto";

    /// <summary>Refuses values that <c>register</c> refuses.</summary>
    /// <exception cref="ApiException">In one line.</exception>
    public void Check()
    {
        static void Need(bool good, string line)
        {
            if (!good)
            {
                throw ApiException.Bad(line);
            }
        }

        Need(Affine is null or "none" or "centres" or "rigid" or "full" or "auto", "affine: give none, centres, rigid, full or auto");
        Need(Affine != "centres" || Init is null, "init and affine centres: both say where to start; give one of them");
        Need(Refine is null or (>= 0 and <= 10_000), "refine: give a whole number from 0 to 10000");
        Need(Budget is null or (> 0 and < 1e6), "budget: give seconds, a number above 0");
        Need(ControlSpacing is null or (> 0 and <= 1000), "control_spacing: give mm, a number above 0, up to 1000");
        Need(LogJacobian is null or (>= 0 and <= 1000), "log_jacobian: give a weight, a number from 0 to 1000");
        Need(Volume is null or >= 0, "volume: give a whole number from 0");
        Need(JacobianBounds is null || Diffeomorphic, "jacobian_bounds is of diffeomorphic; set it");
        Need(
            JacobianBounds is null || (JacobianBounds is [double least, double most] && DiffeomorphicFit.AllowsBounds(least, most)),
            $"jacobian_bounds: give a factor from {DiffeomorphicFit.LeastDeterminant} to below 1, and one above 1");
    }
}
