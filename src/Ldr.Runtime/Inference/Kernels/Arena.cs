using System.Runtime.InteropServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// One block of native memory, planned before it is taken: buffers are reserved one after the other, and what is reserved
/// after <see cref="Release"/> lies where buffers lay that are no longer needed. Numbers are float32.
/// </summary>
internal sealed unsafe class Arena : SafeHandle
{
    /// <summary>Numbers of a cache line; every buffer starts at one.</summary>
    private const long Line = 16;

    private long used;

    internal Arena()
        : base(0, ownsHandle: true)
    {
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>Bytes that the block takes.</summary>
    internal long Bytes { get; private set; }

    private float* Base => (float*)((handle + 63) & ~63);

    /// <summary>Reserves numbers; where they begin.</summary>
    internal long Reserve(long count)
    {
        long begin = used;
        used += (count + Line - 1) / Line * Line;
        Bytes = Math.Max(Bytes, sizeof(float) * used);
        return begin;
    }

    /// <summary>What is reserved now, for <see cref="Release"/>.</summary>
    internal long Mark() => used;

    /// <summary>Everything reserved since the mark may be overwritten by what is reserved from now on.</summary>
    internal void Release(long mark) => used = mark;

    /// <summary>Takes the memory, all zeros.</summary>
    internal void Allocate()
    {
        // Large blocks come from the system as zeros: no page is touched before it is used.
        handle = (nint)NativeMemory.AllocZeroed((nuint)Bytes + 64);
    }

    /// <summary>The buffer that begins there.</summary>
    internal float* At(long begin) => Base + begin;

    protected override bool ReleaseHandle()
    {
        NativeMemory.Free((void*)handle);
        return true;
    }
}
