using System.Text.Json.Nodes;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.App.Jobs;

/// <summary>A result in the keys of <c>ldr-fs register --json</c>.</summary>
internal static class ResultKeys
{
    /// <param name="result">What was found.</param>
    /// <param name="model">Its name, or none.</param>
    /// <param name="labels">How well the label maps agree; empty where not both scans have one.</param>
    public static JsonObject Of(RegistrationResult result, string model, IReadOnlyList<LabelAgreement> labels)
    {
        RegistrationQuality quality = result.Quality;
        JsonObject node = new()
        {
            ["verdict"] = quality.Verdict.Word(),
            ["reasons"] = Texts(quality.Reasons),
            ["model"] = model,
        };
        foreach ((string key, double value) in QualityNumbers.Of(quality))
        {
            node[key] = Number(value);
        }

        node["check_milliseconds"] = Number(quality.Elapsed.TotalMilliseconds);

        node["outside_training"] = Texts(quality.OutsideTraining);
        node["initial_alignment"] = result.StartedBy.ToString().ToLowerInvariant();
        if (model != "none")
        {
            node["network_left_out"] = result.NetworkLeftOut;
        }

        node["affine"] = new JsonArray([.. result.Initial.ToRows().Select(Number)]);
        node["milliseconds"] = Times(result);
        if (result.Refined is Refined refined)
        {
            node["local_correlation_before"] = Number(refined.Before);
            node["local_correlation_after"] = Number(refined.After);
            node["refinement_steps"] = refined.Steps;
        }

        if (result.Unfolded is Unfolded unfolded)
        {
            node["folded_percent_before"] = Number(unfolded.FoldedBeforePercent);
            node["diffeomorphic_change_mean_mm"] = Number(unfolded.Fit.MeanChangeMm);
            node["diffeomorphic_change_max_mm"] = Number(unfolded.Fit.MaxChangeMm);
        }

        if (labels.Count > 0)
        {
            node["labels"] = LabelAgreement.ToJson(labels);
        }

        return node;
    }

    private static JsonObject Times(RegistrationResult result)
    {
        RegistrationTimes times = result.Times;
        JsonObject node = new()
        {
            ["affine"] = times.Alignment.TotalMilliseconds,
            ["network"] = times.Network.TotalMilliseconds,
            ["refinement"] = times.Refinement.TotalMilliseconds,
            ["warp"] = times.Warp.TotalMilliseconds,
            ["total"] = times.Total.TotalMilliseconds,
        };
        if (result.Unfolded is not null)
        {
            node["diffeomorphic"] = times.Unfolding.TotalMilliseconds;
        }

        return node;
    }

    /// <summary>With 6 decimals; JSON has no word for what is no number.</summary>
    private static JsonNode? Number(double value) => double.IsFinite(value) ? JsonValue.Create(Math.Round(value, 6)) : null;

    private static JsonArray Texts(IEnumerable<string> texts) => new([.. texts.Select(text => (JsonNode)text)]);
}
