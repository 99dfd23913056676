using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Inference;

/// <summary>
/// A trained student, read from a <c>.safetensors</c> file: its weights, and how scans are prepared for it. Immutable; any
/// number of registrars may share one.
/// </summary>
public sealed class StudentModel
{
    private const string Format = "ldr-model-1";
    private const string Remedy = "choose a model file that this version of ldr-fs wrote";

    private StudentModel(
        StudentArchitecture architecture,
        IReadOnlyDictionary<string, Filter> filters,
        IntensityRule intensity,
        (double X, double Y, double Z) spacing,
        (int X, int Y, int Z) size,
        Alignment alignment,
        IReadOnlyDictionary<string, string> metadata,
        string name)
    {
        Architecture = architecture;
        Filters = filters;
        Intensity = intensity;
        Spacing = spacing;
        Size = size;
        Alignment = alignment;
        Metadata = metadata;
        Name = name;
    }

    /// <summary>How intensities are brought to [0, 1].</summary>
    public IntensityRule Intensity { get; }

    /// <summary>Voxel spacing of the grid that it was trained on, mm.</summary>
    public (double X, double Y, double Z) Spacing { get; }

    /// <summary>Size of the grid that it was trained on, voxels.</summary>
    public (int X, int Y, int Z) Size { get; }

    /// <summary>How scans are laid over each other before it sees them.</summary>
    public Alignment Alignment { get; }

    /// <summary>What errors call it: the file that it came from.</summary>
    public string Name { get; }

    /// <summary>Everything that the file says about itself: keys, and values as JSON.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>How many numbers were learnt.</summary>
    public long Parameters => Filters.Values.Sum(filter => (long)filter.Weights.Length + (filter.Bias?.Length ?? 0));

    internal StudentArchitecture Architecture { get; }

    internal IReadOnlyDictionary<string, Filter> Filters { get; }

    /// <summary>Reads a model.</summary>
    /// <param name="nameOrPath">
    /// A <c>.safetensors</c> file that <c>ldr-fs train</c> wrote (float32 or half-precision weights), or the name of a model that
    /// <see cref="ModelShelf"/> knows, such as <c>hippocampus</c>.
    /// </param>
    /// <exception cref="InvalidFileException">
    /// No such file, not a model, damaged, or a network that this engine does not run (it runs <c>ldr</c>, <c>ldr-half</c>, <c>ldr-velocity</c>,
    /// cascades of them, with or without <c>affine-light</c>).
    /// </exception>
    public static StudentModel Load(string nameOrPath)
    {
        ArgumentException.ThrowIfNullOrEmpty(nameOrPath);
        string path = File.Exists(nameOrPath) ? nameOrPath : ModelShelf.Find(nameOrPath) ?? nameOrPath;
        return From(Safetensors.Read(path), path);
    }

    /// <summary>Reads a model from a stream, such as an embedded resource.</summary>
    /// <param name="stream">A seekable stream that holds the file's content.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="InvalidFileException">As for a file.</exception>
    public static StudentModel Load(Stream stream, string name) => From(Safetensors.Read(stream, name), name);

