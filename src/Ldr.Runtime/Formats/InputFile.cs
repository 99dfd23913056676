namespace Ldr.Runtime.Formats;

/// <summary>
/// Opens files for reading and turns the system's errors into <see cref="InvalidFileException"/>. Promises: nothing but a regular file
/// is opened, so that no read waits for ever; and a file that another one names is read only where it lies in the folder of
/// that one, symbolic links resolved, unless <see cref="OutsideVariable"/> is set.
/// </summary>
public static class InputFile
{
    /// <summary>The environment variable that allows files to name files outside their folder, when it is 1.</summary>
    public const string OutsideVariable = "LDR_OUTSIDE_FILES";

    /// <summary>Whether <see cref="OutsideVariable"/> is set.</summary>
    public static bool AllowsOutside => Environment.GetEnvironmentVariable(OutsideVariable) == "1";

    /// <summary>Refuses what is no regular file, before another library opens it.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="InvalidFileException">It is a folder, a pipe or a device, or not there.</exception>
    public static void Check(string path) => Open(path).Dispose();

    /// <summary>Bytes of a text (JSON, CSV, points), at most.</summary>
    public const long MostText = 256L << 20;

    /// <summary>Refuses a text that is longer than <see cref="MostText"/>, or no regular file, before it is read.</summary>
    /// <param name="path">The file; one that is not there passes.</param>
    /// <exception cref="InvalidFileException">It is too long, a pipe or a device.</exception>
    public static void CheckText(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        NodeKind kind = FileNode.KindOf(path);
        if (kind is NodeKind.Pipe or NodeKind.Device)
        {
            throw new InvalidFileException(path, "is a pipe or a device", "name a regular file");
        }

        if (kind == NodeKind.Regular && new FileInfo(FileNode.RealPath(path)).Length is long length && length > MostText)
        {
            throw new InvalidFileException(path, $"is a text of {length >> 20} MB", $"give one of at most {MostText >> 20} MB");
        }
    }

    /// <summary>The file that another one names.</summary>
    internal static string Beside(string path, string name)
    {
        string folder = Path.GetDirectoryName(path) ?? string.Empty;
        if (name.Length == 0 || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new InvalidFileException(path, "names no file of voxels", "name the file, or write the image as one file");
        }

        string file = Path.Combine(folder, name);
        return IsBeside(path, file)
            ? file
            : throw new InvalidFileException(
                path,
                $"names a file of voxels that is not in its folder ({name})",
                $"put both in one folder, or set {OutsideVariable}=1 if you trust the file");
    }

    /// <summary>Whether a file may be read because another one names it: it lies in the folder of that one, or below it.</summary>
    /// <param name="path">The file that names the other.</param>
    /// <param name="file">The file that it names.</param>
    public static bool IsBeside(string path, string file)
    {
        if (AllowsOutside)
        {
            return true;
        }

        // A header that is itself a link may have its voxels where it stands or where it leads.
        string real = FileNode.RealPath(file);
        return Array.Exists(
            [FileNode.RealPath(Path.GetDirectoryName(Path.GetFullPath(path))!), Path.GetDirectoryName(FileNode.RealPath(path))!],
            folder => real.StartsWith(Path.TrimEndingDirectorySeparator(folder) + Path.DirectorySeparatorChar, StringComparison.Ordinal));
    }

    internal static FileStream Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        FileNode.CheckName(path);
        switch (FileNode.KindOf(path))
        {
            case NodeKind.Folder when FileContent.IsDicomFolder(path):
                throw new InvalidFileException(path, "is a folder of DICOM files", FileContent.ConvertDicom);
            case NodeKind.Folder:
                throw new InvalidFileException(path, "is a folder", "name a file in it");
            case NodeKind.Pipe or NodeKind.Device:
                throw new InvalidFileException(path, "is a pipe or a device", "name a regular file");
        }

        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
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
