using System.Globalization;
using System.IO.Compression;
using System.Text;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>
/// MetaImage: <c>.mha</c>, or <c>.mhd</c> with a data file beside it, plain or packed with zlib, in both byte orders; 3-D. Its
/// world is LPS. Source: the MetaIO documentation (itk.org/Wiki/MetaIO/Documentation).
/// </summary>
public static class MetaImage
{
    private static readonly (string Name, VoxelType Type)[] Types =
    [
        ("UCHAR", VoxelType.UInt8), ("CHAR", VoxelType.Int8), ("USHORT", VoxelType.UInt16), ("SHORT", VoxelType.Int16),
        ("UINT", VoxelType.UInt32), ("INT", VoxelType.Int32), ("ULONG", VoxelType.UInt32), ("LONG", VoxelType.Int32),
        ("ULONG_LONG", VoxelType.UInt64), ("LONG_LONG", VoxelType.Int64), ("FLOAT", VoxelType.Float32), ("DOUBLE", VoxelType.Float64),
    ];

    /// <summary>Reads one volume.</summary>
    /// <param name="path">A .mha or .mhd file.</param>
    /// <param name="volume">Which channel of a file that holds several, from 0.</param>
    /// <exception cref="InvalidFileException">Not such a file, damaged, not 3-D, or of several channels when none is chosen.</exception>
    public static Volume Read(string path, int? volume = null) => ReadHeader(path).ReadVolume(volume);

    /// <summary>Reads a displacement field as ITK writes it: three channels, millimetres, LPS.</summary>
    /// <exception cref="InvalidFileException">Not such a file, damaged, or not a field.</exception>
    public static DisplacementField ReadField(string path) => ReadHeader(path).ReadField();

    /// <summary>Writes a volume, packed with zlib; a .mhd gets its voxels in a .zraw file beside it.</summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="volume">The volume to write.</param>
    /// <param name="type">The number type in the file; the volume's own when null.</param>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void Write(string path, Volume volume, VoxelType? type = null)
    {
        ArgumentNullException.ThrowIfNull(volume);
        VoxelType stored = VoxelCodec.Named(type ?? volume.StoredAs);
        byte[] packed = Pack(volume.Values, stored);
        Write(path, volume.Grid, 1, stored, packed.Length, file => file.Write(packed));
    }

    /// <summary>
    /// Writes a displacement field as ITK reads it: float32, three channels, millimetres, LPS; not packed, which would take long and save
    /// little. A .mhd gets its vectors in a file beside it whose name is its own and ends in .raw.
    /// </summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void WriteField(string path, DisplacementField field)
    {
        ArgumentNullException.ThrowIfNull(field);
        Write(path, field.Grid, 3, VoxelType.Float32, null, file => FieldVectors.WriteInterleaved(file, field));
    }

    /// <summary>The file of voxels that a header names; null when they are in the same file.</summary>
    internal static string? DataPathOf(string path) => ReadHeader(path).DataPath is string data && data != path ? data : null;

    internal static RasterHeader ReadHeader(string path)
    {
        (List<string> lines, long end) = RasterHeader.ReadLines(path, line => line.StartsWith("ElementDataFile", StringComparison.OrdinalIgnoreCase));
        Dictionary<string, string> fields = new(StringComparer.OrdinalIgnoreCase);
        foreach (string line in lines)
        {
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0)
            {
                fields[line[..equals].Trim()] = line[(equals + 1)..].Trim();
            }
        }

        string? Find(params string[] names) => Array.Find(names, fields.ContainsKey) is string name ? fields[name] : null;
        string Need(params string[] names) => Find(names)
            ?? throw new InvalidFileException(path, $"has no line '{names[0]}'", "a MetaImage header has it; write the file again");
        string dataFile = Need("ElementDataFile");
        double dimensions = RasterHeader.Numbers(path, "NDims", Need("NDims"), 1)[0];
        if (dimensions != 3)
        {
            throw new InvalidFileException(
                path, string.Create(CultureInfo.InvariantCulture, $"holds a {dimensions}-D image"), "give a 3-D volume");
        }

        double[] sizes = RasterHeader.Numbers(path, "DimSize", Need("DimSize"), 3);
        double[] spacing = RasterHeader.Numbers(path, "ElementSpacing", Find("ElementSpacing", "ElementSize") ?? "1 1 1", 3);
        double[] origin = RasterHeader.Numbers(path, "Offset", Find("Offset", "Position", "Origin") ?? "0 0 0", 3);
        double[] matrix = RasterHeader.Numbers(
            path, "TransformMatrix", Find("TransformMatrix", "Rotation", "Orientation") ?? "1 0 0 0 1 0 0 0 1", 9);
        double[][] columns = Enumerable.Range(0, 3)
            .Select(axis => matrix.AsSpan(3 * axis, 3).ToArray().Select(c => c * spacing[axis]).ToArray()).ToArray();
        double channels = RasterHeader.Numbers(path, "ElementNumberOfChannels", Find("ElementNumberOfChannels") ?? "1", 1)[0];
        if (!(channels >= 1 && channels <= 1 << 16 && channels == Math.Truncate(channels)))
        {
            throw new InvalidFileException(
                path, string.Create(CultureInfo.InvariantCulture, $"says it has {channels} channels"), "give a whole number from 1");
        }

