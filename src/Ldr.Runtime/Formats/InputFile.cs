namespace Ldr.Runtime.Formats;

/// <summary>Opens files for reading and turns the system's errors into <see cref="InvalidFileException"/>.</summary>
internal static class InputFile
{
    /// <summary>
    /// The file that another one names: a path that is absolute on purpose, or one that stays in the folder of the file that
    /// names it.
    /// </summary>
    internal static string Beside(string path, string name)
    {
        string folder = Path.GetDirectoryName(path) ?? string.Empty;
        if (name.Length == 0 || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new InvalidFileException(path, "names no file of voxels", "name the file, or write the image as one file");
        }

        string root = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder.Length == 0 ? "." : folder)) + Path.DirectorySeparatorChar;
        if (!Path.IsPathRooted(name) && !Path.GetFullPath(name, root).StartsWith(root, StringComparison.Ordinal))
        {
            throw new InvalidFileException(
                path, $"names a file of voxels that is not in its folder ({name})", "put both in one folder, or give an absolute path");
        }

        return Path.Combine(folder, name);
    }

    internal static FileStream Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path))
        {
            throw new InvalidFileException(path, "is a folder", "name a file in it");
        }

        try
        {
            FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            if (!stream.CanSeek)
            {
                stream.Dispose();
                throw new InvalidFileException(path, "is a pipe or a device", "name a regular file");
            }

            return stream;
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InvalidFileException(path, "does not exist", "check the name and the folder", error);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new InvalidFileException(path, "may not be read", "check its permissions", error);
        }
        catch (IOException error)
        {
            throw new InvalidFileException(path, $"cannot be opened ({error.Message})", "check the file and its disk", error);
        }
    }
}
