using System.Globalization;
using System.IO.Compression;
using System.Text;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>
/// NRRD: <c>.nrrd</c>, or <c>.nhdr</c> with a data file beside it; raw, gzip or text, in both byte orders; 3-D, or 4-D with one
/// axis of vectors. Source: teem.sourceforge.net/nrrd/format.html.
/// </summary>
public static class Nrrd
{
    private static readonly Dictionary<string, VoxelType> Types = new(StringComparer.OrdinalIgnoreCase)
    {
        ["signed char"] = VoxelType.Int8,
        ["int8"] = VoxelType.Int8,
        ["int8_t"] = VoxelType.Int8,
        ["uchar"] = VoxelType.UInt8,
        ["unsigned char"] = VoxelType.UInt8,
        ["uint8"] = VoxelType.UInt8,
        ["uint8_t"] = VoxelType.UInt8,
        ["short"] = VoxelType.Int16,
        ["short int"] = VoxelType.Int16,
        ["signed short"] = VoxelType.Int16,
        ["signed short int"] = VoxelType.Int16,
        ["int16"] = VoxelType.Int16,
        ["int16_t"] = VoxelType.Int16,
        ["ushort"] = VoxelType.UInt16,
        ["unsigned short"] = VoxelType.UInt16,
        ["unsigned short int"] = VoxelType.UInt16,
        ["uint16"] = VoxelType.UInt16,
        ["uint16_t"] = VoxelType.UInt16,
        ["int"] = VoxelType.Int32,
        ["signed int"] = VoxelType.Int32,
        ["int32"] = VoxelType.Int32,
        ["int32_t"] = VoxelType.Int32,
        ["uint"] = VoxelType.UInt32,
        ["unsigned int"] = VoxelType.UInt32,
        ["uint32"] = VoxelType.UInt32,
        ["uint32_t"] = VoxelType.UInt32,
        ["longlong"] = VoxelType.Int64,
        ["long long"] = VoxelType.Int64,
        ["long long int"] = VoxelType.Int64,
        ["signed long long"] = VoxelType.Int64,
        ["int64"] = VoxelType.Int64,
        ["int64_t"] = VoxelType.Int64,
        ["ulonglong"] = VoxelType.UInt64,
        ["unsigned long long"] = VoxelType.UInt64,
        ["unsigned long long int"] = VoxelType.UInt64,
        ["uint64"] = VoxelType.UInt64,
        ["uint64_t"] = VoxelType.UInt64,
        ["float"] = VoxelType.Float32,
        ["double"] = VoxelType.Float64,
    };

    /// <summary>Reads one volume.</summary>
    /// <param name="path">A .nrrd or .nhdr file.</param>
    /// <param name="volume">Which component of a file with vectors, from 0.</param>
    /// <exception cref="InvalidFileException">Not such a file, damaged, not 3-D, or with vectors when no component is chosen.</exception>
    public static Volume Read(string path, int? volume = null) => ReadHeader(path).ReadVolume(volume);

    /// <summary>Reads a displacement field as ITK and Slicer write it: vectors of three, millimetres, LPS.</summary>
    /// <exception cref="InvalidFileException">Not such a file, damaged, or not a field.</exception>
    public static DisplacementField ReadField(string path) => ReadHeader(path).ReadField();

    /// <summary>Writes a volume, packed with gzip, space left-posterior-superior; a .nhdr gets its voxels in a .raw.gz file beside it.</summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="volume">The volume to write.</param>
    /// <param name="type">The number type in the file; the volume's own when null.</param>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void Write(string path, Volume volume, VoxelType? type = null)
    {
        ArgumentNullException.ThrowIfNull(volume);
        VoxelType stored = VoxelCodec.Named(type ?? volume.StoredAs);
        Write(path, volume.Grid, vectors: false, stored, file => VoxelStream.Write(file, volume.Values, stored));
    }

    /// <summary>Writes a displacement field as ITK and Slicer read it: float32 vectors, millimetres, LPS.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void WriteField(string path, DisplacementField field)
    {
        ArgumentNullException.ThrowIfNull(field);
        Write(path, field.Grid, vectors: true, VoxelType.Float32, file => FieldVectors.WriteInterleaved(file, field));
    }

    /// <summary>The file of voxels that a header names; null when they are in the same file.</summary>
    internal static string? DataPathOf(string path) => ReadHeader(path).DataPath is string data && data != path ? data : null;

