using System.Collections.Concurrent;
using Ldr.Runtime.Formats;

namespace Ldr.App.Sessions;

/// <summary>Images as the page's viewer reads them, whatever format they are in: NIfTI, not packed. Made at the first look.</summary>
internal sealed class ViewFiles(SessionFolder session)
{
    private readonly ConcurrentDictionary<string, Lazy<string>> made = new(StringComparer.Ordinal);

    /// <summary>The view of an image.</summary>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    public string Of(StoredFile file, int? volume)
    {
        string name = $"{file.Id}{(file.Volumes > 1 ? $"-{volume}" : string.Empty)}.view";
        Lazy<string> view = made.GetOrAdd(name, _ => new Lazy<string>(() =>
        {
            string path = Path.Combine(session.Uploads, name + ".nii");
            ImageFile.Write(path, ImageFile.Read(file.Path, file.Volumes > 1 ? volume ?? 0 : null));
            return path;
        }));
        try
        {
            return view.Value;
        }
        catch
        {
            made.TryRemove(name, out _);
            throw;
        }
    }
}