        bool compressed = IsTrue(Find("CompressedData"));
        bool text = Find("BinaryData") is string binary && !IsTrue(binary);
        bool local = dataFile is "LOCAL" or "Local" or "local";
        if (!local && (dataFile.StartsWith("LIST", StringComparison.Ordinal) || dataFile.Contains('%', StringComparison.Ordinal)))
        {
            throw new InvalidFileException(path, "has its voxels in a list of files", "write it as one file");
        }

        double skip = RasterHeader.Numbers(path, "HeaderSize", Find("HeaderSize") ?? "0", 1)[0];
        return new RasterHeader
        {
            Path = path,
            Grid = RasterHeader.MakeGrid(path, sizes, columns, origin, lps: true),
            Type = TypeOf(path, Need("ElementType")),
            BigEndian = IsTrue(Find("BinaryDataByteOrderMSB", "ElementByteOrderMSB")),
            Encoding = compressed ? RasterEncoding.Zlib : text ? RasterEncoding.Text : RasterEncoding.Raw,
            Components = (int)channels,
            Interleaved = true,
            VectorsInLps = true,
            DataPath = local ? path : InputFile.Beside(path, dataFile),
            Offset = local ? end : skip < 0 ? -1 : (long)skip,
        };
    }

    private static bool IsTrue(string? text) => text is not null && text.StartsWith("t", StringComparison.OrdinalIgnoreCase);

    private static VoxelType TypeOf(string path, string text)
    {
        string name = text.ToUpperInvariant().Replace("MET_", string.Empty, StringComparison.Ordinal).Replace("_ARRAY", string.Empty, StringComparison.Ordinal);
        foreach ((string known, VoxelType type) in Types)
        {
            if (known == name)
            {
                return type;
            }
        }

        throw new InvalidFileException(path, $"holds voxels of the type {text}", "give one real number per voxel");
    }

    private static void Write(string path, Grid grid, int channels, VoxelType stored, long? packed, Action<Stream> voxels)
    {
        // The first name of a type is the one to write: ULONG and LONG are ambiguous and only read.
        string name = Types.First(t => t.Type == stored).Name;
        bool detached = path.EndsWith(".mhd", StringComparison.OrdinalIgnoreCase);
        StringBuilder text = new();
        void Line(string key, string value) => text.Append(key).Append(" = ").Append(value).Append('\n');
        Line("ObjectType", "Image");
        Line("NDims", "3");
        Line("BinaryData", "True");
        Line("BinaryDataByteOrderMSB", "False");
        Line("CompressedData", packed is null ? "False" : "True");
        if (packed is long bytes)
        {
            Line("CompressedDataSize", bytes.ToString(CultureInfo.InvariantCulture));
        }

        Affine map = grid.VoxelToWorld.Then(Affine.Scaling(-1, -1, 1));
        double[] spacing = [map.ColumnLength(0), map.ColumnLength(1), map.ColumnLength(2)];
        Line("TransformMatrix", Text(Enumerable.Range(0, 9).Select(i => map[i % 3, i / 3] / spacing[i / 3])));
        Line("Offset", Text([map[0, 3], map[1, 3], map[2, 3]]));
        Line("CenterOfRotation", "0 0 0");
        Line("ElementSpacing", Text(spacing));
        Line("DimSize", Text([grid.Nx, grid.Ny, grid.Nz]));
        if (channels > 1)
        {
            Line("ElementNumberOfChannels", channels.ToString(CultureInfo.InvariantCulture));
        }

        Line("ElementType", "MET_" + name);
        byte[] Header(string dataFile) => Encoding.UTF8.GetBytes($"{text}ElementDataFile = {dataFile}\n");
        if (detached)
        {
            DetachedVoxels.Write(path, packed is null ? ".raw" : ".zraw", voxels, Header, DataPathOf);
            return;
        }

        AtomicFile.Write(path, file =>
        {
            file.Write(Header("LOCAL"));
            voxels(file);
        });
    }

    private static string Text(IEnumerable<double> numbers) =>
        string.Join(' ', numbers.Select(number => number.ToString("R", CultureInfo.InvariantCulture)));

    private static byte[] Pack(float[] values, VoxelType type)
    {
        using MemoryStream bytes = new();
        using (ZLibStream packed = new(bytes, CompressionLevel.Fastest, leaveOpen: true))
        {
            VoxelStream.Write(packed, values, type);
        }

        return bytes.ToArray();
    }
}
