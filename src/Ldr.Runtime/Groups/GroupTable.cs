using System.Globalization;
using System.Text;
using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>The file <c>group.tsv</c>: a row a pair, outliers first; it depends on the results alone, not on times.</summary>
internal static class GroupTable
{
    /// <summary>Writes it, atomically.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    internal static void Write(string path, GroupOutliers group)
    {
        string[] keys = [.. GroupRow.NumberKeys, GroupSides.Key];
        StringBuilder text = new();
        text.AppendJoin('\t', ["id", "verdict", "outlier_score", "outlier_reason", .. keys, "reasons", "folder"]).Append('\n');
        foreach (GroupPair pair in group.Pairs)
        {
            GroupRow row = pair.Row;
            text.AppendJoin(
                '\t',
                [
                    Cell(row.Id),
                    row.Verdict,
                    Number(pair.Score, 3),
                    Cell(pair.Reason),
                    .. keys.Select(key => Number(row.Numbers.TryGetValue(key, out double value) ? value : double.NaN, 6)),
                    Cell(string.Join("; ", row.Reasons)),
                    Cell(row.Folder),
                ]).Append('\n');
        }

        AtomicFile.WriteText(path, text.ToString());
    }

    /// <summary>As BIDS has it: n/a where there is none.</summary>
    private static string Number(double value, int digits) =>
        double.IsFinite(value) ? Math.Round(value, digits).ToString(CultureInfo.InvariantCulture) : "n/a";

    private static string Cell(string text)
    {
        string line = string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c));
        return line.Length == 0 ? "n/a" : "=+-@".Contains(line[0], StringComparison.Ordinal) ? "'" + line : line;
    }
}
