using System.Buffers.Binary;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;

namespace Ldr.App.Sessions;

/// <summary>
/// Images as the page's viewer reads them: NIfTI, not packed, with the window to show them in. Without one the viewer looks for it in
/// all voxels, and the page stands still meanwhile.
/// </summary>
internal static class ViewImage
{
    /// <summary>Voxels that the window is found from, about.</summary>
    private const int Looked = 1 << 20;

    private const int SizeOfNifti1 = 348;

    /// <summary>Where NIfTI-1 has the window's upper end; the lower one follows.</summary>
    private const int Window = 124;

    /// <summary>Writes an image, complete under its name.</summary>
    public static void Write(string path, Volume volume)
    {
        string part = path + ".part.nii";
        ImageFile.Write(part, volume);
        (double low, double high) = WindowOf(volume);
        if (high > low)
        {
            using FileStream file = new(part, FileMode.Open, FileAccess.ReadWrite);
            Span<byte> bytes = stackalloc byte[8];
            file.ReadExactly(bytes[..4]);
            if (BinaryPrimitives.ReadInt32LittleEndian(bytes) == SizeOfNifti1)
            {
                BinaryPrimitives.WriteSingleLittleEndian(bytes, (float)high);
                BinaryPrimitives.WriteSingleLittleEndian(bytes[4..], (float)low);
                file.Position = Window;
                file.Write(bytes);
            }
        }

        File.Move(part, path, overwrite: true);
    }

    private static (double Low, double High) WindowOf(Volume volume)
    {
        float[] all = volume.Values;

        // Odd, so that it does not fall into step with rows.
        int step = (all.Length / Looked) | 1;
        float[] some = new float[(all.Length + step - 1) / step];
        for (int i = 0; i < some.Length; i++)
        {
            some[i] = all[i * step];
        }

        return new IntensityRule.Percentiles(0.5, 99.5).WindowOf(new Volume(new Grid(some.Length, 1, 1, Affine.Identity), some));
    }
}
