using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ldr.Runtime;

/// <summary>
/// moved(x) = image(x + u(x)) and its derivatives, for training: samples of several planes each, one after the other
/// ([N, C, Z, Y, X]), displacements in voxels ([N, 3, Z, Y, X], channels x, y, z), image and field on one grid. The same as
/// <c>grid_sample(bilinear, border, align_corners=true)</c> and its way back: where a position is clamped, or lies on the
/// border, the derivative by that coordinate is 0. Results depend on the number of threads in their last digits only, and are the same for the
/// same number.
/// </summary>
internal static unsafe class PlanarWarp
{
    /// <summary>Planes whose gradient is added up together: the lanes of a 128-bit vector.</summary>
    private const int Lanes = 4;

    /// <summary>Below this many voxels, threads cost more than they bring.</summary>
    private const long WorthThreads = 1 << 13;

    /// <summary>moved(x) = image(x + u(x)).</summary>
    internal static void Apply(
        float* image, float* field, int samples, int channels, (int X, int Y, int Z) size, float* moved, int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        Shares(samples * size.Z, plane * samples, threads, (_, first, end) =>
        {
            float* position = (float*)NativeMemory.Alloc((nuint)(3 * size.X), sizeof(float));
            for (int slice = first; slice < end; slice++)
            {
                (int sample, int z) = Math.DivRem(slice, size.Z);
                for (int y = 0; y < size.Y; y++)
                {
                    nint row = (((nint)z * size.Y) + y) * size.X;
                    Locate(field + (sample * 3 * plane) + row, plane, y, z, size.X, position);
                    Trilinear.Sample(
                        image + (sample * channels * plane),
                        size.X,
                        size.Y,
                        size.Z,
                        channels,
                        position,
                        position + size.X,
                        position + (2 * size.X),
                        size.X,
                        moved + (sample * channels * plane) + row,
                        plane);
                }
            }

            NativeMemory.Free(position);
        });
    }

    /// <summary>
    /// From the gradient by the moved image to those by the field and by the image, which are overwritten; null: not wanted.
    /// </summary>
    internal static void Gradient(
        float* image,
        float* field,
        float* byMoved,
        int samples,
        int channels,
        (int X, int Y, int Z) size,
        float* byField,
        float* byImage,
        int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        int slices = samples * size.Z;
        if (byField != null)
        {
            Shares(slices, plane * samples, threads, (_, first, end) =>
            {
                float* position = (float*)NativeMemory.Alloc((nuint)(3 * size.X), sizeof(float));
                for (int slice = first; slice < end; slice++)
                {
                    (int sample, int z) = Math.DivRem(slice, size.Z);
                    for (int y = 0; y < size.Y; y++)
                    {
                        nint row = (((nint)z * size.Y) + y) * size.X;
                        nint toField = (sample * 3 * plane) + row;
                        nint toImage = sample * channels * plane;
                        Locate(field + toField, plane, y, z, size.X, position);
                        ByPosition(image + toImage, byMoved + toImage + row, size, channels, position, byField + toField);
                    }
                }

                NativeMemory.Free(position);
            });
        }

        for (int channel = 0; byImage != null && channel < channels; channel += Lanes)
        {
            ByVoxel(field, byMoved, samples, channels, channel, Math.Min(Lanes, channels - channel), size, byImage, threads);
        }
    }

    /// <summary>Positions x + u(x) of a row: three runs of its length.</summary>
    private static void Locate(float* u, nint plane, int y, int z, int count, float* position) =>
        Positions.Displace(u, plane, 0, y, z, count, position, position + count, position + (2 * count));

    /// <summary>A body for each share of the slices: its number, its first slice, the one after its last.</summary>
    private static void Shares(int slices, nint voxels, int threads, Action<int, int, int> body)
    {
        int shares = ShareCount(slices, voxels, threads);
        if (shares == 1)
        {
            body(0, 0, slices);
        }
        else
        {
            Parallel.For(0, shares, new ParallelOptions { MaxDegreeOfParallelism = shares }, share =>
                body(share, (int)((long)slices * share / shares), (int)((long)slices * (share + 1) / shares)));
        }
    }

