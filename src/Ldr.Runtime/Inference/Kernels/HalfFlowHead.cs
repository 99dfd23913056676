using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// A convolution 3³ to three channels with bias, times a constant: the head of <c>ldr-half</c> and <c>ldr-velocity</c>, and the first
/// layer of a discriminator.
/// </summary>
internal sealed unsafe class HalfFlowHead<TLanes, TVector> : RowHead<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    private readonly FilterShape shape;
    private readonly PlanarField target;
    private readonly float scale;
    private readonly bool mirrored;
    private readonly float[] bias;
    private readonly Arena memory;
    private readonly long weights;

    /// <summary>A head.</summary>
    /// <param name="name">What profiles call it.</param>
    /// <param name="shape">A convolution to three channels.</param>
    /// <param name="first">What it reads: the first channels of one map, or all channels of two.</param>
    /// <param name="second">The other map, if any.</param>
    /// <param name="field">Where the outputs go.</param>
    /// <param name="scale">The constant.</param>
    /// <param name="mirrored">Whether the kernel is used mirrored: on the way back.</param>
    internal HalfFlowHead(
        string name,
        FilterShape shape,
        FeatureMap first,
        FeatureMap? second,
        PlanarField field,
        float scale,
        bool mirrored = false)
        : base(first, second, shape.Inputs, 9)
    {
        this.shape = shape;
        this.scale = scale;
        this.mirrored = mirrored;
        Name = name;
        target = field;
        bias = new float[3];
        memory = new Arena();
        weights = memory.Reserve(81L * Channels);
        memory.Allocate();
        Flops = 2.0 * Nx * Ny * Nz * 3 * 27 * Channels;
    }

    private HalfFlowHead(HalfFlowHead<TLanes, TVector> other, FeatureMap map, PlanarField field)
        : base(map, null, other.Channels, 9)
    {
        shape = other.shape;
        scale = other.scale;
        mirrored = other.mirrored;
        Name = other.Name;
        target = field;
        bias = other.bias;
        memory = other.memory;
        weights = other.weights;
        Flops = other.Flops;
    }

    internal override string Name { get; }

    internal override double Flops { get; }

    /// <summary>The same on other memory, with the same packed weights.</summary>
    internal HalfFlowHead<TLanes, TVector> On(FeatureMap map, PlanarField field) => new(this, map, field);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void MakeRow(int y, int z, float** near, float* sums, float* spare)
    {
        RowSums<TLanes, TVector>.Nine(near, 9, Channels, Width, memory.At(weights), sums + Margin, SumLength);
        for (int channel = 0; channel < 3; channel++)
        {
            float* sum = sums + Margin + (3 * channel * SumLength);
            TVector start = TLanes.Broadcast(bias[channel]);
            for (int x = 0; x < Width; x += TLanes.Count)
            {
                TVector total = TLanes.Add(start, TLanes.Load(sum + x - 1));
                total = TLanes.Add(total, TLanes.Load(sum + SumLength + x));
                total = TLanes.Add(total, TLanes.Load(sum + (2 * SumLength) + x + 1));
                TLanes.Store(total, spare + x);
            }

            new ReadOnlySpan<float>(spare, Nx).CopyTo(new Span<float>(target.Row(channel, y, z), Nx));
        }
    }

    /// <summary>[row][channel][output][tap].</summary>
    internal override void Pack(int chunk, float* weights, float* bias)
    {
        float* to = memory.At(this.weights);
        for (int row = 0; row < 9; row++)
        {
            for (int channel = 0; channel < Channels; channel++)
            {
                for (int output = 0; output < 3; output++)
                {
                    float* kernel = weights + ((nint)channel * shape.InputStride) + ((nint)output * shape.OutputStride);
                    for (int tap = 3 * row; tap < (3 * row) + 3; tap++)
                    {
                        *to++ = scale * kernel[mirrored ? 26 - tap : tap];
                    }
                }
            }
        }

        for (int output = 0; output < 3; output++)
        {
            this.bias[output] = bias == null ? 0 : scale * bias[output];
        }
    }
}
