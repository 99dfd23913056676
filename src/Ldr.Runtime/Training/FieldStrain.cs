using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// How much a field [3, Z, Y, X] in voxels deforms around each voxel, beyond one affine map of the whole. No result depends on the
/// number of threads.
/// </summary>
internal static unsafe class FieldStrain
{
    /// <summary>Voxels to each side of the cube around a voxel.</summary>
    private const int Radius = 2;

    /// <summary>
    /// The root mean square, over what the cube has within the grid, of what the central differences differ from their means over the
    /// grid, and <paramref name="least"/> more; divided by its mean. The outermost voxels along an axis take their neighbours'
    /// differences. Sides of 3 voxels or more.
    /// </summary>
    internal static void Measure(float* field, Grid grid, float least, float* target, int threads)
    {
        int slice = grid.Nx * grid.Ny;
        float[] means = Means(field, grid);
        float[] values = GC.AllocateUninitializedArray<float>(slice * grid.Nz);
        Slices.ForEach(grid, threads, z => Squares(field, grid, z, means, values.AsSpan(z * slice, slice)));
        new BoxMean(grid, Radius, threads).Apply(values);
        double sum = 0;
        for (int i = 0; i < values.Length; i++)
        {
            // The box mean adds and takes away, so that it may end a little below 0.
            values[i] = MathF.Sqrt(Math.Max(0, values[i])) + least;
            sum += values[i];
        }

        float unit = (float)(sum / values.Length);
        for (int i = 0; i < values.Length; i++)
        {
            target[i] = values[i] / unit;
        }
    }

    /// <summary>The means of the central differences: of each channel, along x, y, z.</summary>
    private static float[] Means(float* field, Grid grid)
    {
        int[] sizes = [grid.Nx, grid.Ny, grid.Nz];
        int[] strides = [1, grid.Nx, grid.Nx * grid.Ny];
        float[] means = new float[9];
        for (int channel = 0; channel < 3; channel++)
        {
            for (int axis = 0; axis < 3; axis++)
            {
                float* own = field + ((nint)channel * grid.Count);
                int a = (axis + 1) % 3;
                int b = (axis + 2) % 3;
                nint step = strides[axis];
                nint last = (sizes[axis] - 1) * step;

                // All differences along a line together: only its ends are left.
                double sum = 0;
                for (int i = 0; i < sizes[a]; i++)
                {
                    for (int j = 0; j < sizes[b]; j++)
                    {
                        float* line = own + ((nint)i * strides[a]) + ((nint)j * strides[b]);
                        sum += ((double)line[last] + line[last - step] - line[step] - line[0]) / 2;
                    }
                }

                means[(3 * channel) + axis] = (float)(sum / ((double)(sizes[axis] - 2) * sizes[a] * sizes[b]));
            }
        }

        return means;
    }

    /// <summary>What the differences of a slice differ from their means, squared and summed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Squares(float* field, Grid grid, int z, float[] means, Span<float> into)
    {
        int nx = grid.Nx;
        nint slice = (nint)nx * grid.Ny;
        int width = Vector<float>.Count;
        into.Clear();
        for (int channel = 0; channel < 3; channel++)
        {
            float* own = field + ((nint)channel * grid.Count);
            for (int y = 0; y < grid.Ny; y++)
            {
                Span<float> to = into.Slice(y * nx, nx);
                float* row = own + (z * slice) + ((nint)y * nx);
                float* inY = own + (z * slice) + ((nint)Math.Clamp(y, 1, grid.Ny - 2) * nx);
                float* inZ = own + (Math.Clamp(z, 1, grid.Nz - 2) * slice) + ((nint)y * nx);
                Add(inY + nx, inY - nx, means[(3 * channel) + 1], to);
                Add(inZ + slice, inZ - slice, means[(3 * channel) + 2], to);
                float mean = means[3 * channel];
                Add(row + 2, row, mean, to[1..^1]);
                Add(row + 2, row, mean, to[..1]);
                Add(row + nx - 1, row + nx - 3, mean, to[^1..]);
            }
        }

        void Add(float* after, float* before, float mean, Span<float> to)
        {
            int i = 0;
            for (; i <= to.Length - width; i += width)
            {
                Vector<float> own = ((Vector.Load(after + i) - Vector.Load(before + i)) * 0.5f) - new Vector<float>(mean);
                (new Vector<float>(to[i..]) + (own * own)).CopyTo(to[i..]);
            }

            for (; i < to.Length; i++)
            {
                float own = ((after[i] - before[i]) * 0.5f) - mean;
                to[i] += own * own;
            }
        }
    }
}
