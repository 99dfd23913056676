using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Ldr.Runtime.Formats;

/// <summary>
/// Files of named tensors: eight bytes of header length (little endian), a JSON header, then the tensors' bytes without
/// gaps. Source: the format section of huggingface/safetensors' README. Reading trusts nothing.
/// </summary>
public static class Safetensors
{
    /// <summary>The reference implementation reads no longer header than this.</summary>
    private const long LongestHeader = 100_000_000;

    private const string MetadataKey = "__metadata__";
    private const string CopyAgain = "copy or download it again";
    private const string NotOurs = "name a .safetensors file, or write it again";

    /// <summary>Reads and checks a file.</summary>
    /// <exception cref="InvalidFileException">Not a safetensors file, or one that contradicts itself.</exception>
    public static SafetensorsFile Read(string path)
    {
        using FileStream file = InputFile.Open(path);
        try
        {
            return Read(file, path);
        }
        catch (InvalidFileException error)
            when (FileContent.Describe(path) is string what && what is not (FileContent.Tensors or FileContent.Text))
        {
            throw new InvalidFileException(path, $"is {what}, not a model", "name a .safetensors file", error);
        }
    }

    /// <summary>Reads and checks a file's content, such as an embedded resource.</summary>
    /// <param name="stream">A seekable stream that holds the content from its start to its end.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="InvalidFileException">Not a safetensors file, or one that contradicts itself.</exception>
    public static SafetensorsFile Read(Stream stream, string name)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(name);
        try
        {
            return ReadUnguarded(stream, name);
        }
        catch (IOException error)
        {
            throw new InvalidFileException(name, $"cannot be read ({error.Message})", CopyAgain, error);
        }
    }

    /// <summary>
    /// Writes a file, atomically. Types of more bytes come first, so that every tensor is aligned to its type; otherwise
    /// the order is kept. The same content always gives the same bytes.
    /// </summary>
    /// <exception cref="ArgumentException">Two tensors of one name, or one named <c>__metadata__</c>.</exception>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void Write(string path, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<SafeTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        ArgumentNullException.ThrowIfNull(tensors);
        HashSet<string> names = new(StringComparer.Ordinal) { MetadataKey };
        foreach (SafeTensor tensor in tensors)
        {
            if (!names.Add(tensor.Name))
            {
                throw new ArgumentException($"the tensor name '{tensor.Name}' is taken", nameof(tensors));
            }
        }

        SafeTensor[] ordered = [.. tensors.OrderByDescending(tensor => SafeTensor.Size(tensor.DType))];
        byte[] header = Header(metadata, ordered);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (SafeTensor tensor in ordered)
            {
                stream.Write(tensor.Bytes);
            }
        });
    }

    private static byte[] Header(IReadOnlyDictionary<string, string> metadata, SafeTensor[] tensors)
    {
        using MemoryStream text = new();
        using (Utf8JsonWriter json = new(text, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata.Count > 0)
            {
                json.WriteStartObject(MetadataKey);
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            long offset = 0;
            foreach (SafeTensor tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.DType.ToString());
                json.WriteStartArray("shape");
                foreach (long size in tensor.Shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                offset += tensor.Bytes.LongLength;
                json.WriteNumberValue(offset);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (text.Length % 8 != 0)
        {
            text.WriteByte((byte)' ');
        }

        return text.ToArray();
    }

    private static SafetensorsFile ReadUnguarded(Stream stream, string path)
    {
        stream.Position = 0;
        long fileLength = stream.Length;
        byte[] start = new byte[8];
        if (stream.ReadAtLeast(start, 8, throwOnEndOfStream: false) < 8)
        {
            throw new InvalidFileException(path, "is too short to be a safetensors file", NotOurs);
        }

        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(start);
        if (length > (ulong)(fileLength - 8) || length > LongestHeader || length < 2)
        {
            throw new InvalidFileException(
                path, $"is not a safetensors file, or it is truncated (header of {length} bytes in a file of {fileLength})", NotOurs);
        }

        byte[] header = new byte[(int)length];
        stream.ReadExactly(header);
        Dictionary<string, string> metadata = new(StringComparer.Ordinal);
        List<Entry> entries = Parse(path, header, metadata);
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        CheckCover(path, entries, fileLength - 8 - (long)length);

        List<SafeTensor> tensors = new(entries.Count);
        foreach (Entry entry in entries)
        {
            byte[] bytes = GC.AllocateUninitializedArray<byte>((int)(entry.End - entry.Begin));
            stream.ReadExactly(bytes);
            tensors.Add(new SafeTensor(entry.Name, entry.Shape, entry.DType, bytes));
        }

        return new SafetensorsFile(metadata, tensors);
    }

    private static List<Entry> Parse(string path, byte[] header, Dictionary<string, string> metadata)
    {
        if (header[0] != (byte)'{')
        {
            throw new InvalidFileException(path, "is not a safetensors file (its header does not start with '{')", NotOurs);
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(header, new JsonDocumentOptions { MaxDepth = 8 });
            List<Entry> entries = [];
            HashSet<string> names = new(StringComparer.Ordinal);
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (!names.Add(property.Name))
                {
                    throw new InvalidFileException(path, $"names '{property.Name}' twice in its header", NotOurs);
                }

                if (property.Name == MetadataKey)
                {
                    ParseMetadata(path, property.Value, metadata);
                }
                else
                {
                    entries.Add(ParseEntry(path, property.Name, property.Value));
                }
            }

            return entries;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The reader throws InvalidOperationException for text that is not valid UTF-16 or UTF-8.
            throw new InvalidFileException(path, $"has a header that is not valid JSON ({error.Message})", NotOurs, error);
        }
    }

    private static void ParseMetadata(string path, JsonElement value, Dictionary<string, string> metadata)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(path, $"{MetadataKey} is not an object of texts", NotOurs);
        }

        foreach (JsonProperty entry in value.EnumerateObject())
        {
            if (entry.Value.ValueKind != JsonValueKind.String)
            {
                throw new InvalidFileException(path, $"{MetadataKey}.{entry.Name} is not a text", NotOurs);
            }

            if (!metadata.TryAdd(entry.Name, entry.Value.GetString()!))
            {
                throw new InvalidFileException(path, $"names '{entry.Name}' twice in {MetadataKey}", NotOurs);
            }
        }
    }

    private static Entry ParseEntry(string path, string name, JsonElement value)
    {
        InvalidFileException Wrong(string what) => new(path, $"tensor '{name}': {what}", NotOurs);
        if (value.ValueKind != JsonValueKind.Object)
        {
            throw Wrong("its header entry is not an object");
        }

        TensorType? dtype = null;
        long[]? shape = null;
        long[]? offsets = null;
        HashSet<string> keys = new(StringComparer.Ordinal);
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (!keys.Add(property.Name))
            {
                throw Wrong($"'{property.Name}' is there twice");
            }

            switch (property.Name)
            {
                case "dtype":
                    dtype = Named(property.Value) ?? throw Wrong($"unknown dtype {property.Value.GetRawText()}");
                    break;
                case "shape":
                    shape = Numbers(property.Value) ?? throw Wrong("its shape is not a list of whole numbers from 0");
                    break;
                case "data_offsets":
                    offsets = Numbers(property.Value) ?? throw Wrong("its data_offsets are not whole numbers from 0");
                    break;
                default:
                    throw Wrong($"unknown entry '{property.Name}'");
            }
        }

        if (dtype is not TensorType type || shape is null || offsets is not [long begin, long end])
        {
            throw Wrong("it needs dtype, shape and two data_offsets");
        }

        if (end < begin)
        {
            throw Wrong($"its bytes end at {end}, before they begin at {begin}");
        }

        long wanted = SafeTensor.ByteCount(shape, type);
        if (wanted != end - begin)
        {
            throw Wrong($"shape [{string.Join(", ", shape)}] of {type} does not fit its {end - begin} bytes");
        }

        return wanted <= Array.MaxLength
            ? new Entry(name, type, shape, begin, end)
            : throw Wrong($"it is larger than {Array.MaxLength} bytes");
    }

    private static TensorType? Named(JsonElement value)
    {
        foreach (TensorType type in Enum.GetValues<TensorType>())
        {
            if (value.ValueKind == JsonValueKind.String && value.ValueEquals(type.ToString()))
            {
                return type;
            }
        }

        return null;
    }

    private static long[]? Numbers(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            return null;
        }

        List<long> numbers = [];
        foreach (JsonElement item in value.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out long number) || number < 0)
            {
                return null;
            }

            numbers.Add(number);
        }

        return [.. numbers];
    }

    /// <summary>The tensors, in the order of their offsets, must cover the data without gap or overlap.</summary>
    private static void CheckCover(string path, List<Entry> entries, long dataLength)
    {
        long position = 0;
        foreach (Entry entry in entries)
        {
            if (entry.End > dataLength)
            {
                throw new InvalidFileException(
                    path, $"tensor '{entry.Name}': its bytes end at {entry.End}, the file's data at {dataLength}", CopyAgain);
            }

            if (entry.Begin != position)
            {
                string fault = entry.Begin < position ? "overlap another tensor's" : "leave a hole before them";
                throw new InvalidFileException(path, $"tensor '{entry.Name}': its bytes {fault}", NotOurs);
            }

            position = entry.End;
        }

        if (position != dataLength)
        {
            throw new InvalidFileException(path, $"has {dataLength - position} bytes that belong to no tensor", NotOurs);
        }
    }

    private sealed record Entry(string Name, TensorType DType, long[] Shape, long Begin, long End);
}
