using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Ldr.Runtime.Formats;

/// <summary>
/// A piece of work that one process has, of all processes on all machines that share a folder. A claim is a file
/// <c>.claims/WORK.N</c> in that folder, which says who has it and is written again every few seconds.
/// <list type="bullet">
/// <item>It is made with O_CREAT and O_EXCL: of two makers one fails. No lock is used.</item>
/// <item>It is dead when its process has ended on this machine, or when nobody has written it for <see cref="DeadAfter"/> on the clock
/// of the one who looks. Clocks of machines are not compared.</item>
/// <item>Who finds number N dead makes number N + 1, and looks again: a dead file is never replaced, so that no two take it over.</item>
/// <item>Who was taken for dead (a suspended machine) is told by <see cref="Lost"/>.</item>
/// </list>
/// Assumed of the file system: O_EXCL is atomic; what one machine has written another one reads after it opens the file, within
/// <see cref="DeadAfter"/>. NFS from version 3 on, Lustre, BeeGFS, GPFS and CephFS do this. Where it fails, two processes do the same
/// work; so the work writes whole files under their names, and the same ones.
/// </summary>
internal sealed class FileClaim : IDisposable
{
    /// <summary>The folder of claims.</summary>
    internal const string Folder = ".claims";

    /// <summary>Letters of a work's name in that of its file.</summary>
    private const int Letters = 80;

    /// <summary>Tries to make a file where its folder comes and goes.</summary>
    private const int MostTries = 1000;

    /// <summary>What an error says of a file that is there already: EEXIST, ERROR_FILE_EXISTS.</summary>
    private const int Exists = 17;
    private const int ExistsOnWindows = unchecked((int)0x80070050);

    /// <summary>What was read of claims that others have, and when it was new.</summary>
    private static readonly ConcurrentDictionary<string, (string Content, long Since)> Seen = new(StringComparer.Ordinal);

    private readonly string file;
    private readonly string owner;
    private readonly IReadOnlyList<string> dead;
    private readonly CancellationTokenSource lost = new();
    private readonly Timer timer;
    private readonly Lock gate = new();
    private long beats;
    private long last = Stopwatch.GetTimestamp();
    private bool ended;

    private FileClaim(string file, string owner, IReadOnlyList<string> dead)
    {
        (this.file, this.owner, this.dead) = (file, owner, dead);
        Lost = lost.Token;
        timer = new Timer(_ => Write(), null, Beat, Beat);
    }

    /// <summary>Time between two signs of life.</summary>
    internal static TimeSpan Beat { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Without a sign of life for so long, another machine's claim is dead.</summary>
    internal static TimeSpan DeadAfter { get; set; } = TimeSpan.FromSeconds(90);

    /// <summary>Is cancelled when somebody else has the work now.</summary>
    internal CancellationToken Lost { get; }

    /// <summary>Claims a piece of work; null where somebody has it.</summary>
    /// <param name="folder">The shared folder; it is there.</param>
    /// <param name="work">The name of the work.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder cannot be written.</exception>
    internal static FileClaim? Try(string folder, string work)
    {
        string claims = Path.Combine(folder, Folder);
        string name = NameOf(work);
        Dictionary<int, string> dead = [];
        foreach ((int number, string path) in Numbers(claims, name))
        {
            if (TryRead(path) is not string content || !IsDead(path, content))
            {
                return null;
            }

            dead[number] = content;
        }

        int next = dead.Keys.DefaultIfEmpty(0).Max() + 1;
        string file = PathOf(claims, name, next);
        string owner = $"{ProcessIdentity.Own} {Guid.NewGuid():N}";
        if (!Create(claims, file, Content(owner, 0)))
        {
            return null;
        }

        // Who took over before is seen now, and sees this one.
        foreach ((int number, string path) in Numbers(claims, name))
        {
            bool known = number == next || (dead.TryGetValue(number, out string? content) && TryRead(path) == content);
            if (!known)
            {
                Delete(file);
                return null;
            }
        }

        return new FileClaim(file, owner, [.. dead.Keys.Select(number => PathOf(claims, name, number))]);
    }

    /// <summary>Claims a piece of work, as soon as nobody has it.</summary>
    /// <param name="folder">The shared folder; it is there.</param>
    /// <param name="work">The name of the work.</param>
    /// <param name="cancellation">Stops waiting.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    internal static FileClaim Wait(string folder, string work, CancellationToken cancellation = default)
    {
        for (int pause = 5; ; pause = Math.Min(2 * pause, 250))
        {
            if (Try(folder, work) is FileClaim claim)
            {
                return claim;
            }

            cancellation.WaitHandle.WaitOne(pause);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Does something that only one process may do at a time, and that is short.</summary>
    internal static T Alone<T>(string folder, string work, Func<T> body)
    {
        using FileClaim claim = Wait(folder, work);
        return body();
    }

    /// <summary>Who has a piece of work; null where nobody has, as far as can be told without waiting.</summary>
    /// <param name="folder">The shared folder.</param>
    /// <param name="work">The name of the work.</param>
    internal static ClaimHolder? HolderOf(string folder, string work)
    {
        foreach ((_, string path) in Numbers(Path.Combine(folder, Folder), NameOf(work)).AsEnumerable().Reverse())
        {
            string process = TryRead(path)?.Split(' ')[0] ?? string.Empty;
            if (process.Length == 0 || ProcessIdentity.HasEnded(process))
            {
                continue;
            }

            // The clock of the file server may differ: this is told to people, and nothing hangs on it.
            TimeSpan silent = DateTime.UtcNow - File.GetLastWriteTimeUtc(path);
            bool here = ProcessIdentity.IsHere(process);
            if (here || silent < DeadAfter)
            {
                return new ClaimHolder(here ? ProcessIdentity.NumberOf(process) : null, silent > TimeSpan.Zero ? silent : TimeSpan.Zero);
            }
        }

        return null;
    }

    /// <summary>Removes claims of processes that ended after their work was done.</summary>
    internal static void Tidy(string folder)
    {
        string claims = Path.Combine(folder, Folder);
        try
        {
            foreach (string work in Directory.EnumerateFiles(claims).Select(file => Path.GetFileNameWithoutExtension(file)).Distinct().ToArray())
            {
                Try(folder, work)?.Dispose();
            }

            // Fails while somebody works.
            Directory.Delete(claims);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Others go on, or there is nothing.
        }
    }

    /// <summary>Before results are written: looks whether a process that was suspended still has its work.</summary>
    internal void Confirm()
    {
        if (Stopwatch.GetElapsedTime(last) > 2 * Beat)
        {
            Write();
        }
    }

    /// <summary>Gives the work back.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            if (ended)
            {
                return;
            }

            ended = true;
            timer.Dispose();
            foreach (string old in dead)
            {
                Seen.TryRemove(old, out _);
                Delete(old);
            }

            // What another one has made meanwhile stays.
            if (TryRead(file)?.StartsWith(owner, StringComparison.Ordinal) == true)
            {
                Delete(file);
            }

            lost.Dispose();
        }
    }

    private static string PathOf(string claims, string name, int number) =>
        Path.Combine(claims, string.Create(CultureInfo.InvariantCulture, $"{name}.{number}"));

    /// <summary>A name for a file: the work's own, or what tells it from others.</summary>
    private static string NameOf(string work)
    {
        string plain = string.Concat(work.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '~' ? c : '_'));
        return plain == work && plain.Length <= Letters
            ? plain
            : $"{plain[..Math.Min(plain.Length, Letters - 13)]}~{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(work)))[..12]}";
    }

