using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// How much of an image's variance, box by box, a linear function of another one explains: squared local correlation, which survives
/// changes of contrast.
/// </summary>
internal static class ExplainedVariance
{
    /// <summary>Points along a side of a box in which intensities are correlated.</summary>
    private const int Side = 6;

    /// <summary>Boxes with fewer points are left out.</summary>
    private const int FewestPoints = 27;

    /// <summary>Share of the other image's variance that is added to each box's, so that flat boxes do not matter.</summary>
    private const double Noise = 1e-3;

    /// <summary>The share, 0 to 1; NaN when no box has enough points or the image is flat.</summary>
    /// <param name="image">Values, x fastest.</param>
    /// <param name="other">As many values.</param>
    /// <param name="counted">Which points count, beside that both values are numbers; all when null.</param>
    /// <param name="size">Points along x, y and z.</param>
    internal static double Share(float[] image, float[] other, bool[]? counted, (int X, int Y, int Z) size)
    {
        double noise = Noise * Variance(other, counted);
        (double Explained, double All)[] slabs = new (double, double)[(size.Z + Side - 1) / Side];
        Parallel.For(0, slabs.Length, new ParallelOptions { MaxDegreeOfParallelism = Threads.Most }, slab =>
        {
            Box[] boxes = new Box[(size.X + Side - 1) / Side];
            for (int y0 = 0; y0 < size.Y; y0 += Side)
            {
                Array.Clear(boxes);
                for (int z = slab * Side; z < Math.Min((slab + 1) * Side, size.Z); z++)
                {
                    for (int y = y0; y < Math.Min(y0 + Side, size.Y); y++)
                    {
                        int row = size.X * (y + (size.Y * z));
                        for (int x = 0; x < size.X; x++)
                        {
                            (float a, float b) = (image[row + x], other[row + x]);
                            if ((counted is null || counted[row + x]) && float.IsFinite(a + b))
                            {
                                boxes[x / Side].Add(a, b);
                            }
                        }
                    }
                }

                foreach (Box box in boxes)
                {
                    if (box.Points >= FewestPoints)
                    {
                        slabs[slab].Explained += box.Explained(noise);
                        slabs[slab].All += box.Variance;
                    }
                }
            }
        });
        double all = slabs.Sum(slab => slab.All);
        return all > 0 ? Math.Min(1, slabs.Sum(slab => slab.Explained) / all) : double.NaN;
    }

    private static double Variance(float[] values, bool[]? counted)
    {
        (double sum, double squares, int count) = (0, 0, 0);
        for (int i = 0; i < values.Length; i++)
        {
            if ((counted is null || counted[i]) && float.IsFinite(values[i]))
            {
                sum += values[i];
                squares += (double)values[i] * values[i];
                count++;
            }
        }

        return count == 0 ? 0 : Math.Max(0, (squares / count) - (sum / count * (sum / count)));
    }

    /// <summary>Sums over a box.</summary>
    private struct Box
    {
        private double a;
        private double b;
        private double aa;
        private double bb;
        private double ab;

        internal int Points { get; private set; }

        /// <summary>Of the image, times the points.</summary>
        internal readonly double Variance => Math.Max(0, aa - (a * a / Points));

        internal void Add(double x, double y)
        {
            Points++;
            a += x;
            b += y;
            aa += x * x;
            bb += y * y;
            ab += x * y;
        }

        /// <summary>What a linear function of the other image explains of the variance.</summary>
        internal readonly double Explained(double noise)
        {
            double covariance = ab - (a * b / Points);
            double spread = Math.Max(0, bb - (b * b / Points)) + (noise * Points);
            return spread > 0 ? covariance * covariance / spread : 0;
        }
    }
}
