using Ldr.Runtime.Metrics;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Whether left and right of a moved scan differ as they do in the rest of the group. A brain that was mirrored registers almost as well
/// as one that was not; but the small differences of its sides, alike in most people, then stand on the wrong side.
/// </summary>
internal static class GroupSides
{
    /// <summary>The key of the measure.</summary>
    internal const string Key = "sides_agreement";

    /// <summary>With fewer pairs nothing is said.</summary>
    private const int Fewest = 8;

    /// <summary>For each row the correlation of its left-right differences with the group's median; NaN where that cannot be told.</summary>
    internal static double[] Of(IReadOnlyList<GroupRow> rows)
    {
        double[] result = new double[rows.Count];
        Array.Fill(result, double.NaN);
        foreach (IGrouping<string, int> group in Enumerable.Range(0, rows.Count).Where(i => rows[i].Coarse is not null).GroupBy(i => rows[i].Coarse!.Fixed))
        {
            int[] members = [.. group];
            if (members.Length >= Fewest && members.All(i => rows[i].Coarse!.SameSizeAs(rows[members[0]].Coarse!)))
            {
                float[][] differences = [.. members.Select(i => rows[i].Coarse!.Differences())];
                float[] middle = Median(differences);
                for (int k = 0; k < members.Length; k++)
                {
                    result[members[k]] = Pearson.Correlation(differences[k], middle);
                }
            }
        }

        return result;
    }

    private static float[] Median(float[][] vectors)
    {
        float[] middle = new float[vectors[0].Length];
        ParallelOptions options = new() { MaxDegreeOfParallelism = Threads.Most };
        Parallel.For(0, middle.Length, options, () => new float[vectors.Length], (i, _, values) =>
        {
            for (int k = 0; k < values.Length; k++)
            {
                values[k] = vectors[k][i];
            }

            Array.Sort(values);
            middle[i] = values[values.Length / 2];
            return values;
        }, _ => { });
        return middle;
    }
}

/// <summary>A moved scan in very few voxels, first axis from right to left.</summary>
/// <param name="Fixed">The digest of the fixed scan: only pairs of one fixed scan are compared.</param>
/// <param name="Nx">Voxels from right to left.</param>
/// <param name="Ny">Voxels from front to back.</param>
/// <param name="Nz">Voxels from head to feet.</param>
/// <param name="Values">Intensities, 0 to 255.</param>
internal sealed record CoarseScan(string Fixed, int Nx, int Ny, int Nz, byte[] Values)
{
    internal bool SameSizeAs(CoarseScan other) => (Nx, Ny, Nz) == (other.Nx, other.Ny, other.Nz) && Values.Length == other.Values.Length;

    /// <summary>What stands on the right side less what stands at the mirrored place.</summary>
    internal float[] Differences()
    {
        float[] result = new float[Nx / 2 * Ny * Nz];
        for (int row = 0, i = 0; row < Ny * Nz; row++)
        {
            for (int x = 0; x < Nx / 2; x++)
            {
                result[i++] = Values[(row * Nx) + x] - Values[(row * Nx) + Nx - 1 - x];
            }
        }

        return result;
    }
}
