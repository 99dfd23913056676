namespace Ldr.Runtime.Formats;

/// <summary>Writes files so that a reader sees the old content or the new one, never a part.</summary>
public static class AtomicFile
{
    /// <summary>
    /// Calls the writer on a temporary file in the same folder, flushes it to disk and renames it to <paramref name="path"/>.
    /// When anything fails, the temporary file is deleted and an existing file stays as it was.
    /// </summary>
    /// <param name="path">The file to make or replace. A symbolic link is followed.</param>
    /// <param name="write">Writes the whole content; its exceptions, other than errors of the disk, pass through.</param>
    /// <exception cref="InvalidFileException">
    /// The folder is missing or may not be written to, the path is a folder or a read-only file, or the disk is full.
    /// </exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(write);
        string target = Target(path);
        bool inPlace = FileNode.KindOf(target) is NodeKind.Device or NodeKind.Pipe;
        string? temporary = null;
        try
        {
            if (inPlace)
            {
                // /dev/null, or a pipe that somebody reads: these must not be replaced by a file.
                using FileStream stream = new(target, FileMode.Open, FileAccess.Write);
                write(stream);
                return;
            }

            using (FileStream stream = Temporary.Create(target, out temporary))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            if (!OperatingSystem.IsWindows() && File.Exists(target))
            {
                File.SetUnixFileMode(temporary, File.GetUnixFileMode(target));
            }

            File.Move(temporary, target, overwrite: true);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new InvalidFileException(path, "may not be written", "check the folder's permissions or choose another place", error);
        }
        catch (IOException error)
        {
            throw new InvalidFileException(
                path, $"cannot be written ({error.Message})", "check the disk's free space or choose another place", error);
        }
        finally
        {
            if (temporary is not null)
            {
                Temporary.Remove(temporary);
            }
        }
    }

    /// <summary>
    /// Removes the temporary files of writes that are going on, for a program that is about to be ended by a signal. Whatever is
    /// written after it fails.
    /// </summary>
    public static void RemoveUnfinished() => Temporary.RemoveUnfinished();

    /// <summary>Writes a text as UTF-8; as <see cref="Write"/>.</summary>
    /// <exception cref="InvalidFileException">As <see cref="Write"/>.</exception>
    public static void WriteText(string path, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(text)));
    }

    /// <summary>Tells whether a file could be written, before time is spent on its content. Leaves nothing behind.</summary>
    /// <exception cref="InvalidFileException">The folder is missing or may not be written to, or the path is a folder or a read-only file.</exception>
    public static void CheckWritable(string path)
    {
        string target = Target(path);
        if (FileNode.KindOf(target) is NodeKind.Device or NodeKind.Pipe)
        {
            return;
        }

        string? probe = null;
        try
        {
            Temporary.Create(target, out probe).Dispose();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidFileException(path, "may not be written", "check the folder's permissions or choose another place", error);
        }
        finally
        {
            if (probe is not null)
            {
                Temporary.Remove(probe);
            }
        }
    }

    private static string Target(string path)
    {
        // The file of voxels beside a header has a longer name.
        FileNode.CheckName(path, DetachedVoxels.MoreBytesOf(path));
        string full = System.IO.Path.GetFullPath(path);
        if (Directory.Exists(full))
        {
            throw new InvalidFileException(path, "is a folder", "name a file in it");
        }

        string? folder = System.IO.Path.GetDirectoryName(full);
        if (folder is not null && !Directory.Exists(folder))
        {
            throw new InvalidFileException(path, $"the folder {folder} does not exist", "make it first or choose another place");
        }

        string target = FileNode.RealPath(full);

        // A rename asks the folder for permission, not the file, and root is refused nothing: whoever took the permission to
        // write from a file meant it.
        if (File.Exists(target) && File.GetAttributes(target).HasFlag(FileAttributes.ReadOnly))
        {
            throw new InvalidFileException(path, "is a read-only file", "choose another name, or make it writable first");
        }

        return target;
    }
}
