using System.Formats.Tar;
using System.Text;

namespace Ldr.Runtime.Formats;

/// <summary>What stands under a path.</summary>
public enum NodeKind
{
    /// <summary>Nothing.</summary>
    Missing,

    /// <summary>A file with content of its own.</summary>
    Regular,

    /// <summary>A folder.</summary>
    Folder,

    /// <summary>A named pipe (FIFO): opening one may wait for ever.</summary>
    Pipe,

    /// <summary>A device such as <c>/dev/null</c>, or a socket.</summary>
    Device,
}

/// <summary>
/// Identity and kind of files. Promises: two paths of one file have one <see cref="RealPath"/>, however many symbolic links lead to it,
/// in whichever part of the path; and <see cref="KindOf"/> opens nothing, so that it never waits.
/// </summary>
public static class FileNode
{
    /// <summary>Links that lead to links, at most: more is a circle.</summary>
    private const int MostLinks = 40;

    /// <summary>Bytes of a file's name, at most: what ext4, XFS, APFS and NTFS take (there as UTF-16).</summary>
    private const int LongestName = 255;

    /// <summary>The absolute path without symbolic links. What does not exist yet is taken as it stands.</summary>
    /// <param name="path">A file or folder, there or not.</param>
    public static string RealPath(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        int links = MostLinks;
        return Resolve(Path.GetFullPath(path), ref links);
    }

    /// <summary>What stands under a path, symbolic links followed.</summary>
    /// <param name="path">A path.</param>
    public static NodeKind KindOf(string path)
    {
        string real = RealPath(path);
        if (Directory.Exists(real))
        {
            return NodeKind.Folder;
        }

        FileInfo file = new(real);
        if (!file.Exists)
        {
            return NodeKind.Missing;
        }

        // Pipes and devices have no length; the archive library is the part of .NET that tells them from empty files unopened.
        return file.Length > 0 || OperatingSystem.IsWindows() ? NodeKind.Regular : KindOfEmpty(real);
    }

    /// <summary>The files in a folder and below it, each folder once, whatever links lead to it.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="options">Which files and folders are passed over.</param>
    public static IEnumerable<string> FilesBelow(string folder, EnumerationOptions options)
    {
        HashSet<string> seen = new(StringComparer.Ordinal);
        Stack<string> open = new([folder]);
        while (open.TryPop(out string? next))
        {
            if (!seen.Add(RealPath(next)))
            {
                continue;
            }

            foreach (string file in Directory.EnumerateFiles(next, "*", options))
            {
                yield return file;
            }

            foreach (string inner in Directory.EnumerateDirectories(next, "*", options))
            {
                open.Push(inner);
            }
        }
    }

    /// <summary>The number of the user whose file or folder it is; null on Windows, which has none.</summary>
    /// <param name="path">A folder or an empty file that is there, no link.</param>
    internal static int? OwnerOf(string path) => OperatingSystem.IsWindows() ? null : Entry(path)?.Uid;

    /// <summary>What the archive library says of a file.</summary>
    private static TarEntry? Entry(string path)
    {
        using MemoryStream archive = new();
        using (TarWriter writer = new(archive, TarEntryFormat.Pax, leaveOpen: true))
        {
            writer.WriteEntry(path, "entry");
        }

        archive.Position = 0;
        using TarReader reader = new(archive);
        return reader.GetNextEntry();
    }

    private static NodeKind KindOfEmpty(string path)
    {
        try
        {
            return Entry(path)?.EntryType switch
            {
                TarEntryType.Fifo => NodeKind.Pipe,
                TarEntryType.RegularFile or TarEntryType.V7RegularFile => NodeKind.Regular,
                _ => NodeKind.Device,
            };
        }
        catch (UnauthorizedAccessException)
        {
            return NodeKind.Regular;
        }
        catch (IOException)
        {
            // A socket.
            return NodeKind.Device;
        }
    }

    /// <summary>Refuses a name that is longer than file systems take, before anything is computed for it.</summary>
    /// <param name="path">The file, as the user named it.</param>
    /// <param name="more">Bytes that the name of a file beside it has more, at most.</param>
    /// <exception cref="InvalidFileException">The name is too long.</exception>
    internal static void CheckName(string path, int more = 0)
    {
        string name = Path.GetFileName(path);
        int length = OperatingSystem.IsWindows() ? name.Length : Encoding.UTF8.GetByteCount(name);
        if (length > LongestName - more)
        {
            throw new InvalidFileException(
                path, $"has a name of {length} bytes", $"choose one of at most {LongestName - more}");
        }
    }

    private static string Resolve(string path, ref int links)
    {
        if (Path.GetDirectoryName(path) is not string folder)
        {
            return path;
        }

        string whole = Path.Combine(Resolve(folder, ref links), Path.GetFileName(path));
        if (LinkOf(whole) is not string target)
        {
            return whole;
        }

        return --links > 0
            ? Resolve(Path.GetFullPath(target, Path.GetDirectoryName(whole)!), ref links)
            : throw new InvalidFileException(path, "is a circle of symbolic links", "name a file");
    }

    private static string? LinkOf(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
