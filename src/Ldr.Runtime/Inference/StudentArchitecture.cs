using System.Text.Json;

namespace Ldr.Runtime.Inference;

/// <summary>
/// A system that the engine can run: an affine stage (<c>affine-light</c>) if any, then stages of one kind.
/// </summary>
/// <param name="AffineChannels">Channels of the affine stage's first convolution; 0 for no such stage.</param>
/// <param name="Stages">How many deformable stages.</param>
/// <param name="IsHalf">
/// Whether a stage's head is at half size (<c>ldr-half</c>, <c>ldr-velocity</c>); otherwise it is <c>ldr</c> (or <c>ldr-slim</c>,
/// another word for it).
/// </param>
/// <param name="IsVelocity">Whether the head gives a stationary velocity field (<c>ldr-velocity</c>).</param>
/// <param name="Encoder">Channels after each of the four convolutions.</param>
/// <param name="Decoder">Channels after each of the three transposed convolutions.</param>
internal sealed record StudentArchitecture(int AffineChannels, int Stages, bool IsHalf, bool IsVelocity, int[] Encoder, int[] Decoder)
{
    private static readonly int[] StandardEncoder = [16, 32, 64, 128];
    // Of files that do not say it: every file that this program wrote does.
    private static readonly int[] StandardDecoder = [64, 32, 16];

    /// <summary>Reads the JSON that a model file keeps under "architecture".</summary>
    /// <param name="json">One JSON object.</param>
    /// <param name="unsupported">What it is, when it is not a system that the engine can run.</param>
    /// <returns>The system, or null when it is another one.</returns>
    /// <exception cref="FormatException">It is no architecture at all; the message says where.</exception>
    internal static StudentArchitecture? Read(JsonElement json, out string unsupported)
    {
        unsupported = string.Empty;
        string kind = Kind(json, "$.architecture");
        if (kind != "cascade")
        {
            return Single(json, kind, "$.architecture", 0, 1, ref unsupported);
        }

        int stages = Int(json, "stages", null, 0, 20, "$.architecture");
        int channels = 0;
        if (json.TryGetProperty("affine", out JsonElement affine) && affine.ValueKind != JsonValueKind.Null)
        {
            string stem = Kind(affine, "$.architecture.affine");
            if (stem != "affine-light")
            {
                unsupported = stem;
                return null;
            }

            channels = Int(affine, "channels", 16, 1, 64, "$.architecture.affine");
        }

        if (stages == 0)
        {
            return channels > 0
                ? new StudentArchitecture(channels, 0, false, false, StandardEncoder, StandardDecoder)
                : throw new FormatException("$.architecture: has no stage at all");
        }

        return json.TryGetProperty("stage", out JsonElement stage)
            ? Single(stage, Kind(stage, "$.architecture.stage"), "$.architecture.stage", channels, stages, ref unsupported)
            : new StudentArchitecture(channels, stages, false, false, StandardEncoder, StandardDecoder);
    }

    private static StudentArchitecture? Single(
        JsonElement json, string kind, string path, int channels, int stages, ref string unsupported)
    {
        if (kind is not ("ldr" or "ldr-slim" or "ldr-half" or "ldr-velocity"))
        {
            unsupported = kind;
            return null;
        }

        return new StudentArchitecture(
            channels,
            stages,
            kind is not ("ldr" or "ldr-slim"),
            kind == "ldr-velocity",
            Widths(json, "encoder", StandardEncoder, path),
            Widths(json, "decoder", StandardDecoder, path));
    }

    private static string Kind(JsonElement json, string path) =>
        json.ValueKind == JsonValueKind.Object && json.TryGetProperty("kind", out JsonElement kind)
            && kind.ValueKind == JsonValueKind.String
            ? kind.GetString()!
            : throw new FormatException($"{path}: an object with a \"kind\" is needed");

    private static int Int(JsonElement json, string name, int? absent, int low, int high, string path)
    {
        if (!json.TryGetProperty(name, out JsonElement value) && absent is not null)
        {
            return absent.Value;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= low && number <= high
            ? number
            : throw new FormatException($"{path}.{name}: a whole number from {low} to {high} is needed");
    }

    private static int[] Widths(JsonElement json, string name, int[] standard, string path)
    {
        if (!json.TryGetProperty(name, out JsonElement list))
        {
            return standard;
        }

        if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() != standard.Length)
        {
            throw new FormatException($"{path}.{name}: a list of {standard.Length} widths is needed");
        }

        int[] widths = new int[standard.Length];
        int index = 0;
        foreach (JsonElement item in list.EnumerateArray())
        {
            widths[index++] = item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int width) && width is >= 1 and <= 1024
                ? width
                : throw new FormatException($"{path}.{name}[{index}]: a whole number from 1 to 1024 is needed");
        }

        return widths;
    }
}
