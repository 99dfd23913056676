namespace Ldr.Runtime.Transforms;

/// <summary>Small dense systems of equations.</summary>
internal static class LinearSystem
{
    /// <summary>Gaussian elimination with row pivots: the right-hand sides become the solutions; both arguments are overwritten.</summary>
    internal static void Solve(double[,] matrix, double[,] right)
    {
        int n = matrix.GetLength(0);
        int columns = right.GetLength(1);
        for (int pivot = 0; pivot < n; pivot++)
        {
            int best = pivot;
            for (int row = pivot + 1; row < n; row++)
            {
                best = Math.Abs(matrix[row, pivot]) > Math.Abs(matrix[best, pivot]) ? row : best;
            }

            for (int k = 0; k < n; k++)
            {
                (matrix[pivot, k], matrix[best, k]) = (matrix[best, k], matrix[pivot, k]);
            }

            for (int k = 0; k < columns; k++)
            {
                (right[pivot, k], right[best, k]) = (right[best, k], right[pivot, k]);
            }

            for (int row = 0; row < n; row++)
            {
                if (row == pivot)
                {
                    continue;
                }

                double factor = matrix[row, pivot] / matrix[pivot, pivot];
                for (int k = pivot; k < n; k++)
                {
                    matrix[row, k] -= factor * matrix[pivot, k];
                }

                for (int k = 0; k < columns; k++)
                {
                    right[row, k] -= factor * right[pivot, k];
                }
            }
        }

        for (int row = 0; row < n; row++)
        {
            for (int k = 0; k < columns; k++)
            {
                right[row, k] /= matrix[row, row];
            }
        }
    }
}
