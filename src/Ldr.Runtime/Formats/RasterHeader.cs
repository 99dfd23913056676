using System.Globalization;
using System.IO.Compression;
using System.Text;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>How the numbers of a raster file are packed.</summary>
internal enum RasterEncoding
{
    Raw,
    Gzip,
    Zlib,
    Text,
}

/// <summary>
/// What MetaImage and NRRD headers have in common: a text that describes voxels which follow it or lie in another file. World
/// positions are already RAS+.
/// </summary>
internal sealed record RasterHeader
{
    internal required string Path { get; init; }

    internal required Grid Grid { get; init; }

    internal required VoxelType Type { get; init; }

    internal required bool BigEndian { get; init; }

    internal required RasterEncoding Encoding { get; init; }

    /// <summary>Numbers per voxel.</summary>
    internal required int Components { get; init; }

    /// <summary>Whether a voxel's components lie next to each other, and not plane after plane.</summary>
    internal required bool Interleaved { get; init; }

    /// <summary>Whether vectors are in ITK's frame, LPS.</summary>
    internal required bool VectorsInLps { get; init; }

    /// <summary>The file that holds the voxels.</summary>
    internal required string DataPath { get; init; }

    /// <summary>Where in it the (packed) voxels start; negative for the last bytes of the file.</summary>
    internal required long Offset { get; init; }

    /// <summary>Lines of text to skip first.</summary>
    internal int LinesToSkip { get; init; }

    /// <summary>Reads all components: planes, one after the other.</summary>
    internal float[] ReadPlanes() => VoxelStream.Guard(Path, () =>
    {
        Int128 numbers = (Int128)Grid.Count * Components;
        if (numbers > Array.MaxLength)
        {
            throw new InvalidFileException(Path, $"declares {numbers} numbers", $"at most {Array.MaxLength} can be read");
        }

        if (DataPath != Path && new FileInfo(DataPath) is not { Exists: true, Length: > 0 })
        {
            throw new InvalidFileException(Path, $"has its voxels in {DataPath}, which is not there or empty", "put both files in one folder");
        }

        using FileStream file = InputFile.Open(DataPath);
        long bytes = (long)numbers * VoxelCodec.Size(Type);
        long offset = Offset >= 0 ? Offset : file.Length - bytes;
        if (offset < 0 || offset > file.Length)
        {
            throw VoxelStream.Truncated(DataPath, Math.Max(0, file.Length), bytes);
        }

        file.Position = offset;
        for (int line = 0; line < LinesToSkip; line++)
        {
            int next;
            while ((next = file.ReadByte()) != '\n' && next >= 0)
            {
            }
        }

        if (Encoding == RasterEncoding.Text)
        {
            return Planes(ReadText(file, (int)numbers));
        }

        VoxelStream.CheckLength(DataPath, Encoding == RasterEncoding.Raw ? file.Position : 0, bytes, file.Length, Encoding != RasterEncoding.Raw);
        using Stream data = Encoding switch
        {
            RasterEncoding.Gzip => new GZipStream(file, CompressionMode.Decompress),
            RasterEncoding.Zlib => new ZLibStream(file, CompressionMode.Decompress),
            _ => file,
        };
        float[] values = VoxelStream.Read(DataPath, data, Type, BigEndian, 1, 0, (long)numbers);
        if (Encoding == RasterEncoding.Gzip && offset == 0 && LinesToSkip == 0)
        {
            GzipEnd.Check(DataPath, data, bytes);
        }
        else if (Encoding != RasterEncoding.Raw)
        {
            // Asking for one byte more makes the decoder reach the checksum and compare it.
            _ = data.ReadByte();
        }

        return Planes(values);
    });

    /// <summary>The volume of a file with one number per voxel; of several, the one that is chosen.</summary>
    internal Volume ReadVolume(int? index)
    {
        if (index is null && Components > 1)
        {
            throw new InvalidFileException(
                Path, $"this file holds {Components} numbers per voxel", $"choose one by its volume number, 0 to {Components - 1}");
        }

        if (index is int i && (i < 0 || i >= Components))
        {
            throw new InvalidFileException(
                Path, $"this file has no volume {i}", Components == 1 ? "it holds one volume, number 0" : $"choose one from 0 to {Components - 1}");
        }

        float[] planes = ReadPlanes();
        int count = (int)Grid.Count;
        return new Volume(Grid, Components == 1 ? planes : planes.AsSpan((index ?? 0) * count, count).ToArray(), Type);
    }

    /// <summary>The displacement field of a file with three numbers per voxel: millimetres, LPS.</summary>
    internal DisplacementField ReadField()
    {
        if (Components != 3)
        {
            throw new InvalidFileException(
                Path, $"is not a displacement field (it has {Components} numbers per voxel)", "a field has three, in millimetres, LPS");
        }

        if (!VectorsInLps)
        {
            throw new InvalidFileException(
                Path, "holds vectors that are not in the space left-posterior-superior", "write the field with ITK, or convert it there");
        }

        return FieldVectors.FromLps(Path, Grid, ReadPlanes());
    }

