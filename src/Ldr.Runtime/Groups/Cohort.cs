using Ldr.Runtime.Formats;
using Ldr.Runtime.Registration;
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
        Check(options.Shard);
        Check(pairs);
        CheckApart(pairs.Select(pair => pair.Files.Folder), pairs.SelectMany(pair => pair.Inputs()).Select(input => input.File), output);
        MakeFolder(output);
        AtomicFile.CheckWritable(Path.Combine(output, "group.tsv"));
        return Work([.. pairs.Where((_, i) => options.Shard.Has(i))], output, registrar, options, progress, cancellation);
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

    private static void Check(IReadOnlyList<CohortPair> pairs)
    {
        HashSet<string> seen = new(StringComparer.OrdinalIgnoreCase);
        foreach (CohortPair pair in pairs)
        {
            if (!seen.Add(pair.Id) || !seen.Add($"{pair.Files.Folder}/{pair.Files.Result}"))
            {
                throw new ArgumentException($"two pairs are named {pair.Id}", nameof(pairs));
            }
        }
    }

    /// <summary>Refuses scans that lie where results are written: no file that is read is overwritten.</summary>
    internal static void CheckApart(IEnumerable<string> folders, IEnumerable<string> files, string output)
    {
        HashSet<string> written = new(folders.Select(folder => FileNode.RealPath(Path.Combine(output, folder))), StringComparer.Ordinal);
        foreach (string file in files.Distinct(StringComparer.Ordinal))
        {
            if (written.Contains(Path.GetDirectoryName(FileNode.RealPath(file)) ?? string.Empty))
            {
                throw new InvalidFileException(file, "lies in a folder that the cohort writes", "choose another output folder");
            }
        }
    }

    /// <summary>Refuses a share that is none.</summary>
    internal static void Check(CohortShard shard)
    {
        if (shard.Count < 1 || shard.Index < 1 || shard.Index > shard.Count)
        {
            throw new ArgumentException($"a shard {shard.Index} of {shard.Count}: give 1 to the number of shards", nameof(shard));
        }
    }

    /// <summary>How many pairs run at a time, and what they take from.</summary>
    private static CohortSummary Work(
        IReadOnlyList<CohortPair> pairs,
        string output,
        Func<int, Registrar> registrar,
        CohortOptions options,
        IProgress<CohortProgress>? progress,
        CancellationToken cancellation)
    {
        long bytes = options.Memory > 0 ? options.Memory : Budget.Memory / 4 * 3;
        int all = options.Threads > 0 ? options.Threads : Threads.Most;

        // The first ones tell about how large the others are; each is measured before it begins.
        long largest = pairs.Take(32).Select(CohortJob.BytesOf).Append(1).Max();
        int fitting = (int)Math.Clamp(bytes / largest, 1, all);
        int jobs = Math.Min(options.Jobs > 0 ? options.Jobs : fitting, Math.Max(1, pairs.Count));
        int threads = Math.Max(1, all / jobs);
        IEnumerable<string> images = pairs.SelectMany(pair => pair.Inputs())
            .Where(input => !(input.Role.EndsWith("landmarks", StringComparison.Ordinal) || input.Role == "points"))
            .Select(input => input.File);
        ScanCache cache = new(images, options.Volume, bytes / 8);
        GroupPlan plan = new(output, jobs, threads, bytes, options.Force);
        return new GroupWork<CohortPair>(
            pairs, pair => new CohortJob(pair, output, options, cache, threads), plan, registrar, progress, cancellation).Run();
    }
}
