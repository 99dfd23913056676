using System.Collections.Concurrent;
using System.Diagnostics;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Registers many pairs into one folder, each into a folder of its own. What is done is skipped, what was done with other inputs or
/// options is done again; any number of processes may work on one folder. Promise: a pair's files do not depend on how often the work
/// was stopped, nor on the number of processes, jobs and threads; only the times in <c>result.json</c> do.
/// </summary>
/// <example>
/// <code>
/// var pairs = PairTable.Read("pairs.csv").Pairs;
/// CohortSummary summary = Cohort.Run(pairs, "out", threads => new Registrar(StudentModel.Load("brain"), threads));
/// GroupPage.Write("out");
/// </code>
/// </example>
public static class Cohort
{
    /// <summary>Registers the pairs that belong to the shard and are not done.</summary>
    /// <param name="pairs">The pairs; their names and files differ.</param>
    /// <param name="output">The cohort's folder; made where it is not there.</param>
    /// <param name="registrar">Makes a registrar for a job, with so many threads; the cohort disposes of it.</param>
    /// <param name="options">How; null: the standard.</param>
    /// <param name="progress">Is told of every pair that has ended, from several threads, one at a time.</param>
    /// <param name="cancellation">Stops within every pair; what is done stays.</param>
    /// <exception cref="ArgumentException">Two pairs have one name or one result, or the shard is none.</exception>
    /// <exception cref="InvalidFileException">The folder cannot be made or written, or a scan lies in a pair's folder.</exception>
    /// <exception cref="OperationCanceledException">It was stopped; no half file is left.</exception>
    public static CohortSummary Run(
        IReadOnlyList<CohortPair> pairs,
        string output,
        Func<int, Registrar> registrar,
        CohortOptions? options = null,
        IProgress<CohortProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        ArgumentException.ThrowIfNullOrEmpty(output);
        ArgumentNullException.ThrowIfNull(registrar);
        options ??= new CohortOptions();
        Check(pairs, options.Shard);
        CheckApart(pairs, output);
        MakeFolder(output);
        AtomicFile.CheckWritable(Path.Combine(output, "group.tsv"));
        return new Work([.. pairs.Where((_, i) => options.Shard.Has(i))], output, registrar, options, progress, cancellation).Run();
    }

