using System.Text.Json;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.Runtime.Groups;

/// <summary>What a group page knows of a pair: what stands in its <c>result.json</c>, or why there is none.</summary>
public sealed record GroupRow
{
    /// <summary>What verdicts are called, and what a pair is called that could not be registered.</summary>
    public const string Unusable = "unusable";

    /// <summary>The keys under which a <c>result.json</c> names the files beside it.</summary>
    internal static readonly string[] FileKeys =
        ["moved", "transform", "inverse_transform", "moved_labels", "points", "report", "picture"];

    /// <summary>The keys of the numbers of a pair, in the order of a table.</summary>
    public static IReadOnlyList<string> NumberKeys { get; } =
        [.. QualityNumbers.Keys, "dice_before", "dice", "tre_before_mm", "tre_mm", "inverse_residual_mean_mm", "inverse_residual_max_mm", "log_volume_ratio"];

    /// <summary>The pair's name.</summary>
    public required string Id { get; init; }

    /// <summary>Its folder, below the cohort's, with / between folders.</summary>
    public required string Folder { get; init; }

    /// <summary><c>ok</c>, <c>look</c>, <c>failed</c> or <see cref="Unusable"/>.</summary>
    public required string Verdict { get; init; }

    /// <summary>Why it is not <c>ok</c>.</summary>
    public required IReadOnlyList<string> Reasons { get; init; }

    /// <summary>The numbers, by their keys; those that were not measured are left out.</summary>
    public required IReadOnlyDictionary<string, double> Numbers { get; init; }

    /// <summary>The names of its files, by their keys.</summary>
    public required IReadOnlyDictionary<string, string> Files { get; init; }

    /// <summary>The name of its result's file.</summary>
    public required string Result { get; init; }

    /// <summary>The moved scan in very few voxels; null where there is none.</summary>
    internal CoarseScan? Coarse { get; init; }

    /// <summary>Reads all results below a cohort's folder, in the order of their names.</summary>
    /// <param name="output">The cohort's folder.</param>
    public static IReadOnlyList<GroupRow> ReadAll(string output)
    {
        ArgumentException.ThrowIfNullOrEmpty(output);
        EnumerationOptions below = new() { RecurseSubdirectories = true, MaxRecursionDepth = 4, IgnoreInaccessible = true };
        string[] results = Directory.Exists(output) ? Directory.GetFiles(output, "*result.json", below) : [];
        string[] problems = Directory.Exists(output) ? Directory.GetFiles(output, "*problem.json", below) : [];
        GroupRow?[] rows = new GroupRow?[results.Length + problems.Length];
        Parallel.For(0, rows.Length, i => rows[i] = i < results.Length
            ? OfResult(output, results[i])
            : OfProblem(output, problems[i - results.Length]));

        // A pair that was done in the meantime has both files for a moment.
        return
        [
            .. rows.OfType<GroupRow>().GroupBy(row => row.Id, StringComparer.Ordinal)
                .Select(group => group.MinBy(row => row.Verdict == Unusable)!)
                .OrderBy(row => row.Id, StringComparer.Ordinal),
        ];
    }

    private static string FolderOf(string output, string file) =>
        Path.GetRelativePath(output, Path.GetDirectoryName(file)!).Replace('\\', '/');

    private static string? Text(JsonElement root, string key) =>
        root.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static GroupRow? OfResult(string output, string file)
    {
        using JsonDocument? document = JsonText.TryRead(file);
        if (document is null || Text(document.RootElement, "id") is not string id || Text(document.RootElement, "verdict") is not string verdict)
        {
            return null;
        }

        JsonElement root = document.RootElement;
        return new GroupRow
        {
            Id = id,
            Folder = FolderOf(output, file),
            Verdict = verdict,
            Reasons = root.TryGetProperty("reasons", out JsonElement reasons) && reasons.ValueKind == JsonValueKind.Array
                ? [.. reasons.EnumerateArray().Select(reason => reason.ToString())]
                : [],
            Numbers = NumbersOf(root),
            Files = FileKeys.Select(key => (Key: key, Name: Text(root, key))).Where(pair => pair.Name is not null)
                .ToDictionary(pair => pair.Key, pair => pair.Name!),
            Result = Path.GetFileName(file),
            Coarse = CoarseOf(root),
        };
    }

    private static CoarseScan? CoarseOf(JsonElement root)
    {
        if (!(root.TryGetProperty("inputs", out JsonElement inputs) && inputs.TryGetProperty("fixed", out JsonElement scan)
            && Text(scan, "sha256") is string digest
            && root.TryGetProperty("coarse", out JsonElement coarse) && coarse.ValueKind == JsonValueKind.Object
            && coarse.TryGetProperty("size", out JsonElement size) && size.ValueKind == JsonValueKind.Array
            && coarse.TryGetProperty("values", out JsonElement values) && values.TryGetBytesFromBase64(out byte[]? bytes)))
        {
            return null;
        }

        int[] sides = [.. size.EnumerateArray().Select(side => side.TryGetInt32(out int n) ? n : 0)];
        return sides.Length == 3 && bytes.Length > 0 && (long)sides[0] * sides[1] * sides[2] == bytes.Length
            ? new CoarseScan(digest, sides[0], sides[1], sides[2], bytes)
            : null;
    }

    private static Dictionary<string, double> NumbersOf(JsonElement root)
    {
        JsonElement labels = root.TryGetProperty("labels", out JsonElement found) && found.ValueKind == JsonValueKind.Object ? found : root;
        Dictionary<string, double> numbers = new(StringComparer.Ordinal);
        foreach (string key in NumberKeys)
        {
            JsonElement where = key.StartsWith("dice", StringComparison.Ordinal) ? labels : root;
            if (where.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Number)
            {
                numbers[key] = value.GetDouble();
            }
        }

        if (root.TryGetProperty("affine", out JsonElement affine) && affine.ValueKind == JsonValueKind.Array && affine.GetArrayLength() == 12
            && affine.EnumerateArray().All(entry => entry.ValueKind == JsonValueKind.Number))
        {
            double factor = Math.Abs(Affine.FromRows([.. affine.EnumerateArray().Select(entry => entry.GetDouble())]).Determinant);
            numbers["log_volume_ratio"] = Math.Log(Math.Max(factor, 1e-12));
        }

        return numbers;
    }

    private static GroupRow? OfProblem(string output, string file)
    {
        using JsonDocument? document = JsonText.TryRead(file);
        return document is null || Text(document.RootElement, "id") is not string id
            ? null
            : new GroupRow
            {
                Id = id,
                Folder = FolderOf(output, file),
                Verdict = Unusable,
                Reasons = [Text(document.RootElement, "error") ?? string.Empty],
                Numbers = new Dictionary<string, double>(),
                Files = new Dictionary<string, string>(),
                Result = Path.GetFileName(file),
            };
    }
}
