using System.Globalization;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>
/// What may be made in memory. Promise: a grid is planned in numbers, and one that cannot be held is refused before memory is
/// taken, with the number in the message.
/// </summary>
public static class Budget
{
    /// <summary>The longest side of a voxel of which a registration is planned, mm.</summary>
    private const double LongestMm = 1000;

    /// <summary>The longest side of such a voxel, as a multiple of its shortest.</summary>
    private const double Widest = 10_000;

    /// <summary>Bytes that this process may have.</summary>
    public static long Memory => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Refuses a displacement field that no array or no memory holds.</summary>
    /// <param name="path">The file that is named in the message: whose grid it is, or where the field is to be written.</param>
    /// <param name="grid">Where the field is wanted.</param>
    /// <exception cref="InvalidFileException">It is too large.</exception>
    public static void CheckField(string path, Grid grid) => Check(path, grid, 3, "a displacement field");

    /// <summary>Refuses an image that no memory holds.</summary>
    /// <param name="path">The file that is named in the message.</param>
    /// <param name="grid">Where the image is wanted.</param>
    /// <exception cref="InvalidFileException">It is too large.</exception>
    public static void CheckImage(string path, Grid grid) => Check(path, grid, 1, "an image");

    /// <summary>Refuses voxels of which no registration can be planned: a header in other units, mostly.</summary>
    /// <param name="path">The scan that is named in the message.</param>
    /// <param name="grid">Its grid.</param>
    /// <exception cref="InvalidFileException">A side is longer than a metre, or very much longer than another.</exception>
    public static void CheckVoxels(string path, Grid grid)
    {
        ArgumentNullException.ThrowIfNull(grid);
        (double x, double y, double z) = grid.Spacing;
        double largest = Math.Max(x, Math.Max(y, z));
        if (!(largest <= LongestMm && largest <= Widest * Math.Min(x, Math.Min(y, z))))
        {
            throw new InvalidFileException(
                path,
                $"has voxels of {Short(x)} × {Short(y)} × {Short(z)} mm",
                FormattableString.Invariant(
                    $"check its voxel size and units: up to {LongestMm} mm, and one side up to {Widest} times another"));
        }
    }

    private static void Check(string path, Grid grid, int channels, string what)
    {
        ArgumentNullException.ThrowIfNull(grid);
        long numbers = channels * grid.Count;
        if (numbers > Array.MaxLength)
        {
            throw new InvalidFileException(
                path,
                FormattableString.Invariant($"needs {what} of {grid.Nx}×{grid.Ny}×{grid.Nz} voxels, {numbers} numbers"),
                FormattableString.Invariant($"at most {Array.MaxLength} fit: take a coarser or smaller grid"));
        }

        if (numbers * sizeof(float) > Memory)
        {
            throw new InvalidFileException(
                path,
                FormattableString.Invariant(
                    $"needs {what} of {grid.Nx}×{grid.Ny}×{grid.Nz} voxels, {numbers * sizeof(float) >> 20} MB"),
                FormattableString.Invariant($"this machine has {Memory >> 20} MB of memory: take a coarser or smaller grid"));
        }
    }

    /// <summary>Three digits.</summary>
    private static string Short(double value)
    {
        string text = value.ToString("G3", CultureInfo.InvariantCulture);
        int power = text.IndexOf('E', StringComparison.Ordinal);
        return power < 0
            ? text
            : string.Create(
                CultureInfo.InvariantCulture, $"{text[..power]}e{text[power + 1]}{int.Parse(text.AsSpan(power + 2), CultureInfo.InvariantCulture):00}");
    }
}
