using System.Collections.Concurrent;
using System.Globalization;

namespace Ldr.Runtime.Formats;

/// <summary>
/// Temporary files beside the files that they become. Their names say which process made them: <c>.NAME.MACHINE-PID-START-N.tmp</c>.
/// Promise: none stays where the program ends by itself, or by a signal at which it calls <see cref="RemoveUnfinished"/> (<c>ldr-fs</c> does
/// at INT, TERM, HUP and QUIT); what a killed process left is removed by the
/// next one that writes into the folder; and nothing else is ever deleted.
/// </summary>
internal static class Temporary
{
    /// <summary>Letters of the name that they become.</summary>
    private const int Letters = 40;

    private static readonly ConcurrentDictionary<string, bool> Unfinished = new(StringComparer.Ordinal);

    private static readonly ConcurrentDictionary<string, bool> Tidied = new(StringComparer.Ordinal);

    /// <summary>Held while a file is made, and while those that are not finished are removed.</summary>
    private static readonly Lock Gate = new();

    private static int made;

    /// <summary>Whether the program is about to end: what is made now nobody would remove.</summary>
    private static bool ending;

    /// <summary>Makes a file for what becomes another one, in its folder; what killed processes left there is removed, once.</summary>
    /// <param name="target">The file that it becomes.</param>
    /// <param name="file">Its name, to be given to <see cref="Remove"/> in the end, also where making it fails.</param>
    /// <exception cref="IOException">It cannot be made, or the program is ending.</exception>
    internal static FileStream Create(string target, out string file)
    {
        file = NameFor(target);
        lock (Gate)
        {
            if (ending)
            {
                throw new IOException("the program is ending");
            }

            FileStream stream = new(file, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16);
            Unfinished[file] = true;
            return stream;
        }
    }

    static Temporary() => AppDomain.CurrentDomain.ProcessExit += (_, _) => RemoveUnfinished();

    private static string NameFor(string target)
    {
        string folder = Path.GetDirectoryName(target) ?? string.Empty;
        string name = Path.GetFileName(target);
        if (Tidied.TryAdd(folder, true))
        {
            RemoveLeft(folder);
        }

        string start = name[..Math.Min(Letters, name.Length)];
        return Path.Combine(
            folder, string.Create(CultureInfo.InvariantCulture, $".{start}.{ProcessIdentity.Own}-{Interlocked.Increment(ref made)}.tmp"));
    }

    /// <summary>Removes a temporary file, if it is there still.</summary>
    internal static void Remove(string file)
    {
        Unfinished.TryRemove(file, out _);
        try
        {
            File.Delete(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The failure that led here is the one to report.
        }
    }

    /// <summary>Removes what this process has not finished; from now on it makes nothing new.</summary>
    internal static void RemoveUnfinished()
    {
        lock (Gate)
        {
            ending = true;
            foreach (string file in Unfinished.Keys)
            {
                Remove(file);
            }
        }
    }

    private static void RemoveLeft(string folder)
    {
        try
        {
            foreach (string file in Directory.EnumerateFiles(folder.Length == 0 ? "." : folder, ".*.tmp"))
            {
                // .NAME.MAKER.tmp
                if (IsLeft(Path.GetExtension(Path.GetFileNameWithoutExtension(file)).TrimStart('.')))
                {
                    Remove(file);
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // A folder that cannot be listed is left as it is.
        }
    }

    /// <summary>Whether a maker, <c>MACHINE-PID-START-N</c>, is of this machine and of a process that has ended.</summary>
    private static bool IsLeft(string maker) => maker.LastIndexOf('-') is int end and > 0 && ProcessIdentity.HasEnded(maker[..end]);
}
