using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>What the numbers of a point file count.</summary>
public enum PointFrame
{
    /// <summary>Millimetres: right, anterior, superior (NIfTI, Slicer since 4.11 on choice).</summary>
    Ras,

    /// <summary>Millimetres: left, posterior, superior (DICOM, ITK).</summary>
    Lps,

    /// <summary>Voxel indices from 0.</summary>
    Voxel,
}

/// <summary>
/// Points in a file: CSV (with a header that names the frame), Slicer's .mrk.json and .fcsv. All else that the file says is kept
/// when moved points are written in its own format.
/// </summary>
public sealed class PointFile
{
    /// <summary>The column of a point's name in .fcsv.</summary>
    private const int FcsvLabel = 11;

    private readonly Action<IReadOnlyList<(double X, double Y, double Z)>, Stream> render;
    private readonly Format format;
    private readonly IReadOnlyList<string> labels;

    private PointFile(
        Format format,
        PointFrame frame,
        IReadOnlyList<(double X, double Y, double Z)> points,
        IReadOnlyList<string> labels,
        Action<IReadOnlyList<(double X, double Y, double Z)>, Stream> render)
    {
        this.format = format;
        Frame = frame;
        Points = points;
        this.labels = labels;
        this.render = render;
    }

    private enum Format
    {
        Csv,
        Fcsv,
        Markups,
    }

    /// <summary>What the numbers count.</summary>
    public PointFrame Frame { get; }

    /// <summary>The points, as the file has them.</summary>
    public IReadOnlyList<(double X, double Y, double Z)> Points { get; }

    /// <summary>Reads points.</summary>
    /// <param name="path">A .csv, .mrk.json or .fcsv file.</param>
    /// <param name="frame">What the numbers count, where the file does not say it; otherwise the two must agree.</param>
    /// <exception cref="InvalidFileException">Not such a file, or the frame is nowhere said.</exception>
    public static PointFile Read(string path, PointFrame? frame = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        InputFile.CheckText(path);
        string text = VoxelStream.Guard(path, () =>
        {
            using StreamReader reader = new(InputFile.Open(path));
            return reader.ReadToEnd();
        });
        PointFile file = FormatOf(path) switch
        {
            Format.Markups => Json(path, text),
            Format.Fcsv => Fcsv(path, text),
            _ => Csv(path, text, frame),
        };
        return frame is null || file.Frame == frame
            ? file
            : throw new InvalidFileException(path, $"says that its points are {Name(file.Frame)}", $"leave the option out, which says {Name(frame.Value)}");
    }

    /// <summary>The points in world millimetres, RAS+.</summary>
    /// <param name="grid">The grid that voxel indices belong to; needed for these only.</param>
    public IReadOnlyList<(double X, double Y, double Z)> ToWorld(Grid? grid) => Points.Select(p => Frame switch
    {
        PointFrame.Ras => p,
        PointFrame.Lps => (-p.X, -p.Y, p.Z),
        _ => (grid ?? throw new ArgumentNullException(nameof(grid))).VoxelToWorld.Apply(p.X, p.Y, p.Z),
    }).ToList();

    /// <summary>
    /// Writes the file again with other points, in its own frame. Under a name of another format: the points and their names in that
    /// one; voxel indices become LPS in <c>.fcsv</c>.
    /// </summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="world">As many points, in world millimetres, RAS+.</param>
    /// <param name="grid">The grid that voxel indices are to belong to; needed for these only.</param>
    /// <exception cref="InvalidFileException">See <see cref="CheckName"/>; or the file cannot be written there.</exception>
    public void Write(string path, IReadOnlyList<(double X, double Y, double Z)> world, Grid? grid)
    {
        ArgumentNullException.ThrowIfNull(world);
        if (world.Count != Points.Count)
        {
            throw new ArgumentException($"{world.Count} points for a file of {Points.Count}", nameof(world));
        }

        CheckName(path);
        Format wanted = FormatOf(path);
        PointFrame frame = Frame == PointFrame.Voxel && wanted != Format.Csv ? PointFrame.Lps : Frame;
        List<(double X, double Y, double Z)> own = world.Select(p => frame switch
        {
            PointFrame.Ras => p,
            PointFrame.Lps => (-p.X, -p.Y, p.Z),
            _ => (grid ?? throw new ArgumentNullException(nameof(grid))).WorldToVoxel.Apply(p.X, p.Y, p.Z),
        }).ToList();
        AtomicFile.Write(path, file =>
        {
            if (wanted == format)
            {
                render(own, file);
            }
            else
            {
                file.Write(Encoding.UTF8.GetBytes(wanted == Format.Fcsv ? FcsvText(own, frame) : CsvText(own, frame)));
            }
        });
    }

