namespace Ldr.Runtime.Inference;

/// <summary>Models that are known by a name: <c>hippocampus</c> instead of the path of a file.</summary>
public static class ModelShelf
{
    private const string Ending = ".safetensors";

    /// <summary>
    /// The folders that are searched, in this order: that of the environment variable <c>LDR_MODELS</c>, <c>models</c> at the root of
    /// the repository that the program was built in, beside the program, and in the current folder.
    /// </summary>
    public static IReadOnlyList<string> Folders()
    {
        List<string> folders = [];
        if (Environment.GetEnvironmentVariable("LDR_MODELS") is { Length: > 0 } own)
        {
            folders.Add(own);
        }

        string program = AppContext.BaseDirectory;
        for (DirectoryInfo? folder = new(program); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Ldr.sln")))
            {
                folders.Add(Path.Combine(folder.FullName, "models"));
                break;
            }
        }

        folders.Add(Path.Combine(program, "models"));
        folders.Add("models");
        return [.. folders.Where(Directory.Exists)];
    }

    /// <summary>Every model that is known by a name, in alphabetical order; the first folder that has a name decides.</summary>
    public static IReadOnlyList<(string Name, string File)> All() =>
    [
        .. Folders()
            .SelectMany(folder => Directory.EnumerateFiles(folder, "*" + Ending))
            .Select(file => (Name: Path.GetFileNameWithoutExtension(file), File: file))
            .DistinctBy(model => model.Name, StringComparer.Ordinal)
            .OrderBy(model => model.Name, StringComparer.Ordinal),
    ];

    /// <summary>The file of a model's name; null when no model has it.</summary>
    /// <param name="name">Without folder and ending.</param>
    public static string? Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length == 0 || name.AsSpan().ContainsAny('/', '\\')
            ? null
            : Folders().Select(folder => Path.Combine(folder, name + Ending)).FirstOrDefault(File.Exists);
    }
}
