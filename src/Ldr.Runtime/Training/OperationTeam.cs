using System.Diagnostics;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Threads that do lists of operations, kept from one call to the next.</summary>
internal sealed class OperationTeam : IDisposable
{
    private WorkerTeam? team;
    private int scratch;

    /// <summary>Milliseconds and arithmetic operations of each operation of the last calls, when somebody wants to know.</summary>
    internal List<(string Name, double Milliseconds, double Operations)>? Profile { get; set; }

    /// <summary>Does operations one after the other.</summary>
    /// <param name="operations">Them.</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Run(IReadOnlyList<Operation> operations, int threads)
    {
        int needed = operations.Max(operation => operation.ScratchBytes);
        if (team is null || team.Threads != threads || scratch < needed)
        {
            team?.Dispose();
            scratch = Math.Max(scratch, needed);
            team = new WorkerTeam(threads, scratch);
        }

        team.Begin();
        try
        {
            foreach (Operation operation in operations)
            {
                long start = Stopwatch.GetTimestamp();
                team.Run(operation);
                Profile?.Add((operation.Name, Stopwatch.GetElapsedTime(start).TotalMilliseconds, operation.Flops));
            }
        }
        finally
        {
            team.End();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => team?.Dispose();
}
