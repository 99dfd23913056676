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
        DelimitedTable table = DelimitedTable.Read(path);
        if (table.Lines.Count == 0)
        {
            throw new InvalidFileException(path, "holds no pair", "give it a first line such as fixed,moving and a line for each pair");
        }

        CheckColumns(table, template is not null);
        List<CohortPair> pairs = [.. table.Rows().Select(row => Pair(row, template))];
        string[] unused = [.. table.Names.Except(Columns).Where(name => name.Length > 0)];
        return new CohortPlan(
            PairNames.Give(path, pairs, template is not null),
            unused.Length == 0 ? [] : [$"{path}: columns that are not used: {string.Join(", ", unused)}"]);
    }

    private static void CheckColumns(DelimitedTable table, bool hasTemplate)
    {
        string[] names = table.Names;
        if (names.GroupBy(name => name).FirstOrDefault(group => group.Skip(1).Any() && group.Key.Length > 0) is { } twice)
        {
            throw table.Wrong(table.NamesLine, $"names the column \"{twice.Key}\" twice", "name each once");
        }

        if (!names.Contains("moving"))
        {
            throw table.Wrong(table.NamesLine, "has no column \"moving\"", "let the first line name the columns, such as fixed,moving");
        }

        if (names.Contains("fixed") == hasTemplate)
        {
            throw hasTemplate
                ? table.Wrong(table.NamesLine, "has a column \"fixed\" beside a template", "leave one of the two out")
                : table.Wrong(table.NamesLine, "has no column \"fixed\"", "add it, or give a template");
        }
    }

    private static CohortPair Pair(DelimitedTable.Row row, CohortScan? template)
    {
        string moving = row.FileOf("moving") ?? throw row.Wrong("names no moving scan", "name one");
        CohortScan first = template
            ?? new CohortScan(row.FileOf("fixed") ?? throw row.Wrong("names no fixed scan", "name one"));
        return new CohortPair(
            row.Id(),
            first with
            {
                Labels = row.FileOf("fixed_labels") ?? first.Labels,
                Mask = row.FileOf("fixed_mask") ?? first.Mask,
                Landmarks = row.FileOf("fixed_landmarks", "fixed_points") ?? first.Landmarks,
            },
            new CohortScan(moving)
            {
                Labels = row.FileOf("moving_labels", "labels"),
                Mask = row.FileOf("moving_mask"),
                Landmarks = row.FileOf("moving_landmarks", "moving_points"),
            })
        {
            Points = row.FileOf("points"),
        };
    }
}
