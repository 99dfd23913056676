using System.Text.Json.Nodes;

namespace Ldr.App.Folders;

/// <summary>A cohort's table.</summary>
/// <param name="Columns">The head of <c>group.tsv</c>.</param>
/// <param name="Rows">Its rows, as many texts as there are columns.</param>
/// <param name="HasPage">Whether <c>group.html</c> is there.</param>
internal sealed record CohortView(IReadOnlyList<string> Columns, IReadOnlyList<IReadOnlyList<string>> Rows, bool HasPage);

/// <summary>One pair of a cohort: paths below <c>--folder</c>, null for what is missing or lies outside.</summary>
internal sealed record PairView(string Id, JsonObject? Result, string? Fixed, string? Moving, string? Moved, string? Labels);

/// <summary>Reads a cohort's folder: <c>group.tsv</c>, <c>group.html</c>, and a folder for each pair.</summary>
internal static class CohortReader
{
    private const int MostRows = 100_000;

    public static CohortView Read(string folder)
    {
        List<string[]> lines =
            [.. File.ReadLines(Path.Combine(folder, "group.tsv")).Take(MostRows + 1).Where(line => line.Length > 0).Select(line => line.Split('\t'))];
        string[] columns = lines.Count > 0 ? lines[0] : [];
        return new CohortView(
            columns,
            [.. lines.Skip(1).Select(cells => (IReadOnlyList<string>)[.. columns.Select((_, i) => i < cells.Length ? cells[i] : string.Empty)])],
            File.Exists(Path.Combine(folder, "group.html")));
    }

    /// <param name="data">The folder of <c>--folder</c>.</param>
    /// <param name="path">The pair's folder below it.</param>
    public static PairView Pair(DataFolder data, string path)
    {
        string folder = data.FolderAt(path);
        JsonObject? result = RunFolderReader.Json(Path.Combine(folder, "result.json")) as JsonObject;

        // "inputs" is an object of files by role, or a list of files that name their role.
        string? Input(string role)
        {
            JsonNode? file = result?["inputs"] is JsonArray list
                ? list.FirstOrDefault(item => RunFolderReader.Text((item as JsonObject)?["role"]) == role)
                : (result?["inputs"] as JsonObject)?[role];
            string? named = RunFolderReader.Text(file) ?? RunFolderReader.Text((file as JsonObject)?["path"]);
            return named is null ? null : data.PathOf(Path.Combine(folder, named));
        }

        return new PairView(
            Path.GetFileName(folder),
            result,
            Input("fixed"),
            Input("moving"),
            data.PathOf(Path.Combine(folder, "moved.nii.gz")),
            data.PathOf(Path.Combine(folder, "labels.nii.gz")));
    }
}
