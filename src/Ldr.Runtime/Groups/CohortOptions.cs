using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>What is written of each pair, beside its <c>result.json</c>.</summary>
[Flags]
public enum CohortOutputs
{
    /// <summary>The numbers only.</summary>
    None = 0,

    /// <summary>The moved scan.</summary>
    Moved = 1,

    /// <summary>The transform.</summary>
    Transform = 2,

    /// <summary>Its inverse, on the moving scan's grid.</summary>
    Inverse = 4,

    /// <summary>The moved label map, where the moving scan has one.</summary>
    Labels = 8,

    /// <summary>The points, where there are any.</summary>
    Points = 16,

    /// <summary>A small picture for the group page.</summary>
    Picture = 32,

    /// <summary>A page with pictures and numbers.</summary>
    Report = 64,

    /// <summary>Everything but the page.</summary>
    Standard = Moved | Transform | Inverse | Labels | Points | Picture,
}

/// <summary>The part of a cohort that a process does: of every <paramref name="Count"/> pairs the one with the number <paramref name="Index"/>.</summary>
/// <param name="Index">From 1 to <paramref name="Count"/>.</param>
/// <param name="Count">How many processes there are.</param>
public readonly record struct CohortShard(int Index, int Count)
{
    /// <summary>All pairs.</summary>
    public static CohortShard Whole { get; } = new(1, 1);

    /// <summary>Whether the pair with a number, from 0, belongs to it.</summary>
    /// <param name="pair">The number.</param>
    public bool Has(int pair) => pair % Count == Index - 1;
}

/// <summary>How transforms are written.</summary>
/// <param name="Ending">The ending of their files, such as <c>.nii.gz</c>.</param>
/// <param name="Write">
/// Writes a transform to a file, atomically: its parts, and the whole as a displacement field; choose either.
/// </param>
public sealed record TransformWriter(string Ending, Action<string, Transform, DisplacementField> Write)
{
    /// <summary>As one displacement field in NIfTI.</summary>
    public static TransformWriter Field { get; } = new(".nii.gz", (file, _, field) => TransformFile.WriteField(file, field));
}

/// <summary>How a cohort is registered.</summary>
public sealed record CohortOptions
{
    /// <summary>What is done with each pair; masks and threads are the pair's own.</summary>
    public RegistrationOptions Registration { get; init; } = new();

    /// <summary>
    /// What else decides the results, such as the model and its digest. It is kept in each <c>result.json</c>; a pair that was done
    /// with other settings is done again.
    /// </summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>What is written.</summary>
    public CohortOutputs Outputs { get; init; } = CohortOutputs.Standard;

    /// <summary>How transforms are written.</summary>
    public TransformWriter Transforms { get; init; } = TransformWriter.Field;

    /// <summary>Which volume of files that hold several, from 0; null: they must hold one.</summary>
    public int? Volume { get; init; }

    /// <summary>Pairs at a time at most; 0: as many as there are threads, and as memory allows.</summary>
    public int Jobs { get; init; }

    /// <summary>Threads of all pairs together; 0 for all. No result depends on it.</summary>
    public int Threads { get; init; }

    /// <summary>
    /// Bytes that this process may take: no pair begins that would need more beside those that are running. 0: three quarters of
    /// what there is.
    /// </summary>
    public long Memory { get; init; }

    /// <summary>Which pairs are done.</summary>
    public CohortShard Shard { get; init; } = CohortShard.Whole;

    /// <summary>Do again what is done.</summary>
    public bool Force { get; init; }

    /// <summary>The command that is told on the pages; empty for none.</summary>
    public string Command { get; init; } = string.Empty;

    /// <summary>The settings as they are compared: what of <see cref="Registration"/> decides the results, and <see cref="Settings"/>.</summary>
    internal SortedDictionary<string, string> AllSettings()
    {
        RegistrationOptions r = Registration;
        SortedDictionary<string, string> all = new(StringComparer.Ordinal)
        {
            ["affine"] = r.Prealignment switch
            {
                Prealignment.ByHeader header => header.Alignment?.ToString().ToLowerInvariant() ?? "default",
                Prealignment.Optimised optimised => optimised.Freedom.ToString().ToLowerInvariant(),
                Prealignment.Given given => Rows(given.Map),
                _ => "auto",
            },
            ["outputs"] = Outputs.ToString(),
            ["transforms"] = Transforms.Ending,
        };
        if (r.Start is Affine start)
        {
            all["start"] = Rows(start);
        }

        if (r.StartField is DisplacementField field)
        {
            all["start_field"] = FileDigest.Of(System.Runtime.InteropServices.MemoryMarshal.AsBytes(field.Vectors.AsSpan()));
        }

        if (r.Refinement is RefinementOptions own)
        {
            all["refinement"] = FormattableString.Invariant(
                $"steps {own.Steps}, spacing {own.ControlSpacingMm}, budget {own.Budget?.TotalSeconds}, radius {own.Radius}, smoothness {own.Smoothness}, log_jacobian {own.LogJacobian}, voxels {own.MostVoxels}, levels {own.Levels}, step {own.StepVoxels}");
        }

        if (r.Diffeomorphic is JacobianBounds bounds)
        {
            all["diffeomorphic"] = FormattableString.Invariant($"{bounds.Least} to {bounds.Most}");
        }

        if (Volume is int volume)
        {
            all["volume"] = FormattableString.Invariant($"{volume}");
        }

        foreach ((string key, string value) in Settings)
        {
            all[key] = value;
        }

        return all;
    }

    private static string Rows(Affine map) => string.Join(' ', map.ToRows().Select(number => FormattableString.Invariant($"{number:R}")));
}
