using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;

namespace Ldr.Runtime.Reports;

/// <summary>
/// A small picture of a registered pair: three planes (axial, coronal, sagittal) through the middle of what the fixed scan shows, of the
/// fixed scan above, of the moved scan below. Who looks at one and then at the other sees what moved.
/// </summary>
internal static class PairPicture
{
    /// <summary>The side of each plane, pixels.</summary>
    internal const int Side = 128;

    private const double MostVoxels = 2_000_000;

    private const double CoarseVoxels = 2_000;

    /// <summary>Writes it as PNG, atomically.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    internal static void Write(RegistrationResult result, string path, int threads)
    {
        DisplayGrid display = new(result.Fixed.Grid, MostVoxels);
        byte[] fixedScan = Grey(display.Mean(result.Fixed, threads));
        (int X, int Y, int Z) middle = Middle(fixedScan, display.Grid);
        byte[] pixels = new byte[3 * Side * 2 * Side];
        Draw(fixedScan, display.Grid, middle, pixels, 0);
        Draw(Grey(display.Mean(result.Moved, threads)), display.Grid, middle, pixels, Side);
        AtomicFile.Write(path, stream => PngFile.Write(stream, pixels, 3 * Side));
    }

    /// <summary>The same planes of one scan, as PNG.</summary>
    internal static byte[] Png(Volume scan)
    {
        DisplayGrid display = new(scan.Grid, MostVoxels);
        byte[] values = Grey(display.Mean(scan, 0));
        byte[] pixels = new byte[3 * Side * Side];
        Draw(values, display.Grid, Middle(values, display.Grid), pixels, 0);
        using MemoryStream stream = new();
        PngFile.Write(stream, pixels, 3 * Side);
        return stream.ToArray();
    }

    /// <summary>The moved scan in about two thousand voxels, as bytes: what a group's scans are compared by.</summary>
    internal static (Grid Grid, byte[] Values) Coarse(RegistrationResult result, int threads)
    {
        DisplayGrid display = new(result.Fixed.Grid, CoarseVoxels);
        return (display.Grid, Grey(display.Mean(result.Moved, threads)));
    }

    /// <summary>The centre of gravity of what is brighter than the mean of the window.</summary>
    private static (int X, int Y, int Z) Middle(byte[] values, Grid grid)
    {
        double x = 0, y = 0, z = 0, count = 0;
        for (int i = 0; i < values.Length; i++)
        {
            if (values[i] > 64)
            {
                x += i % grid.Nx;
                y += i / grid.Nx % grid.Ny;
                z += i / (grid.Nx * grid.Ny);
                count++;
            }
        }

        return count == 0
            ? (grid.Nx / 2, grid.Ny / 2, grid.Nz / 2)
            : ((int)Math.Round(x / count), (int)Math.Round(y / count), (int)Math.Round(z / count));
    }

    private static byte[] Grey(Volume scan)
    {
        (double low, double high) = new IntensityRule.Percentiles(0.5, 99.5).WindowOf(scan);
        return PackedImage.Quantise(scan, low, high);
    }

    private static void Draw(byte[] values, Grid grid, (int X, int Y, int Z) middle, byte[] pixels, int top)
    {
        (double sx, double sy, double sz) = grid.Spacing;

        // Pixels are as large in all planes.
        double unit = Math.Max(grid.Nx * sx, Math.Max(grid.Ny * sy, grid.Nz * sz)) / Side;
        int At(int x, int y, int z) => (((z * grid.Ny) + y) * grid.Nx) + x;
        Plane(0, grid.Nx, sx, grid.Ny, sy, (u, v) => values[At(u, v, middle.Z)]);
        Plane(1, grid.Nx, sx, grid.Nz, sz, (u, v) => values[At(u, middle.Y, v)]);
        Plane(2, grid.Ny, sy, grid.Nz, sz, (u, v) => values[At(middle.X, u, v)]);

        void Plane(int place, int width, double across, int height, double down, Func<int, int, byte> value)
        {
            for (int j = 0; j < Side; j++)
            {
                int v = (int)Math.Floor(((j + 0.5 - (Side / 2.0)) * unit / down) + (height / 2.0));
                for (int i = 0; i < Side && v >= 0 && v < height; i++)
                {
                    int u = (int)Math.Floor(((i + 0.5 - (Side / 2.0)) * unit / across) + (width / 2.0));
                    if (u >= 0 && u < width)
                    {
                        pixels[((top + j) * 3 * Side) + (place * Side) + i] = value(u, v);
                    }
                }
            }
        }
    }
}
