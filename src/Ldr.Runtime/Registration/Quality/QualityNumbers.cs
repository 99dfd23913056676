namespace Ldr.Runtime.Registration.Quality;

/// <summary>The numbers of a quality check under the keys that JSON and tables have.</summary>
public static class QualityNumbers
{
    private static readonly (string Key, Func<RegistrationQuality, double> Pick)[] All =
    [
        ("similarity_before", q => q.SimilarityBefore),
        ("similarity_after", q => q.SimilarityAfter),
        ("folded_percent", q => q.Folding.FoldedPercent),
        ("sdlogj", q => q.Folding.SdLogJ),
        ("sdlogj_learn2reg", q => q.Folding.SdLogJLearn2Reg),
        ("extreme_percent", q => q.Folding.ExtremePercent),
        ("extreme_content_percent", q => q.ExtremeContentPercent),
        ("mean_displacement_mm", q => q.MeanDisplacementMm),
        ("max_displacement_mm", q => q.MaxDisplacementMm),
        ("mean_deformation_mm", q => q.MeanDeformationMm),
        ("max_deformation_mm", q => q.MaxDeformationMm),
        ("detail_before", q => q.DetailBefore),
        ("detail_after", q => q.DetailAfter),
        ("inner_detail_before", q => q.InnerDetailBefore),
        ("inner_detail_after", q => q.InnerDetailAfter),
        ("half_detail_after", q => q.HalfDetailAfter),
        ("content_percent", q => q.ContentPercent),
        ("content_overlap_percent", q => q.ContentOverlapPercent),
        ("content_mm", q => q.ContentMm),
        ("volume_factor", q => q.VolumeFactor),
        ("overlap_percent", q => q.OverlapPercent),
        ("outside_percent", q => q.OutsidePercent),
        ("outside_content_percent", q => q.OutsideContentPercent),
        ("inverse_error_mean_mm", q => q.InverseError.MeanMm),
        ("inverse_error_max_mm", q => q.InverseError.MaxMm),
    ];

    /// <summary>The keys, in their order.</summary>
    public static IReadOnlyList<string> Keys { get; } = [.. All.Select(number => number.Key)];

    /// <summary>Key and number, in that order; NaN where there is none.</summary>
    /// <param name="quality">What was measured.</param>
    public static IReadOnlyList<KeyValuePair<string, double>> Of(RegistrationQuality quality)
    {
        ArgumentNullException.ThrowIfNull(quality);
        return [.. All.Select(number => KeyValuePair.Create(number.Key, number.Pick(quality)))];
    }
}
