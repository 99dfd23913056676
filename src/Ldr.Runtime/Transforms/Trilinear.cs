using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Trilinear interpolation clamped at the border, as <c>grid_sample(bilinear, border, align_corners=true)</c>. The upper
/// neighbour of the last voxel of an axis is that voxel itself, also of an axis of one voxel, and a
/// position on a voxel gives that voxel's value exactly (when its neighbours are finite). A coordinate that is NaN counts as 0: no position leads
/// outside the source.
/// </summary>
internal static unsafe class Trilinear
{
    /// <summary>Voxels of a vector.</summary>
    internal const int Eight = 8;

    /// <summary>Values of every plane at <paramref name="count"/> positions (voxels of the source).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Sample(
        float* source,
        int nx,
        int ny,
        int nz,
        int channels,
        float* px,
        float* py,
        float* pz,
        int count,
        float* output,
        nint outputPlane)
    {
        nint plane = (nint)nx * ny * nz;
        int i = 0;
        if (Avx2.IsSupported && nx > 1)
        {
            int* at = stackalloc int[4 * Eight];
            Vector256<int> width = Vector256.Create(nx);
            Vector256<int> height = Vector256.Create(ny);
            Vector256<int> slice = Vector256.Create(nx * ny);
            Vector256<int> lastX = Vector256.Create(nx - 1);
            Vector256<int> lastY = Vector256.Create(ny - 1);
            Vector256<int> lastZ = Vector256.Create(nz - 1);
            for (; i <= count - 8; i += 8)
            {
                Vector256<float> x = Clamp(Vector256.Load(px + i), nx - 1);
                Vector256<float> y = Clamp(Vector256.Load(py + i), ny - 1);
                Vector256<float> z = Clamp(Vector256.Load(pz + i), nz - 1);
                Vector256<int> ix = Avx.ConvertToVector256Int32WithTruncation(x);
                Vector256<int> iy = Avx.ConvertToVector256Int32WithTruncation(y);
                Vector256<int> iz = Avx.ConvertToVector256Int32WithTruncation(z);
                Vector256<float> fx = x - Avx.ConvertToVector256Single(ix);
                Vector256<float> fy = y - Avx.ConvertToVector256Single(iy);
                Vector256<float> fz = z - Avx.ConvertToVector256Single(iz);

                // Steps to the upper neighbours: 0 at the last voxel.
                Vector256<float> atLast = Vector256.Equals(ix, lastX).AsSingle();
                Vector256<int> stepY = Vector256.LessThan(iy, lastY) & width;
                Vector256<int> stepZ = Vector256.LessThan(iz, lastZ) & slice;
                Vector256<int> i000 = (((iz * height) + iy) * width) + Vector256.Min(ix, lastX - Vector256<int>.One);
                Vector256<int> i100 = i000 + stepZ;
                i000.Store(at);
                (i000 + stepY).Store(at + Eight);
                i100.Store(at + (2 * Eight));
                (i100 + stepY).Store(at + (3 * Eight));
                for (int channel = 0; channel < channels; channel++)
                {
                    float* from = source + (channel * plane);
                    Vector256<float> c00 = Along(from, at, atLast, fx);
                    Vector256<float> c01 = Along(from, at + Eight, atLast, fx);
                    Vector256<float> c10 = Along(from, at + (2 * Eight), atLast, fx);
                    Vector256<float> c11 = Along(from, at + (3 * Eight), atLast, fx);
                    Mix(Mix(c00, c01, fy), Mix(c10, c11, fy), fz).Store(output + (channel * outputPlane) + i);
                }
            }
        }

        float* corners = stackalloc float[Eight];
        for (; i < count; i++)
        {
            Cell cell = new(px[i], py[i], pz[i], nx, ny, nz);
            for (int channel = 0; channel < channels; channel++)
            {
                cell.Load(source + (channel * plane), corners);
                output[(channel * outputPlane) + i] = cell.Mix(corners);
            }
        }
    }

    /// <summary>The eight voxels around a position, and where between them it lies.</summary>
    internal readonly struct Cell
    {
        private readonly nint _first;
        private readonly nint _stepX;
        private readonly nint _stepY;
        private readonly nint _stepZ;
        private readonly float _fx;
        private readonly float _fy;
        private readonly float _fz;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal Cell(float px, float py, float pz, int nx, int ny, int nz)
        {
            float x = Clamp(px, nx - 1);
            float y = Clamp(py, ny - 1);
            float z = Clamp(pz, nz - 1);
            int ix = (int)x;
            int iy = (int)y;
            int iz = (int)z;
            _first = ((((nint)iz * ny) + iy) * nx) + ix;
            _stepX = ix < nx - 1 ? 1 : 0;
            _stepY = iy < ny - 1 ? nx : 0;
            _stepZ = iz < nz - 1 ? (nint)nx * ny : 0;
            _fx = x - ix;
            _fy = y - iy;
            _fz = z - iz;
        }

        /// <summary>The eight values of a plane; x grows first.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal void Load(float* plane, float* corners)
        {
            float* voxel = plane + _first;
            corners[0] = voxel[0];
            corners[1] = voxel[_stepX];
            corners[2] = voxel[_stepY];
            corners[3] = voxel[_stepY + _stepX];
            corners[4] = voxel[_stepZ];
            corners[5] = voxel[_stepZ + _stepX];
            corners[6] = voxel[_stepZ + _stepY];
            corners[7] = voxel[_stepZ + _stepY + _stepX];
        }

        /// <summary>The value at the position.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal float Mix(float* corners)
        {
            float c00 = Trilinear.Mix(corners[0], corners[1], _fx);
            float c01 = Trilinear.Mix(corners[2], corners[3], _fx);
            float c10 = Trilinear.Mix(corners[4], corners[5], _fx);
            float c11 = Trilinear.Mix(corners[6], corners[7], _fx);
            return Trilinear.Mix(Trilinear.Mix(c00, c01, _fy), Trilinear.Mix(c10, c11, _fy), _fz);
        }
    }

    /// <summary>
    /// Eight voxels and their upper neighbours along x; at the last voxel of a row both are that voxel. Each two are loaded together: vgatherdps
    /// took 1.4 times as long with one plane, 1.75 times with three (AMD EPYC, family 26).
    /// </summary>
    /// <param name="from">The plane.</param>
    /// <param name="at">The eight voxels' indices; of the last voxel of a row that of the one before.</param>
    /// <param name="atLast">All bits where the voxel is the last of its row.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static (Vector256<float> Lower, Vector256<float> Upper) Neighbours(float* from, int* at, Vector256<float> atLast)
    {
        Vector256<float> even = Vector256.Create(Two(from, at[0], at[1]), Two(from, at[4], at[5]));
        Vector256<float> odd = Vector256.Create(Two(from, at[2], at[3]), Two(from, at[6], at[7]));
        Vector256<float> upper = Avx.Shuffle(even, odd, 0b11_01_11_01);
        return (Vector256.ConditionalSelect(atLast, upper, Avx.Shuffle(even, odd, 0b10_00_10_00)), upper);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Two(float* from, int a, int b) =>
        Sse.LoadHigh(Sse2.LoadScalarVector128((double*)(from + a)).AsSingle(), from + b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Along(float* from, int* at, Vector256<float> atLast, Vector256<float> t)
    {
        (Vector256<float> lower, Vector256<float> upper) = Neighbours(from, at, atLast);
        return Mix(lower, upper, t);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Mix(Vector256<float> a, Vector256<float> b, Vector256<float> t) => a + ((b - a) * t);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Mix(float a, float b, float t) => a + ((b - a) * t);

    /// <summary>Into [0, high]; vmaxps gives its second operand when the first is NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Clamp(Vector256<float> position, int high) =>
        Avx.Min(Avx.Max(position, Vector256<float>.Zero), Vector256.Create((float)high));

    /// <summary>Into [0, high]; the comparisons are written so that NaN becomes 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Clamp(float position, int high) => position > 0 ? (position < high ? position : high) : 0;
}
