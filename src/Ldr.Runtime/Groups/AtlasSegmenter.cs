using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>How a scan is labelled by atlases.</summary>
public sealed record SegmentationOptions
{
    /// <summary>How many of the atlases are registered: those most similar to the target. Null: all.</summary>
    public int? Nearest { get; init; }

    /// <summary>How labels are fused.</summary>
    public FusionOptions Fusion { get; init; } = new();

    /// <summary>How atlases are registered; the alignment is found before, and threads are those of <see cref="Threads"/>.</summary>
    public RegistrationOptions Registration { get; init; } = new();

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }
}

/// <summary>What became of an atlas.</summary>
/// <param name="Name">Its name.</param>
/// <param name="MutualInformation">Of its scan and the target's after the affine alignment, bits.</param>
/// <param name="Quality">How its registration went; null where it was not among the nearest.</param>
/// <param name="IsUsed">Whether its labels were fused: not those of a failed registration, where others did not fail.</param>
public sealed record UsedAtlas(string Name, double MutualInformation, RegistrationQuality? Quality, bool IsUsed);

/// <summary>A labelled scan.</summary>
/// <param name="Fused">Labels, probabilities, disagreement, on the target's grid.</param>
/// <param name="Atlases">Every atlas, the most similar one first.</param>
public sealed record Segmentation(FusedLabels Fused, IReadOnlyList<UsedAtlas> Atlases)
{
    /// <summary>The worst that can be said: failed where every registration failed; look where fewer than half of them were used.</summary>
    public Verdict Verdict
    {
        get
        {
            RegistrationQuality[] registered = [.. Atlases.Select(atlas => atlas.Quality).OfType<RegistrationQuality>()];
            int failed = registered.Count(quality => quality.Verdict == Verdict.Failed);
            return failed == registered.Length ? Verdict.Failed : 2 * failed > registered.Length ? Verdict.Look : Verdict.Ok;
        }
    }
}

/// <summary>How far a segmentation has come.</summary>
/// <param name="Part">What is done: <c>aligning</c>, <c>registering</c>, <c>fusing</c>.</param>
/// <param name="Done">Atlases that it is done for.</param>
/// <param name="Of">All of them.</param>
public readonly record struct SegmentationProgress(string Part, int Done, int Of);

/// <summary>
/// Multi-atlas segmentation: aligns atlases with a scan, registers the most similar ones, and fuses their labels.
/// </summary>
/// <example>
/// <code>
/// using Registrar registrar = new();
/// AtlasSegmenter segmenter = new(registrar);
/// Segmentation result = segmenter.Segment(Volume.Read("scan.nii.gz"), [Atlas.OfFiles("one", "one.nii.gz", "one-labels.nii.gz")]);
/// result.Fused.Labels.Write("labels.nii.gz");
/// </code>
/// </example>
public sealed class AtlasSegmenter
{
    private readonly Registrar registrar;

    /// <summary>A segmenter.</summary>
    /// <param name="registrar">What registers; it stays the caller's.</param>
    public AtlasSegmenter(Registrar registrar)
    {
        ArgumentNullException.ThrowIfNull(registrar);
        this.registrar = registrar;
    }

    /// <summary>Labels a scan.</summary>
    /// <param name="target">The scan.</param>
    /// <param name="atlases">One or more.</param>
    /// <param name="options">How; null for the standard.</param>
    /// <param name="progress">Is told how far it has come, on any thread.</param>
    /// <param name="cancellation">Stops within every part.</param>
    /// <exception cref="ArgumentException">There is no atlas, or fewer than one are to be used.</exception>
    /// <exception cref="InvalidFileException">An atlas cannot be read, or its labels lie elsewhere than its scan.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public Segmentation Segment(
        Volume target,
        IReadOnlyList<Atlas> atlases,
        SegmentationOptions? options = null,
        IProgress<SegmentationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(atlases);
        options ??= new SegmentationOptions();
        ArgumentOutOfRangeException.ThrowIfZero(atlases.Count, nameof(atlases));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Nearest ?? 1, 1, nameof(options));
        progress?.Report(new SegmentationProgress("aligning", 0, atlases.Count));
        IReadOnlyList<AlignedAtlas> ranked = AtlasChoice.Rank(
            target, atlases, options.Threads, done => progress?.Report(new("aligning", done, atlases.Count)), cancellation);
        Registered[] registered = Register(target, ranked, options, progress, cancellation);
        bool anyGood = registered.Any(atlas => atlas.IsGood);
        bool[] used = [.. registered.Select(atlas => atlas.IsGood || !anyGood)];
        progress?.Report(new SegmentationProgress("fusing", 0, used.Count(one => one)));
        FusedLabels fused = LabelFusion.Fuse(
            target,
            [.. registered.Where((_, i) => used[i]).Select(atlas => atlas.OnTarget)],
            options.Fusion with { Threads = options.Threads },
            cancellation);
        return new Segmentation(
            fused,
            [
                .. ranked.Select((atlas, i) => new UsedAtlas(
                    atlas.Atlas.Name,
                    atlas.MutualInformation,
                    i < registered.Length ? registered[i].Quality : null,
                    i < registered.Length && used[i])),
            ]);
    }

    private Registered[] Register(
        Volume target,
        IReadOnlyList<AlignedAtlas> ranked,
        SegmentationOptions options,
        IProgress<SegmentationProgress>? progress,
        CancellationToken cancellation)
    {
        int count = Math.Min(options.Nearest ?? ranked.Count, ranked.Count);
        int done = 0;
        progress?.Report(new SegmentationProgress("registering", 0, count));
        return EachScan.Run(count, options.Threads, cancellation, i =>
        {
            Registered atlas = Register(target, ranked[i], options.Registration, cancellation);
            progress?.Report(new SegmentationProgress("registering", Interlocked.Increment(ref done), count));
            return atlas;
        });
    }

    private Registered Register(Volume target, AlignedAtlas atlas, RegistrationOptions options, CancellationToken cancellation)
    {
        Volume scan = atlas.Atlas.ReadScan();
        Volume labels = atlas.Atlas.ReadLabels(scan);
        RegistrationOptions own = options with { Prealignment = new Prealignment.Given(atlas.Alignment), Threads = 1 };
        RegistrationResult result = registrar.Register(target, scan, own, null, cancellation);
        Volume moved = Resampler.Apply(labels, result.Transform, target.Grid, Interpolation.Label, threads: 1);
        return new Registered(new RegisteredAtlas(result.Moved, moved), result.Quality);
    }

    private sealed record Registered(RegisteredAtlas OnTarget, RegistrationQuality Quality)
    {
        internal bool IsGood => Quality.Verdict != Verdict.Failed;
    }
}
