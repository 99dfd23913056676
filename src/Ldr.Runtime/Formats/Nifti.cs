using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>
/// NIfTI-1 and NIfTI-2, single files, plain or compressed with gzip, in both byte orders, every real number type.
/// Every failure of a file is an <see cref="InvalidFileException"/> of one line.
/// </summary>
public static class Nifti
{
    /// <summary>Reads the header only, and checks that the file can hold the voxels that it declares.</summary>
    /// <exception cref="InvalidFileException">Not a NIfTI file, or a header that cannot be right.</exception>
    public static NiftiHeader ReadHeader(string path)
    {
        using NiftiReader reader = NiftiReader.Open(path);
        return reader.Header;
    }

    /// <summary>
    /// Reads one volume. Stored integers that the header scales become a volume that is stored as float32, so that
    /// writing it again loses nothing.
    /// </summary>
    /// <param name="path">A .nii or .nii.gz file.</param>
    /// <param name="volume">Which volume of a file that holds several, from 0.</param>
    /// <exception cref="InvalidFileException">
    /// Not a NIfTI file, damaged, not 3-D, or of several volumes when none is chosen.
    /// </exception>
    public static Volume Read(string path, int? volume = null)
    {
        using NiftiReader reader = NiftiReader.Open(path);
        NiftiHeader header = reader.Header;
        if (header.IsField)
        {
            throw new InvalidFileException(path, "is a displacement field", "use it as a transform, and give an image here");
        }

        if (volume is null && header.Volumes > 1)
        {
            throw new InvalidFileException(
                path, $"this file holds {header.Volumes} volumes", $"choose one by its volume number, 0 to {header.Volumes - 1}");
        }

        long index = volume ?? 0;
        if (index < 0 || index >= header.Volumes)
        {
            throw new InvalidFileException(
                path,
                $"this file has no volume {index}",
                header.Volumes == 1 ? "it holds one volume, number 0" : $"choose one from 0 to {header.Volumes - 1}");
        }

        float[] values = reader.ReadVoxels(index * header.Grid.Count, header.Grid.Count);
        bool scaledInteger = header.IsScaled && header.StoredAs < VoxelType.Float32;
        return new Volume(header.Grid, values, scaledInteger ? VoxelType.Float32 : header.StoredAs);
    }

    /// <summary>
    /// Writes a volume: NIfTI-1, or NIfTI-2 when an axis is longer than 32767; compressed when the name ends in .gz;
    /// sform and qform alike (no qform when the axes are not at right angles). Integers are rounded and clamped.
    /// </summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="volume">The volume to write.</param>
    /// <param name="type">The number type in the file; the volume's own when null.</param>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void Write(string path, Volume volume, VoxelType? type = null)
    {
        ArgumentNullException.ThrowIfNull(volume);
        Grid grid = volume.Grid;
        NiftiWriter.Write(
            path, grid, new long[] { grid.Nx, grid.Ny, grid.Nz }, volume.Values, type ?? volume.StoredAs, intent: 0);
    }

    /// <summary>
    /// Reads a displacement field as ITK, ANTs, plastimatch and elastix write it: nx × ny × nz × 1 × 3, intent 1007,
    /// millimetres, LPS. In memory it is in voxels of its grid.
    /// </summary>
    /// <exception cref="InvalidFileException">Not a NIfTI file, not such a field, or vectors that are not finite.</exception>
    public static DisplacementField ReadField(string path)
    {
        using NiftiReader reader = NiftiReader.Open(path);
        NiftiHeader header = reader.Header;
        Grid grid = header.Grid;
        if (!header.IsField)
        {
            throw new InvalidFileException(
                path,
                $"is not a displacement field (its sizes are {string.Join('×', header.Dimensions)}, its intent is {header.Intent})",
                $"a field is nx×ny×nz×1×3 with intent {NiftiHeader.VectorIntent}, in millimetres, LPS");
        }

        if (3 * grid.Count > Array.MaxLength)
        {
            throw new InvalidFileException(path, $"has {grid.Count} vectors", $"at most {Array.MaxLength / 3} can be read");
        }

        return FieldVectors.FromLps(path, grid, reader.ReadVoxels(0, 3 * grid.Count));
    }

    /// <summary>
    /// Reads a displacement field as Learn2Reg has it (<c>disp_0001_0002.nii.gz</c>): nx × ny × nz × 3, in voxels of the fixed
    /// scan, whose grid is the file's; its moving scan has that grid too.
    /// </summary>
    /// <exception cref="InvalidFileException">Not a NIfTI file, not such a field, or vectors that are not finite.</exception>
    public static DisplacementField ReadVoxelField(string path)
    {
        using NiftiReader reader = NiftiReader.Open(path);
        Grid grid = reader.Header.Grid;
        if (!reader.Header.IsVoxelField)
        {
            throw new InvalidFileException(
                path,
                $"is not a displacement field of Learn2Reg (its sizes are {string.Join('×', reader.Header.Dimensions)})",
                "such a field is nx×ny×nz×3, in voxels");
        }

        if (3 * grid.Count > Array.MaxLength)
        {
            throw new InvalidFileException(path, $"has {grid.Count} vectors", $"at most {Array.MaxLength / 3} can be read");
        }

        float[] vectors = reader.ReadVoxels(0, 3 * grid.Count);
        FieldVectors.CheckFinite(path, vectors);
        return new DisplacementField(grid, vectors);
    }

    /// <summary>Writes a displacement field in the layout that <see cref="ReadVoxelField"/> reads; float32.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void WriteVoxelField(string path, DisplacementField field)
    {
        ArgumentNullException.ThrowIfNull(field);
        Grid grid = field.Grid;
        NiftiWriter.Write(
            path, grid, new long[] { grid.Nx, grid.Ny, grid.Nz, 3 }, field.Vectors, VoxelType.Float32, intent: 0);
    }

    /// <summary>Writes a displacement field in the layout that <see cref="ReadField"/> reads; float32.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void WriteField(string path, DisplacementField field)
    {
        ArgumentNullException.ThrowIfNull(field);
        NiftiWriter.WriteLps(path, field);
    }
}
