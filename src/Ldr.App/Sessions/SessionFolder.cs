using System.Security.Cryptography;
using Ldr.Runtime.Formats;

namespace Ldr.App.Sessions;

/// <summary>
/// The private folder of one program (0700). Promise: a folder that the user did not name is removed at the end; what a killed program
/// left is removed at the next start; and no folder of a program that is running is ever removed.
/// </summary>
internal sealed class SessionFolder : IDisposable
{
    private const string LockName = "lock";

    private readonly FileStream held;
    private readonly bool kept;

    private SessionFolder(string path, FileStream held, bool kept) => (Path, this.held, this.kept) = (path, held, kept);

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>Where uploads lie.</summary>
    public string Uploads => System.IO.Path.Combine(Path, "uploads");

    /// <summary>Where each job has its folder.</summary>
    public string Jobs => System.IO.Path.Combine(Path, "jobs");

    /// <summary>The folder of all sessions of this user.</summary>
    public static string Root => System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"ldr-app-{Environment.UserName}");

    /// <summary>Makes a folder that lasts as long as the program, or opens the one that the user names.</summary>
    /// <exception cref="InvalidFileException">It cannot be made private, or another program uses it.</exception>
    public static SessionFolder Open(string? named)
    {
        if (named is not null)
        {
            string own = MakePrivate(System.IO.Path.GetFullPath(named));
            FileStream mine = TryHold(own)
                ?? throw new InvalidFileException(named, "is in use by another ldr-fs app", "end that one, or name another folder");
            return Prepared(own, mine, kept: true);
        }

        string root = MakePrivate(Root);

        // Two starts at once would take each other's new folder for one that was left.
        using FileStream starting = Wait(root);
        RemoveLeft(root);
        string path = MakePrivate(System.IO.Path.Combine(root, Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))));
        return Prepared(path, TryHold(path)!, kept: false);
    }

    /// <summary>Frees disk space: bytes that may still be written beside this folder.</summary>
    public long FreeBytes() => new DriveInfo(Path).AvailableFreeSpace;

    /// <summary>Removes the folder, unless the user named it.</summary>
    public void Dispose()
    {
        if (!kept)
        {
            Remove(Path);
        }

        held.Dispose();
    }

    private static SessionFolder Prepared(string path, FileStream held, bool kept)
    {
        SessionFolder session = new(path, held, kept);
        MakePrivate(session.Uploads);
        MakePrivate(session.Jobs);
        return session;
    }

    private static string MakePrivate(string path)
    {
        try
        {
            if (PrivateFolder.TryMake(path))
            {
                return path;
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidFileException(path, $"cannot be made ({error.Message})", "name another folder", error);
        }

        throw new InvalidFileException(path, "is a link, or another user's folder", "name another folder, or remove it");
    }

    /// <summary>The lock of a folder, which the system gives back when its program ends, however it ends; null: it is held.</summary>
    private static FileStream? TryHold(string folder)
    {
        try
        {
            return new FileStream(
                System.IO.Path.Combine(folder, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static FileStream Wait(string root)
    {
        for (int tries = 0; ; tries++)
        {
            if (TryHold(root) is FileStream held)
            {
                return held;
            }

            if (tries == 500)
            {
                throw new InvalidFileException(root, "is held by another program that starts", "try again");
            }

            Thread.Sleep(10);
        }
    }

    private static void RemoveLeft(string root)
    {
        foreach (string folder in Directory.EnumerateDirectories(root))
        {
            if (TryHold(folder) is FileStream left)
            {
                Remove(folder);
                left.Dispose();
            }
        }
    }

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The next start tries again.
        }
    }
}
