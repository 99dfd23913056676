using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Groups;

/// <summary>
/// The mean of how affine maps stretch space, whatever way they turn it: S = exp(½ mean log LᵀL), the logarithm's mean of the right
/// stretch tensors (Arsigny and others 2006), symmetric and positive.
/// </summary>
internal static class MeanStretch
{
    /// <summary>The map that stretches space about a point as the maps do on average.</summary>
    /// <param name="maps">From one world to several others.</param>
    /// <param name="weights">How much each counts.</param>
    /// <param name="centre">The point that stays, mm.</param>
    internal static Affine Of(IReadOnlyList<Affine> maps, IReadOnlyList<double> weights, (double X, double Y, double Z) centre)
    {
        double[,] mean = new double[3, 3];
        double total = weights.Sum();
        for (int i = 0; i < maps.Count; i++)
        {
            double[,] logarithm = Apply(Tensor(maps[i]), Math.Log);
            for (int k = 0; k < 9; k++)
            {
                mean[k / 3, k % 3] += 0.5 * weights[i] / total * logarithm[k / 3, k % 3];
            }
        }

        double[,] s = Apply(mean, Math.Exp);
        Affine linear = Affine.FromRows(s[0, 0], s[0, 1], s[0, 2], 0, s[1, 0], s[1, 1], s[1, 2], 0, s[2, 0], s[2, 1], s[2, 2], 0);
        return Affine.Translation(-centre.X, -centre.Y, -centre.Z).Then(linear).Then(Affine.Translation(centre.X, centre.Y, centre.Z));
    }

    private static double[,] Tensor(Affine map)
    {
        double[,] tensor = new double[3, 3];
        for (int k = 0; k < 27; k++)
        {
            tensor[k / 9, k / 3 % 3] += map[k % 3, k / 9] * map[k % 3, k / 3 % 3];
        }

        return tensor;
    }

    /// <summary>A function of a symmetric matrix, by Jacobi's rotations.</summary>
    private static double[,] Apply(double[,] symmetric, Func<double, double> function)
    {
        double[,] a = (double[,])symmetric.Clone();
        double[,] vectors = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };
        for (int sweep = 0; sweep < 30; sweep++)
        {
            Rotate(a, vectors, 0, 1);
            Rotate(a, vectors, 0, 2);
            Rotate(a, vectors, 1, 2);
        }

        double[,] result = new double[3, 3];
        for (int k = 0; k < 27; k++)
        {
            result[k / 9, k / 3 % 3] += vectors[k / 9, k % 3] * function(a[k % 3, k % 3]) * vectors[k / 3 % 3, k % 3];
        }

        return result;
    }

    private static void Rotate(double[,] a, double[,] vectors, int p, int q)
    {
        if (Math.Abs(a[p, q]) < 1e-300)
        {
            return;
        }

        double theta = (a[q, q] - a[p, p]) / (2 * a[p, q]);
        double t = (theta >= 0 ? 1 : -1) / (Math.Abs(theta) + Math.Sqrt((theta * theta) + 1));
        double c = 1 / Math.Sqrt((t * t) + 1);
        double s = t * c;
        for (int k = 0; k < 3; k++)
        {
            (a[k, p], a[k, q]) = ((c * a[k, p]) - (s * a[k, q]), (s * a[k, p]) + (c * a[k, q]));
        }

        for (int k = 0; k < 3; k++)
        {
            (a[p, k], a[q, k]) = ((c * a[p, k]) - (s * a[q, k]), (s * a[p, k]) + (c * a[q, k]));
            (vectors[k, p], vectors[k, q]) = ((c * vectors[k, p]) - (s * vectors[k, q]), (s * vectors[k, p]) + (c * vectors[k, q]));
        }
    }
}
