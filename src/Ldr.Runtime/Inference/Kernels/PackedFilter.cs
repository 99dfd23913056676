using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>What follows a sum of products.</summary>
internal enum Activation
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>max(0, x).</summary>
    Relu,

    /// <summary>x for x &gt; 0, 0.1 x below.</summary>
    LeakyRelu,
}

/// <summary>The numbers of one layer of a model, as they are in its file.</summary>
/// <param name="Inputs">Channels that come in.</param>
/// <param name="Outputs">Channels that go out.</param>
/// <param name="Side">The kernel's side.</param>
/// <param name="Weights">
/// Of a convolution [outputs, inputs, z, y, x]; of a transposed one [inputs, outputs, z, y, x].
/// </param>
/// <param name="Bias">One for each output; none when null.</param>
/// <param name="IsTransposed">Which of the two it is.</param>
internal sealed record Filter(int Inputs, int Outputs, int Side, float[] Weights, float[]? Bias, bool IsTransposed)
{
    /// <summary>Taps of the kernel.</summary>
    internal int Taps => Side * Side * Side;

    /// <summary>From one output's weights to the next one's.</summary>
    internal int OutputStride => IsTransposed ? Taps : Inputs * Taps;

    /// <summary>From one input's weights to the next one's.</summary>
    internal int InputStride => IsTransposed ? Outputs * Taps : Taps;
}

/// <summary>
/// Weights in the order in which a kernel reads them, in blocks of a fixed number of lanes: [block][tap][input][lane], zero
/// where no output belongs to a lane; and a bias [block][lane].
/// </summary>
internal sealed unsafe class PackedFilter
{
    private readonly Arena memory = new();
    private readonly long weights;
    private readonly long bias;

    /// <summary>Memory for some outputs.</summary>
    /// <param name="lanes">Lanes of a block.</param>
    /// <param name="outputs">How many lanes are needed in all.</param>
    /// <param name="length">Weights of an output: taps × inputs.</param>
    internal PackedFilter(int lanes, int outputs, int length)
    {
        Lanes = lanes;
        Length = length;
        Blocks = (outputs + lanes - 1) / lanes;
        weights = memory.Reserve((long)Blocks * lanes * length);
        bias = memory.Reserve((long)Blocks * lanes);
        memory.Allocate();
    }

    internal int Lanes { get; }

    internal int Length { get; }

    internal int Blocks { get; }

    /// <summary>A filter as it is, with the taps in their own order.</summary>
    internal static PackedFilter Of(Filter filter, int lanes)
    {
        PackedFilter packed = new(lanes, filter.Outputs, filter.Taps * filter.Inputs);
        int[] taps = new int[filter.Taps];
        for (int i = 0; i < taps.Length; i++)
        {
            taps[i] = i;
        }

        packed.Fill(filter, taps, 0);
        return packed;
    }

    /// <summary>Writes the weights of all outputs for some taps of the kernel, from a lane on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Fill(Filter filter, ReadOnlySpan<int> taps, int firstLane)
    {
        float* all = memory.At(weights);
        float* biases = memory.At(bias);
        fixed (float* source = filter.Weights)
        {
            for (int output = 0; output < filter.Outputs; output++)
            {
                int lane = firstLane + output;
                float* to = all + ((nint)(lane / Lanes) * Length * Lanes) + (lane % Lanes);
                biases[lane] = filter.Bias is null ? 0 : filter.Bias[output];
                foreach (int tap in taps)
                {
                    float* from = source + ((nint)output * filter.OutputStride) + tap;
                    for (int input = 0; input < filter.Inputs; input++, to += Lanes, from += filter.InputStride)
                    {
                        *to = *from;
                    }
                }
            }
        }
    }

    /// <summary>The weights of a block.</summary>
    internal float* WeightsOf(int block) => memory.At(weights) + ((nint)block * Length * Lanes);

    /// <summary>The bias of a block.</summary>
    internal float* BiasOf(int block) => memory.At(bias) + ((nint)block * Lanes);
}
