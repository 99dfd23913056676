using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>The pairs of a source, and what should be told about it.</summary>
/// <param name="Pairs">The pairs.</param>
/// <param name="Remarks">Lines for people; empty mostly.</param>
public sealed record CohortPlan(IReadOnlyList<CohortPair> Pairs, IReadOnlyList<string> Remarks);

/// <summary>
/// Reads tables of pairs: CSV or TSV, whose first line names the columns. Paths are relative to the table's folder; lines that begin
/// with # are left out.
/// </summary>
public static class PairTable
{
    /// <summary>The columns that are known. All but <c>moving</c> may be missing; <c>fixed</c> only where there is a template.</summary>
    public static IReadOnlyList<string> Columns { get; } =
    [
        "id", "fixed", "moving", "labels", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask", "points", "fixed_landmarks",
        "moving_landmarks", "fixed_points", "moving_points",
    ];

    /// <summary>Reads a table.</summary>
    /// <param name="path">The file; a tab stands between fields where its name ends in .tsv.</param>
    /// <param name="template">The fixed scan of every pair; null: the column <c>fixed</c> names them.</param>
    /// <exception cref="InvalidFileException">A line cannot be used.</exception>
    public static CohortPlan Read(string path, CohortScan? template = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        InputFile.Check(path);
        InputFile.CheckText(path);
        char separator = path.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase) ? '\t' : ',';
        (int Number, IReadOnlyList<string> Cells)[] lines =
        [
            .. File.ReadLines(path)
                .Select((line, i) => (Number: i + 1, Line: line.TrimStart('\uFEFF')))
                .Where(line => line.Line.Trim().Length > 0 && !line.Line.StartsWith('#'))
                .Select(line => (line.Number, DelimitedText.Split(line.Line, separator)
                    ?? throw Wrong(path, line.Number, "has a quote that does not end", "end it on that line"))),
        ];
        if (lines.Length < 2)
        {
            throw new InvalidFileException(path, "holds no pair", "give it a first line such as fixed,moving and a line for each pair");
        }

        string[] names = [.. lines[0].Cells.Select(name => name.ToLowerInvariant())];
        CheckColumns(path, lines[0].Number, names, template is not null);
        List<CohortPair> pairs = [.. lines[1..].Select(line => Pair(path, names, line.Number, line.Cells, template))];
        string[] unused = [.. names.Except(Columns).Where(name => name.Length > 0)];
        return new CohortPlan(
            PairNames.Give(path, pairs, template is not null),
            unused.Length == 0 ? [] : [$"{path}: columns that are not used: {string.Join(", ", unused)}"]);
    }

    private static InvalidFileException Wrong(string path, int line, string problem, string remedy) => new(path, $"line {line} {problem}", remedy);

    private static void CheckColumns(string path, int line, string[] names, bool hasTemplate)
    {
        if (names.GroupBy(name => name).FirstOrDefault(group => group.Skip(1).Any() && group.Key.Length > 0) is { } twice)
        {
            throw Wrong(path, line, $"names the column \"{twice.Key}\" twice", "name each once");
        }

        if (!names.Contains("moving"))
        {
            throw Wrong(path, line, "has no column \"moving\"", "let the first line name the columns, such as fixed,moving");
        }

        if (names.Contains("fixed") == hasTemplate)
        {
            throw hasTemplate
                ? Wrong(path, line, "has a column \"fixed\" beside a template", "leave one of the two out")
                : Wrong(path, line, "has no column \"fixed\"", "add it, or give a template");
        }
    }

    private static CohortPair Pair(string path, string[] names, int number, IReadOnlyList<string> cells, CohortScan? template)
    {
        if (cells.Count != names.Length)
        {
            throw Wrong(path, number, $"has {cells.Count} fields, the first line names {names.Length}", "give every line as many");
        }

        string? Cell(params string[] columns) =>
            columns.Select(column => Array.IndexOf(names, column)).Where(i => i >= 0 && cells[i].Length > 0).Select(i => cells[i]).FirstOrDefault();
        string? FileOf(params string[] columns) => Cell(columns) is string cell
            ? cell.Contains('\0', StringComparison.Ordinal)
                ? throw Wrong(path, number, "has a zero in a path", "give a path")
                : Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, cell))
            : null;
        string moving = FileOf("moving") ?? throw Wrong(path, number, "names no moving scan", "name one");
        CohortScan first = template
            ?? new CohortScan(FileOf("fixed") ?? throw Wrong(path, number, "names no fixed scan", "name one"));
        string id = Cell("id") ?? string.Empty;
        if (id.Length > 0 && !PairNames.IsGood(id))
        {
            throw Wrong(path, number, $"has the id \"{id}\"", "an id names a folder: give letters, digits, dots, - and _, at most 100");
        }

        return new CohortPair(
            id,
            first with
            {
                Labels = FileOf("fixed_labels") ?? first.Labels,
                Mask = FileOf("fixed_mask") ?? first.Mask,
                Landmarks = FileOf("fixed_landmarks", "fixed_points") ?? first.Landmarks,
            },
            new CohortScan(moving)
            {
                Labels = FileOf("moving_labels", "labels"),
                Mask = FileOf("moving_mask"),
                Landmarks = FileOf("moving_landmarks", "moving_points"),
            })
        {
            Points = FileOf("points"),
        };
    }
}
