namespace Ldr.Runtime.Groups;

/// <summary>Which files of a BIDS folder are scans and label maps; as it stands: T1-weighted scans and their <c>dseg</c>.</summary>
public sealed record BidsQuery
{
    /// <summary>The suffix of the scans, such as <c>T1w</c>.</summary>
    public string Suffix { get; init; } = "T1w";

    /// <summary>The <c>space</c> entity of scans, labels and masks; null: whatever the scans have.</summary>
    public string? Space { get; init; }

    /// <summary>The <c>desc</c> entity of the scans, such as <c>preproc</c>; null: whatever they have.</summary>
    public string? Desc { get; init; }

    /// <summary>The suffix of label maps.</summary>
    public string Labels { get; init; } = "dseg";

    /// <summary>The <c>desc</c> entity of label maps, such as <c>aseg</c>; null: whatever they have.</summary>
    public string? LabelsDesc { get; init; }
}
