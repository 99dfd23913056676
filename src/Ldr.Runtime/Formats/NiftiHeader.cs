using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>What the header of a NIfTI file says, checked.</summary>
public sealed record NiftiHeader
{
    /// <summary>NIFTI_INTENT_VECTOR: each voxel holds a vector. Displacement fields carry it.</summary>
    public const int VectorIntent = 1007;

    /// <summary>The file, as it was named.</summary>
    public required string Path { get; init; }

    /// <summary>1 for NIfTI-1, 2 for NIfTI-2.</summary>
    public required int Version { get; init; }

    /// <summary>Whether the file is big-endian.</summary>
    public required bool BigEndian { get; init; }

    /// <summary>Whether the file is compressed with gzip, whatever its name.</summary>
    public required bool Compressed { get; init; }

    /// <summary>The sizes of the axes, dim[1] to dim[dim[0]]: at least three.</summary>
    public required IReadOnlyList<long> Dimensions { get; init; }

    /// <summary>The grid of one volume; world millimetres, RAS+.</summary>
    public required Grid Grid { get; init; }

    /// <summary>The number type of the voxels in the file.</summary>
    public required VoxelType StoredAs { get; init; }

    /// <summary>Factor of the stored numbers (scl_slope); 1 when there is none.</summary>
    public required double Slope { get; init; }

    /// <summary>What is added after the factor (scl_inter); 0 when there is none.</summary>
    public required double Intercept { get; init; }

    /// <summary>What the numbers mean (intent_code); 0 when nothing is said.</summary>
    public required int Intent { get; init; }

    /// <summary>Where the voxel-to-world map came from: <c>sform</c>, <c>qform</c> or <c>pixdim</c>.</summary>
    public required string AffineSource { get; init; }

    /// <summary>Whether sform and qform are both set and place some voxel differently; sform is the one that counts.</summary>
    public bool FormsDisagree { get; init; }

    /// <summary>Where in the (uncompressed) file the voxels start, in bytes.</summary>
    public required long VoxelOffset { get; init; }

    /// <summary>Doubts that do not keep the file from being read, one line each.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }

    /// <summary>How many volumes the file holds: the product of dim[4] and above.</summary>
    public long Volumes => Dimensions.Skip(3).Aggregate(1L, (product, size) => product * size);

    /// <summary>Whether the file is a displacement field in the layout of ITK: nx × ny × nz × 1 × 3, intent 1007.</summary>
    public bool IsField =>
        Dimensions.Count == 5 && Dimensions[3] == 1 && Dimensions[4] == 3 && Intent == VectorIntent;

    /// <summary>Whether the file may be a displacement field in the layout of Learn2Reg: nx × ny × nz × 3.</summary>
    public bool IsVoxelField => Dimensions.Count == 4 && Dimensions[3] == 3;

    /// <summary>Whether stored numbers are scaled on reading.</summary>
    public bool IsScaled => Slope != 1 || Intercept != 0;
}
