using System.Runtime.CompilerServices;

namespace Ldr.Runtime;

/// <summary>Displacements between the frame of files (millimetres, LPS) and that of memory (voxels of the grid).</summary>
internal static class FieldVectors
{
    /// <summary>A field from planes in millimetres, LPS, which are overwritten.</summary>
    /// <exception cref="InvalidFileException">A vector is not finite.</exception>
    internal static DisplacementField FromLps(string path, Grid grid, float[] vectors)
    {
        CheckFinite(path, vectors);
        Turn(vectors, Affine.Scaling(-1, -1, 1).Then(grid.WorldToVoxel), grid, vectors);
        return new DisplacementField(grid, vectors);
    }

    /// <summary>The field's planes in millimetres, LPS.</summary>
    internal static float[] ToLps(DisplacementField field)
    {
        float[] vectors = GC.AllocateUninitializedArray<float>(field.Vectors.Length);
        Turn(field.Vectors, field.Grid.VoxelToWorld.Then(Affine.Scaling(-1, -1, 1)), field.Grid, vectors);
        return vectors;
    }

    /// <summary>The same, a piece at a time.</summary>
    internal static VoxelStream.PieceMaker LpsOf(DisplacementField field)
    {
        double[] m = field.Grid.VoxelToWorld.Then(Affine.Scaling(-1, -1, 1)).ToRows();
        float[] from = field.Vectors;
        int plane = from.Length / 3;
        return (first, piece) =>
        {
            for (int i = 0; i < piece.Length; i++)
            {
                (int channel, int voxel) = Math.DivRem(first + i, plane);
                double x = from[voxel];
                double y = from[plane + voxel];
                double z = from[(2 * plane) + voxel];
                piece[i] = (float)((m[4 * channel] * x) + (m[(4 * channel) + 1] * y) + (m[(4 * channel) + 2] * z));
            }
        };
    }

    internal static void CheckFinite(string path, ReadOnlySpan<float> vectors)
    {
        foreach (float value in vectors)
        {
            if (!float.IsFinite(value))
            {
                throw new InvalidFileException(path, "holds vectors that are not finite", "compute the field again");
            }
        }
    }

    /// <summary>Planes to vectors that lie next to each other.</summary>
    internal static float[] Interleave(float[] planes)
    {
        float[] result = GC.AllocateUninitializedArray<float>(planes.Length);
        int count = planes.Length / 3;
        for (int channel = 0; channel < 3; channel++)
        {
            for (int i = 0, to = channel; i < count; i++, to += 3)
            {
                result[to] = planes[(channel * count) + i];
            }
        }

        return result;
    }

    private static void Turn(float[] from, Affine map, Grid grid, float[] to)
    {
        double[] m = map.ToRows();
        Slices.ForEach(grid, 0, z => Turn(from, m, z * grid.Nx * grid.Ny, grid.Nx * grid.Ny, to));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Turn(float[] from, ReadOnlySpan<double> m, int first, int count, float[] to)
    {
        int plane = from.Length / 3;
        for (int i = first; i < first + count; i++)
        {
            double x = from[i];
            double y = from[plane + i];
            double z = from[(2 * plane) + i];
            to[i] = (float)((m[0] * x) + (m[1] * y) + (m[2] * z));
            to[plane + i] = (float)((m[4] * x) + (m[5] * y) + (m[6] * z));
            to[(2 * plane) + i] = (float)((m[8] * x) + (m[9] * y) + (m[10] * z));
        }
    }
}
