using System.Globalization;
using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Reads tables of scans: CSV or TSV, whose first line names the columns <c>scan</c>, and optionally <c>id</c>, <c>labels</c>,
/// <c>mask</c> and <c>weight</c>. Paths are relative to the table's folder; lines that begin with # and other columns are left out.
/// </summary>
public static class ScanTable
{
    /// <summary>Reads a table.</summary>
    /// <param name="path">The file; a tab stands between fields where its name ends in .tsv.</param>
    /// <exception cref="InvalidFileException">A line cannot be used, or two scans have one name.</exception>
    public static IReadOnlyList<TemplateScan> Read(string path)
    {
        DelimitedTable table = DelimitedTable.Read(path);
        if (table.Lines.Count == 0 || !table.Names.Contains("scan"))
        {
            throw new InvalidFileException(path, "is no table of scans", "give it a first line such as scan,labels and a line for each scan");
        }

        return Named(path, [.. table.Rows().Select(Scan)]);
    }

    /// <summary>Gives scans without a name that of their file, and refuses two of one name.</summary>
    /// <param name="source">What names the scans, for errors.</param>
    /// <param name="scans">The scans; those without a name have an empty one.</param>
    /// <exception cref="InvalidFileException">Two scans have one name.</exception>
    public static IReadOnlyList<TemplateScan> Named(string source, IReadOnlyList<TemplateScan> scans)
    {
        ArgumentNullException.ThrowIfNull(scans);
        TemplateScan[] named =
            [.. scans.Select(scan => scan.Name.Length > 0 ? scan : scan with { Name = PairNames.Clean(PairNames.Stem(scan.Image)) })];
        return named.GroupBy(scan => scan.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Skip(1).Any()) is { } twice
            ? throw new InvalidFileException(source, $"has two scans of the name {twice.Key}", "give each its own in a table's column \"id\"")
            : named;
    }

    private static TemplateScan Scan(DelimitedTable.Row row)
    {
        string name = row.Id();
        double weight = 1;
        if (row.Cell("weight") is string text
            && !(double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out weight) && weight > 0 && double.IsFinite(weight)))
        {
            throw row.Wrong($"has the weight \"{text}\"", "give a number above 0");
        }

        return new TemplateScan(name, row.FileOf("scan") ?? throw row.Wrong("names no scan", "name one"))
        {
            Labels = row.FileOf("labels"),
            Mask = row.FileOf("mask"),
            Weight = weight,
        };
    }
}
