using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// The mean over every second voxel along each axis of cov² / (var var + ε) of two images in a cube around it, with weights, and its
/// gradient by the moved image. Sums over cubes are made along x, then y, then z, and given back along z, y, x. No result depends on
/// the number of threads.
/// </summary>
internal static unsafe class LocalCorrelation
{
    /// <summary>Numbers of a centre: Σ w, Σ w f, Σ w m, Σ w f f, Σ w m m, Σ w f m, and two of filling.</summary>
    private const int Kinds = 8;

    /// <summary>Numbers of a centre's factors: of Σ w m, Σ w m m and Σ w f m, and one of filling.</summary>
    internal const int Factors = 4;

    /// <summary>How many cubes are looked at along an axis.</summary>
    internal static int Centres(int side) => (side + 1) / 2;

    /// <summary>The measure of each sample, and what its gradient needs.</summary>
    /// <param name="images">Fixed and moved images and weights, [N, 1, Z, Y, X] each.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Of an image.</param>
    /// <param name="window">The cube's side, odd.</param>
    /// <param name="epsilon">The ε above.</param>
    /// <param name="result">[N].</param>
    /// <param name="factors">[N, centres along z, y and x, <see cref="Factors"/>].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Measure(
        WeightedImages images,
        int samples,
        (int X, int Y, int Z) size,
        int window,
        double epsilon,
        float* result,
        float* factors,
        int threads)
    {
        Shape shape = new(size, window / 2);
        long work = samples * (long)shape.Voxels;
        float* along = (float*)NativeMemory.Alloc((nuint)(samples * size.Z * shape.Slice * Kinds * sizeof(float)));
        try
        {
            Slices.ForEach(samples * size.Z, work, threads, index =>
                SumSlice(shape, images.At(index * (nint)size.X * size.Y), along + (index * shape.Slice * Kinds)));

            double[] over = new double[samples * shape.Nz];
            double[] under = new double[samples * shape.Nz];
            Slices.ForEach(samples * shape.Nz, work, threads, index =>
            {
                int sample = index / shape.Nz;
                int z = index % shape.Nz;
                float* weights = images.Weights + (sample * shape.Voxels) + (2 * z * (nint)size.X * size.Y);
                (over[index], under[index]) = MeasureSlice(
                    shape,
                    along + (sample * size.Z * shape.Slice * Kinds),
                    z,
                    weights,
                    (float)epsilon,
                    factors + (index * shape.Slice * Factors));
            });

            for (int sample = 0; sample < samples; sample++)
            {
                double total = Math.Max(1e-6, Total(under, sample, shape.Nz));
                result[sample] = (float)(Total(over, sample, shape.Nz) / total);
                float share = (float)(1 / total);
                float* own = factors + (sample * shape.Nz * shape.Slice * Factors);
                for (nint i = 0; i < shape.Nz * shape.Slice * Factors; i++)
                {
                    own[i] *= share;
                }
            }
        }
        finally
        {
            NativeMemory.Free(along);
        }
    }

    /// <summary>The gradient by the moved images.</summary>
    /// <param name="images">As they were measured.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Of an image.</param>
    /// <param name="window">The cube's side.</param>
    /// <param name="factors">What <see cref="Measure"/> left.</param>
    /// <param name="gradient">Of each sample's measure, [N].</param>
    /// <param name="result">[N, 1, Z, Y, X].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Gradient(
        WeightedImages images,
        int samples,
        (int X, int Y, int Z) size,
        int window,
        float* factors,
        float* gradient,
        float* result,
        int threads)
    {
        Shape shape = new(size, window / 2);
        Slices.ForEach(samples * size.Z, samples * (long)shape.Voxels, threads, index =>
        {
            int sample = index / size.Z;
            nint start = index * (nint)size.X * size.Y;
            GiveBackSlice(
                shape,
                factors + (sample * shape.Nz * shape.Slice * Factors),
                index % size.Z,
                images.At(start),
                gradient[sample],
                result + start);
        });
    }

    private static double Total(double[] parts, int sample, int count)
    {
        double total = 0;
        for (int i = 0; i < count; i++)
        {
            total += parts[(sample * count) + i];
        }

        return total;
    }

    /// <summary>The sums of a slice's rows along x, added up along y: [y][x][kind] of the centres.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumSlice(Shape shape, WeightedImages at, float* to)
    {
        (int nx, int ny, _) = shape.Size;
        nint row = (nint)shape.Nx * Kinds;
        float* memory = (float*)NativeMemory.Alloc((nuint)(((row * ny) + ((nint)nx * Kinds)) * sizeof(float)));
        float* products = memory + (row * ny);
        for (int y = 0; y < ny; y++)
        {
            WeightedImages voxels = at.At((nint)y * nx);
            for (int x = 0; x < nx; x++)
            {
                // Around ½: less is lost when squared means are subtracted in single precision.
                float f = voxels.Fixed[x] - 0.5f;
                float m = voxels.Moved[x] - 0.5f;
                Vector256.Store(voxels.Weights[x] * Vector256.Create(1, f, m, f * f, m * m, f * m, 0, 0), products + (x * Kinds));
            }

            for (int c = 0; c < shape.Nx; c++)
            {
                (int first, int last) = shape.Window(c, nx);
                Vector256<float> sum = default;
                for (int x = first; x <= last; x++)
                {
                    sum += Vector256.Load(products + (x * Kinds));
                }

                Vector256.Store(sum, memory + (y * row) + (c * Kinds));
            }
        }

        for (int c = 0; c < shape.Ny; c++)
        {
            (int first, int last) = shape.Window(c, ny);
            for (nint i = 0; i < row; i += Kinds)
            {
                Vector256<float> sum = default;
                for (int y = first; y <= last; y++)
                {
                    sum += Vector256.Load(memory + (y * row) + i);
                }

                Vector256.Store(sum, to + (c * row) + i);
            }
        }

        NativeMemory.Free(memory);
    }

    /// <summary>The measure of a slice of centres, and the derivatives by their sums; both still times the centre's weight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (double Over, double Under) MeasureSlice(
        Shape shape, float* along, int z, float* weights, float epsilon, float* factors)
    {
        nint slice = shape.Slice * Kinds;
        (int first, int last) = shape.Window(z, shape.Size.Z);
        float* sums = stackalloc float[Kinds];
        double over = 0;
        double under = 0;
        for (int y = 0; y < shape.Ny; y++)
        {
            for (int x = 0; x < shape.Nx; x++, factors += Factors)
            {
                nint centre = ((y * (nint)shape.Nx) + x) * Kinds;
                Vector256<float> sum = default;
                for (int at = first; at <= last; at++)
                {
                    sum += Vector256.Load(along + (at * slice) + centre);
                }

                Vector256.Store(sum, sums);
                float count = Math.Max(sums[0], 1e-6f);
                float meanF = sums[1] / count;
                float meanM = sums[2] / count;
                float rawM = (sums[4] / count) - (meanM * meanM);
                float varianceF = Math.Max((sums[3] / count) - (meanF * meanF), 0);
                float varianceM = Math.Max(rawM, 0);
                float covariance = (sums[5] / count) - (meanF * meanM);
                float denominator = (varianceF * varianceM) + epsilon;
                float weight = weights[(2 * y * (nint)shape.Size.X) + (2 * x)];
                over += weight * (double)(covariance * covariance / denominator);
                under += weight;

                float byCovariance = weight * 2 * covariance / denominator / count;
                float byVariance = rawM > 0
                    ? -weight * covariance * covariance * varianceF / (denominator * denominator) / count
                    : 0;
                factors[0] = -(byCovariance * meanF) - (2 * byVariance * meanM);
                factors[1] = byVariance;
                factors[2] = byCovariance;
                factors[3] = 0;
            }
        }

        return (over, under);
    }

    /// <summary>The gradient of a slice of the moved image.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GiveBackSlice(Shape shape, float* factors, int z, WeightedImages at, float gradient, float* to)
    {
        (int nx, int ny, _) = shape.Size;
        nint row = (nint)shape.Nx * Factors;
        nint slice = row * shape.Ny;
        float* memory = (float*)NativeMemory.Alloc((nuint)((slice + row) * sizeof(float)));
        float* ofRow = memory + slice;
        (int first, int last) = shape.SeenBy(z, shape.Nz);
        for (nint i = 0; i < slice; i += Factors)
        {
            Vector128<float> sum = default;
            for (int c = first; c <= last; c++)
            {
                sum += Vector128.Load(factors + (c * slice) + i);
            }

            Vector128.Store(sum, memory + i);
        }

        float* three = stackalloc float[Factors];
        for (int y = 0; y < ny; y++)
        {
            (first, last) = shape.SeenBy(y, shape.Ny);
            for (nint i = 0; i < row; i += Factors)
            {
                Vector128<float> sum = default;
                for (int c = first; c <= last; c++)
                {
                    sum += Vector128.Load(memory + (c * row) + i);
                }

                Vector128.Store(sum, ofRow + i);
            }

            WeightedImages voxels = at.At((nint)y * nx);
            float* target = to + ((nint)y * nx);
            for (int x = 0; x < nx; x++)
            {
                (int left, int right) = shape.SeenBy(x, shape.Nx);
                Vector128<float> sum = default;
                for (int c = left; c <= right; c++)
                {
                    sum += Vector128.Load(ofRow + (c * Factors));
                }

                Vector128.Store(sum, three);
                float f = voxels.Fixed[x] - 0.5f;
                float m = voxels.Moved[x] - 0.5f;
                target[x] = gradient * voxels.Weights[x] * (three[0] + (2 * m * three[1]) + (f * three[2]));
            }
        }

        NativeMemory.Free(memory);
    }

    /// <summary>The sizes of the images and of their centres.</summary>
    private readonly record struct Shape((int X, int Y, int Z) Size, int Reach)
    {
        internal int Nx => Centres(Size.X);

        internal int Ny => Centres(Size.Y);

        internal int Nz => Centres(Size.Z);

        internal nint Voxels => (nint)Size.X * Size.Y * Size.Z;

        /// <summary>Centres of a slice.</summary>
        internal nint Slice => (nint)Nx * Ny;

        /// <summary>The voxels that a centre sees along an axis.</summary>
        internal (int First, int Last) Window(int centre, int side) =>
            (Math.Max(0, (2 * centre) - Reach), Math.Min(side - 1, (2 * centre) + Reach));

        /// <summary>The centres that see a voxel along an axis.</summary>
        internal (int First, int Last) SeenBy(int voxel, int centres) =>
            (Math.Max(0, (voxel - Reach + 1) >> 1), Math.Min(centres - 1, (voxel + Reach) >> 1));
    }
}
