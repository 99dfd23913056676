using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Works out the source positions of a run of voxels along x. Vector and scalar halves do the same operations in the
/// same order, so that a voxel's position does not depend on where it lies in the run.
/// </summary>
internal static unsafe class Positions
{
    /// <summary>x + u(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Displace(
        float* u, nint plane, int x, int y, int z, int count, float* px, float* py, float* pz)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            Vector256<float> step = Vector256<float>.Indices;
            for (; i <= count - 8; i += 8)
            {
                (Vector256.Load(u + i) + (step + Vector256.Create((float)(x + i)))).Store(px + i);
                (Vector256.Load(u + plane + i) + Vector256.Create((float)y)).Store(py + i);
                (Vector256.Load(u + (2 * plane) + i) + Vector256.Create((float)z)).Store(pz + i);
            }
        }

        for (; i < count; i++)
        {
            px[i] = u[i] + (x + i);
            py[i] = u[plane + i] + y;
            pz[i] = u[(2 * plane) + i] + z;
        }
    }

    /// <summary>map(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Map(in Sampling.Start start, int x, int count, float* px, float* py, float* pz)
    {
        for (int i = 0; i < count; i++)
        {
            float at = x + i;
            px[i] = start.X + (start.Xx * at);
            py[i] = start.Y + (start.Yx * at);
            pz[i] = start.Z + (start.Zx * at);
        }
    }

    /// <summary>map(x + u(x)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void DisplaceAndMap(
        in Sampling.Start start, float* u, nint plane, int x, int count, float* px, float* py, float* pz)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            Vector256<float> step = Vector256<float>.Indices;
            for (; i <= count - 8; i += 8)
            {
                Vector256<float> ax = Vector256.Load(u + i) + (step + Vector256.Create((float)(x + i)));
                Vector256<float> ay = Vector256.Load(u + plane + i);
                Vector256<float> az = Vector256.Load(u + (2 * plane) + i);
                (Vector256.Create(start.X) + (ax * start.Xx) + (ay * start.Xy) + (az * start.Xz)).Store(px + i);
                (Vector256.Create(start.Y) + (ax * start.Yx) + (ay * start.Yy) + (az * start.Yz)).Store(py + i);
                (Vector256.Create(start.Z) + (ax * start.Zx) + (ay * start.Zy) + (az * start.Zz)).Store(pz + i);
            }
        }

        for (; i < count; i++)
        {
            float ax = u[i] + (x + i);
            float ay = u[plane + i];
            float az = u[(2 * plane) + i];
            px[i] = start.X + (ax * start.Xx) + (ay * start.Xy) + (az * start.Xz);
            py[i] = start.Y + (ax * start.Yx) + (ay * start.Yy) + (az * start.Yz);
            pz[i] = start.Z + (ax * start.Zx) + (ay * start.Zy) + (az * start.Zz);
        }
    }
}