    /// <summary>The claims of a piece of work that are there, in their order.</summary>
    private static List<(int Number, string Path)> Numbers(string claims, string name)
    {
        List<(int, string)> found = [];
        try
        {
            foreach (string path in Directory.EnumerateFiles(claims, name + ".*"))
            {
                string ending = Path.GetExtension(path);
                if (Path.GetFileNameWithoutExtension(path) == name
                    && int.TryParse(ending.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out int number))
                {
                    found.Add((number, path));
                }
            }
        }
        catch (DirectoryNotFoundException)
        {
            // No claim yet.
        }

        found.Sort();
        return found;
    }

    private static bool Create(string claims, string file, byte[] content)
    {
        FileStream? stream = null;
        for (int tries = 1; stream is null; tries++)
        {
            try
            {
                stream = new(file, FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, 0);
            }
            catch (Exception error) when (error is DirectoryNotFoundException || (error is FileNotFoundException && tries < MostTries))
            {
                // The first claim; or somebody has just removed the empty folder. A file is said to be missing where the folder was, and
                // somebody has made it since.
                Directory.CreateDirectory(claims);
            }
            catch (IOException error) when (error.HResult is Exists or ExistsOnWindows || File.Exists(file))
            {
                // Its owner may have given it back since.
                return false;
            }
        }

        try
        {
            using (stream)
            {
                stream.Write(content);
            }

            return true;
        }
        catch (IOException)
        {
            // The disk is full.
            Delete(file);
            throw;
        }
    }

    /// <summary>All contents of one claim have one length.</summary>
    private static byte[] Content(string owner, long beat) =>
        Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{owner} {beat:D12}\n"));

    private static string? TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (IOException)
        {
            // There, and not to be read now.
            return string.Empty;
        }
    }

    private static bool IsDead(string path, string content)
    {
        if (ProcessIdentity.HasEnded(content.Split(' ')[0]))
        {
            return true;
        }

        (string Content, long Since) seen = Seen.AddOrUpdate(
            path,
            _ => (content, Stopwatch.GetTimestamp()),
            (_, before) => before.Content == content ? before : (content, Stopwatch.GetTimestamp()));
        return Stopwatch.GetElapsedTime(seen.Since) > DeadAfter;
    }

    private static void Delete(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It dies by itself.
        }
    }

    /// <summary>A sign of life; or the news that the work is somebody else's.</summary>
    private void Write()
    {
        lock (gate)
        {
            if (ended || lost.IsCancellationRequested)
            {
                return;
            }

            try
            {
                string name = Path.GetFileNameWithoutExtension(file);
                int own = int.Parse(Path.GetExtension(file).AsSpan(1), CultureInfo.InvariantCulture);
                bool isOwn = TryRead(file) is string content && (content.Length == 0 || content.StartsWith(owner, StringComparison.Ordinal));
                if (!isOwn || Numbers(Path.GetDirectoryName(file)!, name).Any(other => other.Number > own))
                {
                    lost.Cancel();
                    return;
                }

                using FileStream stream = new(file, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, 0);
                stream.Write(Content(owner, ++beats));
                stream.Flush(flushToDisk: true);
                last = Stopwatch.GetTimestamp();
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // The next sign may come through.
            }
        }
    }
}

/// <summary>The process that has a piece of work.</summary>
/// <param name="Process">Its number; null where it is one of another machine.</param>
/// <param name="Silent">Time since its last sign of life.</param>
internal sealed record ClaimHolder(int? Process, TimeSpan Silent);
