using System.Collections.Concurrent;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Scans and label maps that several pairs read, decoded once: as many as a bound of bytes allows, the least recently used go first.
/// </summary>
/// <param name="files">All files that will be read, as often as they will be.</param>
/// <param name="volume">Which volume of files that hold several.</param>
/// <param name="most">Bytes that are kept.</param>
internal sealed class ScanCache(IEnumerable<string> files, int? volume, long most)
{
    private readonly HashSet<string> repeated =
        [.. files.GroupBy(file => file, StringComparer.Ordinal).Where(group => group.Skip(1).Any()).Select(group => group.Key)];

    private readonly Dictionary<string, (string Digest, Lazy<Volume> Scan, long Used)> kept = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (FileStamp Stamp, bool IsWhole, string Digest)> digests = new(StringComparer.Ordinal);
    private readonly Lock gate = new();
    private long clock;

    /// <summary>A file with its digest, which is found once as long as the file is not written again.</summary>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    internal PairInput Look(string role, string file)
    {
        FileStamp? stamp = FileStamp.Of(file);
        if (!(digests.TryGetValue(file, out (FileStamp Stamp, bool IsWhole, string Digest) known) && known.Stamp == stamp))
        {
            known = (stamp ?? default, !OutputFiles.Behind(file).Skip(1).Any(), FileDigest.OfFile(file));
            digests[file] = known;
        }

        return new PairInput(role, file, known.Digest, known.IsWhole ? stamp : null);
    }

    /// <summary>The scan of a file; nobody changes its values.</summary>
    /// <param name="file">The file.</param>
    /// <param name="digest">Of its content now.</param>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    internal Volume Read(string file, string digest)
    {
        if (!repeated.Contains(file))
        {
            return Decode(file);
        }

        Lazy<Volume> scan;
        lock (gate)
        {
            scan = kept.TryGetValue(file, out (string Digest, Lazy<Volume> Scan, long Used) entry) && entry.Digest == digest
                ? entry.Scan
                : new Lazy<Volume>(() => Decode(file));
            kept[file] = (digest, scan, ++clock);
        }

        Volume read = scan.Value;
        Trim(file);
        return read;
    }

    private Volume Decode(string file) =>
        volume is int index && ImageFile.CountVolumes(file) > 1 ? ImageFile.Read(file, index) : ImageFile.Read(file);

    private void Trim(string newest)
    {
        lock (gate)
        {
            while (kept.Values.Sum(entry => entry.Scan.IsValueCreated ? 4 * entry.Scan.Value.Grid.Count : 0) > most && kept.Count > 1)
            {
                kept.Remove(kept.Where(entry => entry.Key != newest).MinBy(entry => entry.Value.Used).Key);
            }
        }
    }
}