    /// <summary>Takes a model from a file that is read already.</summary>
    /// <param name="file">The file's content.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="InvalidFileException">As for a file.</exception>
    public static StudentModel Load(SafetensorsFile file, string name)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(name);
        return From(file, name);
    }

    /// <summary>Reads a model; false, with one line that says why, where <see cref="Load(string)"/> throws.</summary>
    public static bool TryLoad(
        string path, [NotNullWhen(true)] out StudentModel? model, [NotNullWhen(false)] out string? problem)
    {
        try
        {
            model = Load(path);
            problem = null;
            return true;
        }
        catch (InvalidFileException error)
        {
            model = null;
            problem = error.Message;
            return false;
        }
    }

    /// <summary>
    /// Whether the engine runs the network of a model file. Where not, <paramref name="kind"/> says what it is; files that
    /// are no models at all are not its business, and count as runnable.
    /// </summary>
    /// <param name="metadata">The file's metadata.</param>
    /// <param name="kind">The network's kind, such as <c>vtn</c>, when the engine does not run it.</param>
    public static bool Supports(IReadOnlyDictionary<string, string> metadata, out string kind)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        kind = string.Empty;
        try
        {
            return !metadata.TryGetValue("architecture", out string? text)
                || StudentArchitecture.Read(Parse(text), out kind) is not null;
        }
        catch (Exception error) when (error is FormatException or JsonException or InvalidOperationException)
        {
            return true;
        }
    }

    private static JsonElement Parse(string text)
    {
        using JsonDocument document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }

    private static StudentModel From(SafetensorsFile file, string path)
    {
        if (!file.Metadata.TryGetValue("format", out string? format))
        {
            throw new InvalidFileException(
                path, "is not a model of ldr-fs", "choose a .safetensors file that `ldr-fs train` wrote");
        }

        if (format != Format)
        {
            throw new InvalidFileException(path, $"its format is \"{format}\"", $"choose a model of format {Format}");
        }

        try
        {
            StudentArchitecture? architecture = StudentArchitecture.Read(Entry(file, "architecture"), out string other);
            if (architecture is null)
            {
                throw new InvalidFileException(
                    path,
                    $"its network is of kind \"{other}\", which the managed engine does not run",
                    "choose a model of ldr, ldr-half or ldr-velocity (cascades and affine-light included), or compute with libtorch");
            }

            double[] spacing = Numbers(file, "spacing");
            double[] size = Numbers(file, "size");
            if (Array.Exists(size, n => n != Math.Floor(n) || n > 32767))
            {
                throw new FormatException("$.size: whole numbers are needed");
            }

            return new StudentModel(
                architecture,
                ReadFilters(file, path, architecture),
                ReadIntensity(Entry(file, "intensity")),
                (spacing[0], spacing[1], spacing[2]),
                ((int)size[0], (int)size[1], (int)size[2]),
                ReadAlignment(Entry(file, "alignment")),
                file.Metadata,
                path);
        }
        catch (Exception error) when (error is FormatException or JsonException or ArgumentException or InvalidOperationException)
        {
            string problem = error is FormatException ? error.Message : $"its metadata are damaged ({error.Message})";
            throw new InvalidFileException(path, problem, Remedy, error);
        }
    }

    private static JsonElement Entry(SafetensorsFile file, string key) =>
        file.Metadata.TryGetValue(key, out string? text)
            ? Parse(text)
            : throw new FormatException($"$.{key}: is missing");

    private static double[] Numbers(SafetensorsFile file, string key)
    {
        JsonElement list = Entry(file, key);
        double[] numbers = list.ValueKind == JsonValueKind.Array
            ? [.. list.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.Number ? item.GetDouble() : 0)]
            : [];
        return numbers.Length == 3 && Array.TrueForAll(numbers, n => n > 0 && double.IsFinite(n))
            ? numbers
            : throw new FormatException($"$.{key}: three numbers above 0 are needed");
    }

    private static IntensityRule ReadIntensity(JsonElement json)
    {
        (double Low, double High)? Range(string key) =>
            json.ValueKind == JsonValueKind.Object && json.TryGetProperty(key, out JsonElement list)
                && list.ValueKind == JsonValueKind.Array && list.GetArrayLength() == 2
                && list[0].ValueKind == JsonValueKind.Number && list[1].ValueKind == JsonValueKind.Number
                ? (list[0].GetDouble(), list[1].GetDouble())
                : null;
        return (Range("percentiles"), Range("window")) switch
        {
            ({ } percentiles, null) => new IntensityRule.Percentiles(percentiles.Low, percentiles.High),
            (null, { } window) => new IntensityRule.Window(window.Low, window.High),
            _ => throw new FormatException("$.intensity: either \"percentiles\" or \"window\", two rising numbers, is needed"),
        };
    }

    private static Alignment ReadAlignment(JsonElement json) =>
        (json.ValueKind == JsonValueKind.String ? json.GetString() : null) switch
        {
            "world" => Alignment.World,
            "centres" => Alignment.Centres,
            "affine" => Alignment.Affine,
            _ => throw new FormatException("$.alignment: \"world\", \"centres\" or \"affine\" is needed"),
        };

    private static Dictionary<string, Filter> ReadFilters(
        SafetensorsFile file, string path, StudentArchitecture architecture)
    {
        Dictionary<string, Filter> filters = new(StringComparer.Ordinal);
        HashSet<string> used = new(StringComparer.Ordinal);

        void Add(string name, int inputs, int outputs, int side, bool bias, bool transposed = false)
        {
            long[] shape = transposed ? [inputs, outputs, side, side, side] : [outputs, inputs, side, side, side];
            float[] weights = Numbers(name + ".weight", shape);
            float[]? biases = bias ? Numbers(name + ".bias", [outputs]) : null;
            filters.Add(name, new Filter(inputs, outputs, side, weights, biases, transposed));
        }

        float[] Numbers(string name, long[] shape)
        {
            if (!file.TryGet(name, out SafeTensor? tensor))
            {
                throw new InvalidFileException(path, $"tensor \"{name}\" is missing, which its architecture needs", Remedy);
            }

            if (!tensor.Shape.AsSpan().SequenceEqual(shape))
            {
                throw new InvalidFileException(
                    path,
                    $"tensor \"{name}\" is {string.Join('×', tensor.Shape)}, its architecture needs {string.Join('×', shape)}",
                    Remedy);
            }

            if (tensor.DType is not (TensorType.F32 or TensorType.F16 or TensorType.BF16 or TensorType.F64))
            {
                throw new InvalidFileException(path, $"tensor \"{name}\" holds {tensor.DType}", Remedy);
            }

            used.Add(name);
            return tensor.ToFloats();
        }

        if (architecture.AffineChannels > 0)
        {
            for (int level = 1; level <= 4; level++)
            {
                int outputs = architecture.AffineChannels << (level - 1);
                Add($"affine.conv{level}", level == 1 ? 2 : outputs / 2, outputs, 3, bias: true);
            }

            Add("affine.matrix", architecture.AffineChannels << 3, 9, 3, bias: false);
            Add("affine.shift", architecture.AffineChannels << 3, 3, 3, bias: false);
        }

        for (int stage = 1; stage <= architecture.Stages; stage++)
        {
            int[] encoder = architecture.Encoder;
            int[] decoder = architecture.Decoder;
            for (int level = 1; level <= 4; level++)
            {
                Add($"stage{stage}.conv{level}", level == 1 ? 2 : encoder[level - 2], encoder[level - 1], 4, bias: true);
            }

            for (int level = 3; level >= 1; level--)
            {
                int inputs = level == 3 ? encoder[3] : encoder[level] + decoder[2 - level];
                Add($"stage{stage}.deconv{level}", inputs, decoder[3 - level], 4, bias: false, transposed: true);
            }

            int width = encoder[0] + decoder[2];
            Add($"stage{stage}.flow", width, 3, architecture.IsHalf ? 3 : 4, architecture.IsHalf, !architecture.IsHalf);
        }

        foreach (SafeTensor tensor in file.Tensors)
        {
            if (!used.Contains(tensor.Name))
            {
                throw new InvalidFileException(path, $"tensor \"{tensor.Name}\" does not belong to its architecture", Remedy);
            }
        }

        return filters;
    }
}
