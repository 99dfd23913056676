using Ldr.Runtime.Formats;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>How many scans are labelled.</summary>
public sealed record AtlasCohortOptions
{
    /// <summary>How each scan is labelled.</summary>
    public SegmentationOptions Segmentation { get; init; } = new();

    /// <summary>
    /// What else decides the results, such as the model and its digest. It is kept in each <c>result.json</c>; a scan that was
    /// labelled with other settings is labelled again.
    /// </summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>Which scans are labelled.</summary>
    public CohortShard Shard { get; init; } = CohortShard.Whole;

    /// <summary>Do again what is done.</summary>
    public bool Force { get; init; }
}

/// <summary>
/// Labels many scans by the same atlases, each into a folder of its own, one after the other: each scan's atlases share the cores.
/// As in a <see cref="Cohort"/>, what is done is skipped, a scan that cannot be used does not stop the others, and any number of
/// processes may work on one folder.
/// </summary>
/// <example>
/// <code>
/// CohortSummary summary = AtlasCohort.Run(ScanTable.Read("scans.csv"), ScanTable.Read("atlases.csv"), "out", _ => new Registrar());
/// </code>
/// </example>
public static class AtlasCohort
{
    /// <summary>The volumes of all scans, below the folder.</summary>
    public const string VolumesName = "volumes.csv";

    /// <summary>Labels the scans of the shard that are not done, and writes the table of all that are.</summary>
    /// <param name="targets">The scans to label; their names differ.</param>
    /// <param name="atlases">Scans with label maps. A target that is among them is not its own atlas.</param>
    /// <param name="output">The folder; made where it is not there.</param>
    /// <param name="registrar">Makes what registers; it is disposed of.</param>
    /// <param name="options">How; null: the standard.</param>
    /// <param name="progress">Is told of every scan that has ended.</param>
    /// <param name="cancellation">Stops within every scan; what is done stays.</param>
    /// <exception cref="ArgumentException">Two targets have one name, an atlas has no label map, or the shard is none.</exception>
    /// <exception cref="InvalidFileException">
    /// The folder cannot be made or written, an atlas cannot be read, or a scan lies in a folder that is written.
    /// </exception>
    /// <exception cref="OperationCanceledException">It was stopped; no half file is left.</exception>
    public static CohortSummary Run(
        IReadOnlyList<TemplateScan> targets,
        IReadOnlyList<TemplateScan> atlases,
        string output,
        Func<int, Registrar> registrar,
        AtlasCohortOptions? options = null,
        IProgress<CohortProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(targets);
        ArgumentNullException.ThrowIfNull(atlases);
        ArgumentException.ThrowIfNullOrEmpty(output);
        ArgumentNullException.ThrowIfNull(registrar);
        options ??= new AtlasCohortOptions();
        Check(targets, atlases);
        Cohort.Check(options.Shard);
        string[] read = [.. atlases.SelectMany(atlas => new[] { atlas.Image, atlas.Labels! })];
        Cohort.CheckApart(targets.Select(target => target.Name), read.Concat(targets.Select(target => target.Image)), output);
        Cohort.MakeFolder(output);
        string table = Path.Combine(output, VolumesName);
        AtomicFile.CheckWritable(table);

        // Every target but an atlas reads every atlas twice: decoded once, where there is room.
        ScanCache cache = new(read.Concat(read), null, Budget.Memory / 8);
        KnownAtlas[] known = [.. atlases.Select(atlas => new KnownAtlas(atlas, cache))];
        int threads = options.Segmentation.Threads > 0 ? options.Segmentation.Threads : Threads.Most;
        AtlasJob JobOf(TemplateScan target) => new(target, known, output, options, cache);
        CohortSummary summary = new GroupWork<TemplateScan>(
            [.. targets.Where((_, i) => options.Shard.Has(i))],
            JobOf,
            new GroupPlan(output, 1, threads, Budget.Memory, options.Force),
            registrar,
            progress,
            cancellation).Run();
        VolumeTable.Join(
            table,
            from target in targets
            let job = JobOf(target)
            where File.Exists(job.ResultFile)
            select (target.Name, job.VolumesFile));
        return summary;
    }

    private static void Check(IReadOnlyList<TemplateScan> targets, IReadOnlyList<TemplateScan> atlases)
    {
        ArgumentOutOfRangeException.ThrowIfZero(atlases.Count, nameof(atlases));
        if (targets.GroupBy(target => target.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Skip(1).Any()) is { } twice)
        {
            throw new ArgumentException($"two targets are named {twice.Key}", nameof(targets));
        }

        if (atlases.FirstOrDefault(atlas => atlas.Labels is null) is TemplateScan bare)
        {
            throw new ArgumentException($"the atlas {bare.Name} has no label map", nameof(atlases));
        }
    }
}

/// <summary>An atlas in files, with what identifies it.</summary>
internal sealed class KnownAtlas
{
    private readonly string realPath;

    /// <exception cref="InvalidFileException">A file of it cannot be read.</exception>
    internal KnownAtlas(TemplateScan scan, ScanCache cache)
    {
        string image = cache.Look("scan", scan.Image).Digest;
        string labels = cache.Look("labels", scan.Labels!).Digest;
        realPath = FileNode.RealPath(scan.Image);
        Digest = $"{scan.Name} {image} {labels}";
        Atlas = new Atlas(
            scan.Name, () => cache.Read(scan.Image, image), () => Atlas.CheckLabels(scan.Labels!, cache.Read(scan.Labels!, labels)));
    }

    internal Atlas Atlas { get; }

    internal string Digest { get; }

    internal bool Is(string file) => FileNode.RealPath(file) == realPath;
}
