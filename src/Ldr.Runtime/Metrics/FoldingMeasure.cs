namespace Ldr.Runtime;

/// <summary>How regular a field is.</summary>
/// <param name="FoldedPercent">Share of voxels whose Jacobian determinant is at or below 0, in percent.</param>
/// <param name="SdLogJ">Standard deviation (population) of the logarithm of the determinants, clamped to [1e-9, 1e9].</param>
public readonly record struct FoldingMeasure(double FoldedPercent, double SdLogJ);
