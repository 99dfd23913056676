namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// A place for displacement vectors: three planes one after the other, x fastest; in the arena, or the caller's memory for
/// the length of a call.
/// </summary>
internal sealed unsafe class PlanarField
{
    private readonly Arena? arena;
    private readonly long begin;

    /// <summary>A field whose memory is set before each call.</summary>
    internal PlanarField((int X, int Y, int Z) size) => Size = size;

    /// <summary>A field in an arena.</summary>
    internal PlanarField((int X, int Y, int Z) size, Arena arena)
        : this(size)
    {
        this.arena = arena;
        begin = arena.Reserve(3 * Count);
    }

    internal (int X, int Y, int Z) Size { get; }

    /// <summary>Voxels.</summary>
    internal nint Count => (nint)Size.X * Size.Y * Size.Z;

    /// <summary>Memory from outside.</summary>
    internal float* Borrowed { get; set; }

    /// <summary>From a plane to the next, if it is not the next one in memory.</summary>
    internal nint? PlaneStep { get; set; }

    /// <summary>Lends samples that lie one after the other.</summary>
    /// <param name="fields">One for each sample.</param>
    /// <param name="memory">[N, C, Z, Y, X].</param>
    /// <param name="channels">C.</param>
    internal static void Lend(PlanarField[] fields, float* memory, int channels)
    {
        for (int sample = 0; sample < fields.Length; sample++)
        {
            fields[sample].Borrowed = memory + (sample * fields[sample].Count * channels);
        }
    }

    /// <summary>The first number of a row of a plane.</summary>
    internal float* Row(int channel, int y, int z) =>
        (arena is null ? Borrowed : arena.At(begin)) + (channel * (PlaneStep ?? Count)) + ((((nint)z * Size.Y) + y) * Size.X);
}
