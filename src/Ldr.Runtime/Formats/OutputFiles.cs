namespace Ldr.Runtime.Formats;

/// <summary>
/// Keeps outputs away from inputs. Promise: no file that is read is overwritten, under whatever name, nor the file of voxels that
/// stands behind a header; and two outputs are never one file.
/// </summary>
public static class OutputFiles
{
    /// <summary>Refuses outputs that are read too, and two outputs of one file.</summary>
    /// <param name="inputs">Files that are read; those that are not there are passed over.</param>
    /// <param name="outputs">Files that will be written.</param>
    /// <exception cref="InvalidFileException">An output is one of the inputs, or of the other outputs.</exception>
    public static void CheckApart(IEnumerable<string> inputs, IEnumerable<string> outputs)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        ArgumentNullException.ThrowIfNull(outputs);
        HashSet<string> read = [.. inputs.SelectMany(Behind)];
        HashSet<string> written = [];
        foreach (string path in outputs)
        {
            foreach (string file in Behind(path))
            {
                if (read.Contains(file))
                {
                    throw new InvalidFileException(path, "is read too, and would be overwritten", "give the output its own name");
                }

                if (!written.Add(file) && FileNode.KindOf(file) is NodeKind.Missing or NodeKind.Regular)
                {
                    throw new InvalidFileException(path, "is named as two outputs", "give each its own name");
                }
            }
        }
    }

    /// <summary>The files behind a name: itself, and the voxels that its header names. New voxels never replace a file.</summary>
    internal static IEnumerable<string> Behind(string path)
    {
        yield return FileNode.RealPath(path);
        if (FileNode.KindOf(path) == NodeKind.Regular && VoxelsOf(path) is string voxels)
        {
            yield return FileNode.RealPath(voxels);
        }
    }

    private static string? VoxelsOf(string path)
    {
        try
        {
            return FileKinds.Of(path) switch
            {
                FileKind.MetaImage => MetaImage.DataPathOf(path),
                FileKind.Nrrd => Nrrd.DataPathOf(path),
                _ => null,
            };
        }
        catch (InvalidFileException)
        {
            // Whoever reads it says what is wrong.
            return null;
        }
    }
}
