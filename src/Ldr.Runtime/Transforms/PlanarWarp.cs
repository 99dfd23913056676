using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// moved(x) = image(x + u(x)) and its derivatives, for training: samples of several planes each, one after the other
/// ([N, C, Z, Y, X]), displacements in voxels ([N, 3, Z, Y, X], channels x, y, z), image and field on one grid. As
/// <c>grid_sample(bilinear, border, align_corners=true)</c> and its way back (but for coordinates that are NaN, which count
/// as 0): where a position is clamped, or lies on the border, the derivative by that coordinate is 0. No result depends
/// on the number of threads.
/// </summary>
internal static unsafe class PlanarWarp
{
    /// <summary>Planes whose gradient is added up together: the lanes of a 128-bit vector.</summary>
    private const int Lanes = 4;

    private const int Chunk = Sampling.Chunk;

    /// <summary>Each share of a sample's image gradient has a volume of its own, and all are added in the end.</summary>
    private const int SharesOfSample = 2;

    /// <summary>moved(x) = image(x + u(x)).</summary>
    internal static void Apply(
        float* field, float* image, int samples, int channels, Grid grid, float* moved, int threads)
    {
        nint plane = (nint)grid.Count;
        Slices.ForEach(samples * grid.Nz, samples * grid.Count, threads, slice =>
        {
            (int sample, int z) = Math.DivRem(slice, grid.Nz);
            nint planes = sample * channels * plane;
            Sampling.LinearSlice(
                image + planes, grid, channels, grid, field + (3 * sample * plane), Affine.Identity, z, moved + planes);
        });
    }

    /// <summary>
    /// From the gradient by the moved image to those by the field and by the image, which are overwritten; null: not wanted.
    /// </summary>
    internal static void Gradient(
        float* field,
        float* image,
        float* byMoved,
        int samples,
        int channels,
        Grid grid,
        float* byField,
        float* byImage,
        int threads)
    {
        nint plane = (nint)grid.Count;
        if (byField != null)
        {
            Slices.ForEach(samples * grid.Nz, samples * grid.Count, threads, slice =>
            {
                (int sample, int z) = Math.DivRem(slice, grid.Nz);
                nint planes = sample * channels * plane;
                nint vectors = 3 * sample * plane;
                Rows(field + vectors, grid, z, (position, first, count) =>
                    ByPosition(image + planes, byMoved + planes + first, grid, channels, position, count, byField + vectors + first));
            });
        }

        for (int channel = 0; byImage != null && channel < channels; channel += Lanes)
        {
            ByVoxel(field, byMoved, samples, channels, channel, Math.Min(Lanes, channels - channel), grid, byImage, threads);
        }
    }

    /// <summary>
    /// A body for each piece of a slice's rows: its positions x + u(x), in three runs of <see cref="Chunk"/>, the index of its
    /// first voxel, and how many it has.
    /// </summary>
    private static void Rows(float* field, Grid grid, int z, RowBody body)
    {
        float* position = stackalloc float[3 * Chunk];
        nint plane = (nint)grid.Count;
        for (int y = 0; y < grid.Ny; y++)
        {
            nint row = (((nint)z * grid.Ny) + y) * grid.Nx;
            for (int x = 0; x < grid.Nx; x += Chunk)
            {
                int count = Math.Min(Chunk, grid.Nx - x);
                Positions.Displace(
                    field + row + x, plane, x, y, z, count, position, position + Chunk, position + (2 * Chunk));
                body(position, row + x, count);
            }
        }
    }

