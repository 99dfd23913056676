namespace Ldr.Runtime.Formats;

/// <summary>
/// Images in two files, a header and its voxels. Promise: whoever reads the header sees the old voxels or the new ones, never new
/// voxels under the old header. New voxels get a name that no file has; the header follows; last goes the file that the
/// old header named, where the name is one of ours.
/// </summary>
internal static class DetachedVoxels
{
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
        if (old is not null && IsOurs(path, old))
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
        string stem = path[..^Path.GetExtension(path).Length];
        yield return ending == ".raw" ? path + ending : stem + ending;
        for (int number = 1; ; number++)
        {
            yield return FormattableString.Invariant($"{stem}.{number}{ending}");
        }
    }

    /// <summary>Whether a file of voxels lies beside its header and has a name that <see cref="Names"/> gives.</summary>
    private static bool IsOurs(string path, string file)
    {
        string stem = Path.GetFileName(path[..^Path.GetExtension(path).Length]);
        string name = Path.GetFileName(file);
        return FolderOf(file) == FolderOf(path)
            && name.StartsWith(stem + ".", StringComparison.Ordinal)
            && Array.Exists([".raw", ".zraw", ".raw.gz"], ending => name.EndsWith(ending, StringComparison.Ordinal));
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
