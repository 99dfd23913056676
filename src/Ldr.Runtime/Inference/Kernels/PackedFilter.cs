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
    /// <summary>How its weights lie.</summary>
    internal FilterShape Shape =>
        IsTransposed ? FilterShape.Transposed(Inputs, Outputs, Side) : FilterShape.Convolution(Inputs, Outputs, Side);
}

/// <summary>
/// Weights in the order in which a kernel reads them, in blocks of a fixed number of lanes: [block][place][input][lane], zero
/// where no output belongs to a lane; and a bias [block][lane]. A place is a tap of the kernel, where an operation wants it.
/// </summary>
internal sealed unsafe class PackedFilter
{
    private readonly Arena memory = new();
    private readonly long weights;
    private readonly long bias;

    /// <summary>Memory for some outputs, all zeros.</summary>
    /// <param name="lanes">Lanes of a block.</param>
    /// <param name="outputs">How many lanes are needed in all.</param>
    /// <param name="length">Weights of an output: places × inputs.</param>
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

    /// <summary>The weights of a block.</summary>
    internal float* WeightsOf(int block) => memory.At(weights) + ((nint)block * Length * Lanes);

    /// <summary>The bias of a block.</summary>
    internal float* BiasOf(int block) => memory.At(bias) + ((nint)block * Lanes);
}

/// <summary>
/// Where the weights of a filter go: every tap has a place in a packed filter, or none. What does not depend on the width of
/// vectors stands here, outside the kernels that are compiled at their first call.
/// </summary>
internal sealed unsafe class FilterPacking
{
    private readonly FilterShape shape;
    private readonly int vector;
    private readonly List<PackedFilter> targets = [];
    private readonly List<int> firstLanes = [];
    private readonly int[] targetOf;
    private readonly int[] placeOf;

    /// <summary>Nothing has a place yet.</summary>
    /// <param name="shape">How the weights lie.</param>
    /// <param name="vector">Lanes of a vector.</param>
    internal FilterPacking(FilterShape shape, int vector)
    {
        this.shape = shape;
        this.vector = vector;
        targetOf = new int[shape.Taps];
        placeOf = new int[shape.Taps];
        targetOf.AsSpan().Fill(-1);
    }

    /// <summary>A vector of outputs each.</summary>
    internal int Chunks => (shape.Outputs + vector - 1) / vector;

    /// <summary>The taps in their own order, or mirrored.</summary>
    internal static int[] InOrder(int taps, bool mirrored)
    {
        int[] order = new int[taps];
        for (int tap = 0; tap < taps; tap++)
        {
            order[tap] = mirrored ? taps - 1 - tap : tap;
        }

        return order;
    }

    /// <summary>The taps of a packed filter, in the order of its places; a tap below 0 stays zero.</summary>
    internal void Add(PackedFilter packed, ReadOnlySpan<int> taps, int firstLane)
    {
        targets.Add(packed);
        firstLanes.Add(firstLane);
        for (int place = 0; place < taps.Length; place++)
        {
            if (taps[place] >= 0)
            {
                targetOf[taps[place]] = targets.Count - 1;
                placeOf[taps[place]] = place;
            }
        }
    }

    /// <summary>Packs a vector of outputs.</summary>
    internal void Pack<TLanes, TVector>(int chunk, float* weights, float* bias)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        int first = chunk * vector;
        int lanes = Math.Min(vector, shape.Outputs - first);
        nint* starts = stackalloc nint[shape.Taps];
        Locate(first, lanes, bias, starts);
        float* rows = weights + ((nint)first * shape.OutputStride);
        int tap = lanes == vector ? shape.Taps / vector * vector : 0;
        nint step = targets[0].Lanes;
        PackVectors<TLanes, TVector>(shape, rows, starts, step, tap);
        for (; tap < shape.Taps; tap++)
        {
            PackTap(rows + tap, lanes, (float*)starts[tap], step);
        }
    }

    /// <summary>Taps outside, inputs inside: every tap is written from its start to its end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackVectors<TLanes, TVector>(FilterShape shape, float* rows, nint* starts, nint step, int taps)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        float* square = stackalloc float[TLanes.Count * TLanes.Count];
        for (int tap = 0; tap < taps; tap += TLanes.Count)
        {
            for (int input = 0; input < shape.Inputs; input++)
            {
                float* from = rows + ((nint)input * shape.InputStride) + tap;
                Blocks.Transpose<TLanes, TVector>(from, shape.OutputStride, square, TLanes.Count);
                for (int i = 0; i < TLanes.Count; i++)
                {
                    if (starts[tap + i] != 0)
                    {
                        TLanes.Store(TLanes.Load(square + (i * TLanes.Count)), (float*)starts[tap + i] + (input * step));
                    }
                }
            }
        }
    }

    private void PackTap(float* from, int lanes, float* to, nint step)
    {
        for (int input = 0; input < shape.Inputs && to != null; input++, from += shape.InputStride, to += step)
        {
            for (int lane = 0; lane < lanes; lane++)
            {
                to[lane] = from[(nint)lane * shape.OutputStride];
            }
        }
    }

    /// <summary>Where the weights of every tap go, for the outputs from the first on; their biases are written.</summary>
    private void Locate(int first, int lanes, float* bias, nint* starts)
    {
        for (int tap = 0; tap < shape.Taps; tap++)
        {
            starts[tap] = 0;
            if (targetOf[tap] >= 0)
            {
                PackedFilter packed = targets[targetOf[tap]];
                int lane = firstLanes[targetOf[tap]] + first;
                starts[tap] = (nint)(packed.WeightsOf(lane / packed.Lanes)
                    + ((nint)placeOf[tap] * shape.Inputs * packed.Lanes) + (lane % packed.Lanes));
            }
        }

        for (int target = 0; target < targets.Count; target++)
        {
            float* biases = targets[target].BiasOf(0) + firstLanes[target] + first;
            for (int lane = 0; lane < lanes; lane++)
            {
                biases[lane] = bias == null ? 0 : bias[first + lane];
            }
        }
    }
}
