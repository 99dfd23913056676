using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// A field on a grid of twice the size, cropped: trilinear with half-voxel centres (<c>align_corners=false</c>), and vectors
/// doubled, since a voxel is half as long.
/// </summary>
internal sealed unsafe class FieldDoubling<TLanes, TVector> : Operation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    private readonly PlanarField half;
    private readonly PlanarField target;
    private readonly (int X, int Y, int Z) before;

    internal FieldDoubling(string name, PlanarField half, PlanarField field, (int X, int Y, int Z) before)
    {
        Name = name;
        this.half = half;
        target = field;
        this.before = before;
    }

    internal override string Name { get; }

    internal override int Chunks => target.Size.Z;

    internal override int ScratchBytes => sizeof(float) * ((3 * Width) + 128);

    private int Width => (half.Size.X + TLanes.Count - 1) / TLanes.Count * TLanes.Count;

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        float* row = (float*)scratch + 16;
        float* doubled = row + Width + 16;
        (int nearZ, int farZ) = Neighbours(chunk + before.Z, half.Size.Z);
        for (int channel = 0; channel < 3; channel++)
        {
            for (int y = 0; y < target.Size.Y; y++)
            {
                (int nearY, int farY) = Neighbours(y + before.Y, half.Size.Y);
                Mix(
                    half.Row(channel, nearY, nearZ),
                    half.Row(channel, farY, nearZ),
                    half.Row(channel, nearY, farZ),
                    half.Row(channel, farY, farZ),
                    row);
                Double(row, doubled);
                new ReadOnlySpan<float>(doubled + before.X, target.Size.X)
                    .CopyTo(new Span<float>(target.Row(channel, y, chunk), target.Size.X));
            }
        }
    }

    /// <summary>A voxel lies a quarter from the nearer one of the two that it lies between; the border is continued.</summary>
    private static (int Near, int Far) Neighbours(int index, int size)
    {
        int near = index / 2;
        int far = (index & 1) == 0 ? near - 1 : near + 1;
        return (near, Math.Clamp(far, 0, size - 1));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Mix(float* nearNear, float* farNear, float* nearFar, float* farFar, float* to)
    {
        // Doubled vectors: the weights add up to 2.
        TVector a = TLanes.Broadcast(1.125f);
        TVector b = TLanes.Broadcast(0.375f);
        TVector c = TLanes.Broadcast(0.125f);
        int x = 0;
        for (; x <= half.Size.X - TLanes.Count; x += TLanes.Count)
        {
            TVector sum = TLanes.Multiply(a, TLanes.Load(nearNear + x));
            sum = TLanes.MultiplyAdd(b, TLanes.Load(farNear + x), sum);
            sum = TLanes.MultiplyAdd(b, TLanes.Load(nearFar + x), sum);
            TLanes.Store(TLanes.MultiplyAdd(c, TLanes.Load(farFar + x), sum), to + x);
        }

        for (; x < half.Size.X; x++)
        {
            to[x] = (1.125f * nearNear[x]) + (0.375f * farNear[x]) + (0.375f * nearFar[x]) + (0.125f * farFar[x]);
        }

        to[-1] = to[0];
        to[half.Size.X] = to[half.Size.X - 1];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Double(float* row, float* to)
    {
        TVector near = TLanes.Broadcast(0.75f);
        TVector far = TLanes.Broadcast(0.25f);
        for (int x = 0; x < Width; x += TLanes.Count)
        {
            TVector own = TLanes.Multiply(near, TLanes.Load(row + x));
            TVector even = TLanes.MultiplyAdd(far, TLanes.Load(row + x - 1), own);
            TVector odd = TLanes.MultiplyAdd(far, TLanes.Load(row + x + 1), own);
            (TVector low, TVector high) = TLanes.Interleave(even, odd);
            TLanes.Store(low, to + (2 * x));
            TLanes.Store(high, to + (2 * x) + TLanes.Count);
        }
    }
}
