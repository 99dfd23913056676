using System.IO.Compression;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Reports;

/// <summary>Images as a report's page carries them: filtered, compressed by zlib, in base 64. The page's script undoes it.</summary>
internal static class PackedImage
{
    /// <summary>Values in a window as bytes, 0 to 255; what is not finite is 0.</summary>
    internal static byte[] Quantise(Volume volume, double low, double high)
    {
        float[] scaled = new float[volume.Values.Length];
        IntensityRule.Scale(volume.Values, low, high, scaled);
        return Array.ConvertAll(scaled, value => (byte)((255 * value) + 0.5f));
    }

    /// <summary>
    /// Bytes of a smooth image: each as its difference from the mean of its left and its upper neighbour in the slice, as PNG's
    /// filter 3 (RFC 2083, 6.5).
    /// </summary>
    internal static string Smooth(byte[] values, Grid grid)
    {
        byte[] filtered = new byte[values.Length];
        Slices.ForEach(grid, 0, z =>
        {
            int i = z * grid.Nx * grid.Ny;
            for (int y = 0; y < grid.Ny; y++)
            {
                for (int x = 0; x < grid.Nx; x++, i++)
                {
                    int left = x > 0 ? values[i - 1] : 0;
                    int up = y > 0 ? values[i - grid.Nx] : 0;
                    filtered[i] = (byte)(values[i] - ((left + up) >> 1));
                }
            }
        });
        return Compress(filtered);
    }

    /// <summary>
    /// Vectors as 16-bit whole numbers of a unit: differences along x, then all low bytes, then all high bytes.
    /// </summary>
    /// <returns>The text, and what one whole number stands for.</returns>
    internal static (string Text, double Unit) Vectors(DisplacementField field)
    {
        float[] vectors = field.Vectors;
        double longest = 0;
        foreach (float component in vectors)
        {
            longest = float.IsFinite(component) ? Math.Max(longest, Math.Abs(component)) : longest;
        }

        double unit = longest > 0 ? longest / short.MaxValue : 1;
        byte[] bytes = new byte[2 * vectors.Length];
        int previous = 0;
        for (int i = 0; i < vectors.Length; i++)
        {
            int whole = float.IsFinite(vectors[i]) ? (int)Math.Round(vectors[i] / unit) : 0;
            int difference = i % field.Grid.Nx == 0 ? whole : whole - previous;
            bytes[i] = (byte)difference;
            bytes[vectors.Length + i] = (byte)(difference >> 8);
            previous = whole;
        }

        return (Compress(bytes), unit);
    }

    /// <summary>Bytes as they are.</summary>
    internal static string Compress(byte[] bytes)
    {
        using MemoryStream stream = new();
        using (ZLibStream zlib = new(stream, CompressionLevel.Optimal, leaveOpen: true))
        {
            zlib.Write(bytes);
        }

        return Convert.ToBase64String(stream.GetBuffer(), 0, (int)stream.Length);
    }
}
