using System.Text;

namespace Ldr.Runtime.Formats;

/// <summary>Lines of tables: fields between commas or tabs.</summary>
public static class DelimitedText
{
    /// <summary>The fields of a line, trimmed; quotes as in RFC 4180, no line breaks inside them.</summary>
    /// <param name="line">The line.</param>
    /// <param name="separator">What stands between two fields: a comma, a tab.</param>
    /// <returns>The fields; null where a quote does not end.</returns>
    public static IReadOnlyList<string>? Split(string line, char separator)
    {
        ArgumentNullException.ThrowIfNull(line);
        List<string> cells = [];
        StringBuilder field = new();
        bool quoted = false;
        for (int i = 0; i < line.Length; i++)
        {
            char c = line[i];
            if (quoted && c == '"' && i + 1 < line.Length && line[i + 1] == '"')
            {
                field.Append('"');
                i++;
            }
            else if (c == '"')
            {
                quoted = !quoted;
            }
            else if (c == separator && !quoted)
            {
                cells.Add(field.ToString().Trim());
                field.Clear();
            }
            else
            {
                field.Append(c);
            }
        }

        cells.Add(field.ToString().Trim());
        return quoted ? null : cells;
    }
}
