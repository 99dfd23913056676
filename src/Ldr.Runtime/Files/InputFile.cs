namespace Ldr.Runtime;

/// <summary>Opens files for reading and turns the system's errors into <see cref="InvalidFileException"/>.</summary>
internal static class InputFile
{
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
