using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>
/// Transforms in every format that needs no library: displacement fields (NIfTI, MetaImage, NRRD), affine maps (ITK's .txt,
/// .tfm and .mat; FSL's and FreeSurfer's are read only). Chosen by the file's name, and by its content on reading.
/// </summary>
public static class TransformFile
{
    /// <summary>The names under which a displacement field can be written.</summary>
    public const string FieldExtensions = ImageFile.Extensions;

    /// <summary>The names under which an affine map can be written.</summary>
    public const string AffineExtensions = ".txt, .tfm or .mat";

    /// <summary>Whether the name is one of an affine map.</summary>
    public static bool IsAffineName(string path) => FileKinds.OfName(path) is FileKind.ItkText or FileKind.Matrix;

    /// <summary>Whether the name is one of a displacement field.</summary>
    public static bool IsFieldName(string path) => ImageFile.CanWrite(path);

    /// <summary>Whether a file is there and is HDF5: by its first bytes, or its name where they say nothing.</summary>
    public static bool IsHdf5(string path) => File.Exists(path) && FileKinds.Of(path) == FileKind.Hdf5;

    /// <summary>Reads a transform.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fixedGrid">The fixed scan's grid; only FSL's matrices need it.</param>
    /// <param name="movingGrid">The moving scan's grid; only FSL's matrices need it.</param>
    /// <exception cref="InvalidFileException">No transform is in the file, or one that is not read here.</exception>
    public static Transform Read(string path, Grid? fixedGrid = null, Grid? movingGrid = null)
    {
        switch (FileKinds.Of(path))
        {
            case FileKind.Nifti:
                NiftiHeader header = Nifti.ReadHeader(path);
                return new Transform.Dense(header.IsVoxelField && !header.IsField ? Nifti.ReadVoxelField(path) : Nifti.ReadField(path));
            case FileKind.MetaImage:
                return new Transform.Dense(MetaImage.ReadField(path));
            case FileKind.Nrrd:
                return new Transform.Dense(Nrrd.ReadField(path));
            case FileKind.Lta:
                return new Transform.Linear(ForeignAffine.ReadLta(path));
            case FileKind.Matrix:
                return new Transform.Linear(
                    ItkTransformText.ReadMatlab(path)?.ToAffine(path) ?? ForeignAffine.ReadFsl(path, fixedGrid, movingGrid));
            case FileKind.ItkText:
                return Transform.Compose(ItkTransformText.ReadText(path)
                    .Where(transform => !transform.IsComposite)
                    .Select(transform => new Transform.Linear(transform.ToAffine(path))));
            case FileKind.Hdf5:
                throw new InvalidFileException(path, "is an HDF5 file, which is not read here", "convert it with: ldr-fs convert");
            default:
                throw new InvalidFileException(
                    path, "is no transform that is known", $"fields are {FieldExtensions}, affine maps {AffineExtensions} or .lta, lists .h5");
        }
    }

    /// <summary>Writes a displacement field in the format of the name.</summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="field">The field.</param>
    /// <param name="voxels">In the layout of Learn2Reg: NIfTI, nx × ny × nz × 3, voxels.</param>
    /// <exception cref="InvalidFileException">The name is none of a field, or the file cannot be written there.</exception>
    public static void WriteField(string path, DisplacementField field, bool voxels = false)
    {
        switch (FileKinds.OfName(path))
        {
            case FileKind.Nifti when voxels:
                Nifti.WriteVoxelField(path, field);
                break;
            case FileKind.Nifti:
                Nifti.WriteField(path, field);
                break;
            case FileKind.MetaImage when !voxels:
                MetaImage.WriteField(path, field);
                break;
            case FileKind.Nrrd when !voxels:
                Nrrd.WriteField(path, field);
                break;
            default:
                throw new InvalidFileException(
                    path, "is no name of a displacement field", $"let it end in {(voxels ? ".nii or .nii.gz" : FieldExtensions)}");
        }
    }

    /// <summary>Writes an affine map as ITK reads it, as text or as MATLAB level 4.</summary>
    /// <param name="path">The file to make or replace, atomically: .txt, .tfm or .mat.</param>
    /// <param name="world">From the fixed world to the moving world, mm, RAS+.</param>
    /// <exception cref="InvalidFileException">The name is none of an affine map, or the file cannot be written there.</exception>
    public static void WriteAffine(string path, Affine world)
    {
        ArgumentNullException.ThrowIfNull(world);
        switch (FileKinds.OfName(path))
        {
            case FileKind.ItkText:
                ItkTransformText.WriteText(path, world);
                break;
            case FileKind.Matrix:
                ItkTransformText.WriteMatlab(path, world);
                break;
            default:
                throw new InvalidFileException(path, "is no name of an affine map", $"let it end in {AffineExtensions}");
        }
    }
}
