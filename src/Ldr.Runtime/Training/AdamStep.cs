using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>A step of Adam in one pass over a parameter (Kingma and Ba, Adam: a method for stochastic optimization, 2015).</summary>
internal static unsafe class AdamStep
{
    /// <summary>Numbers of a piece of work.</summary>
    private const int Piece = 1 << 14;

    /// <summary>Moves a parameter; both averages are updated.</summary>
    /// <param name="parameter">What moves.</param>
    /// <param name="gradient">Its gradient.</param>
    /// <param name="first">The average of gradients.</param>
    /// <param name="second">The average of squared gradients.</param>
    /// <param name="count">How many numbers.</param>
    /// <param name="step">From 1.</param>
    /// <param name="rate">The learning rate.</param>
    /// <param name="threads">How many threads at most.</param>
    internal static void Apply(
        float* parameter, float* gradient, float* first, float* second, long count, long step, double rate, int threads)
    {
        const double Beta1 = 0.9;
        const double Beta2 = 0.999;
        float size = (float)(rate / (1 - Math.Pow(Beta1, step)));
        float root = (float)(1 / Math.Sqrt(1 - Math.Pow(Beta2, step)));
        int pieces = (int)((count + Piece - 1) / Piece);
        Slices.ForEach(pieces, count, threads, piece =>
        {
            long begin = (long)piece * Piece;
            Move(parameter + begin, gradient + begin, first + begin, second + begin, (int)Math.Min(Piece, count - begin), size, root);
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Move(float* parameter, float* gradient, float* first, float* second, int count, float size, float root)
    {
        const float Epsilon = 1e-8f;
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> g = Vector.Load(gradient + i);
            Vector<float> m = (0.9f * Vector.Load(first + i)) + (0.1f * g);
            Vector<float> v = (0.999f * Vector.Load(second + i)) + (0.001f * (g * g));
            Vector.Store(m, first + i);
            Vector.Store(v, second + i);
            Vector<float> below = (Vector.SquareRoot(v) * root) + new Vector<float>(Epsilon);
            Vector.Store(Vector.Load(parameter + i) - (size * (m / below)), parameter + i);
        }

        for (; i < count; i++)
        {
            float g = gradient[i];
            first[i] = (0.9f * first[i]) + (0.1f * g);
            second[i] = (0.999f * second[i]) + (0.001f * (g * g));
            parameter[i] -= size * (first[i] / ((MathF.Sqrt(second[i]) * root) + Epsilon));
        }
    }
}
