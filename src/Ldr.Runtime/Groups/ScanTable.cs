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
                    ?? throw new InvalidFileException(path, $"line {line.Number} has a quote that does not end", "end it on that line"))),
        ];
        string[] names = lines.Length == 0 ? [] : [.. lines[0].Cells.Select(name => name.ToLowerInvariant())];
        if (lines.Length < 2 || !names.Contains("scan"))
        {
            throw new InvalidFileException(path, "is no table of scans", "give it a first line such as scan,labels and a line for each scan");
        }

        return Named(path, [.. lines[1..].Select(line => Scan(path, names, line.Number, line.Cells))]);
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

    private static TemplateScan Scan(string path, string[] names, int number, IReadOnlyList<string> cells)
    {
        InvalidFileException Wrong(string problem, string remedy) => new(path, $"line {number} {problem}", remedy);
        if (cells.Count != names.Length)
        {
            throw Wrong($"has {cells.Count} fields, the first line names {names.Length}", "give every line as many");
        }

        string? Cell(string column) => Array.IndexOf(names, column) is >= 0 and int i && cells[i].Length > 0 ? cells[i] : null;
        string? FileOf(string column) => Cell(column) is string cell
            ? Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, cell.Replace("\0", string.Empty, StringComparison.Ordinal)))
            : null;
        string name = Cell("id") ?? string.Empty;
        if (name.Length > 0 && !PairNames.IsGood(name))
        {
            throw Wrong($"has the id \"{name}\"", "an id names a folder: give letters, digits, dots, - and _, at most 100");
        }

        double weight = 1;
        if (Cell("weight") is string text
            && !(double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out weight) && weight > 0 && double.IsFinite(weight)))
        {
            throw Wrong($"has the weight \"{text}\"", "give a number above 0");
        }

        return new TemplateScan(name, FileOf("scan") ?? throw Wrong("names no scan", "name one"))
        {
            Labels = FileOf("labels"),
            Mask = FileOf("mask"),
            Weight = weight,
        };
    }
}