    /// <summary>Looks whether these points can be written under a name, before they are moved.</summary>
    /// <param name="path">The file that is to be made.</param>
    /// <exception cref="InvalidFileException">The name is one of Slicer's markups, and these points come from another format.</exception>
    public void CheckName(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (FormatOf(path) == Format.Markups && format != Format.Markups)
        {
            throw new InvalidFileException(
                path, "is a name of Slicer's markups, and the points are none", "let it end in .fcsv, which Slicer reads too, or in .csv");
        }
    }

    private static Format FormatOf(string path) =>
        path.EndsWith(".json", StringComparison.OrdinalIgnoreCase) ? Format.Markups
        : path.EndsWith(".fcsv", StringComparison.OrdinalIgnoreCase) ? Format.Fcsv
        : Format.Csv;

    private string FcsvText(List<(double X, double Y, double Z)> points, PointFrame frame)
    {
        StringBuilder text = new();
        text.Append("# Markups fiducial file version = 4.11\n");
        text.Append(CultureInfo.InvariantCulture, $"# CoordinateSystem = {Name(frame)}\n");
        text.Append("# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n");
        for (int i = 0; i < points.Count; i++)
        {
            (double x, double y, double z) = points[i];
            text.Append(CultureInfo.InvariantCulture, $"{i + 1},{Text(x)},{Text(y)},{Text(z)},0,0,0,1,1,1,0,{LabelOf(i)},,\n");
        }

        return text.ToString();
    }

    private string CsvText(List<(double X, double Y, double Z)> points, PointFrame frame)
    {
        string name = Name(frame).ToLowerInvariant();
        StringBuilder text = new($"x_{name},y_{name},z_{name},label\n");
        for (int i = 0; i < points.Count; i++)
        {
            (double x, double y, double z) = points[i];
            text.Append(CultureInfo.InvariantCulture, $"{Text(x)},{Text(y)},{Text(z)},{LabelOf(i)}\n");
        }

        return text.ToString();
    }

    /// <summary>A point's own name, as a field of a line; numbered where it has none.</summary>
    private string LabelOf(int i)
    {
        string label = labels[i].Trim().Trim('"').Replace(',', ' ').ReplaceLineEndings(" ");
        return label.Length > 0 ? label : string.Create(CultureInfo.InvariantCulture, $"P-{i + 1}");
    }

    private static string Name(PointFrame frame) => frame switch
    {
        PointFrame.Ras => "RAS",
        PointFrame.Lps => "LPS",
        _ => "voxel indices",
    };

    private static string Text(double value) => Math.Round(value, 6).ToString("0.######", CultureInfo.InvariantCulture);

    private static PointFrame? FrameOf(string text)
    {
        string lower = text.ToLowerInvariant();
        List<PointFrame> found = [];
        if (lower.Contains("ras", StringComparison.Ordinal))
        {
            found.Add(PointFrame.Ras);
        }

        if (lower.Contains("lps", StringComparison.Ordinal))
        {
            found.Add(PointFrame.Lps);
        }

        if (lower.Contains("vox", StringComparison.Ordinal) || lower.Replace(" ", string.Empty, StringComparison.Ordinal).StartsWith("i,j,k", StringComparison.Ordinal))
        {
            found.Add(PointFrame.Voxel);
        }

        return found is [PointFrame one] ? one : null;
    }