    private static int ShareCount(int slices, nint voxels, int threads) =>
        voxels < WorthThreads ? 1 : Math.Clamp(threads, 1, slices);

    /// <summary>The gradient of a row by its positions: Σ over the planes of byMoved · ∂image/∂position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ByPosition(
        float* image, float* byMoved, (int X, int Y, int Z) size, int channels, float* position, float* byField)
    {
        (int nx, int ny, int nz) = size;
        nint plane = (nint)nx * ny * nz;
        int i = 0;
        if (Avx2.IsSupported)
        {
            Vector256<int> width = Vector256.Create(nx);
            Vector256<int> height = Vector256.Create(ny);
            Vector256<int> slice = Vector256.Create(nx * ny);
            for (; i <= nx - 8; i += 8)
            {
                (Vector256<int> ix, Vector256<float> fx, Vector256<float> insideX) = Split(Vector256.Load(position + i), nx - 1);
                (Vector256<int> iy, Vector256<float> fy, Vector256<float> insideY) = Split(Vector256.Load(position + nx + i), ny - 1);
                (Vector256<int> iz, Vector256<float> fz, Vector256<float> insideZ) = Split(Vector256.Load(position + (2 * nx) + i), nz - 1);
                Vector256<int> stepX = Vector256.LessThan(ix, Vector256.Create(nx - 1)) & Vector256<int>.One;
                Vector256<int> stepY = Vector256.LessThan(iy, Vector256.Create(ny - 1)) & width;
                Vector256<int> stepZ = Vector256.LessThan(iz, Vector256.Create(nz - 1)) & slice;
                Vector256<int> i000 = (((iz * height) + iy) * width) + ix;
                Vector256<int> i010 = i000 + stepY;
                Vector256<int> i100 = i000 + stepZ;
                Vector256<int> i110 = i100 + stepY;
                Vector256<float> sumX = Vector256<float>.Zero;
                Vector256<float> sumY = Vector256<float>.Zero;
                Vector256<float> sumZ = Vector256<float>.Zero;
                for (int channel = 0; channel < channels; channel++)
                {
                    float* from = image + (channel * plane);
                    Vector256<float> share = Vector256.Load(byMoved + (channel * plane) + i);
                    Vector256<float> low00 = Avx2.GatherVector256(from, i000, 4);
                    Vector256<float> low01 = Avx2.GatherVector256(from, i010, 4);
                    Vector256<float> low10 = Avx2.GatherVector256(from, i100, 4);
                    Vector256<float> low11 = Avx2.GatherVector256(from, i110, 4);
                    Vector256<float> d00 = Avx2.GatherVector256(from, i000 + stepX, 4) - low00;
                    Vector256<float> d01 = Avx2.GatherVector256(from, i010 + stepX, 4) - low01;
                    Vector256<float> d10 = Avx2.GatherVector256(from, i100 + stepX, 4) - low10;
                    Vector256<float> d11 = Avx2.GatherVector256(from, i110 + stepX, 4) - low11;
                    Vector256<float> c00 = low00 + (d00 * fx);
                    Vector256<float> c10 = low10 + (d10 * fx);
                    Vector256<float> rise0 = low01 + (d01 * fx) - c00;
                    Vector256<float> rise1 = low11 + (d11 * fx) - c10;
                    sumX += share * Mix(Mix(d00, d01, fy), Mix(d10, d11, fy), fz);
                    sumY += share * Mix(rise0, rise1, fz);
                    sumZ += share * (c10 + (rise1 * fy) - c00 - (rise0 * fy));
                }

                (sumX & insideX).Store(byField + i);
                (sumY & insideY).Store(byField + plane + i);
                (sumZ & insideZ).Store(byField + (2 * plane) + i);
            }
        }

        for (; i < nx; i++)
        {
            Corner at = new(position[i], position[nx + i], position[(2 * nx) + i], size);
            float sumX = 0;
            float sumY = 0;
            float sumZ = 0;
            for (int channel = 0; channel < channels; channel++)
            {
                float* voxel = image + (channel * plane) + at.Index;
                float share = byMoved[(channel * plane) + i];
                float d00 = voxel[at.StepX] - voxel[0];
                float d01 = voxel[at.StepY + at.StepX] - voxel[at.StepY];
                float d10 = voxel[at.StepZ + at.StepX] - voxel[at.StepZ];
                float d11 = voxel[at.StepZ + at.StepY + at.StepX] - voxel[at.StepZ + at.StepY];
                float c00 = voxel[0] + (d00 * at.X);
                float c10 = voxel[at.StepZ] + (d10 * at.X);
                float rise0 = voxel[at.StepY] + (d01 * at.X) - c00;
                float rise1 = voxel[at.StepZ + at.StepY] + (d11 * at.X) - c10;
                float low = d00 + ((d01 - d00) * at.Y);
                float high = d10 + ((d11 - d10) * at.Y);
                sumX += share * (low + ((high - low) * at.Z));
                sumY += share * (rise0 + ((rise1 - rise0) * at.Z));
                sumZ += share * (c10 + (rise1 * at.Y) - c00 - (rise0 * at.Y));
            }

            byField[i] = Inside(position[i], nx - 1) ? sumX : 0;
            byField[plane + i] = Inside(position[nx + i], ny - 1) ? sumY : 0;
            byField[(2 * plane) + i] = Inside(position[(2 * nx) + i], nz - 1) ? sumZ : 0;
        }
    }

    /// <summary>
    /// The gradient by up to four planes of the image: every moved voxel gives its share to the eight voxels that it was made
    /// of. Each share of the slices adds up a volume of its own, plane after plane within a voxel.
    /// </summary>
    private static void ByVoxel(
        float* field,
        float* byMoved,
        int samples,
        int channels,
        int firstChannel,
        int count,
        (int X, int Y, int Z) size,
        float* byImage,
        int threads)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        nint voxels = plane * samples;
        int slices = samples * size.Z;
        int shares = ShareCount(slices, voxels, threads);
        float** sums = stackalloc float*[shares];
        for (int share = 0; share < shares; share++)
        {
            sums[share] = (float*)NativeMemory.AllocZeroed((nuint)(voxels * Lanes), sizeof(float));
        }

        Shares(slices, voxels, threads, (share, first, end) =>
        {
            float* position = (float*)NativeMemory.Alloc((nuint)(3 * size.X), sizeof(float));
            for (int slice = first; slice < end; slice++)
            {
                (int sample, int z) = Math.DivRem(slice, size.Z);
                for (int y = 0; y < size.Y; y++)
                {
                    nint row = (((nint)z * size.Y) + y) * size.X;
                    Locate(field + (sample * 3 * plane) + row, plane, y, z, size.X, position);
                    Scatter(
                        byMoved + (((sample * channels) + firstChannel) * plane) + row,
                        count,
                        size,
                        position,
                        sums[share] + (sample * plane * Lanes));
                }
            }

            NativeMemory.Free(position);
        });
        Shares(slices, voxels, threads, (_, first, end) =>
        {
            for (int slice = first; slice < end; slice++)
            {
                (int sample, int z) = Math.DivRem(slice, size.Z);
                nint start = (nint)z * size.X * size.Y;
                Collect(
                    sums,
                    shares,
                    ((sample * plane) + start) * Lanes,
                    size.X * size.Y,
                    count,
                    byImage + (((sample * channels) + firstChannel) * plane) + start,
                    plane);
            }
        });
        for (int share = 0; share < shares; share++)
        {
            NativeMemory.Free(sums[share]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scatter(float* byMoved, int count, (int X, int Y, int Z) size, float* position, float* sums)
    {
        nint plane = (nint)size.X * size.Y * size.Z;
        for (int i = 0; i < size.X; i++)
        {
            Corner at = new(position[i], position[size.X + i], position[(2 * size.X) + i], size);
            Vector128<float> share = Vector128.Create(
                byMoved[i],
                count > 1 ? byMoved[plane + i] : 0,
                count > 2 ? byMoved[(2 * plane) + i] : 0,
                count > 3 ? byMoved[(3 * plane) + i] : 0);
            Vector128<float> high = share * at.Z;
            Vector128<float> low = share - high;
            float* voxel = sums + (at.Index * Lanes);
            AddSquare(voxel, at, low);
            AddSquare(voxel + (at.StepZ * Lanes), at, high);
        }
    }

    /// <summary>A share to the four voxels of one slice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSquare(float* voxel, in Corner at, Vector128<float> share)
    {
        Vector128<float> upper = share * at.Y;
        Vector128<float> lower = share - upper;
        AddPair(voxel, at, lower);
        AddPair(voxel + (at.StepY * Lanes), at, upper);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPair(float* voxel, in Corner at, Vector128<float> share)
    {
        Vector128<float> right = share * at.X;
        (Vector128.Load(voxel) + (share - right)).Store(voxel);
        float* next = voxel + (at.StepX * Lanes);
        (Vector128.Load(next) + right).Store(next);
    }

    /// <summary>The shares' sums added, each plane for itself.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Collect(float** sums, int shares, nint from, int voxels, int count, float* to, nint plane)
    {
        for (nint i = 0; i < voxels; i++)
        {
            Vector128<float> total = Vector128.Load(sums[0] + from + (i * Lanes));
            for (int share = 1; share < shares; share++)
            {
                total += Vector128.Load(sums[share] + from + (i * Lanes));
            }

            for (int channel = 0; channel < count; channel++)
            {
                to[(channel * plane) + i] = total[channel];
            }
        }
    }

    private static Vector256<float> Mix(Vector256<float> a, Vector256<float> b, Vector256<float> t) => a + ((b - a) * t);

    /// <summary>A coordinate's voxel, the fraction beyond it, and a mask: all bits where it was not clamped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<int> Voxel, Vector256<float> Fraction, Vector256<float> Inside) Split(Vector256<float> position, int last)
    {
        Vector256<float> high = Vector256.Create((float)last);
        Vector256<float> clamped = Avx.Min(Avx.Max(position, Vector256<float>.Zero), high);
        Vector256<int> voxel = Avx.ConvertToVector256Int32WithTruncation(clamped);
        Vector256<float> inside = Vector256.GreaterThan(position, Vector256<float>.Zero) & Vector256.LessThan(position, high);
        return (voxel, clamped - Avx.ConvertToVector256Single(voxel), inside);
    }

    private static bool Inside(float position, int last) => position > 0 && position < last;

    /// <summary>The lower neighbour of a position, the way to the upper ones (0 at the last voxel), and the fractions.</summary>
    private readonly struct Corner
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal Corner(float x, float y, float z, (int X, int Y, int Z) size)
        {
            x = Clamp(x, size.X - 1);
            y = Clamp(y, size.Y - 1);
            z = Clamp(z, size.Z - 1);
            int ix = (int)x;
            int iy = (int)y;
            int iz = (int)z;
            Index = ((((nint)iz * size.Y) + iy) * size.X) + ix;
            StepX = ix < size.X - 1 ? 1 : 0;
            StepY = iy < size.Y - 1 ? size.X : 0;
            StepZ = iz < size.Z - 1 ? (nint)size.X * size.Y : 0;
            X = x - ix;
            Y = y - iy;
            Z = z - iz;
        }

        internal nint Index { get; }

        internal nint StepX { get; }

        internal nint StepY { get; }

        internal nint StepZ { get; }

        internal float X { get; }

        internal float Y { get; }

        internal float Z { get; }

        /// <summary>Into [0, high]; NaN becomes 0.</summary>
        private static float Clamp(float position, int high) => position > 0 ? (position < high ? position : high) : 0;
    }
}
