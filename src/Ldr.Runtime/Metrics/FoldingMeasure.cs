namespace Ldr.Runtime.Metrics;

/// <summary>How regular a field is: its Jacobian determinants J over the voxels that count.</summary>
/// <param name="FoldedPercent">Share of the voxels with J at or below 0, percent.</param>
/// <param name="SdLogJ">Standard deviation (population) of log(max(J, 0.001)).</param>
/// <param name="SdLogJLearn2Reg">
/// Standard deviation of log(clip(J + 3, 1e-9, 1e9)), as Learn2Reg defines it: its + 3 damps it about fourfold near J = 1, and far
/// more where a field folds.
/// </param>
/// <param name="ExtremePercent">
/// Share of the voxels with J outside 1/3 to 3, percent: volumes that shrink to less than a third, or grow to more than three times.
/// </param>
public readonly record struct FoldingMeasure(double FoldedPercent, double SdLogJ, double SdLogJLearn2Reg, double ExtremePercent);
