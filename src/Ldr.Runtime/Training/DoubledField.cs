using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// Planes on a grid of twice the size, trilinear with half-voxel centres, times 2: what a displacement field at half size is at
/// full size. No result depends on the number of threads.
/// </summary>
internal static unsafe class DoubledField
{
    /// <summary>From planes [C, Z, Y, X] to [C, 2 Z, 2 Y, 2 X].</summary>
    internal static void Apply(float* half, int planes, (int X, int Y, int Z) size, float* result, int threads)
    {
        nint count = (nint)size.X * size.Y * size.Z;
        Slices.ForEach(2 * size.Z * planes, 8 * count * planes, threads, slice =>
        {
            int plane = slice / (2 * size.Z);
            int z = slice % (2 * size.Z);
            Enlarge(half + (plane * count), size, z, result + (8 * count * plane) + (4 * (nint)size.X * size.Y * z));
        });
    }

    /// <summary>The gradient of the smaller planes from that of the larger ones.</summary>
    internal static void Gradient(float* gradient, int planes, (int X, int Y, int Z) size, float* result, int threads)
    {
        nint count = (nint)size.X * size.Y * size.Z;
        Slices.ForEach(size.Z * planes, 8 * count * planes, threads, slice =>
        {
            int plane = slice / size.Z;
            int z = slice % size.Z;
            Gather(gradient + (8 * count * plane), size, z, result + (count * plane) + ((nint)size.X * size.Y * z));
        });
    }

    /// <summary>A slice of the larger grid: a voxel lies a quarter from the nearer one of the two that it lies between.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Enlarge(float* from, (int X, int Y, int Z) size, int z, float* to)
    {
        int nx = size.X;
        Span<float> room = nx <= 2048 ? stackalloc float[nx] : new float[nx];
        fixed (float* row = room)
        {
            (int nearZ, int farZ) = Neighbours(z, size.Z);
            for (int y = 0; y < 2 * size.Y; y++)
            {
                (int nearY, int farY) = Neighbours(y, size.Y);
                float* a = from + (((nearZ * size.Y) + nearY) * (nint)nx);
                float* b = from + (((nearZ * size.Y) + farY) * (nint)nx);
                float* c = from + (((farZ * size.Y) + nearY) * (nint)nx);
                float* d = from + (((farZ * size.Y) + farY) * (nint)nx);
                int x = 0;
                for (; x <= nx - Vector<float>.Count; x += Vector<float>.Count)
                {
                    Vector<float> sum = (1.125f * Vector.Load(a + x)) + (0.375f * (Vector.Load(b + x) + Vector.Load(c + x)));
                    Vector.Store(sum + (0.125f * Vector.Load(d + x)), row + x);
                }

                for (; x < nx; x++)
                {
                    row[x] = (1.125f * a[x]) + (0.375f * (b[x] + c[x])) + (0.125f * d[x]);
                }

                float* target = to + (2 * (nint)nx * y);
                target[0] = row[0];
                target[(2 * nx) - 1] = row[nx - 1];
                for (x = 0; x < nx - 1; x++)
                {
                    target[(2 * x) + 1] = (0.75f * row[x]) + (0.25f * row[x + 1]);
                    target[(2 * x) + 2] = (0.25f * row[x]) + (0.75f * row[x + 1]);
                }
            }
        }
    }

    /// <summary>A slice of the smaller grid: every voxel is seen by four of the larger one along each axis.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gather(float* from, (int X, int Y, int Z) size, int z, float* to)
    {
        int nx = 2 * size.X;
        int ny = 2 * size.Y;
        Span<float> room = nx <= 4096 ? stackalloc float[nx] : new float[nx];
        fixed (float* row = room)
        {
            for (int y = 0; y < size.Y; y++)
            {
                room.Clear();
                for (int i = 0; i < 16; i++)
                {
                    int atZ = Math.Clamp((2 * z) - 1 + (i / 4), 0, (2 * size.Z) - 1);
                    int atY = Math.Clamp((2 * y) - 1 + (i % 4), 0, ny - 1);
                    AddTo(row, from + (((atZ * ny) + atY) * (nint)nx), 2 * Share(i / 4) * Share(i % 4), nx);
                }

                float* target = to + ((nint)size.X * y);
                for (int x = 0; x < size.X; x++)
                {
                    float outer = row[Math.Max(0, (2 * x) - 1)] + row[Math.Min(nx - 1, (2 * x) + 2)];
                    target[x] = (0.75f * (row[2 * x] + row[(2 * x) + 1])) + (0.25f * outer);
                }
            }
        }
    }

    private static float Share(int tap) => tap is 1 or 2 ? 0.75f : 0.25f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddTo(float* row, float* from, float factor, int count)
    {
        int x = 0;
        for (; x <= count - Vector<float>.Count; x += Vector<float>.Count)
        {
            Vector.Store(Vector.Load(row + x) + (factor * Vector.Load(from + x)), row + x);
        }

        for (; x < count; x++)
        {
            row[x] += factor * from[x];
        }
    }

    private static (int Near, int Far) Neighbours(int index, int size)
    {
        int near = index / 2;
        return (near, Math.Clamp((index & 1) == 0 ? near - 1 : near + 1, 0, size - 1));
    }
}
