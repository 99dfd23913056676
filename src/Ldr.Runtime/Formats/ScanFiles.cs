using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>Reading and writing by the types themselves; the name of a file decides its format.</summary>
public static class ScanFiles
{
    extension(Volume)
    {
        /// <summary>Reads a scan or a label map in any format that <see cref="ImageFile"/> knows.</summary>
        /// <param name="path">The file.</param>
        /// <param name="volume">Which volume of a file that holds several, from 0.</param>
        /// <exception cref="InvalidFileException">The file is missing, damaged, or of another kind.</exception>
        public static Volume Read(string path, int? volume = null) => ImageFile.Read(path, volume);
    }

    extension(DisplacementField)
    {
        /// <summary>Reads a field in any format that <see cref="TransformFile"/> knows.</summary>
        /// <param name="path">The file.</param>
        /// <exception cref="InvalidFileException">The file is missing, damaged, or no displacement field.</exception>
        public static DisplacementField Read(string path) => TransformFile.Read(path) is Transform.Dense dense
            ? dense.Field
            : throw new InvalidFileException(path, "holds no displacement field", "choose a field's file");
    }

    /// <summary>Writes a volume, atomically, in the format of the name: .nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidFileException">The name has another ending, or the file cannot be written there.</exception>
    public static void Write(this Volume volume, string path) => ImageFile.Write(path, volume);

    /// <summary>Writes a field, atomically, in the format of the name: millimetres, LPS, as ITK, ANTs and elastix read it.</summary>
    /// <param name="field">The field.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidFileException">The name has another ending, or the file cannot be written there.</exception>
    public static void Write(this DisplacementField field, string path) => TransformFile.WriteField(path, field);
}
