namespace Ldr.Runtime.Metrics;

/// <summary>How well one label of two label maps agrees.</summary>
/// <param name="Label">The label.</param>
/// <param name="VoxelsA">Voxels of the label in the first map.</param>
/// <param name="VoxelsB">Voxels of the label in the second map.</param>
/// <param name="VoxelsBoth">Voxels of the label in both.</param>
public sealed record OverlapMeasure(int Label, long VoxelsA, long VoxelsB, long VoxelsBoth)
{
    /// <summary>2·|A∩B| / (|A| + |B|); 1 when both are empty, which the counts tell.</summary>
    public double Dice => VoxelsA + VoxelsB == 0 ? 1 : 2.0 * VoxelsBoth / (VoxelsA + VoxelsB);

    /// <summary>|A∩B| / |A∪B|; 1 when both are empty, which the counts tell.</summary>
    public double Jaccard => VoxelsA + VoxelsB == 0 ? 1 : (double)VoxelsBoth / (VoxelsA + VoxelsB - VoxelsBoth);
}
