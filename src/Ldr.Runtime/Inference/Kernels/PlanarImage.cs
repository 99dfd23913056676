namespace Ldr.Runtime.Inference.Kernels;

/// <summary>An image of one channel, x fastest: in the arena, or the caller's memory for the length of a call.</summary>
internal sealed unsafe class PlanarImage
{
    private readonly Arena? arena;
    private readonly long begin;

    /// <summary>An image whose memory is set before each call.</summary>
    internal PlanarImage()
    {
    }

    /// <summary>An image in an arena.</summary>
    internal PlanarImage((int X, int Y, int Z) size, Arena arena)
    {
        this.arena = arena;
        begin = arena.Reserve((long)size.X * size.Y * size.Z);
    }

    /// <summary>Memory from outside.</summary>
    internal float* Borrowed { get; set; }

    /// <summary>The first voxel.</summary>
    internal float* Data => arena is null ? Borrowed : arena.At(begin);
}
