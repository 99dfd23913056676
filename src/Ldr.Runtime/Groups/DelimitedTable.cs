using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>
/// A table in CSV or TSV whose first line names the columns. Paths are relative to the table's folder; lines that begin with # are
/// left out.
/// </summary>
internal sealed class DelimitedTable
{
    private readonly string path;

    private DelimitedTable(string path, (int Number, IReadOnlyList<string> Cells)[] lines)
    {
        this.path = path;
        NamesLine = lines.Length == 0 ? 0 : lines[0].Number;
        Names = lines.Length == 0 ? [] : [.. lines[0].Cells.Select(name => name.ToLowerInvariant())];
        Lines = lines.Length == 0 ? [] : lines[1..];
    }

    /// <summary>The columns, in lower case.</summary>
    internal string[] Names { get; }

    /// <summary>The number of the line that names them.</summary>
    internal int NamesLine { get; }

    /// <summary>The lines below, with their numbers.</summary>
    internal IReadOnlyList<(int Number, IReadOnlyList<string> Cells)> Lines { get; }

    /// <summary>Reads a table.</summary>
    /// <param name="path">The file; a tab stands between fields where its name ends in .tsv.</param>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    internal static DelimitedTable Read(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        InputFile.Check(path);
        InputFile.CheckText(path);
        char separator = path.EndsWith(".tsv", StringComparison.OrdinalIgnoreCase) ? '\t' : ',';
        return new DelimitedTable(
            path,
            [
                .. File.ReadLines(path)
                    .Select((line, i) => (Number: i + 1, Line: line.TrimStart('\uFEFF')))
                    .Where(line => line.Line.Trim().Length > 0 && !line.Line.StartsWith('#'))
                    .Select(line => (line.Number, DelimitedText.Split(line.Line, separator)
                        ?? throw Wrong(path, line.Number, "has a quote that does not end", "end it on that line"))),
            ]);
    }

    /// <summary>The rows below the names, one after the other.</summary>
    /// <exception cref="InvalidFileException">One has more or fewer fields than there are columns.</exception>
    internal IEnumerable<Row> Rows() => Lines.Select(line => new Row(this, line.Number, line.Cells));

    /// <summary>What is wrong with a line.</summary>
    internal InvalidFileException Wrong(int line, string problem, string remedy) => Wrong(path, line, problem, remedy);

    private static InvalidFileException Wrong(string path, int line, string problem, string remedy) =>
        new(path, $"line {line} {problem}", remedy);

    /// <summary>A row.</summary>
    internal sealed class Row
    {
        private readonly DelimitedTable table;
        private readonly int number;
        private readonly IReadOnlyList<string> cells;

        internal Row(DelimitedTable table, int number, IReadOnlyList<string> cells)
        {
            this.table = table;
            this.number = number;
            this.cells = cells;
            if (cells.Count != table.Names.Length)
            {
                throw Wrong($"has {cells.Count} fields, the first line names {table.Names.Length}", "give every line as many");
            }
        }

        /// <summary>The first of some columns that is there and not empty.</summary>
        internal string? Cell(params string[] columns) => columns
            .Select(column => Array.IndexOf(table.Names, column))
            .Where(i => i >= 0 && cells[i].Length > 0)
            .Select(i => cells[i])
            .FirstOrDefault();

        /// <summary>The file that it names.</summary>
        internal string? FileOf(params string[] columns) => Cell(columns) is string cell
            ? cell.Contains('\0', StringComparison.Ordinal)
                ? throw Wrong("has a zero in a path", "give a path")
                : Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(table.path))!, cell))
            : null;

        /// <summary>Its name, which may name a folder; empty where the column <c>id</c> is.</summary>
        internal string Id()
        {
            string id = Cell("id") ?? string.Empty;
            return id.Length > 0 && !PairNames.IsGood(id)
                ? throw Wrong($"has the id \"{id}\"", "an id names a folder: give letters, digits, dots, - and _, at most 100")
                : id;
        }

        /// <summary>What is wrong with this row.</summary>
        internal InvalidFileException Wrong(string problem, string remedy) => table.Wrong(number, problem, remedy);
    }
}
