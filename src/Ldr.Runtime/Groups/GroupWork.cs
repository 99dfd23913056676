using System.Collections.Concurrent;
using System.Diagnostics;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.Runtime.Groups;

/// <summary>What is to be done, and how it comes back: it is done when its result is there.</summary>
internal interface IGroupJob
{
    /// <summary>Its name, unique in the group.</summary>
    string Id { get; }

    /// <summary>Where the result is, or will be.</summary>
    string ResultFile { get; }

    /// <summary>Bytes, about, that it will take.</summary>
    long Bytes { get; }

    /// <summary>The verdict where it is done with the same inputs and settings.</summary>
    string? VerdictOfDone();

    /// <summary>Does it, and writes its files, the result last.</summary>
    /// <param name="registrar">What registers.</param>
    /// <param name="confirm">Is called before files are written; cancels where the work is somebody else's by now.</param>
    /// <param name="cancellation">Stops it.</param>
    Verdict Run(Registrar registrar, Action confirm, CancellationToken cancellation);

    /// <summary>Notes why it cannot be done, as far as that can be written.</summary>
    void WriteProblem(string problem);
}

/// <summary>How work is shared out.</summary>
/// <param name="Output">The group's folder.</param>
/// <param name="Jobs">Pieces at a time.</param>
/// <param name="Threads">Of each.</param>
/// <param name="Memory">Bytes for all of them.</param>
/// <param name="Force">Do again what is done.</param>
internal sealed record GroupPlan(string Output, int Jobs, int Threads, long Memory, bool Force);

/// <summary>
/// The work of this process on its way: what is done is skipped, what another process does is waited for, what cannot be done is told
/// and does not stop the rest.
/// </summary>
/// <typeparam name="T">What a job is made of, when its turn comes.</typeparam>
internal sealed class GroupWork<T>
{
    private readonly IReadOnlyList<T> pieces;
    private readonly Func<T, IGroupJob> jobOf;
    private readonly GroupPlan plan;
    private readonly Func<int, Registrar> registrar;
    private readonly IProgress<CohortProgress>? progress;
    private readonly CancellationToken cancellation;
    private readonly ConcurrentQueue<T> waiting;
    private readonly MemoryGate memory;
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private readonly Lock gate = new();
    private readonly List<string> failed = [];
    private readonly List<PairOutcome> unusable = [];
    private int done;
    private int skipped;

    internal GroupWork(
        IReadOnlyList<T> pieces,
        Func<T, IGroupJob> jobOf,
        GroupPlan plan,
        Func<int, Registrar> registrar,
        IProgress<CohortProgress>? progress,
        CancellationToken cancellation)
    {
        (this.pieces, this.jobOf, this.plan, this.registrar) = (pieces, jobOf, plan, registrar);
        (this.progress, this.cancellation) = (progress, cancellation);
        waiting = new ConcurrentQueue<T>(pieces);
        memory = new MemoryGate(plan.Memory);
    }

