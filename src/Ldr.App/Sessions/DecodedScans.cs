using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;

namespace Ldr.App.Sessions;

/// <summary>
/// Images that were decoded lately, so that a job need not decode again what the page shows: those used last, as far as memory is
/// set aside for them. Nobody changes their values.
/// </summary>
internal sealed class DecodedScans
{
    /// <summary>Bytes that are kept at most.</summary>
    private static readonly long Most = Math.Min(1L << 30, Budget.Memory / 8);

    private readonly Lock gate = new();
    private readonly List<(Key Key, Lazy<Volume> Scan)> kept = [];

    private readonly record struct Key(string Id, int? Volume, long Length, DateTime Written);

    /// <summary>The image of a file.</summary>
    /// <param name="file">The file; one below <c>--folder</c> may have been written again.</param>
    /// <param name="volume">Which volume of a file that holds several.</param>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    public Volume Read(StoredFile file, int? volume)
    {
        FileInfo now = new(file.Path);
        if (!now.Exists)
        {
            return ImageFile.Read(file.Path, volume);
        }

        Key key = new(file.Id, volume, now.Length, now.LastWriteTimeUtc);
        Lazy<Volume> scan;
        lock (gate)
        {
            int at = kept.FindIndex(entry => entry.Key == key);
            scan = at >= 0 ? kept[at].Scan : new Lazy<Volume>(() => ImageFile.Read(file.Path, volume));
            if (at >= 0)
            {
                kept.RemoveAt(at);
            }

            kept.Add((key, scan));
        }

        try
        {
            Volume read = scan.Value;
            Trim();
            return read;
        }
        catch
        {
            Forget(file.Id);
            throw;
        }
    }

    /// <summary>Keeps nothing of a file.</summary>
    public void Forget(string id)
    {
        lock (gate)
        {
            kept.RemoveAll(entry => entry.Key.Id == id);
        }
    }

    private void Trim()
    {
        static long Bytes(Lazy<Volume> scan) => scan.IsValueCreated ? sizeof(float) * scan.Value.Grid.Count : 0;
        lock (gate)
        {
            while (kept.Sum(entry => Bytes(entry.Scan)) > Most)
            {
                kept.RemoveAt(0);
            }
        }
    }
}
