namespace Ldr.Runtime.Groups;

/// <summary>Lets work begin while memory lasts; one piece may always run.</summary>
internal sealed class MemoryGate(long bytes)
{
    private readonly Lock gate = new();
    private long taken;
    private int running;

    /// <summary>Waits until so many bytes are free, or nothing is running.</summary>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    internal void Enter(long wanted, CancellationToken cancellation)
    {
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            lock (gate)
            {
                if (running == 0 || taken + wanted <= bytes)
                {
                    running++;
                    taken += wanted;
                    return;
                }
            }

            cancellation.WaitHandle.WaitOne(20);
        }
    }

    /// <summary>Gives them back.</summary>
    internal void Leave(long wanted)
    {
        lock (gate)
        {
            running--;
            taken -= wanted;
        }
    }
}