    internal CohortSummary Run()
    {
        using CancellationTokenSource fault = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task[] workers = [.. Enumerable.Range(0, plan.Jobs).Select(_ => Task.Factory.StartNew(
            () => Worker(fault), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        try
        {
            Task.WaitAll(workers, CancellationToken.None);
        }
        catch (AggregateException error)
        {
            cancellation.ThrowIfCancellationRequested();
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(
                error.InnerExceptions.FirstOrDefault(inner => inner is not OperationCanceledException) ?? error.InnerExceptions[0]);
        }
        finally
        {
            FileClaim.Tidy(plan.Output);
        }

        return new CohortSummary(pieces.Count, done, skipped, failed, unusable, clock.Elapsed);
    }

    private void Worker(CancellationTokenSource fault)
    {
        Registrar? own = null;
        try
        {
            while (waiting.TryDequeue(out T? piece))
            {
                fault.Token.ThrowIfCancellationRequested();
                if (Treat(jobOf(piece), () => own ??= registrar(plan.Threads), fault.Token) is PairOutcome outcome)
                {
                    Tell(outcome);
                }
                else
                {
                    // Another process has it: it is looked at again when the others are done.
                    bool idle = waiting.IsEmpty;
                    waiting.Enqueue(piece);
                    fault.Token.WaitHandle.WaitOne(idle ? 200 : 5);
                }
            }
        }
        catch
        {
            fault.Cancel();
            throw;
        }
        finally
        {
            own?.Dispose();
        }
    }

    /// <summary>How it ended; null where another process works on it.</summary>
    private PairOutcome? Treat(IGroupJob job, Func<Registrar> own, CancellationToken stop)
    {
        try
        {
            if (!plan.Force && Skipped(job) is PairOutcome before)
            {
                return before;
            }

            using FileClaim? claim = FileClaim.Try(plan.Output, job.Id);
            return claim is null ? null : Claimed(job, claim, own, stop);
        }
        catch (Exception error) when (Reason(error) is string)
        {
            job.WriteProblem(Reason(error)!);
            RemoveEmpty(Path.GetDirectoryName(job.ResultFile)!);
            return new PairOutcome(job.Id, PairState.Unusable, null, Reason(error)!);
        }
    }

    private PairOutcome? Claimed(IGroupJob job, FileClaim claim, Func<Registrar> own, CancellationToken stop)
    {
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop, claim.Lost);
        try
        {
            // It may have been done a moment ago; and the inputs are looked at for their digests.
            return Skipped(job) is PairOutcome meanwhile && !plan.Force ? meanwhile : Register(job, claim, own, ended.Token);
        }
        catch (OperationCanceledException) when (claim.Lost.IsCancellationRequested && !stop.IsCancellationRequested)
        {
            return null;
        }
        finally
        {
            RemoveEmpty(Path.GetDirectoryName(job.ResultFile)!);
        }
    }

    private static PairOutcome? Skipped(IGroupJob job) => job.VerdictOfDone() is string word
        && Enum.TryParse(word, ignoreCase: true, out Verdict verdict)
            ? new PairOutcome(job.Id, PairState.Skipped, verdict)
            : null;

    private PairOutcome Register(IGroupJob job, FileClaim claim, Func<Registrar> own, CancellationToken stop)
    {
        long bytes = job.Bytes;
        memory.Enter(bytes, stop);
        try
        {
            Cohort.MakeFolder(Path.GetDirectoryName(job.ResultFile)!);
            return new PairOutcome(job.Id, PairState.Done, job.Run(own(), claim.Confirm, stop));
        }
        finally
        {
            memory.Leave(bytes);
        }
    }

    /// <summary>Why it cannot be done, in a line; null for what is no matter of this piece.</summary>
    private static string? Reason(Exception error) => error switch
    {
        OperationCanceledException => null,
        InvalidFileException invalid => invalid.Message,
        OutOfMemoryException => "needs more memory than there is; give --jobs 1, or resample the scans",
        ArgumentException or IOException or UnauthorizedAccessException => error.Message.ReplaceLineEndings(" "),
        _ => $"a fault of ours: {error.Message.ReplaceLineEndings(" ")}",
    };

    private static void RemoveEmpty(string folder)
    {
        try
        {
            if (Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any())
            {
                Directory.Delete(folder);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // An empty folder does no harm.
        }
    }

    private void Tell(PairOutcome outcome)
    {
        lock (gate)
        {
            done += outcome.State == PairState.Done ? 1 : 0;
            skipped += outcome.State == PairState.Skipped ? 1 : 0;
            if (outcome.State == PairState.Unusable)
            {
                unusable.Add(outcome);
            }

            if (outcome.Verdict == Verdict.Failed)
            {
                failed.Add(outcome.Id);
            }

            progress?.Report(new CohortProgress(pieces.Count, done + skipped + unusable.Count, done, outcome, clock.Elapsed));
        }
    }
}
