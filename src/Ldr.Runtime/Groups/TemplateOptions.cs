using Ldr.Runtime.Registration;

namespace Ldr.Runtime.Groups;

/// <summary>A scan that a template is made of.</summary>
/// <param name="Name">Its name, which names its folder: letters, digits, dots, - and _.</param>
/// <param name="Image">Its file.</param>
public sealed record TemplateScan(string Name, string Image)
{
    /// <summary>The file of its label map, on its grid; null for none.</summary>
    public string? Labels { get; init; }

    /// <summary>The file of its mask, on its grid: only where it is above 0 the scan counts; null for none.</summary>
    public string? Mask { get; init; }

    /// <summary>How much it counts, above 0.</summary>
    public double Weight { get; init; } = 1;
}

/// <summary>How a template is made.</summary>
public sealed record TemplateOptions
{
    /// <summary>Rounds of registering all scans to the current average; 0: the affine average alone.</summary>
    public int Rounds { get; init; } = 4;

    /// <summary>
    /// A file to begin with: its grid and its pose in the world are the template's. Null: the first scan, and a grid that holds what
    /// the scans show.
    /// </summary>
    public string? Start { get; init; }

    /// <summary>How much finer detail is raised in each round's average: 0 not at all, 1 by as much as a blur of one voxel takes away.</summary>
    public double Sharpen { get; init; }

    /// <summary>How scans are registered; the alignment is always affine, and threads are those of <see cref="Threads"/>.</summary>
    public RegistrationOptions Registration { get; init; } = new();

    /// <summary>
    /// What identifies the registrar and its options, such as the command line: a folder that was begun with another is refused.
    /// </summary>
    public string Method { get; init; } = string.Empty;

    /// <summary>
    /// The share of this process: of every round it does the scans of the shard, and waits for the others. The first shard makes the
    /// averages.
    /// </summary>
    public CohortShard Shard { get; init; } = CohortShard.Whole;

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }
}

/// <summary>How far a template has come.</summary>
/// <param name="Round">The round; 0 is the affine average.</param>
/// <param name="Done">Scans that are done in it.</param>
/// <param name="Of">All scans of this process.</param>
public readonly record struct TemplateProgress(int Round, int Done, int Of);

/// <summary>What a round came to.</summary>
/// <param name="Round">Its number; 0 is the affine average.</param>
/// <param name="MeanDeformationMm">
/// The mean length, where the template shows something, of the mean deformation of the scans, which was removed: how far the round's
/// start was from the mean shape.
/// </param>
/// <param name="MaxDeformationMm">The largest length of it, mm.</param>
/// <param name="Sharpness">See <see cref="TemplateAverage.Sharpness"/>, 1/mm.</param>
/// <param name="LeftOut">Scans whose registration failed; they are not in the average.</param>
public sealed record TemplateRound(int Round, double MeanDeformationMm, double MaxDeformationMm, double Sharpness, IReadOnlyList<string> LeftOut);

/// <summary>A template.</summary>
/// <param name="Template">Its file.</param>
/// <param name="Scans">How many scans it was made of.</param>
/// <param name="Rounds">What its rounds came to, the affine average first.</param>
public sealed record TemplateResult(string Template, int Scans, IReadOnlyList<TemplateRound> Rounds);
