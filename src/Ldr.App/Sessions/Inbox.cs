using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text.Json;
using Ldr.App.Api;
using Ldr.App.Folders;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;

namespace Ldr.App.Sessions;

/// <summary>The files that jobs can use. Names that clients give are kept as words only: on disk a file is its id and a known ending.</summary>
internal sealed class Inbox(SessionFolder session, DataFolder? folder, long mostBytes)
{
    /// <summary>Bytes of disk that an upload leaves free.</summary>
    private const long KeptFree = 1L << 30;

    private const int LongestName = 200;

    private static readonly (string Ending, FileRole Role)[] Endings =
    [
        (".nii.gz", FileRole.Image), (".nii", FileRole.Image), (".mha", FileRole.Image), (".nrrd", FileRole.Image),
        (".h5", FileRole.Transform), (".tfm", FileRole.Transform), (".txt", FileRole.Transform), (".mat", FileRole.Transform),
        (".lta", FileRole.Transform), (".csv", FileRole.Points), (".mrk.json", FileRole.Points), (".fcsv", FileRole.Points),
    ];

    private readonly ConcurrentDictionary<string, StoredFile> files = new(StringComparer.Ordinal);
    private readonly DecodedScans decoded = new();

    /// <summary>Bytes of one upload, at most.</summary>
    public long MostBytes => mostBytes;

    /// <summary>Every file, by name.</summary>
    public IEnumerable<StoredFile> All => files.Values.OrderBy(file => file.Name, StringComparer.Ordinal);

    /// <summary>What the end of a name says; null for a kind that is not read.</summary>
    public static (string Ending, FileRole Role)? KindOf(string name)
    {
        (string Ending, FileRole Role) kind =
            Array.Find(Endings, e => name.EndsWith(e.Ending, StringComparison.OrdinalIgnoreCase));
        return kind.Ending is null ? null : kind;
    }

    /// <summary>Takes up what an earlier program left in a folder that the user named.</summary>
    public void Load()
    {
        foreach (string part in Directory.EnumerateFiles(session.Uploads, "*.part"))
        {
            File.Delete(part);
        }

        foreach (string card in Directory.EnumerateFiles(session.Uploads, "*.card.json"))
        {
            try
            {
                StoredFile? file = JsonSerializer.Deserialize(File.ReadAllBytes(card), AppJson.Default.StoredFile);
                if (file is not null && PathOf(file) is string path && File.Exists(path))
                {
                    files[file.Id] = file with { Path = path };
                }
            }
            catch (JsonException)
            {
                // Damaged: as if it was not there.
            }
        }
    }

    /// <summary>The file of an id.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    public StoredFile Get(string id) =>
        files.TryGetValue(id, out StoredFile? file) ? file : throw ApiException.NotFound($"there is no file {Short(id)}");

    /// <summary>The image of a file; nobody changes its values.</summary>
    /// <param name="file">The file.</param>
    /// <param name="volume">Which volume, where it holds several.</param>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    public Volume Read(StoredFile file, int? volume) => decoded.Read(file, file.Volumes > 1 ? volume : null);

    /// <summary>Stores an upload.</summary>
    /// <param name="name">As the user knows it.</param>
    /// <param name="body">Its content.</param>
    /// <param name="cancellation">Ends it; nothing stays.</param>
    /// <exception cref="ApiException">It is of no kind that is read, too long, or cut.</exception>
    public async Task<StoredFile> Receive(string name, Stream body, CancellationToken cancellation)
    {
        string shown = ShownName(name);
        (string ending, FileRole role) = KindOf(shown) ?? throw ApiException.Unreadable(WrongKind(shown));
        string id = NewId();
        string path = Path.Combine(session.Uploads, id + ending);
        string part = path + ".part";
        try
        {
            long size = await Copy(shown, body, part, cancellation).ConfigureAwait(false);
            File.Move(part, path);
            return Add(new StoredFile(id, shown, role, size) { Path = path });
        }
        catch
        {
            File.Delete(part);
            File.Delete(path);
            throw;
        }
    }

