using System.Globalization;
using System.Text;
using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Reports;

namespace Ldr.Runtime.Groups;

/// <summary>
/// The page on which a cohort is checked, <c>group.html</c>, and its table, <c>group.tsv</c>: outliers first, each explained in words.
/// The page shows the pictures in the pairs' folders, and asks no server for anything.
/// </summary>
public static class GroupPage
{
    /// <summary>Writes both from the results that are there; where several processes do so, the last one saw all of them.</summary>
    /// <param name="output">The cohort's folder.</param>
    /// <param name="command">The command that is told on the page; empty for none.</param>
    /// <param name="cancellation">Stops waiting for another process that writes them.</param>
    /// <returns>The pairs, as the page has them.</returns>
    /// <exception cref="InvalidFileException">The folder cannot be written.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static GroupOutliers Write(string output, string command = "", CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(output);
        ArgumentNullException.ThrowIfNull(command);
        string page = Path.Combine(output, "group.html");
        AtomicFile.CheckWritable(page);
        GroupOutliers group;
        using (FileClaim.Wait(output, Path.GetFileName(page), cancellation))
        {
            group = GroupOutliers.Find(GroupRow.ReadAll(output));
            GroupTable.Write(Path.Combine(output, "group.tsv"), group);
            WritePage(page, Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(output))), group, command);
        }

        FileClaim.Tidy(output);
        return group;
    }

    private static void WritePage(string path, string name, GroupOutliers group, string command)
    {
        string style = ReportPage.Resource("report.css") + ReportPage.Resource("group.css");
        string script = ReportPage.Resource("group.js");
        Dictionary<string, string> parts = new()
        {
            ["style"] = style,
            ["script"] = script,
            ["stylehash"] = ReportPage.Hash(style),
            ["scripthash"] = ReportPage.Hash(script),
            ["name"] = ReportPage.Encode(name),
            ["count"] = group.Pairs.Count.ToString(CultureInfo.InvariantCulture),
            ["measures"] = Measures(group),
            ["facts"] = Facts(group),
            ["command"] = ReportPage.Command(command, string.Empty),
            ["version"] = ReportPage.Version,
        };
        string page = ReportPage.Resource("group.html");
        AtomicFile.Write(path, stream =>
        {
            using StreamWriter writer = new(stream, new UTF8Encoding(false), 1 << 16, leaveOpen: true);
            ReportPage.Write(writer, page, parts);
        });
    }

    private static string Measures(GroupOutliers group) => string.Concat(group.Usual.Select(usual =>
        $"<tr><th scope=\"row\">{ReportPage.Encode(usual.Measure.Name)}</th>"
        + $"<td class=\"value\">{usual.Measure.Text(usual.Median)}</td><td class=\"value\">{usual.Measure.Text(usual.Deviation)}</td>"
        + $"<td class=\"remark\">{ReportPage.Encode(usual.Measure.Words)}</td></tr>\n"));

    /// <summary>What the script shows: rows as lists, in the order of the page. JSON's writer leaves no &lt; in it.</summary>
    private static string Facts(GroupOutliers group)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            json.WriteNumber("notable", GroupOutliers.Notable);
            json.WriteStartArray("measures");
            foreach (GroupUsual usual in group.Usual)
            {
                json.WriteStartObject();
                json.WriteString("name", usual.Measure.Name);
                json.WriteString("unit", usual.Measure.Unit);
                json.WriteString("words", usual.Measure.Words);
                json.WriteString("bad", usual.Measure.Suspicious.ToString().ToLowerInvariant());
                json.WriteNumber("median", usual.Median);
                json.WriteNumber("deviation", Math.Max(usual.Deviation, usual.Measure.Least));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("pairs");
            foreach (GroupPair pair in group.Pairs)
            {
                WriteRow(json, pair, group.Usual);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    private static void WriteRow(Utf8JsonWriter json, GroupPair pair, IReadOnlyList<GroupUsual> usual)
    {
        GroupRow row = pair.Row;
        json.WriteStartArray();
        json.WriteStringValue(row.Id);
        json.WriteStringValue(row.Folder);
        json.WriteStringValue(row.Verdict);
        Number(json, pair.Score, 1);
        json.WriteStringValue(pair.Reason);
        json.WriteStartArray();
        foreach (string reason in row.Verdict == GroupRow.Unusable ? [] : row.Reasons)
        {
            json.WriteStringValue(reason);
        }

        json.WriteEndArray();
        json.WriteStringValue(row.Files.GetValueOrDefault("picture"));
        json.WriteStringValue(row.Files.GetValueOrDefault("report"));
        json.WriteStringValue(row.Result);
        foreach (GroupUsual of in usual)
        {
            Number(json, row.Numbers.TryGetValue(of.Measure.Key, out double value) ? value : double.NaN, 4);
        }

        foreach (GroupUsual of in usual)
        {
            Number(json, pair.Deviations.TryGetValue(of.Measure.Key, out double value) ? value : double.NaN, 1);
        }

        json.WriteEndArray();
    }

    private static void Number(Utf8JsonWriter json, double value, int digits)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumberValue(Math.Round(value, digits));
        }
        else
        {
            json.WriteNullValue();
        }
    }
}