    /// <summary>Makes a folder, with those above it.</summary>
    internal static void MakeFolder(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidFileException(folder, $"cannot be made a folder ({error.Message})", "choose another place", error);
        }
    }

    private static void Check(IReadOnlyList<CohortPair> pairs, CohortShard shard)
    {
        if (shard.Count < 1 || shard.Index < 1 || shard.Index > shard.Count)
        {
            throw new ArgumentException($"a shard {shard.Index} of {shard.Count}: give 1 to the number of shards", nameof(shard));
        }

        HashSet<string> seen = new(StringComparer.OrdinalIgnoreCase);
        foreach (CohortPair pair in pairs)
        {
            if (!seen.Add(pair.Id) || !seen.Add($"{pair.Files.Folder}/{pair.Files.Result}"))
            {
                throw new ArgumentException($"two pairs are named {pair.Id}", nameof(pairs));
            }
        }
    }

    /// <summary>Refuses scans that lie where pairs are written: no file that is read is overwritten.</summary>
    private static void CheckApart(IReadOnlyList<CohortPair> pairs, string output)
    {
        HashSet<string> written = new(pairs.Select(pair => FileNode.RealPath(Path.Combine(output, pair.Files.Folder))), StringComparer.Ordinal);
        foreach (string file in pairs.SelectMany(pair => pair.Inputs()).Select(input => input.File).Distinct(StringComparer.Ordinal))
        {
            if (written.Contains(Path.GetDirectoryName(FileNode.RealPath(file)) ?? string.Empty))
            {
                throw new InvalidFileException(file, "lies in a folder that the cohort writes", "choose another output folder");
            }
        }
    }

    /// <summary>The pairs of this process on their way.</summary>
    private sealed class Work
    {
        private readonly IReadOnlyList<CohortPair> pairs;
        private readonly string output;
        private readonly Func<int, Registrar> registrar;
        private readonly CohortOptions options;
        private readonly IProgress<CohortProgress>? progress;
        private readonly CancellationToken cancellation;
        private readonly ConcurrentQueue<CohortPair> waiting;
        private readonly ScanCache cache;
        private readonly MemoryGate memory;
        private readonly int jobs;
        private readonly int threads;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly Lock gate = new();
        private readonly List<string> failed = [];
        private readonly List<PairOutcome> unusable = [];
        private int done;
        private int skipped;

        internal Work(
            IReadOnlyList<CohortPair> pairs,
            string output,
            Func<int, Registrar> registrar,
            CohortOptions options,
            IProgress<CohortProgress>? progress,
            CancellationToken cancellation)
        {
            (this.pairs, this.output, this.registrar, this.options) = (pairs, output, registrar, options);
            (this.progress, this.cancellation) = (progress, cancellation);
            waiting = new ConcurrentQueue<CohortPair>(pairs);
            long bytes = options.Memory > 0 ? options.Memory : Budget.Memory / 4 * 3;
            int all = options.Threads > 0 ? options.Threads : Threads.Most;

            // The first ones tell about how large the others are; each is measured before it begins.
            long largest = pairs.Take(32).Select(CohortJob.BytesOf).Append(1).Max();
            int fitting = (int)Math.Clamp(bytes / largest, 1, all);
            jobs = Math.Min(options.Jobs > 0 ? options.Jobs : fitting, Math.Max(1, pairs.Count));
            threads = Math.Max(1, all / jobs);
            memory = new MemoryGate(bytes);
            IEnumerable<string> images = pairs.SelectMany(pair => pair.Inputs())
                .Where(input => !(input.Role.EndsWith("landmarks", StringComparison.Ordinal) || input.Role == "points"))
                .Select(input => input.File);
            cache = new ScanCache(images, options.Volume, bytes / 8);
        }

        internal CohortSummary Run()
        {
            using CancellationTokenSource fault = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            Task[] workers = [.. Enumerable.Range(0, jobs).Select(_ => Task.Factory.StartNew(
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
                FileClaim.Tidy(output);
            }

            return new CohortSummary(pairs.Count, done, skipped, failed, unusable, clock.Elapsed);
        }

        private void Worker(CancellationTokenSource fault)
        {
            Registrar? own = null;
            try
            {
                while (waiting.TryDequeue(out CohortPair? pair))
                {
                    fault.Token.ThrowIfCancellationRequested();
                    if (Treat(pair, () => own ??= registrar(threads), fault.Token) is PairOutcome outcome)
                    {
                        Tell(outcome);
                    }
                    else
                    {
                        // Another process has it: it is looked at again when the others are done.
                        bool idle = waiting.IsEmpty;
                        waiting.Enqueue(pair);
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

        /// <summary>How the pair ended; null where another process works on it.</summary>
        private PairOutcome? Treat(CohortPair pair, Func<Registrar> own, CancellationToken stop)
        {
            CohortJob job = new(pair, output, options, cache, threads);
            try
            {
                if (!options.Force && Skipped(pair, job) is PairOutcome before)
                {
                    return before;
                }

                using FileClaim? claim = FileClaim.Try(output, pair.Id);
                return claim is null ? null : Claimed(pair, job, claim, own, stop);
            }
            catch (Exception error) when (Reason(error) is string)
            {
                job.WriteProblem(Reason(error)!);
                RemoveEmpty(Path.GetDirectoryName(job.ResultFile)!);
                return new PairOutcome(pair.Id, PairState.Unusable, null, Reason(error)!);
            }
        }

        private PairOutcome? Claimed(CohortPair pair, CohortJob job, FileClaim claim, Func<Registrar> own, CancellationToken stop)
        {
            using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop, claim.Lost);
            try
            {
                // It may have been done a moment ago; and the inputs are looked at for their digests.
                return Skipped(pair, job) is PairOutcome meanwhile && !options.Force ? meanwhile : Register(pair, job, claim, own, ended.Token);
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

        private static PairOutcome? Skipped(CohortPair pair, CohortJob job) => job.VerdictOfDone() is string word
            && Enum.TryParse(word, ignoreCase: true, out Verdict verdict)
                ? new PairOutcome(pair.Id, PairState.Skipped, verdict)
                : null;

        private PairOutcome Register(CohortPair pair, CohortJob job, FileClaim claim, Func<Registrar> own, CancellationToken stop)
        {
            long bytes = CohortJob.BytesOf(pair);
            memory.Enter(bytes, stop);
            try
            {
                MakeFolder(Path.GetDirectoryName(job.ResultFile)!);
                return new PairOutcome(pair.Id, PairState.Done, job.Run(own(), claim.Confirm, stop));
            }
            finally
            {
                memory.Leave(bytes);
            }
        }

        /// <summary>Why a pair cannot be registered, in a line; null for what is no matter of this pair.</summary>
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

                progress?.Report(new CohortProgress(pairs.Count, done + skipped + unusable.Count, done, outcome, clock.Elapsed));
            }
        }
    }
}
