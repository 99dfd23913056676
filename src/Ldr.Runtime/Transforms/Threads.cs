namespace Ldr.Runtime.Transforms;

/// <summary>How many threads this library uses where a call does not say.</summary>
public static class Threads
{
    private static int most = Environment.ProcessorCount;

    /// <summary>At most so many; all cores unless set. For the whole process. No result depends on it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Set to a number below 1.</exception>
    public static int Most
    {
        get => most;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            most = value;
        }
    }
}
