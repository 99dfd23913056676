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
    /// <summary>How a model's file names those that it may have of its own, in the order in which they are written.</summary>
    internal static IReadOnlyList<Key> Keys { get; } =
    [
        new("failed_detail", t => t.FailedDetail, (t, value) => t with { FailedDetail = value }),
        new("look_detail", t => t.LookDetail, (t, value) => t with { LookDetail = value }),
        new("failed_inner_detail", t => t.FailedInnerDetail, (t, value) => t with { FailedInnerDetail = value }),
        new("look_inner_detail", t => t.LookInnerDetail, (t, value) => t with { LookInnerDetail = value }),
        new("look_half_detail", t => t.LookHalfDetail, (t, value) => t with { LookHalfDetail = value }),
        new("look_extreme_percent", t => t.LookExtremePercent, (t, value) => t with { LookExtremePercent = value }),
        new("failed_extreme_percent", t => t.FailedExtremePercent, (t, value) => t with { FailedExtremePercent = value }),
    ];

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
            return Keys.Aggregate(
                Standard,
                (known, key) => json.TryGetProperty(key.Name, out JsonElement value) ? key.Set(known, value.GetDouble()) : known);
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

    /// <summary>A key of the JSON, and the threshold that it stands for.</summary>
    internal sealed record Key(
        string Name, Func<VerdictThresholds, double> Get, Func<VerdictThresholds, double, VerdictThresholds> Set);
}
