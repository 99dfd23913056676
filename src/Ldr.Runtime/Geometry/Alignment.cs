namespace Ldr.Runtime.Geometry;

/// <summary>How two scans are laid over each other before anything is deformed.</summary>
public enum Alignment
{
    /// <summary>By the world positions that their files state.</summary>
    World,

    /// <summary>By a translation that brings the centres of the two grids together.</summary>
    Centres,

    /// <summary>By an affine map that an optimisation finds for the pair.</summary>
    Affine,
}
