namespace Ldr.Runtime.Groups;

/// <summary>One end of a pair: a scan's file, and what belongs to it.</summary>
/// <param name="Image">The scan's file.</param>
public sealed record CohortScan(string Image)
{
    /// <summary>Its label map's file; null for none.</summary>
    public string? Labels { get; init; }

    /// <summary>The file of the mask of what counts (above 0); null for everything.</summary>
    public string? Mask { get; init; }

    /// <summary>A file of landmarks; the i-th of both scans are one place. Null for none.</summary>
    public string? Landmarks { get; init; }
}

/// <summary>A pair of a cohort: what is read, and where its files go.</summary>
/// <param name="Id">Its name, unique in the cohort.</param>
/// <param name="Fixed">The scan whose grid the result has.</param>
/// <param name="Moving">The scan that is deformed onto it.</param>
public sealed record CohortPair(string Id, CohortScan Fixed, CohortScan Moving)
{
    /// <summary>A file of points of the moving scan, which are carried to the fixed one; null for none.</summary>
    public string? Points { get; init; }

    /// <summary>The names of the files that are written, below the cohort's folder.</summary>
    public PairFiles Files { get; init; } = new(Id);

    /// <summary>What is read, by its role; nothing that the pair lacks.</summary>
    internal IEnumerable<(string Role, string File)> Inputs()
    {
        (string Role, string? File)[] all =
        [
            ("fixed", Fixed.Image),
            ("moving", Moving.Image),
            ("fixed_labels", Fixed.Labels),
            ("moving_labels", Moving.Labels),
            ("fixed_mask", Fixed.Mask),
            ("moving_mask", Moving.Mask),
            ("fixed_landmarks", Fixed.Landmarks),
            ("moving_landmarks", Moving.Landmarks),
            ("points", Points),
        ];
        return from input in all where input.File is not null select (input.Role, input.File);
    }
}

/// <summary>The names of a pair's files in its folder. Those of transforms and points get their ending from what is written.</summary>
/// <param name="Folder">The folder, below the cohort's.</param>
public sealed record PairFiles(string Folder)
{
    /// <summary>The moved scan.</summary>
    public string Moved { get; init; } = "moved.nii.gz";

    /// <summary>The transform, without its ending.</summary>
    public string Transform { get; init; } = "transform";

    /// <summary>Its inverse, without its ending.</summary>
    public string Inverse { get; init; } = "inverse";

    /// <summary>The moved label map.</summary>
    public string Labels { get; init; } = "labels.nii.gz";

    /// <summary>The points on the fixed scan, without their ending.</summary>
    public string Points { get; init; } = "points";

    /// <summary>The page of the pair.</summary>
    public string Report { get; init; } = "report.html";

    /// <summary>The small picture that the group page shows.</summary>
    public string Picture { get; init; } = "picture.png";

    /// <summary>What came out, written last: where it is, the pair is done. Its name ends in <c>result.json</c>.</summary>
    public string Result { get; init; } = "result.json";

    /// <summary>Why the pair could not be registered. Its name ends in <c>problem.json</c>.</summary>
    public string Problem { get; init; } = "problem.json";
}
