using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>
/// A BIDS folder, raw or of derivatives: <c>dataset_description.json</c> and
/// <c>sub-01[/ses-1]/anat/sub-01[_ses-1][_space-X][_desc-Y]_T1w.nii.gz</c>, label maps <c>…_dseg.nii.gz</c>, masks
/// <c>…_desc-brain_mask.nii.gz</c>. Source: the Brain Imaging Data Structure, 1.9, derivatives.
/// </summary>
public static class BidsFolder
{
    private static readonly string[] Named = ["sub", "ses", "run"];

    /// <summary>Hidden files too.</summary>
    private static readonly EnumerationOptions Everything = new() { AttributesToSkip = 0, IgnoreInaccessible = false };

    /// <summary>The scans of a folder, in the order of their names.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="query">Which files are scans and label maps; null: T1-weighted scans and their <c>dseg</c>.</param>
    /// <exception cref="InvalidFileException">It is no BIDS folder, holds no such scan, or more than one of a person, session and run.</exception>
    public static IReadOnlyList<BidsScan> Read(string folder, BidsQuery? query = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        BidsQuery wanted = query ?? new BidsQuery();
        if (!File.Exists(Path.Combine(folder, "dataset_description.json")))
        {
            throw new InvalidFileException(
                folder, "has no dataset_description.json", "give the folder of a BIDS data set or of its derivatives");
        }

        BidsScan[] scans =
        [
            .. Directory.GetDirectories(Path.GetFullPath(folder), "sub-*")
                .SelectMany(below => FileNode.FilesBelow(below, Everything))
                .Select(Entry.Of).OfType<Entry>()
                .OrderBy(entry => entry.File, StringComparer.Ordinal)
                .GroupBy(entry => entry.Scan, StringComparer.Ordinal)
                .Select(own => Scan(wanted, own.Key, [.. own])).OfType<BidsScan>()
                .OrderBy(scan => scan.Name, StringComparer.Ordinal),
        ];
        return scans.Length > 0 ? scans : throw new InvalidFileException(
            folder,
            $"holds no scan sub-…_{wanted.Suffix}.nii.gz{Words("space", wanted.Space)}{Words("desc", wanted.Desc)}",
            "name the suffix, space and desc of the scans");
    }

    /// <summary>The scans of some people and sessions.</summary>
    /// <param name="folder">The folder, for errors.</param>
    /// <param name="scans">Its scans.</param>
    /// <param name="participants">People, as in <c>sub-01</c>; none: all.</param>
    /// <param name="sessions">Sessions, as in <c>ses-1</c>; none: all.</param>
    /// <exception cref="InvalidFileException">One of the people, or every one of the sessions, has no scan.</exception>
    public static IReadOnlyList<BidsScan> Choose(
        string folder, IReadOnlyList<BidsScan> scans, IReadOnlyList<string> participants, IReadOnlyList<string> sessions)
    {
        string[] missing = [.. participants.Except(scans.Select(scan => scan.Participant))];
        if (missing.Length > 0)
        {
            throw new InvalidFileException(
                folder, $"holds no scan of {string.Join(", ", missing)}", "name participants whose scans it holds");
        }

        BidsScan[] chosen =
        [
            .. scans.Where(scan =>
                (participants.Count == 0 || participants.Contains(scan.Participant))
                && (sessions.Count == 0 || sessions.Contains(scan.Session ?? string.Empty))),
        ];
        return chosen.Length > 0
            ? chosen
            : throw new InvalidFileException(folder, "holds no scan of these sessions", "name sessions whose scans it holds");
    }

    private static string Words(string key, string? value) => value is null ? string.Empty : $", {key}-{value}";

    /// <summary>The scan of a name with its label map and its brain mask; null where it has no image of the kind that is asked for.</summary>
    private static BidsScan? Scan(BidsQuery query, string name, Entry[] own)
    {
        if (Only(
            $"{query.Suffix} scan",
            "space and desc",
            own.Where(e => e.Suffix == query.Suffix && e.Has("space", query.Space) && e.Has("desc", query.Desc))) is not { } image)
        {
            return null;
        }

        // Labels and masks are in the scan's space; those without the entity are in the native one.
        Entry[] beside = [.. own.Where(e => e["space"] == image["space"])];
        Entry? labels = Only(
            "label map", "the suffix and desc of labels", beside.Where(e => e.Suffix == query.Labels && e.Has("desc", query.LabelsDesc)));
        Entry? mask = Only("brain mask", "space", beside.Where(e => e.Suffix == "mask" && e["desc"] == "brain"));
        string? session = image["ses"] is { } label ? $"ses-{label}" : null;
        return new BidsScan(
            name, $"sub-{image["sub"]}", session, new CohortScan(image.File) { Labels = labels?.File, Mask = mask?.File });
    }

    /// <summary>The only one of a scan's files of a kind.</summary>
    private static Entry? Only(string what, string narrow, IEnumerable<Entry> entries)
    {
        Entry[] found = [.. entries.Take(2)];
        return found.Length < 2 ? found.FirstOrDefault() : throw new InvalidFileException(
            found[0].File,
            $"is not the only {what} of {found[0].Scan}: there is {Path.GetFileName(found[1].File)} too",
            $"choose by {narrow}");
    }

    /// <summary>A file with the entities of its name.</summary>
    private sealed record Entry(string File, string Suffix, IReadOnlyDictionary<string, string> Entities)
    {
        /// <summary>What tells one scan from the next.</summary>
        public string Scan { get; } = string.Join('_', Named.Where(Entities.ContainsKey).Select(key => $"{key}-{Entities[key]}"));

        public string? this[string key] => Entities.GetValueOrDefault(key);

        public bool Has(string key, string? value) => value is null || this[key] == value;

        /// <summary>A file's entry; null where its name is not that of a person's image.</summary>
        public static Entry? Of(string file)
        {
            string name = Path.GetFileName(file);
            if (!name.EndsWith(".nii", StringComparison.Ordinal) && !name.EndsWith(".nii.gz", StringComparison.Ordinal))
            {
                return null;
            }

            string[] words = PairNames.Stem(name).Split('_');
            if (!words[..^1].All(word => word.Contains('-', StringComparison.Ordinal)))
            {
                return null;
            }

            Dictionary<string, string> entities = [];
            foreach (string word in words[..^1])
            {
                int at = word.IndexOf('-', StringComparison.Ordinal);
                if (!entities.TryAdd(word[..at], word[(at + 1)..]))
                {
                    return null;
                }
            }

            return entities.ContainsKey("sub") ? new Entry(file, words[^1], entities) : null;
        }
    }
}
