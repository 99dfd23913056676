using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// Pearson's correlation of two images under weights, and its gradient by the moved one. An image whose deviation is below 1e-5 of
/// its mean correlates 0 with everything, with gradient 0. No result depends on the number of threads.
/// </summary>
internal static unsafe class GlobalCorrelation
{
    /// <summary>What the gradient needs of each sample: the means of both images, two factors, one part of the sum of weights.</summary>
    internal const int Factors = 5;

    /// <summary>Voxels of a share.</summary>
    private const int Share = 1 << 14;

    /// <summary>The correlation of each sample.</summary>
    /// <param name="images">Fixed and moved images and weights, [N, 1, Z, Y, X] each.</param>
    /// <param name="samples">N.</param>
    /// <param name="voxels">Of an image.</param>
    /// <param name="result">[N].</param>
    /// <param name="factors">[N, <see cref="Factors"/>].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Measure(
        WeightedImages images, int samples, nint voxels, float* result, float* factors, int threads)
    {
        double[] first = SumShares(images, samples, voxels, threads, (of, count, _, to) => SumValues(of, count, to));
        double[][] means =
        [
            .. Enumerable.Range(0, samples).Select(sample =>
            {
                double weight = Math.Max(1e-30, first[3 * sample]);
                return new[] { first[(3 * sample) + 1] / weight, first[(3 * sample) + 2] / weight, weight };
            }),
        ];
        double[] second = SumShares(images, samples, voxels, threads, (of, count, sample, to) =>
            SumProducts(of, count, (float)means[sample][0], (float)means[sample][1], to));
        for (int sample = 0; sample < samples; sample++)
        {
            double weight = means[sample][2];
            result[sample] = Finish(
                means[sample][0],
                means[sample][1],
                weight,
                second.AsSpan(3 * sample, 3),
                new Span<float>(factors + (sample * Factors), Factors));
        }
    }

    /// <summary>A multiple for each sample of the gradient by the moved image.</summary>
    /// <param name="images">As they were measured.</param>
    /// <param name="samples">N.</param>
    /// <param name="voxels">Of an image.</param>
    /// <param name="factors">What <see cref="Measure"/> left.</param>
    /// <param name="multiples">[N].</param>
    /// <param name="gradient">[N, 1, Z, Y, X].</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Gradient(
        WeightedImages images,
        int samples,
        nint voxels,
        float* factors,
        float* multiples,
        float* gradient,
        int threads)
    {
        ForShares(samples, voxels, threads, (_, sample, first, count) =>
            Slope(images.At(first), count, factors + (sample * Factors), multiples[sample], gradient + first));
    }

    private static void ForShares(int samples, nint voxels, int threads, Action<int, int, nint, int> body)
    {
        int shares = (int)((voxels + Share - 1) / Share);
        Slices.ForEach(samples * shares, samples * voxels, threads, index =>
        {
            (int sample, int share) = Math.DivRem(index, shares);
            nint begin = share * (nint)Share;
            body(index, sample, (sample * voxels) + begin, (int)Math.Min(Share, voxels - begin));
        });
    }

    /// <summary>Three sums of each sample.</summary>
    private static double[] SumShares(WeightedImages images, int samples, nint voxels, int threads, ShareSum sum)
    {
        int shares = (int)((voxels + Share - 1) / Share);
        double[] parts = new double[3 * samples * shares];
        ForShares(samples, voxels, threads, (index, sample, first, count) =>
            sum(images.At(first), count, sample, parts.AsSpan(3 * index, 3)));
        double[] sums = new double[3 * samples];
        for (int index = 0; index < samples * shares; index++)
        {
            for (int i = 0; i < 3; i++)
            {
                sums[(index / shares * 3) + i] += parts[(3 * index) + i];
            }
        }

        return sums;
    }

    private static float Finish(double meanFixed, double meanMoved, double weight, ReadOnlySpan<double> sums, Span<float> factors)
    {
        double ofFixed = sums[0] / weight;
        double ofMoved = sums[1] / weight;
        factors.Clear();
        if (IsFlat(ofFixed, meanFixed) || IsFlat(ofMoved, meanMoved))
        {
            return 0;
        }

        double scale = 1 / Math.Sqrt(ofFixed * ofMoved);
        double correlation = sums[2] / weight * scale;
        factors[0] = (float)meanFixed;
        factors[1] = (float)meanMoved;
        factors[2] = (float)scale;
        factors[3] = (float)(correlation / ofMoved);
        factors[4] = (float)(1 / weight);
        return (float)correlation;
    }

    private static bool IsFlat(double variance, double mean)
    {
        double limit = Math.Abs(mean) * 1e-5;
        return variance <= (limit * limit) + 1e-30;
    }

    /// <summary>Σ w, Σ w f, Σ w m.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumValues(WeightedImages of, int count, Span<double> to)
    {
        int i = 0;
        while (i < count)
        {
            // A run in single precision: short enough to lose nothing.
            int end = Math.Min(count, i + 512);
            Vector<float> weight = default;
            Vector<float> ofFixed = default;
            Vector<float> ofMoved = default;
            for (; i <= end - Vector<float>.Count; i += Vector<float>.Count)
            {
                Vector<float> w = Vector.Load(of.Weights + i);
                weight += w;
                ofFixed += w * Vector.Load(of.Fixed + i);
                ofMoved += w * Vector.Load(of.Moved + i);
            }

            to[0] += Vector.Sum(weight);
            to[1] += Vector.Sum(ofFixed);
            to[2] += Vector.Sum(ofMoved);
            for (; i < end; i++)
            {
                to[0] += of.Weights[i];
                to[1] += of.Weights[i] * of.Fixed[i];
                to[2] += of.Weights[i] * of.Moved[i];
            }
        }
    }

    /// <summary>Σ w f², Σ w m², Σ w f m, of centred images.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumProducts(WeightedImages of, int count, float meanFixed, float meanMoved, Span<double> to)
    {
        int i = 0;
        while (i < count)
        {
            int end = Math.Min(count, i + 512);
            Vector<float> ff = default;
            Vector<float> mm = default;
            Vector<float> fm = default;
            for (; i <= end - Vector<float>.Count; i += Vector<float>.Count)
            {
                Vector<float> w = Vector.Load(of.Weights + i);
                Vector<float> f = Vector.Load(of.Fixed + i) - new Vector<float>(meanFixed);
                Vector<float> m = Vector.Load(of.Moved + i) - new Vector<float>(meanMoved);
                ff += w * f * f;
                mm += w * m * m;
                fm += w * f * m;
            }

            to[0] += Vector.Sum(ff);
            to[1] += Vector.Sum(mm);
            to[2] += Vector.Sum(fm);
            for (; i < end; i++)
            {
                float f = of.Fixed[i] - meanFixed;
                float m = of.Moved[i] - meanMoved;
                to[0] += of.Weights[i] * f * f;
                to[1] += of.Weights[i] * m * m;
                to[2] += of.Weights[i] * f * m;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Slope(WeightedImages of, int count, float* factors, float multiple, float* to)
    {
        float share = multiple * factors[4];
        float a = share * factors[2];
        float b = share * factors[3];
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> f = Vector.Load(of.Fixed + i) - new Vector<float>(factors[0]);
            Vector<float> m = Vector.Load(of.Moved + i) - new Vector<float>(factors[1]);
            Vector.Store(Vector.Load(of.Weights + i) * ((a * f) - (b * m)), to + i);
        }

        for (; i < count; i++)
        {
            to[i] = of.Weights[i] * ((a * (of.Fixed[i] - factors[0])) - (b * (of.Moved[i] - factors[1])));
        }
    }

    private delegate void ShareSum(WeightedImages of, int count, int sample, Span<double> to);
}
