using System.Buffers;
using System.Numerics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// The bending energy of planes [C, Z, Y, X]: the squared second differences along each axis and twice those along each pair of axes,
/// summed, averaged over all numbers. No result depends on the number of threads.
/// </summary>
internal static unsafe class Bending
{
    /// <summary>The two axes of each second difference (0 x, 1 y, 2 z), and how much its square counts.</summary>
    private static readonly (int First, int Second, int Weight)[] Differences =
        [(0, 0, 1), (1, 1, 1), (2, 2, 1), (0, 1, 2), (0, 2, 2), (1, 2, 2)];

    /// <summary>The mean.</summary>
    internal static double Mean(float* planes, int count, (int X, int Y, int Z) size, int threads)
    {
        int plane = size.X * size.Y * size.Z;
        double[] sums = new double[count];
        Slices.ForEach(count, (long)plane * count, threads, index => WithRoom(plane, (first, second) =>
        {
            foreach ((int a, int b, int weight) in Differences)
            {
                Differ(planes + ((nint)index * plane), size, a, b, first, second);
                sums[index] += weight * SquareSum(second, plane);
            }
        }));
        return sums.Sum() / ((double)plane * count);
    }

    /// <summary>A multiple of the gradient of the mean.</summary>
    internal static void Gradient(
        float* planes, int count, (int X, int Y, int Z) size, double factor, float* gradient, int threads)
    {
        int plane = size.X * size.Y * size.Z;
        float share = (float)(2 * factor / ((double)plane * count));
        Slices.ForEach(count, (long)plane * count, threads, index => WithRoom(plane, (first, second) =>
        {
            float* target = gradient + ((nint)index * plane);
            new Span<float>(target, plane).Clear();
            foreach ((int a, int b, int weight) in Differences)
            {
                Differ(planes + ((nint)index * plane), size, a, b, first, second);
                StepBack(second, size, b, first);
                StepBack(first, size, a, second);
                AddScaled(target, second, plane, weight * share);
            }
        }));
    }

    /// <summary>A second difference of a plane; 0 where it would reach beyond the border.</summary>
    private static void Differ(float* from, (int X, int Y, int Z) size, int a, int b, float* between, float* to)
    {
        Step(from, size, a, 1, between);
        Step(between, size, b, a == b ? 2 : 1, to);
    }

    /// <summary>What the next voxel along an axis has more; 0 for so many last ones.</summary>
    private static void Step(float* from, (int X, int Y, int Z) size, int axis, int last, float* to)
    {
        (int stride, int length, int plane) = Along(size, axis);
        int block = stride * length;
        int valid = stride * Math.Max(0, length - last);
        if (axis == 0)
        {
            // Rows are short: all at once, also from the end of each row to the start of the next.
            Subtract(from + 1, from, plane - 1, to);
        }

        for (int start = 0; start < plane; start += block)
        {
            if (axis != 0)
            {
                Subtract(from + start + stride, from + start, valid, to + start);
            }

            new Span<float>(to + start + valid, block - valid).Clear();
        }
    }

    /// <summary>The transposed step, of differences that are 0 where there is none.</summary>
    private static void StepBack(float* from, (int X, int Y, int Z) size, int axis, float* to)
    {
        (int stride, int length, int plane) = Along(size, axis);

        // The last difference of a row is 0, so that all rows are one.
        int block = axis == 0 ? plane : stride * length;
        for (int start = 0; start < plane; start += block)
        {
            for (int i = start; i < start + stride; i++)
            {
                to[i] = -from[i];
            }

            Subtract(from + start, from + start + stride, block - stride, to + start + stride);
        }
    }

    private static (int Stride, int Length, int Plane) Along((int X, int Y, int Z) size, int axis)
    {
        int slice = size.X * size.Y;
        int plane = slice * size.Z;
        return axis switch
        {
            0 => (1, size.X, plane),
            1 => (size.X, size.Y, plane),
            _ => (slice, size.Z, plane),
        };
    }

    private static void Subtract(float* a, float* b, int count, float* to)
    {
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store(Vector.Load(a + i) - Vector.Load(b + i), to + i);
        }

        for (; i < count; i++)
        {
            to[i] = a[i] - b[i];
        }
    }

    private static void AddScaled(float* to, float* from, int count, float factor) =>
        WorkImage.AddScaled(new Span<float>(to, count), new ReadOnlySpan<float>(from, count), factor);

    /// <summary>Of pieces, which are added in double precision.</summary>
    private static double SquareSum(float* values, int count)
    {
        const int Piece = 1024;
        double sum = 0;
        for (int start = 0; start < count; start += Piece)
        {
            int end = Math.Min(count, start + Piece);
            Vector<float> squares = default;
            int i = start;
            for (; i <= end - Vector<float>.Count; i += Vector<float>.Count)
            {
                Vector<float> own = Vector.Load(values + i);
                squares += own * own;
            }

            float rest = 0;
            for (; i < end; i++)
            {
                rest += values[i] * values[i];
            }

            sum += Vector.Sum(squares) + rest;
        }

        return sum;
    }

    private delegate void Work(float* first, float* second);

    /// <summary>Room for two planes.</summary>
    private static void WithRoom(int plane, Work work)
    {
        float[] room = ArrayPool<float>.Shared.Rent(2 * plane);
        fixed (float* start = room)
        {
            work(start, start + plane);
        }

        ArrayPool<float>.Shared.Return(room);
    }
}
