using System.Text.Encodings.Web;
using System.Text.Json;
using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>The JSON files of groups.</summary>
internal static class JsonText
{
    private static readonly JsonWriterOptions Layout = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, NewLine = "\n" };

    /// <summary>Writes a file with one object, atomically.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    internal static void Write(string path, Action<Utf8JsonWriter> body) => AtomicFile.Write(path, stream =>
    {
        using (Utf8JsonWriter json = new(stream, Layout))
        {
            json.WriteStartObject();
            body(json);
            json.WriteEndObject();
        }

        stream.WriteByte((byte)'\n');
    });

    /// <summary>The object of a file; null where there is none.</summary>
    internal static JsonDocument? TryRead(string path)
    {
        try
        {
            JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                return document;
            }

            document.Dispose();
            return null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>A number with 6 decimals; null for what is not finite.</summary>
    internal static void Number(this Utf8JsonWriter json, string key, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(key, Math.Round(value, 6));
        }
        else
        {
            json.WriteNull(key);
        }
    }

    /// <summary>A list of numbers with 6 decimals.</summary>
    internal static void Numbers(this Utf8JsonWriter json, string key, IEnumerable<double> values)
    {
        json.WriteStartArray(key);
        foreach (double value in values)
        {
            json.WriteNumberValue(Math.Round(value, 6));
        }

        json.WriteEndArray();
    }

    /// <summary>A list of texts.</summary>
    internal static void Texts(this Utf8JsonWriter json, string key, IEnumerable<string> values)
    {
        json.WriteStartArray(key);
        foreach (string value in values)
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }

    /// <summary>Whether an object below a key holds these texts and no others.</summary>
    internal static bool Same(
        JsonElement root, string key, IReadOnlyDictionary<string, string> wanted, Func<string, JsonElement, string?> text)
    {
        if (!root.TryGetProperty(key, out JsonElement found) || found.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        List<JsonProperty> properties = [.. found.EnumerateObject()];
        return properties.Count == wanted.Count
            && properties.All(property => wanted.TryGetValue(property.Name, out string? value) && text(property.Name, property.Value) == value);
    }
}
