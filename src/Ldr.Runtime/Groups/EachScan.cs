using System.Runtime.ExceptionServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Work on several scans beside each other, each with one thread: so the cores do more than by sharing each scan's work.
/// </summary>
internal static class EachScan
{
    /// <summary>The results in the order of the scans; the first error in that order is the one that is thrown.</summary>
    internal static T[] Run<T>(int count, int threads, CancellationToken cancellation, Func<int, T> work)
    {
        T[] results = new T[count];
        Exception?[] errors = new Exception?[count];
        ParallelOptions options = new() { MaxDegreeOfParallelism = threads == 0 ? Threads.Most : threads };
        Parallel.ForEach(System.Collections.Concurrent.Partitioner.Create(Enumerable.Range(0, count), System.Collections.Concurrent.EnumerablePartitionerOptions.NoBuffering), options, (i, state) =>
        {
            try
            {
                cancellation.ThrowIfCancellationRequested();
                results[i] = work(i);
            }
            catch (Exception error)
            {
                errors[i] = error;
                state.Stop();
            }
        });
        if (errors.FirstOrDefault(error => error is not null) is Exception first)
        {
            ExceptionDispatchInfo.Throw(first);
        }

        return results;
    }

    /// <summary>
    /// Adds up what is made of each scan, in the order of the scans: no sum depends on the threads, and no more is in memory than
    /// what they work on.
    /// </summary>
    internal static void Fold<T>(int count, int threads, CancellationToken cancellation, Func<int, T> work, Action<int, T> add)
    {
        int batch = 2 * (threads == 0 ? Threads.Most : threads);
        for (int start = 0; start < count; start += batch)
        {
            int first = start;
            T[] made = Run(Math.Min(batch, count - start), threads, cancellation, i => work(first + i));
            for (int i = 0; i < made.Length; i++)
            {
                add(start + i, made[i]);
            }
        }
    }
}
