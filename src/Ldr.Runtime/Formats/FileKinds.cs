namespace Ldr.Runtime.Formats;

/// <summary>The kinds of file that hold images or transforms.</summary>
internal enum FileKind
{
    Unknown,
    Nifti,
    MetaImage,
    Nrrd,

    /// <summary>ITK's transforms as text: .txt, .tfm.</summary>
    ItkText,

    /// <summary>ITK's transforms as MATLAB level 4 (ANTs' 0GenericAffine.mat), or an FSL matrix as text.</summary>
    Matrix,

    /// <summary>FreeSurfer's .lta.</summary>
    Lta,
    Hdf5,
}

/// <summary>Tells kinds of file apart.</summary>
internal static class FileKinds
{
    private static readonly (string Ending, FileKind Kind)[] Endings =
    [
        (".nii", FileKind.Nifti), (".nii.gz", FileKind.Nifti), (".mha", FileKind.MetaImage), (".mhd", FileKind.MetaImage),
        (".nrrd", FileKind.Nrrd), (".nhdr", FileKind.Nrrd), (".txt", FileKind.ItkText), (".tfm", FileKind.ItkText),
        (".mat", FileKind.Matrix), (".lta", FileKind.Lta), (".h5", FileKind.Hdf5), (".hdf5", FileKind.Hdf5),
    ];

    /// <summary>By the end of the name.</summary>
    internal static FileKind OfName(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return Array.Find(Endings, e => path.EndsWith(e.Ending, StringComparison.OrdinalIgnoreCase)).Kind;
    }

    /// <summary>By the first bytes where they say it, else by the name.</summary>
    internal static FileKind Of(string path)
    {
        byte[] start = new byte[32];
        using FileStream file = InputFile.Open(path);
        int length = VoxelStream.Guard(path, () => file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false));
        ReadOnlySpan<byte> bytes = start.AsSpan(0, length);
        return bytes switch
        {
            [0x89, (byte)'H', (byte)'D', (byte)'F', ..] => FileKind.Hdf5,
            _ when bytes.StartsWith("NRRD"u8) => FileKind.Nrrd,
            _ when bytes.StartsWith("#Insight Transform"u8) => FileKind.ItkText,
            _ when bytes.StartsWith("ObjectType"u8) || bytes.StartsWith("NDims"u8) => FileKind.MetaImage,
            [0x1F, 0x8B, ..] => FileKind.Nifti,
            _ when length >= 4 && NiftiParser.Detect(bytes) is not null => FileKind.Nifti,
            _ => OfName(path),
        };
    }
}
