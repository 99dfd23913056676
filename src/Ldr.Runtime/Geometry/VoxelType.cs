namespace Ldr.Runtime.Geometry;

/// <summary>The number type of voxels in a file. In memory voxels are always float32.</summary>
public enum VoxelType
{
    /// <summary>Unsigned, 8 bits.</summary>
    UInt8,

    /// <summary>Signed, 8 bits.</summary>
    Int8,

    /// <summary>Signed, 16 bits.</summary>
    Int16,

    /// <summary>Unsigned, 16 bits.</summary>
    UInt16,

    /// <summary>Signed, 32 bits.</summary>
    Int32,

    /// <summary>Unsigned, 32 bits.</summary>
    UInt32,

    /// <summary>Signed, 64 bits.</summary>
    Int64,

    /// <summary>Unsigned, 64 bits.</summary>
    UInt64,

    /// <summary>IEEE 754 single precision.</summary>
    Float32,

    /// <summary>IEEE 754 double precision.</summary>
    Float64,

    /// <summary>IEEE 754 quadruple precision.</summary>
    Float128,
}
