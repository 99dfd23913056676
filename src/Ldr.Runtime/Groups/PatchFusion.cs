using System.Numerics;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// Label fusion by patches. Each atlas's patch around a voxel is looked for near it (<see cref="PatchSearch"/>); the patches'
/// differences from the target's give the atlas's weight there; and a voxel is voted on by all patches that hold it.
/// </summary>
internal sealed class PatchFusion
{
    private readonly FusionOptions options;
    private readonly Grid grid;
    private readonly PatchSearch search;
    private readonly int n;
    private readonly int radius;
    private readonly int[] patch;
    private readonly float[][] weights;

    private PatchFusion(PatchSearch search, int n, FusionOptions options)
    {
        this.options = options;
        this.search = search;
        this.n = n;
        grid = search.Grid;
        radius = options.RadiusOn(grid);
        patch = search.Offsets(radius);
        weights = [.. Enumerable.Range(0, n).Select(_ => new float[grid.Count])];
    }

    /// <summary>Fuses: labels are given by their places among all labels.</summary>
    internal static LabelProbabilities Run(
        Volume target, Volume[] scans, int[] labels, ushort[][] places, FusionOptions options, CancellationToken cancellation)
    {
        // A border of repeated voxels, so that no patch is cut off.
        Border border = new(target.Grid, options.RadiusOn(target.Grid) + options.SearchRadius);
        ushort[][] around = [.. places.Select(border.Add)];
        bool[] open = OpenVoxels(border.Grid, around, options.SearchRadius);
        PatchSearch search = new(border.Grid, border.Add(target.Values), options, cancellation);
        search.Run([.. scans.Select(scan => border.Add(scan.Values))]);
        PatchFusion fusion = new(search, scans.Length, options);
        fusion.Weigh(Dilated(border.Grid, open, fusion.radius), cancellation);
        return fusion.Vote(border, labels, around, open);
    }

    /// <summary>Where the atlases disagree, somewhere within the search: elsewhere no weight can change the outcome.</summary>
    private static bool[] OpenVoxels(Grid grid, ushort[][] places, int radius)
    {
        bool[] open = new bool[grid.Count];
        ushort[] first = places[0];
        (int y, int z) = (grid.Nx, grid.Nx * grid.Ny);
        for (int i = 0; i < open.Length; i++)
        {
            // A border between two labels of the first atlas is a disagreement too, of one place with the next.
            open[i] = (i > 0 && first[i] != first[i - 1]) || (i >= y && first[i] != first[i - y]) || (i >= z && first[i] != first[i - z]);
            for (int k = 1; k < places.Length && !open[i]; k++)
            {
                open[i] = places[k][i] != first[i];
            }
        }

        return Dilated(grid, open, radius + 1);
    }

    private static bool[] Dilated(Grid grid, bool[] from, int radius)
    {
        bool[] Along(bool[] source, int stride)
        {
            bool[] result = new bool[source.Length];
            for (int i = 0; i < source.Length; i++)
            {
                if (source[i])
                {
                    for (int k = -radius; k <= radius; k++)
                    {
                        result[Math.Clamp(i + (k * stride), 0, source.Length - 1)] = true;
                    }
                }
            }

            return result;
        }

        // Where a row ends the next begins: that a few voxels too many are marked does no harm.
        return radius == 0 ? from : Along(Along(Along(from, 1), grid.Nx), grid.Nx * grid.Ny);
    }

    /// <summary>Every atlas's weight at the voxels that are wanted and have their whole patch within the grid.</summary>
    private void Weigh(bool[] wanted, CancellationToken cancellation)
    {
        int width = (patch.Length + Vector<float>.Count - 1) / Vector<float>.Count * Vector<float>.Count;
        int margin = radius + options.SearchRadius;
        Slices.ForEach(grid, options.Threads, z =>
        {
            cancellation.ThrowIfCancellationRequested();
            float[] errors = new float[n * width];
            double[] matrix = new double[n * n];
            double[] own = new double[n];
            for (int y = margin; z >= margin && z < grid.Nz - margin && y < grid.Ny - margin; y++)
            {
                for (int x = margin; x < grid.Nx - margin; x++)
                {
                    int voxel = x + (grid.Nx * (y + (grid.Ny * z)));
                    if (wanted[voxel])
                    {
                        WeighVoxel(voxel, width, errors, matrix, own);
                    }
                }
            }
        });
    }

