using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Makes an unbiased average anatomy of scans. First an affine average; then rounds, each of which registers every scan to the current
/// average, takes the mean deformation away and averages the intensities anew. The template has the mean size and shape of the scans,
/// and lies in the world as the scan it began with.
/// </summary>
/// <example>
/// <code>
/// using Registrar registrar = new();
/// TemplateBuilder builder = new(registrar);
/// TemplateResult result = builder.Build([new("a", "a.nii.gz"), new("b", "b.nii.gz"), new("c", "c.nii.gz")], "template");
/// </code>
/// </example>
public sealed class TemplateBuilder
{
    private readonly Registrar registrar;

    /// <summary>A builder.</summary>
    /// <param name="registrar">What registers; it stays the caller's.</param>
    public TemplateBuilder(Registrar registrar)
    {
        ArgumentNullException.ThrowIfNull(registrar);
        this.registrar = registrar;
    }

    /// <summary>Makes a template, or goes on where an earlier call with the same scans and options was stopped.</summary>
    /// <param name="scans">Two or more.</param>
    /// <param name="output">The folder for all files; it is made where it is not there.</param>
    /// <param name="options">How; null for the standard.</param>
    /// <param name="progress">Is told how far it has come, on any thread.</param>
    /// <param name="cancellation">Stops within every part; what is done of it stays done.</param>
    /// <exception cref="ArgumentException">Fewer than two scans, two of one name, or a weight that is not above 0.</exception>
    /// <exception cref="InvalidFileException">
    /// A file cannot be read or written, or the folder was begun with other scans or options.
    /// </exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public TemplateResult Build(
        IReadOnlyList<TemplateScan> scans,
        string output,
        TemplateOptions? options = null,
        IProgress<TemplateProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scans);
        ArgumentException.ThrowIfNullOrEmpty(output);
        options ??= new TemplateOptions();
        Check(scans, options);
        TemplateFolder folder = new(output);
        folder.Begin(Digest(scans, options));
        TemplateWork work = new(scans, folder, options, progress, cancellation);
        if (!File.Exists(folder.Result))
        {
            new AffineRound(work).Run();
            for (int round = 1; round <= options.Rounds; round++)
            {
                new DeformableRound(work, registrar, round).Run();
            }

            new TemplateEnd(work).Run();
        }

        return new TemplateResult(
            folder.Template, scans.Count, [.. Enumerable.Range(0, options.Rounds + 1).Select(round => folder.TryRound(round)).OfType<TemplateRound>()]);
    }

    private static void Check(IReadOnlyList<TemplateScan> scans, TemplateOptions options)
    {
        if (scans.Count < 2)
        {
            throw new ArgumentException("a template is made of two scans or more", nameof(scans));
        }

        if (scans.FirstOrDefault(scan => !PairNames.IsGood(scan.Name)) is TemplateScan bad)
        {
            throw new ArgumentException($"\"{bad.Name}\" cannot name a folder", nameof(scans));
        }

        if (scans.GroupBy(scan => scan.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Skip(1).Any()) is { } twice)
        {
            throw new ArgumentException($"two scans have the name {twice.Key}", nameof(scans));
        }

        if (scans.Any(scan => !(scan.Weight > 0 && double.IsFinite(scan.Weight))))
        {
            throw new ArgumentException("a scan's weight is a number above 0", nameof(scans));
        }

        ArgumentOutOfRangeException.ThrowIfNegative(options.Rounds);
        ArgumentOutOfRangeException.ThrowIfNegative(options.Sharpen);
    }

    /// <summary>Of everything that the files depend on.</summary>
    private static string Digest(IReadOnlyList<TemplateScan> scans, TemplateOptions options)
    {
        string OfFile(string? file) => file is null ? "none" : FileDigest.OfFile(file);
        IEnumerable<string> lines = scans
            .Select(scan => FormattableString.Invariant(
                $"{scan.Name} {scan.Weight:R} {OfFile(scan.Image)} {OfFile(scan.Labels)} {OfFile(scan.Mask)}"))
            .Append(FormattableString.Invariant($"{options.Rounds} {options.Sharpen:R} {OfFile(options.Start)} {options.Method} {options.Registration}"))
            .Append(typeof(TemplateBuilder).Assembly.GetName().Version?.ToString() ?? string.Empty);
        return FileDigest.Of(System.Text.Encoding.UTF8.GetBytes(string.Join('\n', lines)));
    }
}

/// <summary>What the parts of making a template share.</summary>
internal sealed class TemplateWork(
    IReadOnlyList<TemplateScan> scans,
    TemplateFolder folder,
    TemplateOptions options,
    IProgress<TemplateProgress>? progress,
    CancellationToken cancellation)
{
    internal IReadOnlyList<TemplateScan> Scans => scans;

    internal TemplateFolder Folder => folder;

    internal TemplateOptions Options => options;

    internal int Threads => options.Threads;

    internal CancellationToken Cancellation => cancellation;

    /// <summary>Whether this process makes the averages.</summary>
    internal bool IsFirst => options.Shard.Index == 1;

    internal double[] Weights { get; } = [.. scans.Select(scan => scan.Weight)];

    /// <summary>Does this process's scans that are not done, then waits for those of others.</summary>
    internal void EachOwn(int round, Func<TemplateScan, bool> isDone, Action<TemplateScan> work)
    {
        TemplateScan[] own = [.. scans.Where((_, i) => options.Shard.Has(i))];
        TemplateScan[] open = [.. own.Where(scan => !isDone(scan))];
        int done = own.Length - open.Length;
        progress?.Report(new TemplateProgress(round, done, own.Length));
        EachScan.Run(open.Length, options.Threads, cancellation, i =>
        {
            work(open[i]);
            progress?.Report(new TemplateProgress(round, Interlocked.Increment(ref done), own.Length));
            return true;
        });
        Await(() => scans.All(isDone));
    }

    /// <summary>Waits until other processes have done their part.</summary>
    internal void Await(Func<bool> isDone)
    {
        while (!isDone())
        {
            cancellation.ThrowIfCancellationRequested();
            cancellation.WaitHandle.WaitOne(500);
        }
    }

    /// <summary>The records of a round; scans whose registration failed count only where all did.</summary>
    internal (TemplateRecord[] Records, bool[] Counts) Records(int round)
    {
        TemplateRecord[] records = [.. scans.Select(scan => folder.TryRecord(round, scan.Name)
            ?? throw new InvalidFileException(folder.Record(round, scan.Name), "is missing or damaged", "remove it and run this again"))];
        bool any = records.Any(record => record.IsGood);
        return (records, [.. records.Select(record => record.IsGood || !any)]);
    }

    /// <summary>A scan's mask on its grid; null where it has none.</summary>
    internal static Volume? MaskOf(TemplateScan scan, Grid grid)
    {
        if (scan.Mask is null)
        {
            return null;
        }

        Volume mask = ImageFile.Read(scan.Mask);
        return mask.Grid.SameAs(grid)
            ? mask
            : throw new InvalidFileException(scan.Mask, "lies on another grid than its scan", "give the mask that belongs to it");
    }

    /// <summary>A scan on the template's grid, normalised, with the share by which its voxels count.</summary>
    internal static (float[] Values, float[]? Shares) OnGrid(TemplateScan scan, DisplacementField field)
    {
        Volume image = ImageFile.Read(scan.Image);
        Volume? mask = MaskOf(scan, image.Grid);
        float[] values = Warp.Linear(TemplateAverage.Normalised(image, mask), field, 1).Values;
        return (values, mask is null ? null : Warp.Linear(WorkImage.Binary(mask), field, 1).Values);
    }
}