    /// <summary>Reads the lines of a text header, at most a megabyte of it, until <paramref name="last"/> says that it ends.</summary>
    /// <returns>The lines, and where the data start in the file.</returns>
    internal static (List<string> Lines, long End) ReadLines(string path, Func<string, bool> last)
    {
        return VoxelStream.Guard(path, () =>
        {
            using FileStream file = InputFile.Open(path);
            List<string> lines = [];
            List<byte> line = [];
            while (file.Position < 1 << 20)
            {
                int next = file.ReadByte();
                if (next is '\n' or < 0)
                {
                    string text = TextOf([.. line]).TrimEnd('\r');
                    line.Clear();
                    if (next >= 0 || text.Length > 0)
                    {
                        lines.Add(text);
                    }

                    if (next < 0 || last(text))
                    {
                        return (lines, file.Position);
                    }
                }
                else
                {
                    line.Add((byte)next);
                }
            }

            throw new InvalidFileException(path, "has a header of more than a megabyte", "check that this is an image");
        });
    }

    /// <summary>A line as UTF-8, which names of files are written in; as Latin-1 where it is none.</summary>
    private static string TextOf(byte[] line)
    {
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(line);
        }
        catch (DecoderFallbackException)
        {
            return System.Text.Encoding.Latin1.GetString(line);
        }
    }

    /// <summary>Numbers of a header's line.</summary>
    internal static double[] Numbers(string path, string key, string text, int? count = null)
    {
        string[] words = text.Split((char[])[' ', '\t', ','], StringSplitOptions.RemoveEmptyEntries);
        double[] numbers = new double[words.Length];
        for (int i = 0; i < words.Length; i++)
        {
            if (!double.TryParse(words[i], NumberStyles.Float, CultureInfo.InvariantCulture, out numbers[i]) || !double.IsFinite(numbers[i]))
            {
                throw new InvalidFileException(path, $"has '{words[i]}' in its line '{key}'", "a number is wanted there");
            }
        }

        return count is null || numbers.Length == count
            ? numbers
            : throw new InvalidFileException(path, $"has {numbers.Length} numbers in its line '{key}'", $"{count} are wanted");
    }

    /// <summary>A grid from what a header says; the directions are the columns of the map, in millimetres.</summary>
    internal static Grid MakeGrid(string path, double[] sizes, double[][] columns, double[] origin, bool lps)
    {
        foreach (double size in sizes)
        {
            if (!(size >= 1 && size <= int.MaxValue && size == Math.Truncate(size)))
            {
                throw new InvalidFileException(
                    path, string.Create(CultureInfo.InvariantCulture, $"has a size of {size}"), "sizes are whole numbers from 1");
            }
        }

        double[] rows = new double[12];
        for (int row = 0; row < 3; row++)
        {
            double sign = lps && row < 2 ? -1 : 1;
            for (int column = 0; column < 3; column++)
            {
                rows[(4 * row) + column] = sign * columns[column][row];
            }

            rows[(4 * row) + 3] = sign * origin[row];
        }

        try
        {
            return new Grid((int)sizes[0], (int)sizes[1], (int)sizes[2], Affine.FromRows(rows));
        }
        catch (ArgumentException error)
        {
            throw new InvalidFileException(path, error.Message, "copy or export the file again", error);
        }
    }

    private float[] ReadText(FileStream file, int count)
    {
        // A number takes at least a digit and a separator.
        VoxelStream.CheckLength(DataPath, file.Position, 2 * (Int128)count - 1, file.Length, compressed: false);
        using StreamReader reader = new(file);
        float[] values = GC.AllocateUninitializedArray<float>(count);
        Span<char> word = stackalloc char[64];
        for (int i = 0; i < count; i++)
        {
            int next = reader.Read();
            while (next >= 0 && (char.IsWhiteSpace((char)next) || next == ','))
            {
                next = reader.Read();
            }

            int length = 0;
            while (next >= 0 && !char.IsWhiteSpace((char)next) && next != ',' && length < word.Length)
            {
                word[length++] = (char)next;
                next = reader.Read();
            }

            if (length == 0)
            {
                throw new InvalidFileException(DataPath, $"is truncated: {i} of {count} numbers are there", VoxelStream.CopyAgain);
            }

            if (!float.TryParse(word[..length], NumberStyles.Float, CultureInfo.InvariantCulture, out values[i]))
            {
                throw new InvalidFileException(DataPath, $"has '{word[..length]}' among its voxels", "numbers are wanted there");
            }
        }

        return values;
    }

    private float[] Planes(float[] values)
    {
        if (Components == 1 || !Interleaved)
        {
            return values;
        }

        float[] planes = GC.AllocateUninitializedArray<float>(values.Length);
        int count = (int)Grid.Count;
        for (int channel = 0; channel < Components; channel++)
        {
            for (int i = 0, from = channel; i < count; i++, from += Components)
            {
                planes[(channel * count) + i] = values[from];
            }
        }

        return planes;
    }
}
