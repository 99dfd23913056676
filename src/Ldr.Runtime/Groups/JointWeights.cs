namespace Ldr.Runtime.Groups;

/// <summary>The weights of joint label fusion for one voxel.</summary>
internal static class JointWeights
{
    /// <summary>
    /// w = M⁻¹1 / (1ᵀM⁻¹1): of all weights whose sum is 1, those whose combined error wᵀMw is expected to be smallest (Wang and
    /// others 2013, equation 8), by Cholesky's factors of M, which is overwritten.
    /// </summary>
    /// <param name="matrix">M, n × n, symmetric and positive definite: the expected products of two atlases' errors.</param>
    /// <param name="weights">Gets the n weights; they may be below 0.</param>
    internal static void Solve(Span<double> matrix, Span<double> weights)
    {
        int n = weights.Length;
        for (int j = 0; j < n; j++)
        {
            for (int i = j; i < n; i++)
            {
                double sum = matrix[(i * n) + j];
                for (int k = 0; k < j; k++)
                {
                    sum -= matrix[(i * n) + k] * matrix[(j * n) + k];
                }

                matrix[(i * n) + j] = i == j ? Math.Sqrt(Math.Max(sum, 1e-12)) : sum / matrix[(j * n) + j];
            }
        }

        for (int i = 0; i < n; i++)
        {
            double sum = 1;
            for (int k = 0; k < i; k++)
            {
                sum -= matrix[(i * n) + k] * weights[k];
            }

            weights[i] = sum / matrix[(i * n) + i];
        }

        double total = 0;
        for (int i = n - 1; i >= 0; i--)
        {
            double sum = weights[i];
            for (int k = i + 1; k < n; k++)
            {
                sum -= matrix[(k * n) + i] * weights[k];
            }

            weights[i] = sum / matrix[(i * n) + i];
            total += weights[i];
        }

        for (int i = 0; i < n; i++)
        {
            weights[i] /= total;
        }
    }
}
