using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Metrics;

/// <summary>What a field does to the volume of one structure.</summary>
/// <param name="Label">The structure.</param>
/// <param name="Voxels">Its voxels in the fixed label map.</param>
/// <param name="MedianJacobian">Median Jacobian determinant over them.</param>
/// <param name="ExtremePercent">Share of them with a determinant outside 1/3 to 3, percent.</param>
/// <param name="VolumeRatio">
/// Volume (mm³) of the structure in the moving scan over that in the fixed one: what the determinants are on average where the field
/// carries one structure onto the other. NaN where the moving map lacks it.
/// </param>
public sealed record LabelVolumeChange(int Label, long Voxels, double MedianJacobian, double ExtremePercent, double VolumeRatio)
{
    /// <summary>How far the median determinant is from the ratio of the volumes: |median / ratio − 1|, percent.</summary>
    public double ErrorPercent => 100 * Math.Abs((MedianJacobian / VolumeRatio) - 1);
}

/// <summary>Changes of volume inside structures.</summary>
public static class VolumeChange
{
    /// <summary>Those of each label, in the order asked for; labels that the fixed map lacks are left out.</summary>
    /// <param name="determinants">As <see cref="Jacobian.Determinants"/> gives them, on the fixed grid.</param>
    /// <param name="fixedLabels">The fixed label map, on the same grid.</param>
    /// <param name="movingLabels">The moving label map.</param>
    /// <param name="labels">Which.</param>
    /// <exception cref="ArgumentException">The determinants and the fixed map differ in size.</exception>
    public static IReadOnlyList<LabelVolumeChange> OfLabels(
        Volume determinants, Volume fixedLabels, Volume movingLabels, IReadOnlyList<int> labels)
    {
        ArgumentNullException.ThrowIfNull(determinants);
        ArgumentNullException.ThrowIfNull(fixedLabels);
        ArgumentNullException.ThrowIfNull(movingLabels);
        ArgumentNullException.ThrowIfNull(labels);
        SameSize.Check(determinants.Grid, fixedLabels.Grid);
        Dictionary<float, List<float>> inside = [];
        Dictionary<float, long> moving = [];
        foreach (int label in labels)
        {
            inside[label] = [];
            moving[label] = 0;
        }

        for (int i = 0; i < fixedLabels.Values.Length; i++)
        {
            if (inside.TryGetValue(fixedLabels.Values[i], out List<float>? own))
            {
                own.Add(determinants.Values[i]);
            }
        }

        foreach (float value in movingLabels.Values)
        {
            if (moving.TryGetValue(value, out long count))
            {
                moving[value] = count + 1;
            }
        }

        double voxels = Math.Abs(movingLabels.Grid.VoxelToWorld.Determinant / fixedLabels.Grid.VoxelToWorld.Determinant);
        return
        [
            .. labels
                .Where(label => inside[label].Count > 0)
                .Select(label =>
                {
                    float[] own = [.. inside[label]];
                    return new LabelVolumeChange(
                        label,
                        own.Length,
                        Percentile.Of(own, 50)[0],
                        100.0 * own.Count(j => Folding.IsExtreme(j)) / own.Length,
                        moving[label] == 0 ? double.NaN : moving[label] * voxels / own.Length);
                }),
        ];
    }
}