    internal static RasterHeader ReadHeader(string path)
    {
        (List<string> lines, long end) = RasterHeader.ReadLines(path, line => line.Length == 0);
        if (lines.Count == 0 || !lines[0].StartsWith("NRRD", StringComparison.Ordinal))
        {
            throw new InvalidFileException(path, "is not a NRRD file", "name a .nrrd or .nhdr file");
        }

        Dictionary<string, string> fields = new(StringComparer.OrdinalIgnoreCase);
        foreach (string line in lines.Skip(1))
        {
            int colon = line.IndexOf(": ", StringComparison.Ordinal);
            if (colon > 0 && line[0] != '#')
            {
                fields[line[..colon].Trim()] = line[(colon + 2)..].Trim();
            }
        }

        string? Find(params string[] names) => Array.Find(names, fields.ContainsKey) is string name ? fields[name] : null;
        string Need(string name) => Find(name)
            ?? throw new InvalidFileException(path, $"has no line '{name}'", "a NRRD header has it; write the file again");
        double[] sizes = RasterHeader.Numbers(path, "sizes", Need("sizes"));
        int axes = sizes.Length;
        if (RasterHeader.Numbers(path, "dimension", Need("dimension"), 1)[0] != axes || axes is not (3 or 4))
        {
            throw new InvalidFileException(path, $"holds an image of {axes} axes", "give a 3-D volume, or a 3-D field of vectors");
        }

        (double[]?[] directions, bool lps) = Directions(path, axes, Find);
        int vectorAxis = axes == 3 ? -1 : Array.IndexOf(directions, null);
        if ((axes == 4 && vectorAxis is not (0 or 3)) || (vectorAxis >= 0 && !(sizes[vectorAxis] is >= 1 and <= 1 << 16)) || directions.Count(d => d is null) > axes - 3)
        {
            throw new InvalidFileException(path, "does not say which three of its axes are in space", "write it with 'space directions', 'none' for the axis of vectors");
        }

        int[] space = Enumerable.Range(0, axes).Where(axis => axis != vectorAxis).ToArray();
        double[] origin = Find("space origin") is string at ? Vector(path, "space origin", at) ?? [0, 0, 0] : [0, 0, 0];
        string? name = Find("data file", "datafile");
        (string dataPath, long offset) = name is not null ? (InputFile.Beside(path, name), 0L) : (path, end);
        if (name is not null && (name.EndsWith("LIST", StringComparison.Ordinal) || name.Contains('%', StringComparison.Ordinal)))
        {
            throw new InvalidFileException(path, "has its voxels in a list of files", "write it as one file");
        }

        string typeName = Need("type");
        VoxelType type = Types.TryGetValue(typeName, out VoxelType known)
            ? known
            : throw new InvalidFileException(path, $"holds voxels of the type {typeName}", "give one real number per voxel");
        double skip = RasterHeader.Numbers(path, "byte skip", Find("byte skip", "byteskip") ?? "0", 1)[0];
        double lineSkip = RasterHeader.Numbers(path, "line skip", Find("line skip", "lineskip") ?? "0", 1)[0];
        RasterEncoding encoding = Need("encoding").ToLowerInvariant() switch
        {
            "raw" => RasterEncoding.Raw,
            "gzip" or "gz" => RasterEncoding.Gzip,
            "ascii" or "text" or "txt" => RasterEncoding.Text,
            string other => throw new InvalidFileException(path, $"is packed as {other}", "write it as raw, gzip or text"),
        };
        // That a file is missing is told when its voxels are read.
        if (skip < -1 || (new FileInfo(dataPath) is { Exists: true } file && skip > file.Length))
        {
            throw new InvalidFileException(
                path, FormattableString.Invariant($"skips {skip} bytes of {dataPath}"), "give -1, or a number of bytes that the file has");
        }

        if (skip > 0 && encoding == RasterEncoding.Gzip)
        {
            throw new InvalidFileException(path, "skips bytes of packed voxels", "write it without 'byte skip'");
        }

        return new RasterHeader
        {
            Path = path,
            Grid = RasterHeader.MakeGrid(
                path, Array.ConvertAll(space, axis => sizes[axis]), Array.ConvertAll(space, axis => directions[axis]!), origin, lps),
            Type = type,
            BigEndian = string.Equals(Find("endian"), "big", StringComparison.OrdinalIgnoreCase),
            Encoding = encoding,
            Components = vectorAxis < 0 ? 1 : (int)sizes[vectorAxis],
            Interleaved = vectorAxis <= 0,
            VectorsInLps = lps,
            DataPath = dataPath,
            Offset = skip < 0 ? -1 : offset + (long)skip,
            LinesToSkip = (int)Math.Clamp(lineSkip, 0, 1 << 20),
        };
    }