    /// <summary>Takes a file below <c>--folder</c>, which stays where it is.</summary>
    /// <exception cref="ApiException">There is no such file in it, or none that is read.</exception>
    public StoredFile Choose(string path)
    {
        string real = (folder ?? throw ApiException.NotFound("no folder was given to ldr-fs app: --folder DIR")).FileAt(path);
        string name = Path.GetFileName(real);
        FileRole role = (KindOf(name) ?? throw ApiException.Unreadable(WrongKind(name))).Role;
        StoredFile? known = files.Values.FirstOrDefault(file => file.FolderPath == path);
        return known ?? Add(new StoredFile(NewId(), name, role, new FileInfo(real).Length) { Path = real, FolderPath = path });
    }

    /// <summary>Forgets a file; an upload is deleted.</summary>
    public void Remove(string id)
    {
        StoredFile file = Get(id);
        files.TryRemove(id, out _);
        decoded.Forget(id);
        File.Delete(CardOf(id));
        if (file.FolderPath is null)
        {
            File.Delete(file.Path);
        }
    }

    /// <summary>The same line with the user's name of the file in place of where it lies.</summary>
    public string Line(InvalidFileException error)
    {
        StoredFile? file = files.Values.FirstOrDefault(file => file.Path == error.Path);
        return $"{file?.Name ?? Path.GetFileName(error.Path)}: {error.Problem}; {error.Remedy}";
    }

    internal static string ShownName(string name)
    {
        string last = name[(name.LastIndexOfAny(['/', '\\']) + 1)..];
        string clean = string.Concat(last.Where(c => !char.IsControl(c) && !(c is >= '\u202A' and <= '\u202E' or >= '\u2066' and <= '\u2069')));
        return clean.Length <= LongestName ? clean : clean[^LongestName..];
    }

    private static string Short(string text) => text.Length <= 40 ? ShownName(text) : ShownName(text[..40]) + "…";

    private static string NewId() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));

    private static string WrongKind(string name) =>
        $"{name}: is no kind of file that is read here; give {string.Join(", ", Endings.Select(e => e.Ending))}"
        + (name.EndsWith(".mhd", StringComparison.OrdinalIgnoreCase) || name.EndsWith(".nhdr", StringComparison.OrdinalIgnoreCase)
            ? " (one file that holds its voxels itself)"
            : string.Empty);

    private async Task<long> Copy(string name, Stream body, string path, CancellationToken cancellation)
    {
        FileStream file = new(path, FileMode.CreateNew, FileAccess.Write, FileShare.None);
        await using (file.ConfigureAwait(false))
        {
            byte[] buffer = new byte[1 << 20];
            long size = 0;
            for (int n; (n = await body.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0; size += n)
            {
                if (size + n > mostBytes)
                {
                    throw ApiException.TooLarge($"{name}: is longer than {mostBytes >> 20} MB, which is the most that is taken");
                }

                if ((size >> 26) != ((size + n) >> 26) && session.FreeBytes() < KeptFree)
                {
                    throw ApiException.TooLarge($"{name}: the disk is nearly full; free some space, or set TMPDIR");
                }

                await file.WriteAsync(buffer.AsMemory(0, n), cancellation).ConfigureAwait(false);
            }

            return size;
        }
    }

    private string CardOf(string id) => Path.Combine(session.Uploads, id + ".card.json");

    private string? PathOf(StoredFile file)
    {
        try
        {
            return file.FolderPath is string path ? folder?.FileAt(path)
                : KindOf(file.Name) is (string ending, _) ? Path.Combine(session.Uploads, file.Id + ending)
                : null;
        }
        catch (ApiException)
        {
            return null;
        }
    }

    /// <summary>Looks at the header, so that a file that cannot be read is refused at once.</summary>
    private StoredFile Add(StoredFile file)
    {
        if (file.Role == FileRole.Image)
        {
            try
            {
                Grid grid = ImageFile.ReadGrid(file.Path);
                file = file with { Grid = grid.ToString(), Volumes = ImageFile.CountVolumes(file.Path) };
            }
            catch (InvalidFileException error)
            {
                throw ApiException.Unreadable($"{file.Name}: {error.Problem}; {error.Remedy}");
            }
        }

        AtomicFile.Write(CardOf(file.Id), stream => JsonSerializer.Serialize(stream, file, AppJson.Default.StoredFile));
        files[file.Id] = file;
        return file;
    }
}
