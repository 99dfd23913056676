using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Reports;

/// <summary>What a report on a registered pair says beside the result itself.</summary>
public sealed record ReportOptions
{
    /// <summary>The fixed scan's name.</summary>
    public string FixedName { get; init; } = "fixed";

    /// <summary>The moving scan's name.</summary>
    public string MovingName { get; init; } = "moving";

    /// <summary>The moving scan's labels, on its grid, whose outlines are drawn; null for none.</summary>
    public Volume? MovingLabels { get; init; }

    /// <summary>The fixed scan's labels, on its grid: outlined, and compared with the moved ones; null for none.</summary>
    public Volume? FixedLabels { get; init; }

    /// <summary>The command that made it; empty for none.</summary>
    public string Command { get; init; } = string.Empty;

    /// <summary>The folder in which that was run; empty for none.</summary>
    public string Folder { get; init; } = string.Empty;

    /// <summary>How many threads at most; 0 for all. The result does not depend on it.</summary>
    public int Threads { get; init; }
}
