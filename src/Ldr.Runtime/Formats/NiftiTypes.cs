using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>NIfTI's codes for number types (nifti1.h, DT_*).</summary>
internal static class NiftiTypes
{
    internal static short Code(VoxelType type) => type switch
    {
        VoxelType.UInt8 => 2,
        VoxelType.Int16 => 4,
        VoxelType.Int32 => 8,
        VoxelType.Float32 => 16,
        VoxelType.Float64 => 64,
        VoxelType.Int8 => 256,
        VoxelType.UInt16 => 512,
        VoxelType.UInt32 => 768,
        VoxelType.Int64 => 1024,
        VoxelType.UInt64 => 1280,
        VoxelType.Float128 => 1536,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a voxel type"),
    };

    internal static VoxelType? Type(int code) => code switch
    {
        2 => VoxelType.UInt8,
        4 => VoxelType.Int16,
        8 => VoxelType.Int32,
        16 => VoxelType.Float32,
        64 => VoxelType.Float64,
        256 => VoxelType.Int8,
        512 => VoxelType.UInt16,
        768 => VoxelType.UInt32,
        1024 => VoxelType.Int64,
        1280 => VoxelType.UInt64,
        1536 => VoxelType.Float128,
        _ => null,
    };

    /// <summary>The name of a type that holds no single real number; null for any other code.</summary>
    internal static string? Unsupported(int code) => code switch
    {
        1 => "single bits",
        32 or 1792 or 2048 => "complex numbers",
        128 or 2304 => "RGB colours",
        _ => null,
    };
}
