namespace Ldr.Runtime;

/// <summary>One line of a report's table.</summary>
/// <param name="Name">What was measured, for people.</param>
/// <param name="Value">The number.</param>
/// <param name="Unit">Its unit; empty for none.</param>
/// <param name="Remark">What it means; empty for nothing.</param>
public sealed record ReportNumber(string Name, string Value, string Unit = "", string Remark = "");

/// <summary>What a report on one registered pair shows.</summary>
public sealed record ReportContent
{
    /// <summary>The fixed scan's name.</summary>
    public required string FixedName { get; init; }

    /// <summary>The moving scan's name.</summary>
    public required string MovingName { get; init; }

    /// <summary>The fixed scan.</summary>
    public required Volume Fixed { get; init; }

    /// <summary>The moving scan, on its own grid.</summary>
    public required Volume Moving { get; init; }

    /// <summary>The moving scan on the fixed scan's grid, registered.</summary>
    public required Volume Moved { get; init; }

    /// <summary>How the scans were laid over each other before the deformation: fixed world to moving world, mm.</summary>
    public required Affine Initial { get; init; }

    /// <summary>The whole displacement, on the fixed scan's grid.</summary>
    public required DisplacementField Field { get; init; }

    /// <summary>The displacement without <see cref="Initial"/>.</summary>
    public required DisplacementField Deformation { get; init; }

    /// <summary>The moving scan's labels, on its grid; null for none.</summary>
    public Volume? MovingLabels { get; init; }

    /// <summary><c>ok</c>, <c>look</c> or <c>failed</c>.</summary>
    public required string Verdict { get; init; }

    /// <summary>Why, in words.</summary>
    public IReadOnlyList<string> Reasons { get; init; } = [];

    /// <summary>The numbers, in the order in which they are shown.</summary>
    public IReadOnlyList<ReportNumber> Numbers { get; init; } = [];

    /// <summary>The command that made it; empty for none.</summary>
    public string Command { get; init; } = string.Empty;

    /// <summary>The folder in which that was run; empty for none.</summary>
    public string Folder { get; init; } = string.Empty;
}
