using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>Names of pairs, which name their folders.</summary>
public static class PairNames
{
    private static readonly string[] Endings = [".gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr"];

    /// <summary>Whether a name can be a folder's on every system.</summary>
    /// <param name="name">The name.</param>
    public static bool IsGood(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length is > 0 and <= 100 && name[0] != '.' && name[^1] != '.'
            && name.All(c => char.IsLetterOrDigit(c) || c is '-' or '_' or '.' or '+' or '=');
    }

    /// <summary>A name with _ for what no folder may have.</summary>
    /// <param name="name">Any text.</param>
    public static string Clean(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        string clean = string.Concat(name.Select(c => IsGood($"a{c}a") ? c : '_')).Trim('.');
        return clean.Length == 0 ? "_" : clean[..Math.Min(clean.Length, 100)];
    }

    /// <summary>
    /// Gives pairs without a name that of their moving scan (with one fixed scan for all), or <c>MOVING_to_FIXED</c>: by the files'
    /// names where these differ, else by their paths below the folder that they share.
    /// </summary>
    /// <param name="source">What names the pairs, for errors.</param>
    /// <param name="pairs">The pairs; those without a name have an empty one.</param>
    /// <param name="oneFixed">Whether the fixed scan is the same for all.</param>
    /// <exception cref="InvalidFileException">Two pairs have one name.</exception>
    public static IReadOnlyList<CohortPair> Give(string source, IReadOnlyList<CohortPair> pairs, bool oneFixed)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        Func<string, string> moving = Namer(pairs.Select(pair => pair.Moving.Image));
        Func<string, string> others = oneFixed ? _ => string.Empty : Namer(pairs.Select(pair => pair.Fixed.Image));
        List<CohortPair> named =
        [
            .. pairs.Select(pair => pair.Id.Length > 0 ? pair : Named(pair, oneFixed
                ? moving(pair.Moving.Image)
                : $"{moving(pair.Moving.Image)}_to_{others(pair.Fixed.Image)}")),
        ];
        if (named.GroupBy(pair => pair.Id, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Skip(1).Any()) is { } twice)
        {
            throw new InvalidFileException(source, $"has two pairs of the name {twice.Key}", "give each its own in a column \"id\"");
        }

        return [.. named.Select(pair => pair with { Files = pair.Files with { Folder = pair.Id } })];
    }

    /// <summary>A file's name without its folder and without the ending of an image.</summary>
    /// <param name="file">The file.</param>
    public static string Stem(string file)
    {
        ArgumentNullException.ThrowIfNull(file);
        string name = Path.GetFileName(file);
        foreach (string ending in Endings)
        {
            name = name.EndsWith(ending, StringComparison.OrdinalIgnoreCase) ? name[..^ending.Length] : name;
        }

        return name;
    }

    private static CohortPair Named(CohortPair pair, string name) => pair with { Id = name };

    private static Func<string, string> Namer(IEnumerable<string> files)
    {
        string[] all = [.. files.Distinct(StringComparer.Ordinal)];
        bool differ = all.Select(Stem).Distinct(StringComparer.OrdinalIgnoreCase).Count() == all.Length;
        string shared = differ ? string.Empty : SharedFolder(all);
        return file => Clean(differ
            ? Stem(file)
            : Path.Combine(Path.GetDirectoryName(Path.GetRelativePath(shared, file)) ?? string.Empty, Stem(file)));
    }

    private static string SharedFolder(string[] files)
    {
        string folder = Path.GetDirectoryName(files[0])!;
        while (!files.All(file => file.StartsWith(Path.TrimEndingDirectorySeparator(folder) + Path.DirectorySeparatorChar, StringComparison.Ordinal))
            && Path.GetDirectoryName(folder) is string above)
        {
            folder = above;
        }

        return folder;
    }
}
