using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

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

    /// <summary>Start times of one process may differ by so many seconds from one reading to another.</summary>
    private const long Slack = 3;

    private static readonly ConcurrentDictionary<string, bool> Unfinished = new(StringComparer.Ordinal);

    private static readonly ConcurrentDictionary<string, bool> Tidied = new(StringComparer.Ordinal);

    private static readonly Lazy<string> Own = new(() =>
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => RemoveUnfinished();
        using Process process = Process.GetCurrentProcess();
        return string.Create(CultureInfo.InvariantCulture, $"{Machine()}-{process.Id}-{StartOf(process)}");
    });

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
            folder, string.Create(CultureInfo.InvariantCulture, $".{start}.{Own.Value}-{Interlocked.Increment(ref made)}.tmp"));
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
    private static bool IsLeft(string maker)
    {
        string[] parts = maker.Split('-');
        if (parts.Length != 4
            || parts[0] != Own.Value.Split('-')[0]
            || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            || !long.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out long start))
        {
            return false;
        }

        try
        {
            using Process process = Process.GetProcessById(id);
            return Math.Abs(StartOf(process) - start) > Slack;
        }
        catch (ArgumentException)
        {
            return true;
        }
        catch (Exception error) when (error is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static long StartOf(Process process) => new DateTimeOffset(process.StartTime).ToUnixTimeSeconds();

    /// <summary>Which machine, and which of its spaces of process numbers (containers).</summary>
    private static string Machine()
    {
        string space = string.Empty;
        try
        {
            space = new FileInfo("/proc/self/ns/pid").LinkTarget ?? string.Empty;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Not Linux.
        }

        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{Environment.MachineName}\n{space}")))[..8];
    }
}
