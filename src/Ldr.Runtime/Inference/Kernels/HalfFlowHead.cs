using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// The head of <c>ldr-half</c> and <c>ldr-velocity</c>: a convolution 3³ to three channels with bias, at half size, times a
/// constant.
/// </summary>
internal sealed unsafe class HalfFlowHead<TLanes, TVector> : RowHead<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    private readonly PlanarField target;
    private readonly float[] bias;
    private readonly Arena memory = new();
    private readonly long weights;

    internal HalfFlowHead(string name, Filter filter, FeatureMap first, FeatureMap second, PlanarField field, float scale)
        : base(first, second, 9)
    {
        Name = name;
        target = field;
        bias = [.. (filter.Bias ?? new float[3]).Select(value => scale * value)];
        weights = memory.Reserve(81L * Channels);
        memory.Allocate();
        Pack(filter, scale, memory.At(weights));
        Flops = 2.0 * Nx * Ny * Nz * 3 * 27 * Channels;
    }

    internal override string Name { get; }

    internal override double Flops { get; }

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
    private void Pack(Filter filter, float scale, float* to)
    {
        for (int row = 0; row < 9; row++)
        {
            for (int channel = 0; channel < Channels; channel++)
            {
                for (int output = 0; output < 3; output++)
                {
                    for (int tap = 0; tap < 3; tap++)
                    {
                        *to++ = scale * filter.Weights[
                            (channel * filter.InputStride) + (output * filter.OutputStride) + (3 * row) + tap];
                    }
                }
            }
        }
    }
}
