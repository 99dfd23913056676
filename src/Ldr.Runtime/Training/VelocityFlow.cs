using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference.Kernels;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// The field that a stationary velocity flows to in unit time, forward and back: v / 2ⁿ, composed with itself n times (scaling
/// and squaring). What the way forward found stays, for each stage of a cascade.
/// </summary>
internal sealed unsafe class VelocityFlow
{
    private readonly Arena arena;
    private readonly int squarings;
    private readonly int samples;
    private readonly Grid grid;
    private readonly nint count;
    private readonly long[] flows;
    private readonly long byField;
    private readonly long byImage;

    internal VelocityFlow(Arena arena, int squarings, int stages, int samples, (int X, int Y, int Z) size)
    {
        this.arena = arena;
        this.squarings = squarings;
        this.samples = samples;
        grid = new Grid(size.X, size.Y, size.Z, Affine.Identity);
        count = 3 * samples * (nint)grid.Count;
        flows = [.. Enumerable.Range(0, stages * (squarings + 1)).Select(_ => arena.Reserve(count))];
        byField = arena.Reserve(count);
        byImage = arena.Reserve(count);
    }

    /// <summary>Where the flow of a stage's velocity [N, 3, Z, Y, X] is.</summary>
    internal float* Apply(int stage, float* velocity, int threads)
    {
        FieldSums.Scale(velocity, 1f / (1 << squarings), Flow(stage, 0), count, threads);
        for (int step = 0; step < squarings; step++)
        {
            float* before = Flow(stage, step);
            float* after = Flow(stage, step + 1);
            PlanarWarp.Apply(before, before, samples, 3, grid, after, threads);
            FieldSums.Add(before, after, count, threads);
        }

        return Flow(stage, squarings);
    }

    /// <summary>The gradient by the flow becomes that by the velocity.</summary>
    internal void Back(int stage, float* gradient, int threads)
    {
        for (int step = squarings - 1; step >= 0; step--)
        {
            float* own = Flow(stage, step);
            PlanarWarp.Gradient(own, own, gradient, samples, 3, grid, arena.At(byField), arena.At(byImage), threads);
            FieldSums.Add(arena.At(byField), gradient, count, threads);
            FieldSums.Add(arena.At(byImage), gradient, count, threads);
        }

        FieldSums.Scale(gradient, 1f / (1 << squarings), gradient, count, threads);
    }

    private float* Flow(int stage, int step) => arena.At(flows[(stage * (squarings + 1)) + step]);
}
