using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// Half the squared forward differences of planes [C, Z, Y, X] along the three axes, averaged over all numbers. No result depends
/// on the number of threads.
/// </summary>
internal static unsafe class Smoothness
{
    /// <summary>The mean.</summary>
    internal static double Mean(float* planes, int count, (int X, int Y, int Z) size, int threads)
    {
        double[] sums = new double[count * size.Z];
        nint plane = (nint)size.X * size.Y * size.Z;
        Slices.ForEach(sums.Length, plane * count, threads, slice =>
            sums[slice] = Sum(planes + (slice * (nint)size.X * size.Y), size, slice % size.Z + 1 < size.Z));
        return sums.Sum() / (2.0 * plane * count);
    }

    /// <summary>A multiple of the gradient of the mean.</summary>
    internal static void Gradient(
        float* planes, int count, (int X, int Y, int Z) size, double factor, float* gradient, int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        float share = (float)(factor / ((double)plane * count));
        nint slice = (nint)size.X * size.Y;
        Slices.ForEach(count * size.Z, plane * count, threads, index =>
        {
            int z = index % size.Z;
            Slope(
                planes + (index * slice), size, z > 0 ? -slice : 0, z + 1 < size.Z ? slice : 0, share, gradient + (index * slice));
        });
    }

    /// <summary>The squared differences of a slice, to the next one too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Sum(float* slice, (int X, int Y, int Z) size, bool hasNext)
    {
        int nx = size.X;
        nint next = hasNext ? (nint)nx * size.Y : 0;
        double sum = 0;
        for (int y = 0; y < size.Y; y++)
        {
            float* row = slice + ((nint)y * nx);
            nint below = y + 1 < size.Y ? nx : 0;
            Vector<float> sums = default;
            float rest = 0;
            int x = 0;
            for (; x < nx - Vector<float>.Count; x += Vector<float>.Count)
            {
                Vector<float> own = Vector.Load(row + x);
                Vector<float> a = Vector.Load(row + x + 1) - own;
                Vector<float> b = Vector.Load(row + x + below) - own;
                Vector<float> c = Vector.Load(row + x + next) - own;
                sums += (a * a) + (b * b) + (c * c);
            }

            for (; x < nx; x++)
            {
                float a = x + 1 < nx ? row[x + 1] - row[x] : 0;
                float b = row[x + below] - row[x];
                float c = row[x + next] - row[x];
                rest += (a * a) + (b * b) + (c * c);
            }

            sum += Vector.Sum(sums) + rest;
        }

        return sum;
    }

    /// <summary>What each number of a slice differs from its neighbours by, summed; distance 0 for a neighbour that is not there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Slope(float* slice, (int X, int Y, int Z) size, nint before, nint after, float share, float* to)
    {
        int nx = size.X;
        for (int y = 0; y < size.Y; y++)
        {
            nint start = (nint)y * nx;
            float* row = slice + start;
            float* target = to + start;
            nint above = y > 0 ? -nx : 0;
            nint below = y + 1 < size.Y ? nx : 0;
            target[0] = share * One(row, 0);
            int x = 1;
            for (; x < nx - Vector<float>.Count; x += Vector<float>.Count)
            {
                float* at = row + x;
                Vector<float> near = Vector.Load(at - 1) + Vector.Load(at + 1) + Vector.Load(at + above)
                    + Vector.Load(at + below) + Vector.Load(at + before) + Vector.Load(at + after);
                Vector.Store(share * ((6 * Vector.Load(at)) - near), target + x);
            }

            for (; x < nx; x++)
            {
                target[x] = share * One(row, x);
            }

            float One(float* at, int i)
            {
                float near = at[Math.Max(0, i - 1)] + at[Math.Min(nx - 1, i + 1)] + at[i + above] + at[i + below]
                    + at[i + before] + at[i + after];
                return (6 * at[i]) - near;
            }
        }
    }
}
