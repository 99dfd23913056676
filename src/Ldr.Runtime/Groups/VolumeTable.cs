using System.Globalization;
using System.Text;
using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>The sizes of structures as a table.</summary>
public static class VolumeTable
{
    private const string Titles = "label,voxels,volume_mm3,expected_volume_mm3,mean_probability";

    /// <summary>
    /// Writes a CSV with a line for each label of the atlases, those that the scan has none of included: <c>label</c>,
    /// <c>voxels</c>, <c>volume_mm3</c>, <c>expected_volume_mm3</c> (the sum of the probabilities), <c>mean_probability</c> (empty
    /// where there is no voxel). Atomically.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="volumes">The sizes.</param>
    /// <exception cref="InvalidFileException">It cannot be written there.</exception>
    public static void Write(string path, IEnumerable<StructureVolume> volumes)
    {
        ArgumentNullException.ThrowIfNull(volumes);
        StringBuilder text = new($"{Titles}\n");
        foreach (StructureVolume volume in volumes)
        {
            string mean = double.IsNaN(volume.MeanProbability) ? string.Empty : volume.MeanProbability.ToString("F4", CultureInfo.InvariantCulture);
            text.Append(CultureInfo.InvariantCulture, $"{volume.Label},{volume.Voxels},{volume.Mm3:F3},{volume.ExpectedMm3:F3},{mean}\n");
        }

        AtomicFile.WriteText(path, text.ToString());
    }

    /// <summary>Puts tables of several scans one below the other, with the scan's name in a first column, <c>scan</c>. Atomically.</summary>
    /// <param name="path">The file.</param>
    /// <param name="tables">Names, and files that <see cref="Write"/> made.</param>
    /// <exception cref="InvalidFileException">It cannot be written there.</exception>
    internal static void Join(string path, IEnumerable<(string Name, string File)> tables)
    {
        StringBuilder text = new($"scan,{Titles}\n");
        foreach ((string name, string file) in tables)
        {
            foreach (string line in File.ReadLines(file).Skip(1))
            {
                text.Append(CultureInfo.InvariantCulture, $"{name},{line}\n");
            }
        }

        AtomicFile.WriteText(path, text.ToString());
    }
}
