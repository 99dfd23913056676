namespace Ldr.Runtime;

/// <summary>How regular a field is.</summary>
/// <param name="FoldedPercent">Share of voxels whose Jacobian determinant is at or below 0, in percent.</param>
/// <param name="SdLogJ">
/// Standard deviation (population) of log(clip(J + 3, 1e-9, 1e9)) over the determinants J, as Learn2Reg defines it.
/// </param>
public readonly record struct FoldingMeasure(double FoldedPercent, double SdLogJ);
