using System.Text.Json.Nodes;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.App.Jobs;

/// <summary>A result in the keys of <c>ldr-fs register --json</c>.</summary>
internal static class ResultKeys
{
    public static JsonObject Of(RegistrationResult result, string model)
    {
        RegistrationQuality quality = result.Quality;
        JsonObject node = new()
        {
            ["verdict"] = quality.Verdict.Word(),
            ["reasons"] = Texts(quality.Reasons),
            ["model"] = model,
        };
        foreach ((string key, double value) in Numbers(quality))
        {
            node[key] = Number(value);
        }

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

        return node;
    }

    private static IEnumerable<(string Key, double Value)> Numbers(RegistrationQuality quality) =>
    [
        ("similarity_before", quality.SimilarityBefore),
        ("similarity_after", quality.SimilarityAfter),
        ("folded_percent", quality.Folding.FoldedPercent),
        ("sdlogj", quality.Folding.SdLogJ),
        ("sdlogj_learn2reg", quality.Folding.SdLogJLearn2Reg),
        ("extreme_percent", quality.Folding.ExtremePercent),
        ("extreme_content_percent", quality.ExtremeContentPercent),
        ("mean_displacement_mm", quality.MeanDisplacementMm),
        ("max_displacement_mm", quality.MaxDisplacementMm),
        ("mean_deformation_mm", quality.MeanDeformationMm),
        ("max_deformation_mm", quality.MaxDeformationMm),
        ("detail_before", quality.DetailBefore),
        ("detail_after", quality.DetailAfter),
        ("inner_detail_before", quality.InnerDetailBefore),
        ("inner_detail_after", quality.InnerDetailAfter),
        ("half_detail_after", quality.HalfDetailAfter),
        ("content_percent", quality.ContentPercent),
        ("content_overlap_percent", quality.ContentOverlapPercent),
        ("content_mm", quality.ContentMm),
        ("volume_factor", quality.VolumeFactor),
        ("overlap_percent", quality.OverlapPercent),
        ("outside_percent", quality.OutsidePercent),
        ("inverse_error_mean_mm", quality.InverseError.MeanMm),
        ("inverse_error_max_mm", quality.InverseError.MaxMm),
        ("check_milliseconds", quality.Elapsed.TotalMilliseconds),
    ];

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
