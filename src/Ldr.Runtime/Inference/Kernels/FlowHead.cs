using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// The head of <c>ldr</c>: a transposed convolution 4³ of stride 2 and padding 1 to three channels, without bias (or 3³, as the way
/// back of a convolution of stride 2). It writes
/// the displacement field at full size, cropped to the images.
/// </summary>
internal sealed unsafe class FlowHead<TLanes, TVector> : RowHead<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    private readonly FilterShape shape;
    private readonly PlanarField target;
    private readonly (int X, int Y, int Z) before;
    private readonly Arena memory;
    private readonly long weights;

    /// <summary>A head.</summary>
    /// <param name="name">What profiles call it.</param>
    /// <param name="shape">A transposed convolution to at most three channels; those that are missing become zeros.</param>
    /// <param name="first">What it reads: the first channels of one map, or all channels of two.</param>
    /// <param name="second">The other map, if any.</param>
    /// <param name="field">Where the outputs go.</param>
    /// <param name="before">Voxels in front of each axis that are left out.</param>
    internal FlowHead(
        string name, FilterShape shape, FeatureMap first, FeatureMap? second, PlanarField field, (int X, int Y, int Z) before)
        : base(first, second, shape.Inputs, 12)
    {
        this.shape = shape;
        Name = name;
        target = field;
        this.before = before;
        memory = new Arena();
        weights = memory.Reserve(4L * PhaseLength);
        memory.Allocate();
        Flops = 2.0 * 8 * Nx * Ny * Nz * 3 * 8 * Channels;
    }

    private FlowHead(FlowHead<TLanes, TVector> other, FeatureMap map, PlanarField field)
        : base(map, null, other.Channels, 12)
    {
        shape = other.shape;
        Name = other.Name;
        target = field;
        before = other.before;
        memory = other.memory;
        weights = other.weights;
        Flops = other.Flops;
    }

    internal override string Name { get; }

    internal override double Flops { get; }

    private int PhaseLength => 4 * Channels * 12;

    /// <summary>The same on other memory, with the same packed weights.</summary>
    internal FlowHead<TLanes, TVector> On(FeatureMap map, PlanarField field) => new(this, map, field);

    /// <inheritdoc/>
    internal override void Pack(int chunk, float* weights, float* bias)
    {
        for (int phase = 0; phase < 4; phase++)
        {
            Pack(weights, phase / 2, phase % 2, memory.At(this.weights) + (phase * PhaseLength));
        }
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void MakeRow(int y, int z, float** near, float* sums, float* spare)
    {
        float** rows = stackalloc float*[4];
        for (int phase = 0; phase < 4; phase++)
        {
            int pz = phase / 2;
            int py = phase % 2;
            int targetY = (2 * y) + py - before.Y;
            int targetZ = (2 * z) + pz - before.Z;
            if (targetY < 0 || targetY >= target.Size.Y || targetZ < 0 || targetZ >= target.Size.Z)
            {
                continue;
            }

            for (int i = 0; i < 4; i++)
            {
                rows[i] = near[((pz + (i / 2)) * 3) + py + (i % 2)];
            }

            RowSums<TLanes, TVector>.Twelve(
                rows, 4, Channels, Width, memory.At(weights) + (phase * PhaseLength), sums + Margin, SumLength);
            for (int channel = 0; channel < shape.Outputs; channel++)
            {
                Join(sums + Margin + (4 * channel * SumLength), spare);
                new ReadOnlySpan<float>(spare + before.X, target.Size.X)
                    .CopyTo(new Span<float>(target.Row(channel, targetY, targetZ), target.Size.X));
            }
        }
    }

    /// <summary>Even outputs: tap 3 of the voxel before and tap 1; odd ones: tap 2, and tap 0 of the voxel after.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Join(float* sums, float* to)
    {
        for (int x = 0; x < Width; x += TLanes.Count)
        {
            TVector even = TLanes.Add(TLanes.Load(sums + x - 1), TLanes.Load(sums + SumLength + x));
            TVector odd = TLanes.Add(
                TLanes.Load(sums + (2 * SumLength) + x), TLanes.Load(sums + (3 * SumLength) + x + 1));
            (TVector low, TVector high) = TLanes.Interleave(even, odd);
            TLanes.Store(low, to + (2 * x));
            TLanes.Store(high, to + (2 * x) + TLanes.Count);
        }
    }

    /// <summary>[row][channel][output][tap], the taps of an output in the order of <see cref="Join"/>.</summary>
    private void Pack(float* from, int pz, int py, float* to)
    {
        ReadOnlySpan<int> taps = [3, 1, 2, 0];
        for (int row = 0; row < 4; row++)
        {
            (int z, int y) = (3 - pz - (2 * (row / 2)), 3 - py - (2 * (row % 2)));
            int plane = ((z * shape.Side) + y) * shape.Side;
            for (int channel = 0; channel < Channels; channel++)
            {
                for (int output = 0; output < 3; output++)
                {
                    foreach (int tap in taps)
                    {
                        // A kernel of side 3 has no fourth tap: the way back of a convolution of stride 2.
                        *to++ = output < shape.Outputs && Math.Max(Math.Max(z, y), tap) < shape.Side
                            ? from[((nint)channel * shape.InputStride) + ((nint)output * shape.OutputStride) + plane + tap]
                            : 0;
                    }
                }
            }
        }
    }
}