    private void WeighVoxel(int voxel, int width, float[] errors, double[] matrix, double[] own)
    {
        for (int i = 0; i < n; i++)
        {
            search.Errors(i, voxel, patch, errors.AsSpan(i * width, patch.Length));
        }

        bool joint = options.Method == FusionMethod.Joint;
        for (int i = 0; i < n; i++)
        {
            for (int j = joint ? 0 : i; j <= i; j++)
            {
                double product = Dot(errors.AsSpan(i * width, width), errors.AsSpan(j * width, width)) / patch.Length;
                matrix[(i * n) + j] = options.Beta == 2 ? product * product : Math.Pow(product, options.Beta);
            }
        }

        for (int i = 0; i < n; i++)
        {
            matrix[(i * n) + i] += joint ? options.Alpha : options.Alpha / 100;
        }

        if (joint)
        {
            JointWeights.Solve(matrix, own);
        }
        else
        {
            Independent(matrix, own);
        }

        for (int i = 0; i < n; i++)
        {
            weights[i][voxel] = (float)own[i];
        }
    }

    /// <summary>The weights under a matrix that has nothing but its diagonal.</summary>
    private void Independent(double[] matrix, double[] own)
    {
        double total = 0;
        for (int i = 0; i < n; i++)
        {
            own[i] = 1 / matrix[(i * n) + i];
            total += own[i];
        }

        for (int i = 0; i < n; i++)
        {
            own[i] /= total;
        }
    }

    private static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Vector<float> sum = Vector<float>.Zero;
        for (int i = 0; i < a.Length; i += Vector<float>.Count)
        {
            sum += new Vector<float>(a[i..]) * new Vector<float>(b[i..]);
        }

        return Vector.Sum(sum);
    }

    private LabelProbabilities Vote(Border border, int[] labels, ushort[][] places, bool[] open) =>
        LabelProbabilities.Collect(border.Inner, labels, options.Threads, (inner, ballot) =>
        {
            int voxel = border.Outer(inner);
            if (!open[voxel])
            {
                ballot.Add(places[0][voxel], 1);
                return;
            }

            for (int i = 0; i < n; i++)
            {
                ushort[] own = places[i];
                float[] weight = weights[i];
                byte[] shifts = search.Shifts[i];
                foreach (int offset in patch)
                {
                    int centre = voxel + offset;
                    ballot.Add(own[voxel + search.Moves[shifts[centre]]], weight[centre]);
                }
            }
        });

    /// <summary>A grid with a border of repeated voxels around it.</summary>
    private sealed class Border(Grid inner, int width)
    {
        internal Grid Inner => inner;

        internal Grid Grid { get; } = new(
            inner.Nx + (2 * width),
            inner.Ny + (2 * width),
            inner.Nz + (2 * width),
            Affine.Translation(-width, -width, -width).Then(inner.VoxelToWorld));

        internal int Outer(int voxel)
        {
            (int slice, int rest) = Math.DivRem(voxel, inner.Nx * inner.Ny);
            (int y, int x) = Math.DivRem(rest, inner.Nx);
            return x + width + (Grid.Nx * (y + width + (Grid.Ny * (slice + width))));
        }

        internal T[] Add<T>(T[] values)
        {
            T[] result = new T[Grid.Count];
            int i = 0;
            for (int z = 0; z < Grid.Nz; z++)
            {
                for (int y = 0; y < Grid.Ny; y++)
                {
                    int row = inner.Nx * (Math.Clamp(y - width, 0, inner.Ny - 1) + (inner.Ny * Math.Clamp(z - width, 0, inner.Nz - 1)));
                    for (int x = 0; x < Grid.Nx; x++)
                    {
                        result[i++] = values[row + Math.Clamp(x - width, 0, inner.Nx - 1)];
                    }
                }
            }

            return result;
        }
    }
}
