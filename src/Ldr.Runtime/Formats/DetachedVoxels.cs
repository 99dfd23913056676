using System.Text;

namespace Ldr.Runtime.Formats;

/// <summary>
/// Images in two files, a header and its voxels. Promise: whoever reads the header sees the old voxels or the new ones, never new
/// voxels under the old header. New voxels get a name that no file has; the header follows; last goes the file that the
/// old header named, where the name is one of ours and no other header names it.
/// </summary>
internal static class DetachedVoxels
{
    /// <summary>Bytes in which a header names its voxels.</summary>
    private const int MostHeader = 1 << 16;

    /// <summary>Writes the voxels, then the header that names them.</summary>
    /// <param name="path">The header's file.</param>
    /// <param name="ending">The ending of the voxels' file, such as <c>.raw.gz</c>.</param>
    /// <param name="voxels">Writes the voxels.</param>
    /// <param name="header">The header's content, from the name of the voxels' file.</param>
    /// <param name="named">The voxels' file that a header names; null when that cannot be told.</param>
    internal static void Write(
        string path, string ending, Action<Stream> voxels, Func<string, byte[]> header, Func<string, string?> named)
    {
        string? old = FileNode.KindOf(path) == NodeKind.Regular ? Try(path, named) : null;
        string file = Names(path, ending).First(name => FileNode.KindOf(name) == NodeKind.Missing);
        AtomicFile.Write(file, voxels);
        byte[] content = header(Path.GetFileName(file));
        AtomicFile.Write(path, stream => stream.Write(content));
        if (old is not null && IsOurs(path, old) && !IsNamedElsewhere(path, old))
        {
            File.Delete(old);
        }
    }

    /// <summary>Bytes that the name of the voxels' file may have more than the header's: <c>.999.raw.gz</c> for <c>.nhdr</c>.</summary>
    internal static int MoreBytesOf(string path) => Path.GetExtension(path).ToUpperInvariant() switch
    {
        ".MHD" => ".999.zraw".Length - ".mhd".Length,
        ".NHDR" => ".999.raw.gz".Length - ".nhdr".Length,
        _ => 0,
    };

    /// <summary>name.raw, name.1.raw, …</summary>
    private static IEnumerable<string> Names(string path, string ending)
    {
        string stem = Path.Combine(Path.GetDirectoryName(path) ?? string.Empty, StemOf(path));
        yield return ending == ".raw" ? stem + Path.GetExtension(path) + ending : stem + ending;
        for (int number = 1; ; number++)
        {
            yield return FormattableString.Invariant($"{stem}.{number}{ending}");
        }
    }

    /// <summary>Whether a file of voxels lies beside its header and has a name that <see cref="Names"/> gives.</summary>
    private static bool IsOurs(string path, string file)
    {
        string stem = StemOf(path);
        string name = Path.GetFileName(file);
        return FolderOf(file) == FolderOf(path)
            && name.StartsWith(stem + ".", StringComparison.Ordinal)
            && Array.Exists([".raw", ".zraw", ".raw.gz"], ending => name.EndsWith(ending, StringComparison.Ordinal));
    }

    /// <summary>
    /// The name of a header's file without its ending, as a header can name it: a <c>%</c> or <c>LIST</c> would be a pattern of several
    /// files, and blanks at its ends and control characters would be lost.
    /// </summary>
    private static string StemOf(string path)
    {
        string stem = Path.GetFileNameWithoutExtension(path);
        char[] letters = [.. stem.Select(c => c == '%' || char.IsControl(c) || c is '\u2028' or '\u2029' ? '_' : c)];
        if (letters.Length == 0)
        {
            return "_";
        }

        letters[0] = char.IsWhiteSpace(letters[0]) ? '_' : letters[0];
        letters[^1] = char.IsWhiteSpace(letters[^1]) ? '_' : letters[^1];
        string safe = new(letters);
        return safe.StartsWith("LIST", StringComparison.Ordinal) ? "_" + safe : safe;
    }

    /// <summary>Whether another header of the folder holds the name of a file of voxels, such as a copy of this one.</summary>
    private static bool IsNamedElsewhere(string path, string file)
    {
        string folder = FolderOf(path);
        string own = FileNode.RealPath(path);
        byte[] name = Encoding.UTF8.GetBytes(Path.GetFileName(file));
        byte[] start = new byte[MostHeader];
        foreach (string other in Directory.EnumerateFiles(folder))
        {
            if (MoreBytesOf(other) == 0)
            {
                continue;
            }

            try
            {
                if (FileNode.RealPath(other) == own)
                {
                    continue;
                }

                using FileStream header = InputFile.Open(other);
                int length = header.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
                if (start.AsSpan(0, length).IndexOf(name) >= 0)
                {
                    return true;
                }
            }
            catch (InvalidFileException)
            {
                // No header: a folder, a link to nothing, a circle of links.
            }
            catch (IOException)
            {
                return true;
            }
        }

        return false;
    }

    private static string FolderOf(string path) => FileNode.RealPath(Path.GetDirectoryName(Path.GetFullPath(path))!);

    private static string? Try(string path, Func<string, string?> named)
    {
        try
        {
            return named(path);
        }
        catch (InvalidFileException)
        {
            return null;
        }
    }
}
