using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Reads one or more planes at displaced and mapped positions: for every voxel x of the output grid, the position
/// <c>map(x + u(x))</c> in voxels of the source. The one loop behind warping, resampling and composing.
/// </summary>
internal static unsafe class Sampling
{
    /// <summary>Positions worked out at a time; three such buffers stay in the first-level cache.</summary>
    internal const int Chunk = 256;

    /// <summary>Trilinear, clamped at the border. Returns as many planes of the output grid as there are channels.</summary>
    /// <param name="source">Planes of the source grid, one per channel.</param>
    /// <param name="sourceGrid">The sizes of a source plane.</param>
    /// <param name="channels">How many planes.</param>
    /// <param name="output">The grid to fill.</param>
    /// <param name="vectors">A displacement in voxels of the output grid, three planes; null for none.</param>
    /// <param name="map">From voxels of the output grid to voxels of the source grid.</param>
    /// <param name="threads">How many threads at most; 0 for all.</param>
    internal static float[] Linear(
        float[] source, Grid sourceGrid, int channels, Grid output, float[]? vectors, Affine map, int threads)
    {
        float[] result = GC.AllocateUninitializedArray<float>(checked((int)(channels * output.Count)));
        Linear(source, sourceGrid, channels, output, vectors, map, threads, result);
        return result;
    }

    /// <summary>The same, into an array that is there already.</summary>
    internal static void Linear(
        float[] source, Grid sourceGrid, int channels, Grid output, float[]? vectors, Affine map, int threads, float[] result)
    {
        Slices.ForEach(output, threads, z =>
        {
            fixed (float* from = source, to = result, displacement = vectors)
            {
                LinearSlice(from, sourceGrid, channels, output, displacement, map, z, to);
            }
        });
    }

    /// <summary>What the method for whole grids does for one z-slice of the output grid.</summary>
    internal static void LinearSlice(
        float* source, Grid sourceGrid, int channels, Grid output, float* displacement, Affine map, int z, float* result)
    {
        bool plain = map.Equals(Affine.Identity);
        float* px = stackalloc float[3 * Chunk];
        float* py = px + Chunk;
        float* pz = py + Chunk;
        nint plane = (nint)output.Count;
        for (int y = 0; y < output.Ny; y++)
        {
            Start start = new(map, y, z);
            nint row = output.Nx * (y + ((nint)output.Ny * z));
            for (int x = 0; x < output.Nx; x += Chunk)
            {
                int count = Math.Min(Chunk, output.Nx - x);
                nint first = row + x;
                if (displacement == null)
                {
                    Positions.Map(start, x, count, px, py, pz);
                }
                else if (plain)
                {
                    Positions.Displace(displacement + first, plane, x, y, z, count, px, py, pz);
                }
                else
                {
                    Positions.DisplaceAndMap(start, displacement + first, plane, x, count, px, py, pz);
                }

                Trilinear.Sample(
                    source, sourceGrid.Nx, sourceGrid.Ny, sourceGrid.Nz, channels, px, py, pz, count, result + first, plane);
            }
        }
    }

    /// <summary>
    /// The nearest voxel's value; positions are worked out in double precision, and halves go to the higher index,
    /// also where rounding has moved them by up to 1e-6 of a voxel.
    /// </summary>
    internal static float[] Nearest(
        float[] source, Grid sourceGrid, Grid output, float[]? vectors, Affine map, int threads)
    {
        float[] result = GC.AllocateUninitializedArray<float>((int)output.Count);
        Slices.ForEach(output, threads, z =>
        {
            int plane = (int)output.Count;
            int i = z * output.Nx * output.Ny;
            for (int y = 0; y < output.Ny; y++)
            {
                for (int x = 0; x < output.Nx; x++, i++)
                {
                    (double px, double py, double pz) = vectors is null
                        ? map.Apply(x, y, z)
                        : map.Apply(x + (double)vectors[i], y + (double)vectors[plane + i], z + (double)vectors[(2 * plane) + i]);
                    result[i] = source[NearestIndex(sourceGrid, px, py, pz)];
                }
            }
        });
        return result;
    }

    /// <summary>Trilinear values of several planes at one position.</summary>
    internal static void LinearAt(float[] source, Grid grid, float x, float y, float z, Span<float> values)
    {
        fixed (float* from = source, to = values)
        {
            Trilinear.Sample(from, grid.Nx, grid.Ny, grid.Nz, values.Length, &x, &y, &z, 1, to, 1);
        }
    }

    /// <summary>Trilinear values of three planes at up to <paramref name="stride"/> positions, given and returned as planes.</summary>
    internal static void LinearAt(
        float[] source, Grid grid, Span<float> positions, Span<float> values, int stride, int count)
    {
        fixed (float* from = source, at = positions, to = values)
        {
            Trilinear.Sample(
                from, grid.Nx, grid.Ny, grid.Nz, 3, at, at + stride, at + (2 * stride), count, to, stride);
        }
    }

    /// <summary>Trilinear values of one plane at a row of positions.</summary>
    internal static void LinearRow(
        float[] source, Grid grid, Span<double> px, Span<double> py, Span<double> pz, Span<float> row)
    {
        float* at = stackalloc float[3 * Chunk];
        fixed (float* from = source, to = row)
        {
            for (int start = 0; start < row.Length; start += Chunk)
            {
                int count = Math.Min(Chunk, row.Length - start);
                for (int i = 0; i < count; i++)
                {
                    at[i] = (float)px[start + i];
                    at[Chunk + i] = (float)py[start + i];
                    at[(2 * Chunk) + i] = (float)pz[start + i];
                }

                Trilinear.Sample(
                    from, grid.Nx, grid.Ny, grid.Nz, 1, at, at + Chunk, at + (2 * Chunk), count, to + start, 0);
            }
        }
    }

    /// <summary>Where in a plane the voxel nearest to a position lies; halves go to the higher index.</summary>
    internal static int NearestIndex(Grid grid, double x, double y, double z) =>
        Round(x, grid.Nx) + (grid.Nx * (Round(y, grid.Ny) + (grid.Ny * Round(z, grid.Nz))));

    /// <summary>The nearest index of an axis. The comparisons are written so that NaN becomes 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Round(double position, int size)
    {
        double shifted = position + 0.500001;
        return shifted > 0 ? (shifted < size ? (int)shifted : size - 1) : 0;
    }

    /// <summary>Where a row starts in the source, and how the source position grows along x, y and z displacements.</summary>
    internal readonly struct Start
    {
        internal Start(Affine map, int y, int z)
        {
            (double x0, double y0, double z0) = map.Apply(0, y, z);
            X = (float)x0;
            Y = (float)y0;
            Z = (float)z0;
            Xx = (float)map[0, 0];
            Xy = (float)map[0, 1];
            Xz = (float)map[0, 2];
            Yx = (float)map[1, 0];
            Yy = (float)map[1, 1];
            Yz = (float)map[1, 2];
            Zx = (float)map[2, 0];
            Zy = (float)map[2, 1];
            Zz = (float)map[2, 2];
        }

        internal float X { get; }

        internal float Y { get; }

        internal float Z { get; }

        internal float Xx { get; }

        internal float Xy { get; }

        internal float Xz { get; }

        internal float Yx { get; }

        internal float Yy { get; }

        internal float Yz { get; }

        internal float Zx { get; }

        internal float Zy { get; }

        internal float Zz { get; }
    }
}
