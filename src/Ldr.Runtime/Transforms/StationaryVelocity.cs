using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Flows of velocities that do not change with time. The flow after unit time is a smooth map with a smooth inverse, the flow of the
/// negative velocity; sampled on a grid it folds only where the velocity changes too much from one voxel to the next.
/// </summary>
public static class StationaryVelocity
{
    /// <summary>How often a step is doubled unless a call says otherwise: 128 steps, as usual for networks that predict velocities.</summary>
    public const int Squarings = 7;

    /// <summary>
    /// The displacement after unit time of the flow of a velocity, by scaling and squaring: a step of v / 2ⁿ, composed with itself
    /// n times, u ← u(x + u(x)) + u(x). Trilinear, clamped at the border (Arsigny and others, MICCAI 2006).
    /// </summary>
    /// <param name="velocity">Voxels of its grid per unit time.</param>
    /// <param name="squarings">n, from 0 (the velocity itself) to 20.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <returns>A displacement field on the same grid.</returns>
    public static DisplacementField Exponential(DisplacementField velocity, int squarings = Squarings, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(velocity);
        ArgumentOutOfRangeException.ThrowIfNegative(squarings);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(squarings, 20);
        return Flow(velocity, 1, squarings, threads);
    }

    /// <summary>The displacement after some time, which may be negative.</summary>
    internal static DisplacementField Flow(DisplacementField velocity, double time, int squarings, int threads)
    {
        Grid grid = velocity.Grid;
        float step = (float)(time / (1 << squarings));
        float[] field = Array.ConvertAll(velocity.Vectors, v => v * step);
        float[] next = squarings == 0 ? [] : GC.AllocateUninitializedArray<float>(field.Length);
        for (int i = 0; i < squarings; i++)
        {
            DisplacementField.ComposeInto(field, field, grid, threads, next);
            (field, next) = (next, field);
        }

        return new DisplacementField(grid, field);
    }

    /// <summary>The fewest doublings whose first step stays below a quarter of a voxel along each axis.</summary>
    internal static int SquaringsFor(DisplacementField velocity)
    {
        float longest = 0;
        foreach (float component in velocity.Vectors)
        {
            longest = Math.Max(longest, Math.Abs(component));
        }

        int squarings = 2;
        while (squarings < 16 && longest > 0.25 * (1 << squarings))
        {
            squarings++;
        }

        return squarings;
    }
}
