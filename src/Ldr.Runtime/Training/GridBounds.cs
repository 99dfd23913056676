using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>Where displacements [N, 3, Z, Y, X] in voxels stay on their grid.</summary>
internal static unsafe class GridBounds
{
    /// <summary>1 where a voxel comes to lie on the grid, up to half a voxel outside, else 0: [N, 1, Z, Y, X].</summary>
    internal static void Mark(float* field, int samples, (int X, int Y, int Z) size, float* target, int threads)
    {
        nint slice = (nint)size.X * size.Y;
        nint plane = slice * size.Z;
        Slices.ForEach(samples * size.Z, samples * plane, threads, index =>
        {
            (int sample, int z) = Math.DivRem(index, size.Z);
            nint first = z * slice;
            MarkSlice(field + (3 * sample * plane) + first, plane, size, z, target + (sample * plane) + first);
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MarkSlice(float* field, nint plane, (int X, int Y, int Z) size, int z, float* target)
    {
        for (int y = 0, i = 0; y < size.Y; y++)
        {
            for (int x = 0; x < size.X; x++, i++)
            {
                bool stays = Stays(x + field[i], size.X) && Stays(y + field[plane + i], size.Y)
                    && Stays(z + field[(2 * plane) + i], size.Z);
                target[i] = stays ? 1 : 0;
            }
        }

        static bool Stays(float place, int count) => place >= -0.5f && place <= count - 0.5f;
    }
}