    /// <summary>The gradient by positions: Σ over the planes of byMoved · ∂image/∂position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ByPosition(
        float* image, float* byMoved, Grid grid, int channels, float* position, int count, float* byField)
    {
        int nx = grid.Nx;
        int ny = grid.Ny;
        int nz = grid.Nz;
        nint plane = (nint)grid.Count;
        int i = 0;
        int* corners = stackalloc int[4 * Trilinear.Eight];
        if (Avx2.IsSupported)
        {
            Vector256<int> width = Vector256.Create(nx);
            Vector256<int> height = Vector256.Create(ny);
            Vector256<int> slice = Vector256.Create(nx * ny);
            for (; i <= count - 8; i += 8)
            {
                (Vector256<int> ix, Vector256<float> fx, Vector256<float> insideX) = Split(Vector256.Load(position + i), nx - 1);
                (Vector256<int> iy, Vector256<float> fy, Vector256<float> insideY) = Split(Vector256.Load(position + Chunk + i), ny - 1);
                (Vector256<int> iz, Vector256<float> fz, Vector256<float> insideZ) = Split(Vector256.Load(position + (2 * Chunk) + i), nz - 1);
                Vector256<float> atLast = Vector256.Equals(ix, Vector256.Create(nx - 1)).AsSingle();
                Vector256<int> stepY = Vector256.LessThan(iy, Vector256.Create(ny - 1)) & width;
                Vector256<int> stepZ = Vector256.LessThan(iz, Vector256.Create(nz - 1)) & slice;
                Vector256<int> i000 = (((iz * height) + iy) * width) + Vector256.Min(ix, Vector256.Create(nx - 2));
                Vector256<int> i100 = i000 + stepZ;
                i000.Store(corners);
                (i000 + stepY).Store(corners + Trilinear.Eight);
                i100.Store(corners + (2 * Trilinear.Eight));
                (i100 + stepY).Store(corners + (3 * Trilinear.Eight));
                Vector256<float> sumX = Vector256<float>.Zero;
                Vector256<float> sumY = Vector256<float>.Zero;
                Vector256<float> sumZ = Vector256<float>.Zero;
                for (int channel = 0; channel < channels; channel++)
                {
                    float* from = image + (channel * plane);
                    Vector256<float> share = Vector256.Load(byMoved + (channel * plane) + i);
                    (Vector256<float> low00, Vector256<float> high00) = Trilinear.Neighbours(from, corners, atLast);
                    (Vector256<float> low01, Vector256<float> high01) = Trilinear.Neighbours(from, corners + Trilinear.Eight, atLast);
                    (Vector256<float> low10, Vector256<float> high10) = Trilinear.Neighbours(from, corners + (2 * Trilinear.Eight), atLast);
                    (Vector256<float> low11, Vector256<float> high11) = Trilinear.Neighbours(from, corners + (3 * Trilinear.Eight), atLast);
                    Vector256<float> d00 = high00 - low00;
                    Vector256<float> d01 = high01 - low01;
                    Vector256<float> d10 = high10 - low10;
                    Vector256<float> d11 = high11 - low11;
                    Vector256<float> c00 = low00 + (d00 * fx);
                    Vector256<float> c10 = low10 + (d10 * fx);
                    Vector256<float> rise0 = low01 + (d01 * fx) - c00;
                    Vector256<float> rise1 = low11 + (d11 * fx) - c10;
                    sumX += share * Trilinear.Mix(Trilinear.Mix(d00, d01, fy), Trilinear.Mix(d10, d11, fy), fz);
                    sumY += share * Trilinear.Mix(rise0, rise1, fz);
                    sumZ += share * (c10 + (rise1 * fy) - c00 - (rise0 * fy));
                }

                (sumX & insideX).Store(byField + i);
                (sumY & insideY).Store(byField + plane + i);
                (sumZ & insideZ).Store(byField + (2 * plane) + i);
            }
        }

        for (; i < count; i++)
        {
            Corner at = new(position[i], position[Chunk + i], position[(2 * Chunk) + i], grid);
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
            byField[plane + i] = Inside(position[Chunk + i], ny - 1) ? sumY : 0;
            byField[(2 * plane) + i] = Inside(position[(2 * Chunk) + i], nz - 1) ? sumZ : 0;
        }
    }

    /// <summary>
    /// The gradient by up to four planes of the image: every moved voxel gives its share to the eight voxels that it was made
    /// of. Each share of the slices adds up a volume of its own, the planes of a voxel side by side.
    /// </summary>
    private static void ByVoxel(
        float* field,
        float* byMoved,
        int samples,
        int channels,
        int firstChannel,
        int count,
        Grid grid,
        float* byImage,
        int threads)
    {
        nint plane = (nint)grid.Count;
        nint voxels = plane * samples;
        int slices = samples * grid.Nz;
        int shares = Slices.Worth(slices, voxels) && grid.Nz >= SharesOfSample ? SharesOfSample : 1;
        float* sums = (float*)NativeMemory.AllocZeroed((nuint)(shares * voxels * Lanes), sizeof(float));
        try
        {
            Slices.ForEach(samples * shares, voxels, threads, index =>
            {
                (int sample, int share) = Math.DivRem(index, shares);
                float* own = sums + (index * plane * Lanes);
                float* from = byMoved + (((sample * channels) + firstChannel) * plane);
                int end = grid.Nz * (share + 1) / shares;
                for (int z = grid.Nz * share / shares; z < end; z++)
                {
                    Rows(field + (3 * sample * plane), grid, z, (position, first, length) =>
                        Scatter(from + first, count, grid, position, length, own));
                }
            });
            Slices.ForEach(slices, voxels, threads, slice =>
            {
                (int sample, int z) = Math.DivRem(slice, grid.Nz);
                nint start = (nint)z * grid.Nx * grid.Ny;
                Collect(
                    sums + (((sample * shares * plane) + start) * Lanes),
                    shares,
                    plane * Lanes,
                    grid.Nx * grid.Ny,
                    count,
                    byImage + (((sample * channels) + firstChannel) * plane) + start,
                    plane);
            });
        }
        finally
        {
            NativeMemory.Free(sums);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scatter(float* byMoved, int count, Grid grid, float* position, int length, float* sums)
    {
        nint plane = (nint)grid.Count;
        for (int i = 0; i < length; i++)
        {
            Corner at = new(position[i], position[Chunk + i], position[(2 * Chunk) + i], grid);
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
    private static void Collect(float* sums, int shares, nint share, int voxels, int count, float* to, nint plane)
    {
        for (nint i = 0; i < voxels; i++)
        {
            Vector128<float> total = Vector128.Load(sums + (i * Lanes));
            for (int other = 1; other < shares; other++)
            {
                total += Vector128.Load(sums + (other * share) + (i * Lanes));
            }

            for (int channel = 0; channel < count; channel++)
            {
                to[(channel * plane) + i] = total[channel];
            }
        }
    }

    /// <summary>A coordinate's voxel, the fraction beyond it, and a mask: all bits where it was not clamped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<int> Voxel, Vector256<float> Fraction, Vector256<float> Inside) Split(Vector256<float> position, int last)
    {
        Vector256<float> high = Vector256.Create((float)last);
        Vector256<float> clamped = Trilinear.Clamp(position, last);
        Vector256<int> voxel = Avx.ConvertToVector256Int32WithTruncation(clamped);
        Vector256<float> inside = Vector256.GreaterThan(position, Vector256<float>.Zero) & Vector256.LessThan(position, high);
        return (voxel, clamped - Avx.ConvertToVector256Single(voxel), inside);
    }

    private static bool Inside(float position, int last) => position > 0 && position < last;

    private delegate void RowBody(float* position, nint first, int count);

    /// <summary>The lower neighbour of a position, the way to the upper ones (0 at the last voxel), and the fractions.</summary>
    private readonly struct Corner
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal Corner(float x, float y, float z, Grid grid)
        {
            x = Trilinear.Clamp(x, grid.Nx - 1);
            y = Trilinear.Clamp(y, grid.Ny - 1);
            z = Trilinear.Clamp(z, grid.Nz - 1);
            int ix = (int)x;
            int iy = (int)y;
            int iz = (int)z;
            Index = ((((nint)iz * grid.Ny) + iy) * grid.Nx) + ix;
            StepX = ix < grid.Nx - 1 ? 1 : 0;
            StepY = iy < grid.Ny - 1 ? grid.Nx : 0;
            StepZ = iz < grid.Nz - 1 ? (nint)grid.Nx * grid.Ny : 0;
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
    }
}
