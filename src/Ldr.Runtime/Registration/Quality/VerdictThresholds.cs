using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Inference;

namespace Ldr.Runtime.Registration.Quality;

/// <summary>
/// The numbers that turn measurements into a verdict. How they were chosen, and how well they tell good pairs from wrong ones, is in
/// <c>docs/reference/verdict.md</c>. A model file may hold its own (<c>verdict</c> in its metadata); what it does not say, and registration without a
/// model, has <see cref="Standard"/>.
/// </summary>
public sealed record VerdictThresholds
{
    /// <summary>The thresholds that a model brings along; null when it has none of its own.</summary>
    /// <param name="model">The model.</param>
    /// <exception cref="InvalidFileException">Its entry <c>verdict</c> is damaged.</exception>
    public static VerdictThresholds? Of(StudentModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (!model.Metadata.TryGetValue("verdict", out string? text))
        {
            return null;
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            JsonElement json = document.RootElement;
            double Read(string key, double standard) => json.TryGetProperty(key, out JsonElement value) ? value.GetDouble() : standard;
            return new VerdictThresholds
            {
                FailedDetail = Read("failed_detail", Standard.FailedDetail),
                LookDetail = Read("look_detail", Standard.LookDetail),
                FailedInnerDetail = Read("failed_inner_detail", Standard.FailedInnerDetail),
                LookInnerDetail = Read("look_inner_detail", Standard.LookInnerDetail),
                LookHalfDetail = Read("look_half_detail", Standard.LookHalfDetail),
                LookExtremePercent = Read("look_extreme_percent", Standard.LookExtremePercent),
                FailedExtremePercent = Read("failed_extreme_percent", Standard.FailedExtremePercent),
            };
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            throw new InvalidFileException(
                model.Name, $"its thresholds of the verdict are damaged ({error.Message})", "choose a model file that ldr-fs wrote", error);
        }
    }

    /// <summary>Those of registration without a model.</summary>
    public static VerdictThresholds Standard { get; } = new();

    /// <summary>Detail after a registration below which the scans do not show the same thing: failed.</summary>
    public double FailedDetail { get; init; } = 0.28;

    /// <summary>Detail after a registration below which it should be looked at.</summary>
    public double LookDetail { get; init; } = 0.36;

    /// <summary>Inner detail after a registration of a whole thing below which it has failed.</summary>
    public double FailedInnerDetail { get; init; } = 0.28;

    /// <summary>Inner detail after a registration of a whole thing below which it should be looked at.</summary>
    public double LookInnerDetail { get; init; } = 0.5;

    /// <summary>Detail of the half of the content that agrees least, below which a registration should be looked at.</summary>
    public double LookHalfDetail { get; init; } = 0.25;

    /// <summary>Share of the content (percent) that changes its volume more than threefold, above which a registration should be looked at.</summary>
    public double LookExtremePercent { get; init; } = 3;

    /// <summary>The same, above which it has failed.</summary>
    public double FailedExtremePercent { get; init; } = 20;

    /// <summary>Detail above which scans agree so well that the correlation may sink, and the field be near identity.</summary>
    public const double AgreeingDetail = 0.8;

    /// <summary>By how much the correlation may sink before a registration has failed: less is within what resampling changes.</summary>
    public const double SimilarityTolerance = 0.002;

    /// <summary>Folded voxels (percent) above which a field should be looked at.</summary>
    public const double FoldedPercent = 1;

    /// <summary>Share of the voxels (percent) that may leave the moving scan before the field should be looked at.</summary>
    public const double OutsidePercent = 40;

    /// <summary>Share of the smallest spacing below which a mean deformation counts as near identity.</summary>
    public const double NearIdentity = 0.05;

    /// <summary>
    /// Content (percent of the fixed scan) below which a scan shows a whole thing against a dark surround; above, it is a crop.
    /// </summary>
    public const double WholePercent = 75;

    /// <summary>Overlap of the contents (percent) of a whole thing below which a registration should be looked at.</summary>
    public const double ContentOverlapPercent = 85;

    /// <summary>
    /// Mean deformation, as a share of the side of a cube as large as the content, above which it should be looked at; not
    /// of a model's fields, which contain what its alignment leaves.
    /// </summary>
    public const double FarDeformation = 0.075;

    /// <summary>Change of volume by the initial alignment above which it should be looked at.</summary>
    public const double VolumeFactor = 3;
}
