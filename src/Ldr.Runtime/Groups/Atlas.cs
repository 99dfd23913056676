using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Groups;

/// <summary>A scan whose structures are labelled, read when it is needed.</summary>
public sealed class Atlas
{
    private readonly Func<Volume> scan;
    private readonly Func<Volume> labels;

    /// <summary>An atlas in memory.</summary>
    /// <param name="name">How it is called in what is told.</param>
    /// <param name="scan">The scan.</param>
    /// <param name="labels">Its label map, on the same grid.</param>
    public Atlas(string name, Volume scan, Volume labels)
        : this(name, () => scan, () => labels)
    {
    }

    /// <summary>An atlas that is read when it is needed.</summary>
    /// <param name="name">How it is called in what is told.</param>
    /// <param name="scan">Reads the scan.</param>
    /// <param name="labels">Reads its label map, on the same grid.</param>
    public Atlas(string name, Func<Volume> scan, Func<Volume> labels)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(scan);
        ArgumentNullException.ThrowIfNull(labels);
        Name = name;
        this.scan = scan;
        this.labels = labels;
    }

    /// <summary>How it is called in what is told.</summary>
    public string Name { get; }

    /// <summary>An atlas in two files.</summary>
    /// <param name="name">How it is called in what is told.</param>
    /// <param name="scan">The scan's file.</param>
    /// <param name="labels">The label map's file.</param>
    public static Atlas OfFiles(string name, string scan, string labels) =>
        new(name, () => ImageFile.Read(scan), () => ReadLabels(labels));

    /// <summary>The scan.</summary>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    public Volume ReadScan() => scan();

    /// <summary>The label map that belongs to a scan.</summary>
    /// <param name="of">The scan that <see cref="ReadScan"/> gave.</param>
    /// <exception cref="InvalidFileException">It cannot be read, lies on another grid, or holds numbers that are no labels.</exception>
    public Volume ReadLabels(Volume of)
    {
        ArgumentNullException.ThrowIfNull(of);
        Volume map = labels();
        return map.Grid.SameAs(of.Grid)
            ? map
            : throw new InvalidFileException(
                Name, $"its label map lies on another grid ({map.Grid}) than its scan ({of.Grid})", "give the label map that belongs to it");
    }

    /// <summary>Reads a label map, and checks that it is one.</summary>
    internal static Volume ReadLabels(string file) => CheckLabels(file, ImageFile.Read(file));

    /// <summary>What was read of a file, if it is a label map.</summary>
    internal static Volume CheckLabels(string file, Volume map)
    {
        try
        {
            LabelFusion.Distinct([map]);
        }
        catch (ArgumentException error)
        {
            throw new InvalidFileException(file, error.Message, "give a label map", error);
        }

        return map;
    }
}