    /// <summary>
    /// Lines of text fields; the columns of x, y and z are those whose names start with these letters (or i, j, k), else the first
    /// three. Comments start with #. The frame is named in the comments or the column names, such as x_lps.
    /// </summary>
    private static PointFile Csv(string path, string text, PointFrame? wanted)
    {
        string[] lines = text.Replace("\r", string.Empty, StringComparison.Ordinal).Split('\n');
        int header = Array.FindIndex(lines, line => line.Length > 0 && line[0] != '#');
        if (header < 0 || header == lines.Length - 1)
        {
            throw new InvalidFileException(path, "holds no points", "a header such as x_lps,y_lps,z_lps and a line for each point are wanted");
        }

        string[] names = lines[header].Split(',').Select(name => name.Trim().Trim('"')).ToArray();
        if (names.All(name => double.TryParse(name, CultureInfo.InvariantCulture, out _)))
        {
            throw new InvalidFileException(path, "has no header", "let its first line say the frame, such as x_lps,y_lps,z_lps");
        }

        string said = string.Join('\n', lines[..(header + 1)]);
        PointFrame frame = FrameOf(said) ?? FrameOf(lines[header]) ?? wanted
            ?? throw new InvalidFileException(
                path, "does not say what its numbers count", "name the columns x_ras, x_lps or x_voxel, or say the frame: ras, lps or voxel");
        int[] columns = Columns(names);
        int label = Array.FindIndex(names, name => name.ToLowerInvariant() is "label" or "name" or "id");
        return Lines(path, Format.Csv, lines, header + 1, columns, label, frame);
    }

    private static int[] Columns(string[] names)
    {
        int Find(string letters) => Array.FindIndex(
            names, name => name.Length > 0 && letters.Contains(char.ToLowerInvariant(name[0]), StringComparison.Ordinal) && (name.Length == 1 || !char.IsLetter(name[1])));
        int[] columns = [Find("xi"), Find("yj"), Find("zk")];
        return columns.Contains(-1) ? [0, 1, 2] : columns;
    }

    private static PointFile Fcsv(string path, string text)
    {
        string[] lines = text.Replace("\r", string.Empty, StringComparison.Ordinal).Split('\n');
        string said = lines.FirstOrDefault(line => line.StartsWith("# CoordinateSystem", StringComparison.Ordinal)) ?? "= 0";
        PointFrame frame = said[(said.IndexOf('=', StringComparison.Ordinal) + 1)..].Trim() switch
        {
            "0" or "RAS" => PointFrame.Ras,
            "1" or "LPS" => PointFrame.Lps,
            string other => throw new InvalidFileException(path, $"has the coordinate system {other}", "0 (RAS) or 1 (LPS) is wanted"),
        };
        return Lines(path, Format.Fcsv, lines, 0, [1, 2, 3], FcsvLabel, frame);
    }

    private static PointFile Lines(
        string path, Format format, string[] lines, int start, int[] columns, int label, PointFrame frame)
    {
        List<(double X, double Y, double Z)> points = [];
        List<string> labels = [];
        List<int> places = [];
        for (int i = start; i < lines.Length; i++)
        {
            if (lines[i].Trim().Length == 0 || lines[i][0] == '#')
            {
                continue;
            }

            string[] words = lines[i].Split(',');
            double Number(int column) => column < words.Length
                && double.TryParse(words[column], CultureInfo.InvariantCulture, out double value) && double.IsFinite(value)
                    ? value
                    : throw new InvalidFileException(path, $"has no number in line {i + 1}, column {column + 1}", "three coordinates are wanted in each line");
            points.Add((Number(columns[0]), Number(columns[1]), Number(columns[2])));
            labels.Add(label >= 0 && label < words.Length ? words[label] : string.Empty);
            places.Add(i);
        }

        return new PointFile(format, frame, points, labels, (moved, file) =>
        {
            string[] result = (string[])lines.Clone();
            for (int i = 0; i < places.Count; i++)
            {
                string[] words = result[places[i]].Split(',');
                words[columns[0]] = Text(moved[i].X);
                words[columns[1]] = Text(moved[i].Y);
                words[columns[2]] = Text(moved[i].Z);
                result[places[i]] = string.Join(',', words);
            }

            file.Write(Encoding.UTF8.GetBytes(string.Join('\n', result)));
        });
    }

