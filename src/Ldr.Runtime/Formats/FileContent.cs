using System.Buffers.Binary;

namespace Ldr.Runtime.Formats;

/// <summary>Says what a file is, for the message to somebody who named the wrong one.</summary>
public static class FileContent
{
    internal const string Tensors = "a file of tensors, such as a model (.safetensors)";
    internal const string Text = "a text";
    private const string Dicom = "a DICOM file";

    /// <summary>What to do with a series of DICOM files.</summary>
    internal const string ConvertDicom = "convert the series to NIfTI (dcm2niix, plastimatch convert), or drop it into the page of ldr-fs app";

    private const int Looked = 256;

    /// <summary>Files of a folder that are looked at.</summary>
    private const int LookedFiles = 50;

    private static readonly (byte[] Start, string Name)[] Starts =
    [
        ([0x89, (byte)'H', (byte)'D', (byte)'F'], "an HDF5 file"),
        ([0x89, (byte)'P', (byte)'N', (byte)'G'], "a picture (PNG)"),
        ([0xFF, 0xD8, 0xFF], "a picture (JPEG)"),
        ([(byte)'P', (byte)'K', 3, 4], "a ZIP archive"),
        ([.. "%PDF"u8], "a PDF document"),
        ([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'], "a NumPy array"),
        ([.. "NRRD0"u8], "an NRRD image"),
        ([.. "ObjectType"u8], "a MetaImage"),
        ([.. "#Insight Transform"u8], "an ITK transform"),
        ([0x1F, 0x8B], "a file packed by gzip"),
    ];

    /// <summary>
    /// What the first bytes of a file say, such as "a picture (PNG)" or "a JSON text"; null when they say nothing, or the file
    /// cannot be read.
    /// </summary>
    public static string? Describe(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        byte[] start = new byte[Looked];
        try
        {
            using FileStream file = InputFile.Open(path);
            int length = file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
            return Describe(start.AsSpan(0, length));
        }
        catch (Exception error) when (error is InvalidFileException or IOException)
        {
            return null;
        }
    }

    /// <summary>Whether one of the first files of a folder, or of a folder in it, is DICOM by its content.</summary>
    internal static bool IsDicomFolder(string folder)
    {
        EnumerationOptions some = new() { RecurseSubdirectories = true, MaxRecursionDepth = 2, IgnoreInaccessible = true };
        return Directory.EnumerateFiles(folder, "*", some)
            .Take(LookedFiles)
            .Any(file => FileNode.KindOf(file) == NodeKind.Regular && Describe(file)?.StartsWith(Dicom, StringComparison.Ordinal) == true);
    }

    private static string? Describe(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 8 && bytes[8] == '{' && BinaryPrimitives.ReadInt64LittleEndian(bytes) is > 0 and < 1L << 32)
        {
            return Tensors;
        }

        if (bytes.Length >= 4 && NiftiParser.Detect(bytes) is not null)
        {
            return "a NIfTI image";
        }

        if (bytes.Length >= 132 && bytes.Slice(128, 4).SequenceEqual("DICM"u8))
        {
            return $"{Dicom} ({ConvertDicom})";
        }

        foreach ((byte[] known, string name) in Starts)
        {
            if (bytes.StartsWith(known))
            {
                return name;
            }
        }

        ReadOnlySpan<byte> text = bytes.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]) ? bytes[3..] : bytes;
        if (text.IsEmpty || text.IndexOfAnyExceptInRange((byte)9, (byte)126) >= 0)
        {
            return null;
        }

        return text.TrimStart(" \t\r\n"u8) is [(byte)'{' or (byte)'[', ..]
            ? "a JSON text, such as an experiment or a data set's description"
            : Text;
    }
}
