namespace Ldr.Runtime;

/// <summary>A registered pair. Nobody changes it.</summary>
public sealed record RegistrationResult
{
    internal RegistrationResult(
        DisplacementField field, DisplacementField deformation, Affine initial, Alignment alignment, Volume moved)
    {
        Field = field;
        Deformation = deformation;
        Initial = initial;
        Alignment = alignment;
        Moved = moved;
    }

    /// <summary>
    /// The total displacement on the fixed scan's grid, the initial alignment included: from fixed to moving, in voxels.
    /// </summary>
    public DisplacementField Field { get; }

    /// <summary>The network's part of it.</summary>
    public DisplacementField Deformation { get; }

    /// <summary>The initial alignment: fixed world to moving world, mm.</summary>
    public Affine Initial { get; }

    /// <summary>How that was found.</summary>
    public Alignment Alignment { get; }

    /// <summary>The moving scan on the fixed scan's grid, resampled once.</summary>
    public Volume Moved { get; }

    /// <summary>Time in the network.</summary>
    public TimeSpan NetworkTime { get; internal init; }

    /// <summary>Time in the last warp.</summary>
    public TimeSpan WarpTime { get; internal init; }

    /// <summary>Time from two scans to the moved one.</summary>
    public TimeSpan TotalTime { get; internal init; }
}