    private static void CheckTexts(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                HashSet<string> keys = new(StringComparer.Ordinal);
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    if (!keys.Add(property.Name))
                    {
                        throw new JsonException($"the key '{property.Name}' is there twice");
                    }

                    CheckTexts(property.Value);
                }

                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray())
                {
                    CheckTexts(item);
                }

                break;
            case JsonValueKind.String:
                _ = element.GetString();
                break;
        }
    }

    /// <summary>A document, which unlike a node tells at once of keys that are there twice and of texts that are no UTF-16.</summary>
    private static JsonDocument Document(string path, string text)
    {
        JsonDocument? document = null;
        try
        {
            document = JsonDocument.Parse(text);
            CheckTexts(document.RootElement);
            return document;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            document?.Dispose();
            throw new InvalidFileException(path, $"is no JSON ({error.Message})", "name a .mrk.json file of Slicer", error);
        }
    }

    private static IEnumerable<JsonElement> Objects(JsonElement parent, string key) =>
        parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(key, out JsonElement items) && items.ValueKind == JsonValueKind.Array
            ? items.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.Object)
            : [];

    /// <summary>Where the points of a markups file lie: the keys on the way from the root, each but the last of a list of objects.</summary>
    private static readonly string[] Way = ["markups", "controlPoints", "position"];

    /// <summary>Copies an object, with other numbers in the positions of its points.</summary>
    private static void Copy(JsonElement element, int level, Utf8JsonWriter writer, Queue<(double X, double Y, double Z)> moved)
    {
        writer.WriteStartObject();
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (property.Name != Way[level] || property.Value.ValueKind != JsonValueKind.Array)
            {
                property.WriteTo(writer);
                continue;
            }

            writer.WriteStartArray(property.Name);
            if (level == Way.Length - 1)
            {
                (double x, double y, double z) = moved.Dequeue();
                writer.WriteNumberValue(x);
                writer.WriteNumberValue(y);
                writer.WriteNumberValue(z);
            }
            else
            {
                foreach (JsonElement item in property.Value.EnumerateArray())
                {
                    if (item.ValueKind == JsonValueKind.Object)
                    {
                        Copy(item, level + 1, writer, moved);
                    }
                    else
                    {
                        item.WriteTo(writer);
                    }
                }
            }

            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }

    private static PointFile Json(string path, string text)
    {
        InvalidFileException Wrong(string where) =>
            new(path, $"has no {where}", "name a .mrk.json file of Slicer");
        using JsonDocument document = Document(path, text);
        JsonElement[] markups = Objects(document.RootElement, "markups").ToArray();
        string[] systems = markups.Select(markup => markup.TryGetProperty("coordinateSystem", out JsonElement system) && system.ValueKind != JsonValueKind.Null
            ? system.ToString() : "LPS").Distinct().ToArray();
        PointFrame frame = systems switch
        {
            ["LPS"] or ["1"] => PointFrame.Lps,
            ["RAS"] or ["0"] => PointFrame.Ras,
            _ => throw Wrong("markups in one coordinate system, LPS or RAS"),
        };
        List<(double X, double Y, double Z)> points = [];
        List<string> labels = [];
        foreach (JsonElement point in markups.SelectMany(markup => Objects(markup, "controlPoints")))
        {
            if (!point.TryGetProperty("position", out JsonElement position) || position.ValueKind != JsonValueKind.Array)
            {
                continue;
            }

            double Number(int i) => position[i].ValueKind == JsonValueKind.Number && position[i].TryGetDouble(out double d) ? d : double.NaN;
            if (position.GetArrayLength() != 3 || !(double.IsFinite(Number(0)) && double.IsFinite(Number(1)) && double.IsFinite(Number(2))))
            {
                throw Wrong("three numbers in a 'position'");
            }

            points.Add((Number(0), Number(1), Number(2)));
            labels.Add(point.TryGetProperty("label", out JsonElement label) ? label.ToString() : string.Empty);
        }

        return new PointFile(Format.Markups, frame, points, labels, (moved, file) =>
        {
            using JsonDocument again = JsonDocument.Parse(text);
            using (Utf8JsonWriter writer = new(file, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            {
                Copy(again.RootElement, 0, writer, new Queue<(double X, double Y, double Z)>(moved));
            }

            file.WriteByte((byte)'\n');
        });
    }
}
