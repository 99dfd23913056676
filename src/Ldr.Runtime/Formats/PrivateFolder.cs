namespace Ldr.Runtime.Formats;

/// <summary>
/// Folders of one user. Promise: what <see cref="TryMake"/> says yes to is a folder, no link; it belongs to the user of this process;
/// and nobody else may list or enter it.
/// </summary>
public static class PrivateFolder
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Makes a private folder, or makes one that is there private.</summary>
    /// <param name="path">The folder.</param>
    /// <returns>Whether it is private now: no where it is a link, or another user's.</returns>
    public static bool TryMake(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (OperatingSystem.IsWindows())
        {
            // Folders below the user's own are private there.
            Directory.CreateDirectory(path);
            return true;
        }

        string folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (new DirectoryInfo(folder).LinkTarget is not null)
        {
            return false;
        }

        Directory.CreateDirectory(folder, Private);
        if (!IsOwn(folder))
        {
            return false;
        }

        if (File.GetUnixFileMode(folder) != Private)
        {
            File.SetUnixFileMode(folder, Private);
        }

        return true;
    }

    /// <summary>Whether a file that this process makes in the folder has the owner of the folder.</summary>
    private static bool IsOwn(string folder)
    {
        string probe = string.Empty;
        try
        {
            Temporary.Create(Path.Combine(folder, "owner"), out probe).Dispose();
            return FileNode.OwnerOf(probe) == FileNode.OwnerOf(folder);
        }
        finally
        {
            Temporary.Remove(probe);
        }
    }
}
