namespace Ldr.Runtime.Inference.Kernels;

/// <summary>The map that an affine stage predicts: x ↦ (W + I) x + b, in voxels from the centre of the grid.</summary>
internal sealed class AffineMap
{
    /// <summary>W, row after row, in the order x, y, z.</summary>
    internal float[] Matrix { get; } = new float[9];

    /// <summary>b.</summary>
    internal float[] Shift { get; } = new float[3];
}

/// <summary>
/// The end of an affine stage: average pooling to a cube, whatever the size, and two linear layers. Pooling cell i of n voxels
/// in s cells goes from ⌊i·n/s⌋ to ⌈(i + 1)·n/s⌉, as torch's adaptive pooling.
/// </summary>
internal sealed unsafe class AffineHead : Operation
{
    private readonly FeatureMap input;
    private readonly Filter matrix;
    private readonly Filter shift;
    private readonly AffineMap map;
    private readonly float[] pooled;

    internal AffineHead(FeatureMap input, Filter matrix, Filter shift, AffineMap map)
    {
        this.input = input;
        this.matrix = matrix;
        this.shift = shift;
        this.map = map;
        pooled = new float[input.Channels * matrix.Shape.Taps];
    }

    internal override string Name => "affine head";

    internal override int Chunks => 1;

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        int side = matrix.Side;
        for (int z = 0; z < side; z++)
        {
            for (int y = 0; y < side; y++)
            {
                for (int x = 0; x < side; x++)
                {
                    Pool(Cell(x, input.Nx), Cell(y, input.Ny), Cell(z, input.Nz), (((z * side) + y) * side) + x);
                }
            }
        }

        Multiply(matrix, map.Matrix);
        Multiply(shift, map.Shift);
    }

    private (int Begin, int End) Cell(int index, int size) =>
        (index * size / matrix.Side, (((index + 1) * size) + matrix.Side - 1) / matrix.Side);

    private void Pool((int Begin, int End) xs, (int Begin, int End) ys, (int Begin, int End) zs, int cell)
    {
        int voxels = (xs.End - xs.Begin) * (ys.End - ys.Begin) * (zs.End - zs.Begin);
        for (int channel = 0; channel < input.Channels; channel++)
        {
            double sum = 0;
            for (int z = zs.Begin; z < zs.End; z++)
            {
                for (int y = ys.Begin; y < ys.End; y++)
                {
                    for (int x = xs.Begin; x < xs.End; x++)
                    {
                        sum += input.At(x, y, z)[channel];
                    }
                }
            }

            pooled[(channel * matrix.Shape.Taps) + cell] = (float)(sum / voxels);
        }
    }

    private void Multiply(Filter filter, float[] result)
    {
        for (int output = 0; output < result.Length; output++)
        {
            double sum = 0;
            for (int i = 0; i < pooled.Length; i++)
            {
                sum += (double)filter.Weights[(output * pooled.Length) + i] * pooled[i];
            }

            result[output] = (float)sum;
        }
    }
}
