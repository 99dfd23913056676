namespace Ldr.App.Api;

/// <summary>
/// The built page, read once. Requests are looked up among the names that were found at the start: no request becomes a path.
/// </summary>
internal sealed class PageFiles
{
    private readonly Dictionary<string, (string Path, string Type)> files = new(StringComparer.Ordinal);

    public PageFiles(string? folder)
    {
        string? root = folder ?? Places().FirstOrDefault(place => File.Exists(Path.Combine(place, "index.html")));
        if (root is null || !Directory.Exists(root))
        {
            return;
        }

        foreach (string file in Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories))
        {
            files["/" + Path.GetRelativePath(root, file).Replace('\\', '/')] = (file, TypeOf(file));
        }
    }

    /// <summary>Whether the page was found.</summary>
    public bool IsBuilt => files.ContainsKey("/index.html");

    /// <summary>The file of a request's path, and its type; null where there is none.</summary>
    public (string Path, string Type)? Find(string path) => files.TryGetValue(path == "/" ? "/index.html" : path, out (string, string) file) ? file : null;

    /// <summary>In the repository that the program was built in, then beside the program.</summary>
    private static IEnumerable<string> Places()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Ldr.sln")))
            {
                yield return Path.Combine(folder.FullName, "src", "Ldr.App", "page", "dist");
            }
        }

        yield return Path.Combine(AppContext.BaseDirectory, "page");
    }

    private static string TypeOf(string file) => Path.GetExtension(file) switch
    {
        ".html" => "text/html; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".wasm" => "application/wasm",
        ".svg" => "image/svg+xml",
        ".png" => "image/png",
        ".txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
}
