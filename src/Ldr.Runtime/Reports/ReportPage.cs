using System.Net;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace Ldr.Runtime.Reports;

/// <summary>What the pages of reports share: one HTML file each, with everything in it, that asks no server for anything.</summary>
internal static partial class ReportPage
{
    /// <summary>The version that a page is signed with.</summary>
    public static string Version => typeof(ReportPage).Assembly.GetName().Version?.ToString(3) ?? string.Empty;

    /// <summary>A text that the assembly carries: a page, a style sheet or a script.</summary>
    public static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the resource {name} is missing");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }

    /// <summary>
    /// A text as it stands in a page. Signs that change the direction of the text after them are shown as <c>\u202E</c>, so that no
    /// file's name looks like another's.
    /// </summary>
    public static string Encode(string text) =>
        WebUtility.HtmlEncode(Turning().Replace(text, sign => $@"\u{(int)sign.Value[0]:X4}"));

    /// <summary>
    /// A name within a line, where there can be no <c>bdi</c>: letters that run from right to left do not reorder what stands beside it.
    /// </summary>
    public static string Isolate(string text) => $"\u2068{Encode(text)}\u2069";

    /// <summary>By what a page's content security policy knows a style sheet or a script.</summary>
    public static string Hash(string text) => Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    /// <summary>The command that makes a page again, and the folder it was run in; nothing where there is none.</summary>
    public static string Command(string command, string folder)
    {
        if (command.Length == 0)
        {
            return string.Empty;
        }

        string where = folder.Length == 0 ? string.Empty : $"<p class=\"remark\">Run in the folder {Encode(folder)}</p>";
        return $"<section><h2>The command</h2><pre><code>{Encode(command)}</code></pre>{where}</section>";
    }

    /// <summary>Writes a page with its parts in the places of their names.</summary>
    /// <exception cref="KeyNotFoundException">The page has a place whose part is missing.</exception>
    public static void Write(TextWriter writer, string page, IReadOnlyDictionary<string, string> parts)
    {
        int start = 0;
        foreach (Match place in Placeholder().Matches(page))
        {
            writer.Write(page.AsSpan(start, place.Index - start));
            writer.Write(parts[place.Groups[1].Value]);
            start = place.Index + place.Length;
        }

        writer.Write(page.AsSpan(start));
    }

    /// <summary>Embeddings, overrides, isolates and marks of direction.</summary>
    [GeneratedRegex("[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]")]
    private static partial Regex Turning();

    [GeneratedRegex(@"\{\{([a-z]+)\}\}")]
    private static partial Regex Placeholder();
}
