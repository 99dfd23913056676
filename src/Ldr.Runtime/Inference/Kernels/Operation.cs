namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// A step of the engine, cut into chunks that threads do in any order: every number of its result is worked out by one
/// chunk, in an order that does not depend on the number of threads.
/// </summary>
internal abstract unsafe class Operation
{
    /// <summary>What profiles call it.</summary>
    internal abstract string Name { get; }

    /// <summary>Multiplications and additions, those with padding left out.</summary>
    internal virtual double Flops => 0;

    /// <summary>How many chunks there are.</summary>
    internal abstract int Chunks { get; }

    /// <summary>Bytes that a thread needs while it does a chunk.</summary>
    internal virtual int ScratchBytes => 0;

    /// <summary>Does a chunk.</summary>
    /// <param name="chunk">Which, from 0.</param>
    /// <param name="scratch">Memory of this thread alone, aligned to 64 bytes; what is in it is not defined.</param>
    internal abstract void Run(int chunk, byte* scratch);
}
