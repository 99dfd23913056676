using System.Collections.Concurrent;
using Ldr.Runtime.Formats;

namespace Ldr.App.Sessions;

/// <summary>Images as the page's viewer reads them, whatever format they are in. Made at the first look.</summary>
internal sealed class ViewFiles(SessionFolder session, Inbox inbox)
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
            ViewImage.Write(path, inbox.Read(file, volume ?? 0));
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
