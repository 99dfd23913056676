using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>A folder of scans, each of which is registered to a template.</summary>
public static class ScanFolder
{
    /// <summary>The pairs of a folder, in the order of the names.</summary>
    /// <param name="folder">The folder with the scans themselves; folders in it are not looked at.</param>
    /// <param name="template">The fixed scan of every pair; where it lies in the folder, it is left out.</param>
    /// <exception cref="InvalidFileException">It holds no scan.</exception>
    public static CohortPlan Read(string folder, CohortScan template)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(template);
        if (!Directory.Exists(folder))
        {
            throw new InvalidFileException(folder, "does not exist", "name a folder of scans, a table of pairs or a data set");
        }

        string own = FileNode.RealPath(template.Image);
        string[] scans =
        [
            .. Directory.EnumerateFiles(folder).Select(Path.GetFullPath)
                .Where(file => ImageFile.CanWrite(file) && Path.GetFileName(file)[0] != '.')
                .Order(StringComparer.Ordinal),
        ];
        string[] others = [.. scans.Where(file => FileNode.RealPath(file) != own)];
        if (others.Length == 0)
        {
            throw new InvalidFileException(
                folder, "holds no scan beside the template", $"name the folder with the scans themselves ({ImageFile.Extensions}), or a table of pairs");
        }

        CohortPair[] pairs = [.. others.Select(file => new CohortPair(string.Empty, template, new CohortScan(file)))];
        return new CohortPlan(
            PairNames.Give(folder, pairs, oneFixed: true),
            others.Length == scans.Length ? [] : [$"{template.Image}: is the template, and is not registered to itself"]);
    }
}
