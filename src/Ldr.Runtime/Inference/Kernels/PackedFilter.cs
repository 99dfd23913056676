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

/// <summary>Where the weights of a filter go: every tap has a place in a packed filter, or none.</summary>
internal sealed unsafe class FilterPacking<TLanes, TVector>(FilterShape shape)
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    private readonly List<(PackedFilter Packed, int FirstLane)> targets = [];
    private readonly (int Target, int Place)[] places = Enumerable.Repeat((-1, 0), shape.Taps).ToArray();

    /// <summary>A vector of outputs each.</summary>
    internal int Chunks => (shape.Outputs + TLanes.Count - 1) / TLanes.Count;

    /// <summary>The taps of a packed filter, in the order of its places; a tap below 0 stays zero.</summary>
    internal void Add(PackedFilter packed, ReadOnlySpan<int> taps, int firstLane)
    {
        targets.Add((packed, firstLane));
        for (int place = 0; place < taps.Length; place++)
        {
            if (taps[place] >= 0)
            {
                places[taps[place]] = (targets.Count - 1, place);
            }
        }
    }

    /// <summary>Packs a vector of outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Pack(int chunk, float* weights, float* bias)
    {
        int first = chunk * TLanes.Count;
        int lanes = Math.Min(TLanes.Count, shape.Outputs - first);
        nint[] starts = StartsOf(first, bias, lanes);
        nint step = targets[0].Packed.Lanes;
        float* square = stackalloc float[TLanes.Count * TLanes.Count];
        float* rows = weights + ((nint)first * shape.OutputStride);
        int tap = 0;

        // Taps outside, inputs inside: every tap is written from its start to its end.
        for (; lanes == TLanes.Count && tap <= shape.Taps - TLanes.Count; tap += TLanes.Count)
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

        for (; tap < shape.Taps; tap++)
        {
            for (int input = 0; input < shape.Inputs && starts[tap] != 0; input++)
            {
                float* from = rows + ((nint)input * shape.InputStride) + tap;
                for (int lane = 0; lane < lanes; lane++)
                {
                    ((float*)starts[tap])[(input * step) + lane] = from[(nint)lane * shape.OutputStride];
                }
            }
        }
    }

    /// <summary>Where the weights of every tap go, for the outputs from the first on; their biases are written.</summary>
    private nint[] StartsOf(int first, float* bias, int lanes)
    {
        nint[] starts = new nint[shape.Taps];
        for (int tap = 0; tap < starts.Length; tap++)
        {
            (int target, int place) = places[tap];
            if (target >= 0)
            {
                (PackedFilter packed, int firstLane) = targets[target];
                int lane = firstLane + first;
                starts[tap] = (nint)(packed.WeightsOf(lane / packed.Lanes)
                    + ((nint)place * shape.Inputs * packed.Lanes) + (lane % packed.Lanes));
            }
        }

        foreach ((PackedFilter packed, int firstLane) in targets)
        {
            for (int lane = firstLane + first; lane < firstLane + first + lanes; lane++)
            {
                packed.BiasOf(0)[lane] = bias == null ? 0 : bias[lane - firstLane];
            }
        }

        return starts;
    }
}