    private static (double[]?[] Directions, bool Lps) Directions(string path, int axes, Func<string[], string?> find)
    {
        bool lps = (find(["space"]) ?? "left-posterior-superior").ToLowerInvariant() switch
        {
            "left-posterior-superior" or "lps" => true,
            "right-anterior-superior" or "ras" => false,
            string other => throw new InvalidFileException(
                path, $"is in the space {other}", "write it in left-posterior-superior or right-anterior-superior"),
        };
        double[]?[] directions = new double[]?[axes];
        if (find(["space directions"]) is string text)
        {
            string[] words = text.Replace(", ", ",", StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length != axes)
            {
                throw new InvalidFileException(path, $"has {words.Length} vectors in its line 'space directions'", $"{axes} are wanted");
            }

            for (int axis = 0; axis < axes; axis++)
            {
                directions[axis] = Vector(path, "space directions", words[axis]);
            }

            return (directions, lps);
        }

        // Without directions: axes along the space's, the axis of vectors is the one whose kind says so.
        string[] kinds = (find(["kinds"]) ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string[] spacings = (find(["spacings"]) ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        int world = 0;
        for (int axis = 0; axis < axes && world < 3; axis++)
        {
            bool vector = axes == 4 && (kinds.Length == axes ? kinds[axis].ToLowerInvariant() is not ("domain" or "space") : axis == 0);
            if (!vector)
            {
                double step = spacings.Length == axes && !spacings[axis].Equals("nan", StringComparison.OrdinalIgnoreCase)
                    ? RasterHeader.Numbers(path, "spacings", spacings[axis], 1)[0]
                    : 1;
                directions[axis] = new double[3];
                directions[axis]![world++] = step;
            }
        }

        return (directions, lps);
    }

    private static double[]? Vector(string path, string key, string text) =>
        text.Equals("none", StringComparison.OrdinalIgnoreCase)
            ? null
            : RasterHeader.Numbers(path, key, text.Trim('(', ')').Replace(',', ' '), 3);

    private static void Write(string path, Grid grid, bool vectors, VoxelType stored, Action<Stream> voxels)
    {
        bool detached = path.EndsWith(".nhdr", StringComparison.OrdinalIgnoreCase);
        Affine map = grid.VoxelToWorld.Then(Affine.Scaling(-1, -1, 1));
        string Column(int column) => string.Create(
            CultureInfo.InvariantCulture, $"({map[0, column]:R},{map[1, column]:R},{map[2, column]:R})");
        StringBuilder text = new();
        void Line(string line) => text.Append(line).Append('\n');
        Line("NRRD0005");
        Line("type: " + Types.First(t => t.Value == stored).Key);
        Line(vectors ? "dimension: 4" : "dimension: 3");
        Line("space: left-posterior-superior");
        Line(string.Create(CultureInfo.InvariantCulture, $"sizes: {(vectors ? "3 " : string.Empty)}{grid.Nx} {grid.Ny} {grid.Nz}"));
        Line($"space directions: {(vectors ? "none " : string.Empty)}{Column(0)} {Column(1)} {Column(2)}");
        Line(vectors ? "kinds: vector domain domain domain" : "kinds: domain domain domain");
        Line("endian: little");
        Line("encoding: gzip");
        Line("space origin: " + Column(3));
        byte[] Header(string line) => Encoding.UTF8.GetBytes($"{text}{line}\n");
        void Pack(Stream file)
        {
            using GZipStream packed = new(file, CompressionLevel.Fastest, leaveOpen: true);
            voxels(packed);
        }

        if (detached)
        {
            DetachedVoxels.Write(path, ".raw.gz", Pack, name => Header($"data file: {name}\n"), DataPathOf);
            return;
        }

        AtomicFile.Write(path, file =>
        {
            file.Write(Header(string.Empty));
            Pack(file);
        });
    }
}
