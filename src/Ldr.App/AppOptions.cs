using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.App;

/// <summary>How the page is served.</summary>
public sealed record AppOptions
{
    /// <summary>The port on 127.0.0.1; 0 for any that is free.</summary>
    public int Port { get; init; }

    /// <summary>Files below this folder can be chosen in the page, and nothing outside it; null for none.</summary>
    public string? Folder { get; init; }

    /// <summary>
    /// Where uploads and results are kept, with the list of jobs. Null: a private folder that is removed at the end, or at the next start
    /// after a crash.
    /// </summary>
    public string? Session { get; init; }

    /// <summary>The built page; null: looked for in the repository, then beside the program.</summary>
    public string? Page { get; init; }

    /// <summary>Bytes of one upload, at most.</summary>
    public long MostUpload { get; init; } = 8L << 30;

    /// <summary>Jobs that wait, at most.</summary>
    public int MostWaiting { get; init; } = 100;

    /// <summary>Reads and writes transforms.</summary>
    public ITransformFormats Transforms { get; init; } = new RuntimeFormats();
}

/// <summary>Formats of transforms: those of Ldr.Runtime, and what the caller adds to them (ITK's .h5).</summary>
public interface ITransformFormats
{
    /// <summary>Whether ITK's lists (.h5) are read and written.</summary>
    bool HasLists { get; }

    /// <summary>Reads a transform.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fixedGrid">The fixed scan's grid.</param>
    /// <param name="movingGrid">The moving scan's grid.</param>
    /// <exception cref="InvalidFileException">It holds no transform that is read.</exception>
    Transform Read(string path, Grid? fixedGrid, Grid? movingGrid);

    /// <summary>Writes a transform in the format of the name.</summary>
    /// <param name="path">The file to make or replace, atomically.</param>
    /// <param name="transform">A field, an affine map, or a list where <see cref="HasLists"/>.</param>
    void Write(string path, Transform transform);
}

/// <summary>What Ldr.Runtime reads and writes by itself.</summary>
internal sealed class RuntimeFormats : ITransformFormats
{
    public bool HasLists => false;

    public Transform Read(string path, Grid? fixedGrid, Grid? movingGrid) => TransformFile.Read(path, fixedGrid, movingGrid);

    public void Write(string path, Transform transform)
    {
        switch (transform)
        {
            case Transform.Dense dense:
                TransformFile.WriteField(path, dense.Field);
                break;
            case Transform.Linear linear:
                TransformFile.WriteAffine(path, linear.World);
                break;
            default:
                throw new InvalidFileException(path, "is a list of transforms", "choose a displacement field");
        }
    }
}
