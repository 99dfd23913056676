using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Ldr.Runtime.Formats;

/// <summary>
/// What files call the process that made them, <c>MACHINE-PID-START</c>, and whether that one has ended. Machines are told apart by
/// their names, their last boot and their spaces of process numbers (containers).
/// </summary>
internal static class ProcessIdentity
{
    /// <summary>Start times of one process may differ by so many seconds from one reading to another.</summary>
    private const long Slack = 3;

    private static readonly Lazy<string> Here = new(() =>
    {
        using Process process = Process.GetCurrentProcess();
        return string.Create(CultureInfo.InvariantCulture, $"{Machine()}-{process.Id}-{StartOf(process)}");
    });

    private static string? pretended;

    /// <summary>This process.</summary>
    internal static string Own => pretended ?? Here.Value;

    /// <summary>Makes this process one of another machine, of which nobody here can tell whether it has ended: for trials.</summary>
    internal static void Pretend(string machine) => pretended = $"{machine}-{Here.Value.Split('-', 2)[1]}";

    /// <summary>Whether a process is of this machine.</summary>
    internal static bool IsHere(string process) => process.Split('-')[0] == Own.Split('-')[0];

    /// <summary>Its number on its machine; null where the text names none.</summary>
    internal static int? NumberOf(string process) =>
        process.Split('-') is [_, string id, _] && int.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            ? number
            : null;

    /// <summary>Whether a process is of this machine and has ended; of another machine that cannot be told.</summary>
    internal static bool HasEnded(string process)
    {
        string[] parts = process.Split('-');
        if (parts.Length != 3
            || !IsHere(process)
            || NumberOf(process) is not int id
            || !long.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out long start))
        {
            return false;
        }

        try
        {
            using Process found = Process.GetProcessById(id);
            return Math.Abs(StartOf(found) - start) > Slack || IsZombie(id);
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

    /// <summary>Whether a process has ended and nobody has asked how, as happens in containers (Linux).</summary>
    private static bool IsZombie(int id)
    {
        string status = Read(() => File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/stat")));
        return status.AsSpan(status.LastIndexOf(')') + 1).TrimStart().StartsWith("Z", StringComparison.Ordinal);
    }

    private static long StartOf(Process process) => new DateTimeOffset(process.StartTime).ToUnixTimeSeconds();

    private static string Machine()
    {
        string boot = Read(() => File.ReadAllText("/proc/sys/kernel/random/boot_id"));
        string space = Read(() => new FileInfo("/proc/self/ns/pid").LinkTarget ?? string.Empty);
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{Environment.MachineName}\n{boot}\n{space}")))[..8];
    }

    /// <summary>What Linux says of itself; nothing elsewhere.</summary>
    private static string Read(Func<string> source)
    {
        try
        {
            return source();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return string.Empty;
        }
    }
}
