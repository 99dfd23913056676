using Ldr.App.Api;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;

namespace Ldr.App.Folders;

/// <summary>One line of a listing.</summary>
/// <param name="Name">The name.</param>
/// <param name="Path">The path below the folder, with <c>/</c>.</param>
/// <param name="Kind"><c>folder</c>, <c>run</c>, <c>cohort</c>, <c>image</c>, <c>transform</c> or <c>points</c>.</param>
/// <param name="Size">Bytes; 0 for folders.</param>
internal sealed record FolderEntry(string Name, string Path, string Kind, long Size);

/// <summary>A folder's listing.</summary>
/// <param name="Path">The path below the folder; empty for itself.</param>
/// <param name="Entries">Folders first, then files that are read, by name.</param>
/// <param name="Cut">Whether there are more.</param>
internal sealed record FolderListing(string Path, IReadOnlyList<FolderEntry> Entries, bool Cut);

/// <summary>
/// The folder of <c>--folder</c>. Promise: no path that a client gives leads out of it, be it by <c>..</c>, as an absolute path, or by
/// symbolic links in any of its parts.
/// </summary>
internal sealed class DataFolder
{
    private const int MostEntries = 5000;

    private readonly string root;

    /// <exception cref="InvalidFileException">There is no such folder.</exception>
    public DataFolder(string path)
    {
        root = FileNode.RealPath(path);
        if (!Directory.Exists(root))
        {
            throw new InvalidFileException(path, "is no folder", "give the folder that holds the scans to --folder");
        }
    }

    /// <summary>The real path of a file in it.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public string FileAt(string path)
    {
        string real = Inside(path);
        return FileNode.KindOf(real) == NodeKind.Regular ? real : throw NotThere(path);
    }

    /// <summary>The real path of a folder in it; an empty path is itself.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public string FolderAt(string path)
    {
        string real = Inside(path);
        return Directory.Exists(real) ? real : throw NotThere(path);
    }

    /// <summary>The path below the folder of a file that another one names; null where it lies outside, or nowhere.</summary>
    public string? PathOf(string file)
    {
        string real = FileNode.RealPath(file);
        return IsInside(real) && File.Exists(real) ? Path.GetRelativePath(root, real).Replace('\\', '/') : null;
    }

    /// <summary>What is in a folder.</summary>
    public FolderListing List(string path)
    {
        string real = FolderAt(path);
        string clean = Path.GetRelativePath(root, real).Replace('\\', '/');
        clean = clean == "." ? string.Empty : clean;
        List<FolderEntry> entries = [];
        bool cut = false;
        foreach (FileSystemInfo info in new DirectoryInfo(real).EnumerateFileSystemInfos())
        {
            if (info.Name[0] == '.' || Entry(clean, info) is not FolderEntry entry)
            {
                continue;
            }

            if (entries.Count == MostEntries)
            {
                cut = true;
                break;
            }

            entries.Add(entry);
        }

        static int Order(FolderEntry e) => e.Kind is "folder" or "run" or "cohort" ? 0 : 1;
        return new FolderListing(clean, [.. entries.OrderBy(Order).ThenBy(e => e.Name, StringComparer.OrdinalIgnoreCase)], cut);
    }

    private static ApiException NotThere(string path) => ApiException.NotFound($"{Inbox.ShownName(path)}: is not in the folder");

    private FolderEntry? Entry(string folder, FileSystemInfo info)
    {
        string path = folder.Length == 0 ? info.Name : $"{folder}/{info.Name}";
        string real;
        try
        {
            real = FileNode.RealPath(info.FullName);
        }
        catch (InvalidFileException)
        {
            // A circle of links.
            return null;
        }

        if (!IsInside(real))
        {
            return null;
        }

        if (Directory.Exists(real))
        {
            string kind = File.Exists(Path.Combine(real, "metrics.jsonl")) ? "run"
                : File.Exists(Path.Combine(real, "group.tsv")) ? "cohort"
                : "folder";
            return new FolderEntry(info.Name, path, kind, 0);
        }

        return Inbox.KindOf(info.Name) is (_, FileRole role) && File.Exists(real)
            ? new FolderEntry(info.Name, path, role.ToString().ToLowerInvariant(), new FileInfo(real).Length)
            : null;
    }

    private string Inside(string path)
    {
        if (path.Contains('\0', StringComparison.Ordinal) || path.Contains('\\', StringComparison.Ordinal) || path.Length > 4096)
        {
            throw NotThere(path);
        }

        string real;
        try
        {
            real = FileNode.RealPath(Path.Combine(root, path.Length == 0 ? "." : path));
        }
        catch (Exception error) when (error is InvalidFileException or IOException or UnauthorizedAccessException)
        {
            throw NotThere(path);
        }

        return IsInside(real) ? real : throw NotThere(path);
    }

    private bool IsInside(string real) =>
        real == root || real.StartsWith(Path.TrimEndingDirectorySeparator(root) + Path.DirectorySeparatorChar, StringComparison.Ordinal);
}
