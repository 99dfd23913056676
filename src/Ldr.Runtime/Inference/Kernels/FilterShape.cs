namespace Ldr.Runtime.Inference.Kernels;

/// <summary>How the weights of a layer lie in memory; the taps of a kernel follow each other, x fastest.</summary>
/// <param name="Inputs">Channels that come in.</param>
/// <param name="Outputs">Channels that go out.</param>
/// <param name="Side">The kernel's side.</param>
/// <param name="OutputStride">From one output's weights to the next one's.</param>
/// <param name="InputStride">From one input's weights to the next one's.</param>
internal readonly record struct FilterShape(int Inputs, int Outputs, int Side, int OutputStride, int InputStride)
{
    /// <summary>Taps of the kernel.</summary>
    internal int Taps => Side * Side * Side;

    /// <summary>The same numbers, used from the outputs to the inputs: on the way back.</summary>
    internal FilterShape Back => new(Outputs, Inputs, Side, InputStride, OutputStride);

    /// <summary>Of a convolution: [outputs, inputs, z, y, x].</summary>
    internal static FilterShape Convolution(int inputs, int outputs, int side) =>
        new(inputs, outputs, side, inputs * side * side * side, side * side * side);

    /// <summary>Of a transposed convolution: [inputs, outputs, z, y, x].</summary>
    internal static FilterShape Transposed(int inputs, int outputs, int side) =>
        new(inputs, outputs, side, side * side * side, outputs * side * side * side);
}
