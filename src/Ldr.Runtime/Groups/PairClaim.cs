namespace Ldr.Runtime.Groups;

/// <summary>
/// A pair that this process works on. Others that see it do something else first. It ends with the process, however that ends. Where a
/// file system knows no locks, two processes do the same pair, and write the same.
/// </summary>
internal sealed class PairClaim : IDisposable
{
    /// <summary>Errors of a file that another one holds: EAGAIN of Linux and of macOS, ERROR_SHARING_VIOLATION of Windows.</summary>
    private static readonly int[] Held = [11, 35, unchecked((int)0x80070020)];

    private readonly FileStream stream;

    private PairClaim(FileStream stream) => this.stream = stream;

    /// <summary>Claims a file's name; null where somebody has it.</summary>
    /// <param name="file">The file that will be written, in a folder that is there.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    internal static PairClaim? Try(string file)
    {
        string name = Path.Combine(Path.GetDirectoryName(file)!, $".{Path.GetFileName(file)}.claim");
        try
        {
            return new PairClaim(new FileStream(
                name, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose));
        }
        catch (IOException error) when (Held.Contains(error.HResult))
        {
            return null;
        }
        catch (DirectoryNotFoundException)
        {
            // Another process has just removed the empty folder that it gave up.
            return null;
        }
    }

    /// <summary>Claims a file's name, as soon as nobody has it.</summary>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    internal static PairClaim Wait(string file, CancellationToken cancellation)
    {
        while (true)
        {
            if (Try(file) is PairClaim claim)
            {
                return claim;
            }

            cancellation.WaitHandle.WaitOne(100);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Gives it back.</summary>
    public void Dispose() => stream.Dispose();
}
