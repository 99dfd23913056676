using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>Images in any format that is known, chosen by the file's name, and by its content on reading.</summary>
public static class ImageFile
{
    /// <summary>The names of files that can be written.</summary>
    public const string Extensions = ".nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr";

    /// <summary>Whether an image can be written under this name.</summary>
    public static bool CanWrite(string path) => FileKinds.OfName(path) is FileKind.Nifti or FileKind.MetaImage or FileKind.Nrrd;

    /// <summary>Whether a file is NIfTI: by its first bytes where they say it, else by its name.</summary>
    /// <exception cref="InvalidFileException">The file cannot be read.</exception>
    public static bool IsNifti(string path) => FileKinds.Of(path) == FileKind.Nifti;

    /// <summary>Reads one volume.</summary>
    /// <param name="path">A NIfTI, MetaImage or NRRD file.</param>
    /// <param name="volume">Which volume or channel of a file that holds several, from 0.</param>
    /// <exception cref="InvalidFileException">The file cannot be read, or holds several volumes and none is chosen.</exception>
    public static Volume Read(string path, int? volume = null) => FileKinds.Of(path) switch
    {
        FileKind.MetaImage => MetaImage.Read(path, volume),
        FileKind.Nrrd => Nrrd.Read(path, volume),
        FileKind.Hdf5 => throw new InvalidFileException(path, "is an HDF5 file", $"an image is wanted here: {Extensions}"),
        _ => Nifti.Read(path, volume),
    };

    /// <summary>Reads the grid of an image or a field, not its voxels.</summary>
    /// <exception cref="InvalidFileException">The file cannot be read.</exception>
    public static Grid ReadGrid(string path) => FileKinds.Of(path) switch
    {
        FileKind.MetaImage => MetaImage.ReadHeader(path).Grid,
        FileKind.Nrrd => Nrrd.ReadHeader(path).Grid,
        _ => Nifti.ReadHeader(path).Grid,
    };

    /// <summary>How many volumes, or numbers per voxel, a file holds.</summary>
    /// <exception cref="InvalidFileException">The file cannot be read.</exception>
    public static long CountVolumes(string path) => FileKinds.Of(path) switch
    {
        FileKind.MetaImage => MetaImage.ReadHeader(path).Components,
        FileKind.Nrrd => Nrrd.ReadHeader(path).Components,
        _ => Nifti.ReadHeader(path).Volumes,
    };

    /// <summary>Writes a volume in the format of the name.</summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="volume">The volume to write.</param>
    /// <param name="type">The number type in the file; the volume's own when null.</param>
    /// <exception cref="InvalidFileException">The name is none of an image, or the file cannot be written there.</exception>
    public static void Write(string path, Volume volume, VoxelType? type = null)
    {
        switch (FileKinds.OfName(path))
        {
            case FileKind.Nifti:
                Nifti.Write(path, volume, type);
                break;
            case FileKind.MetaImage:
                MetaImage.Write(path, volume, type);
                break;
            case FileKind.Nrrd:
                Nrrd.Write(path, volume, type);
                break;
            default:
                throw new InvalidFileException(path, "is no name of an image file", $"let it end in {Extensions}");
        }
    }
}
