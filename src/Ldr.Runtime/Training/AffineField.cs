using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// Displacements d [N, 3, Z, Y, X] under affine maps x ↦ (W + I) x + b, x in voxels from the centre of the grid: the total
/// d + W (x + d) + b, and its way back. No result depends on the number of threads.
/// </summary>
internal static unsafe class AffineField
{
    /// <summary>Of one sample: W row by row, then b.</summary>
    private const int Numbers = 12;

    /// <summary>The total.</summary>
    /// <param name="matrix">W, [N, 3, 3].</param>
    /// <param name="shift">b, [N, 3].</param>
    /// <param name="deformation">d; null: nowhere any.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Of the grid.</param>
    /// <param name="total">[N, 3, Z, Y, X].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Total(
        float* matrix, float* shift, float* deformation, int samples, (int X, int Y, int Z) size, float* total, int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        nint slice = (nint)size.X * size.Y;
        Slices.ForEach(samples * size.Z, samples * plane, threads, index =>
        {
            (int sample, int z) = Math.DivRem(index, size.Z);
            nint first = (3 * sample * plane) + (z * slice);
            float* own = deformation == null ? null : deformation + first;
            TotalSlice(matrix + (9 * sample), shift + (3 * sample), own, size, z, total + first);
        });
    }

    /// <summary>From the gradient by the total: that by d, which is overwritten, and those by W and b, which are added to.</summary>
    /// <param name="matrix">W, [N, 3, 3].</param>
    /// <param name="deformation">d; null: nowhere any.</param>
    /// <param name="byTotal">[N, 3, Z, Y, X].</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Of the grid.</param>
    /// <param name="byDeformation">[N, 3, Z, Y, X]; null: not wanted.</param>
    /// <param name="byMatrix">[N, 3, 3].</param>
    /// <param name="byShift">[N, 3].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Gradient(
        float* matrix,
        float* deformation,
        float* byTotal,
        int samples,
        (int X, int Y, int Z) size,
        float* byDeformation,
        double* byMatrix,
        double* byShift,
        int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        nint slice = (nint)size.X * size.Y;
        double[] sums = new double[samples * size.Z * Numbers];
        Slices.ForEach(samples * size.Z, samples * plane, threads, index =>
        {
            (int sample, int z) = Math.DivRem(index, size.Z);
            nint first = (3 * sample * plane) + (z * slice);
            float* own = deformation == null ? null : deformation + first;
            fixed (double* to = sums)
            {
                SumSlice(own, byTotal + first, size, z, to + (index * Numbers));
            }

            if (byDeformation != null)
            {
                BackSlice(matrix + (9 * sample), byTotal + first, plane, (int)slice, byDeformation + first);
            }
        });
        for (int index = 0; index < samples * size.Z; index++)
        {
            int sample = index / size.Z;
            for (int i = 0; i < 9; i++)
            {
                byMatrix[(9 * sample) + i] += sums[(index * Numbers) + i];
            }

            for (int i = 0; i < 3; i++)
            {
                byShift[(3 * sample) + i] += sums[(index * Numbers) + 9 + i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TotalSlice(float* w, float* b, float* deformation, (int X, int Y, int Z) size, int z, float* to)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        float centre = (size.X - 1) / 2f;
        float pz = z - ((size.Z - 1) / 2f);
        for (int y = 0; y < size.Y; y++)
        {
            float py = y - ((size.Y - 1) / 2f);
            nint row = (nint)y * size.X;
            int x = 0;
            for (; x <= size.X - Vector<float>.Count; x += Vector<float>.Count)
            {
                Vector<float> px = Vector.CreateSequence(x - centre, 1f);
                nint i = row + x;
                Vector<float> dx = deformation == null ? default : Vector.Load(deformation + i);
                Vector<float> dy = deformation == null ? default : Vector.Load(deformation + plane + i);
                Vector<float> dz = deformation == null ? default : Vector.Load(deformation + (2 * plane) + i);
                Vector<float> ax = px + dx;
                Vector<float> ay = new Vector<float>(py) + dy;
                Vector<float> az = new Vector<float>(pz) + dz;
                Vector.Store(dx + (w[0] * ax) + (w[1] * ay) + (w[2] * az) + new Vector<float>(b[0]), to + i);
                Vector.Store(dy + (w[3] * ax) + (w[4] * ay) + (w[5] * az) + new Vector<float>(b[1]), to + plane + i);
                Vector.Store(dz + (w[6] * ax) + (w[7] * ay) + (w[8] * az) + new Vector<float>(b[2]), to + (2 * plane) + i);
            }

            for (; x < size.X; x++)
            {
                nint i = row + x;
                float dx = deformation == null ? 0 : deformation[i];
                float dy = deformation == null ? 0 : deformation[plane + i];
                float dz = deformation == null ? 0 : deformation[(2 * plane) + i];
                float ax = x - centre + dx;
                float ay = py + dy;
                float az = pz + dz;
                to[i] = dx + (w[0] * ax) + (w[1] * ay) + (w[2] * az) + b[0];
                to[plane + i] = dy + (w[3] * ax) + (w[4] * ay) + (w[5] * az) + b[1];
                to[(2 * plane) + i] = dz + (w[6] * ax) + (w[7] * ay) + (w[8] * az) + b[2];
            }
        }
    }

    /// <summary>Σ g (x + d)ᵀ and Σ g of a slice: a row in single precision, rows in double.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumSlice(float* deformation, float* byTotal, (int X, int Y, int Z) size, int z, double* to)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        float centre = (size.X - 1) / 2f;
        float pz = z - ((size.Z - 1) / 2f);
        float* at = stackalloc float[3];
        for (int y = 0; y < size.Y; y++)
        {
            float py = y - ((size.Y - 1) / 2f);
            for (int channel = 0; channel < 3; channel++)
            {
                nint row = (nint)y * size.X;
                float* g = byTotal + (channel * plane) + row;
                Vector<float> sumX = default;
                Vector<float> sumY = default;
                Vector<float> sumZ = default;
                Vector<float> sum = default;
                float restX = 0;
                float restY = 0;
                float restZ = 0;
                float rest = 0;
                int x = 0;
                for (; x <= size.X - Vector<float>.Count; x += Vector<float>.Count)
                {
                    Vector<float> own = Vector.Load(g + x);
                    Vector<float> ax = Vector.CreateSequence(x - centre, 1f);
                    Vector<float> ay = new(py);
                    Vector<float> az = new(pz);
                    if (deformation != null)
                    {
                        ax += Vector.Load(deformation + row + x);
                        ay += Vector.Load(deformation + plane + row + x);
                        az += Vector.Load(deformation + (2 * plane) + row + x);
                    }

                    sumX += own * ax;
                    sumY += own * ay;
                    sumZ += own * az;
                    sum += own;
                }

                for (; x < size.X; x++)
                {
                    at[0] = x - centre + (deformation == null ? 0 : deformation[row + x]);
                    at[1] = py + (deformation == null ? 0 : deformation[plane + row + x]);
                    at[2] = pz + (deformation == null ? 0 : deformation[(2 * plane) + row + x]);
                    restX += g[x] * at[0];
                    restY += g[x] * at[1];
                    restZ += g[x] * at[2];
                    rest += g[x];
                }

                to[3 * channel] += Vector.Sum(sumX) + restX;
                to[(3 * channel) + 1] += Vector.Sum(sumY) + restY;
                to[(3 * channel) + 2] += Vector.Sum(sumZ) + restZ;
                to[9 + channel] += Vector.Sum(sum) + rest;
            }
        }
    }

    /// <summary>(W + I)ᵀ g.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void BackSlice(float* w, float* byTotal, nint plane, int count, float* to)
    {
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> x = Vector.Load(byTotal + i);
            Vector<float> y = Vector.Load(byTotal + plane + i);
            Vector<float> z = Vector.Load(byTotal + (2 * plane) + i);
            Vector.Store(x + (w[0] * x) + (w[3] * y) + (w[6] * z), to + i);
            Vector.Store(y + (w[1] * x) + (w[4] * y) + (w[7] * z), to + plane + i);
            Vector.Store(z + (w[2] * x) + (w[5] * y) + (w[8] * z), to + (2 * plane) + i);
        }

        for (; i < count; i++)
        {
            float x = byTotal[i];
            float y = byTotal[plane + i];
            float z = byTotal[(2 * plane) + i];
            to[i] = x + (w[0] * x) + (w[3] * y) + (w[6] * z);
            to[plane + i] = y + (w[1] * x) + (w[4] * y) + (w[7] * z);
            to[(2 * plane) + i] = z + (w[2] * x) + (w[5] * y) + (w[8] * z);
        }
    }
}
