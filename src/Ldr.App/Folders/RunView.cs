using System.Text.Json;
using System.Text.Json.Nodes;
using Ldr.App.Api;

namespace Ldr.App.Folders;

/// <summary>What a run's folder holds beside its metrics.</summary>
/// <param name="Name">The experiment's name.</param>
/// <param name="Trainings">Its trainings: name, steps.</param>
/// <param name="Table">The table, in Markdown; null until it is there.</param>
/// <param name="HasPicture">Whether <c>pairs.png</c> is there.</param>
internal sealed record RunView(string Name, IReadOnlyList<RunTraining> Trainings, string? Table, bool HasPicture);

/// <summary>A training of a run.</summary>
internal sealed record RunTraining(string Name, int Steps);

/// <summary>Reads what a run says of itself; the run may be going on.</summary>
internal static class RunFolderReader
{
    /// <summary>Bytes of metrics that one answer holds, at most.</summary>
    private const int MostMetrics = 4 << 20;

    private const long MostText = 16 << 20;

    public static RunView Read(string folder)
    {
        JsonNode? experiment = Json(Path.Combine(folder, "experiment.json"));
        JsonArray trainings = experiment?["train"] as JsonArray ?? [];
        string table = Path.Combine(folder, "table.md");
        return new RunView(
            Text(experiment?["name"]) ?? Path.GetFileName(folder),
            [.. trainings.Select(t => new RunTraining(Text(t?["name"]) ?? "?", Whole(t?["steps"])))],
            File.Exists(table) && new FileInfo(table).Length < MostText ? File.ReadAllText(table) : null,
            File.Exists(Path.Combine(folder, "pairs.png")));
    }

    /// <summary>Whole lines of <c>metrics.jsonl</c> from a byte on.</summary>
    public static byte[] Metrics(string folder, long offset)
    {
        string path = Path.Combine(folder, "metrics.jsonl");
        if (!File.Exists(path))
        {
            return [];
        }

        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        if (offset < 0 || offset > file.Length)
        {
            throw ApiException.Bad("offset: is outside the file; begin again at 0");
        }

        file.Position = offset;
        byte[] bytes = new byte[Math.Min(MostMetrics, file.Length - offset)];
        int length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        int end = Array.LastIndexOf(bytes, (byte)'\n', Math.Max(0, length - 1)) + 1;
        return bytes[..(length == 0 ? 0 : end)];
    }

    internal static JsonNode? Json(string path)
    {
        try
        {
            return File.Exists(path) && new FileInfo(path).Length < MostText ? JsonNode.Parse(File.ReadAllText(path)) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    internal static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    private static int Whole(JsonNode? node) => node is JsonValue value && value.TryGetValue(out int number) ? number : 0;
}
