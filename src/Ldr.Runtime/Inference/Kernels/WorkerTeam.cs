using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// Threads that do the chunks of operations together. Between <see cref="Begin"/> and <see cref="End"/> helpers from the
/// thread pool look out for work without sleeping, so that an operation starts within a microsecond; outside they are
/// back in the pool. A helper that comes late, or never, costs speed and nothing else.
/// </summary>
internal sealed unsafe class WorkerTeam : IDisposable
{
    private readonly Helper[] helpers;
    private readonly byte* scratch;
    private readonly nuint scratchBytes;

    /// <summary>Number of the operation in the upper half, chunks that nobody has taken yet in the lower one.</summary>
    private long open;

    private Operation? current;
    private int done;
    private int working;
    private volatile bool active;
    private volatile ExceptionDispatchInfo? failure;
    private bool disposed;

    /// <summary>A team of some threads, the caller's among them, each with some bytes of its own.</summary>
    internal WorkerTeam(int threads, int scratchBytes)
    {
        Threads = threads;
        this.scratchBytes = (nuint)((scratchBytes + 4095) / 4096 * 4096);
        scratch = (byte*)NativeMemory.AlignedAlloc((nuint)threads * Math.Max(this.scratchBytes, 4096), 4096);
        helpers = new Helper[threads - 1];
        for (int i = 0; i < helpers.Length; i++)
        {
            helpers[i] = new Helper(this, scratch + ((nuint)(i + 1) * this.scratchBytes));
        }
    }

    ~WorkerTeam() => Free();

    internal int Threads { get; }

    /// <summary>Calls the helpers.</summary>
    internal void Begin()
    {
        active = true;
        foreach (Helper helper in helpers)
        {
            helper.Call();
        }
    }

    /// <summary>Sends the helpers back.</summary>
    internal void End() => active = false;

    /// <summary>Does all chunks of an operation; between <see cref="Begin"/> and <see cref="End"/>.</summary>
    internal void Run(Operation operation)
    {
        int chunks = operation.Chunks;
        if (chunks == 0)
        {
            return;
        }

        current = operation;
        done = 0;
        long number = (Volatile.Read(ref open) >> 32) + 1;
        Volatile.Write(ref open, (number << 32) | (uint)chunks);
        while (Take(scratch))
        {
        }

        SpinWait wait = default;
        while (Volatile.Read(ref done) < chunks)
        {
            wait.SpinOnce(sleep1Threshold: -1);
        }

        ExceptionDispatchInfo? failed = failure;
        failure = null;
        failed?.Throw();
    }

    /// <summary>Frees the scratch memory, once no helper works any more.</summary>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (disposed)
        {
            return;
        }

        disposed = true;
        active = false;
        SpinWait wait = default;
        while (Volatile.Read(ref working) > 0)
        {
            wait.SpinOnce();
        }

        NativeMemory.AlignedFree(scratch);
    }

    /// <summary>Takes a chunk and does it, if there is one.</summary>
    private bool Take(byte* own)
    {
        while (true)
        {
            long seen = Volatile.Read(ref open);
            int left = (int)(uint)seen;
            if (left == 0)
            {
                return false;
            }

            // As long as a chunk of it is not done, the operation stays; and if the number changed, the exchange fails.
            Operation operation = Volatile.Read(ref current)!;
            if (Interlocked.CompareExchange(ref open, seen - 1, seen) != seen)
            {
                continue;
            }

            try
            {
                operation.Run(operation.Chunks - left, own);
            }
            catch (Exception error)
            {
                failure = ExceptionDispatchInfo.Capture(error);
            }

            Interlocked.Increment(ref done);
            return true;
        }
    }

    private sealed class Helper(WorkerTeam team, byte* own) : IThreadPoolWorkItem
    {
        private int called;

        internal void Call()
        {
            if (Interlocked.Exchange(ref called, 1) == 0)
            {
                ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
            }
        }

        void IThreadPoolWorkItem.Execute()
        {
            Interlocked.Increment(ref team.working);
            SpinWait wait = default;
            while (team.active)
            {
                if (team.Take(own))
                {
                    wait = default;
                }
                else
                {
                    wait.SpinOnce(sleep1Threshold: -1);
                }
            }

            Interlocked.Decrement(ref team.working);
            Volatile.Write(ref called, 0);
        }
    }
}
