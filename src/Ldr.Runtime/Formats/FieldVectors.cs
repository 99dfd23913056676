using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

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

    /// <summary>Writes the planes in millimetres, LPS, a piece at a time.</summary>
    internal static void WritePlanes(Stream stream, DisplacementField field) => Write(stream, field, interleaved: false);

    /// <summary>Writes the vectors in millimetres, LPS, next to each other, a piece at a time.</summary>
    internal static void WriteInterleaved(Stream stream, DisplacementField field) => Write(stream, field, interleaved: true);

    /// <summary>The vectors in millimetres, LPS, next to each other.</summary>
    internal static float[] Interleaved(DisplacementField field)
    {
        float[] vectors = GC.AllocateUninitializedArray<float>(field.Vectors.Length);
        Fill(field, interleaved: true, 0, vectors);
        return vectors;
    }

    private static void Write(Stream stream, DisplacementField field, bool interleaved) =>
        VoxelStream.Write(stream, field.Vectors.Length, (first, piece) => Fill(field, interleaved, first, piece));

    /// <summary>The numbers of a file from an index on.</summary>
    private static void Fill(DisplacementField field, bool interleaved, int first, Span<float> piece)
    {
        double[] m = field.Grid.VoxelToWorld.Then(Affine.Scaling(-1, -1, 1)).ToRows();
        float[] from = field.Vectors;
        int plane = from.Length / 3;
        for (int i = 0; i < piece.Length; i++)
        {
            (int quotient, int rest) = Math.DivRem(first + i, interleaved ? 3 : plane);
            (int channel, int voxel) = interleaved ? (rest, quotient) : (quotient, rest);
            double x = from[voxel];
            double y = from[plane + voxel];
            double z = from[(2 * plane) + voxel];
            piece[i] = (float)((m[4 * channel] * x) + (m[(4 * channel) + 1] * y) + (m[(4 * channel) + 2] * z));
        }
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
