namespace Ldr.Runtime.Transforms;

/// <summary>How values between voxels are found.</summary>
public enum Interpolation
{
    /// <summary>Trilinear.</summary>
    Linear,

    /// <summary>Cubic B-spline through the voxels' values (order 3, mirrored at the border).</summary>
    Cubic,

    /// <summary>The nearest voxel's value: no value is invented.</summary>
    Nearest,

    /// <summary>For label maps: each label votes with its trilinear weight, the heaviest wins. No value is invented.</summary>
    Label,
}
