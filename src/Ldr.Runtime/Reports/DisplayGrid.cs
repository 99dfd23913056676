using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Reports;

/// <summary>
/// The lattice that a report shows: the fixed scan's, with its axes in the order and direction of a screen in radiological
/// convention (first axis to the patient's left, second to the back, third to the feet), each voxel the mean of a block of the
/// scan's voxels where there are more than a page can hold.
/// </summary>
internal sealed class DisplayGrid
{
    private readonly Grid source;
    private readonly int[] axes = new int[3];
    private readonly bool[] flipped = new bool[3];
    private readonly int[] factors = [1, 1, 1];

    /// <summary>The lattice for a scan.</summary>
    /// <param name="source">The scan's grid.</param>
    /// <param name="mostVoxels">How many voxels it may have at most, more than 0.</param>
    internal DisplayGrid(Grid source, double mostVoxels)
    {
        this.source = source;
        string letters = source.Orientation;
        for (int axis = 0; axis < 3; axis++)
        {
            int display = "RLAPSI".IndexOf(letters[axis], StringComparison.Ordinal) / 2;
            axes[display] = axis;
            flipped[display] = "RAS".Contains(letters[axis], StringComparison.Ordinal);
        }

        // The axis with the finest voxels gives way first, so that the blocks become cubes as far as they can.
        double[] spacing = new double[3];
        for (int axis = 0; axis < 3; axis++)
        {
            spacing[axis] = source.VoxelToWorld.ColumnLength(axis);
        }

        while (Enumerable.Range(0, 3).Aggregate(1.0, (product, axis) => product * Blocks(axis)) > mostVoxels)
        {
            int finest = Enumerable.Range(0, 3).Where(axis => Blocks(axis) > 1).MinBy(axis => factors[axis] * spacing[axis]);
            factors[finest]++;
        }

        Grid = new Grid(Blocks(axes[0]), Blocks(axes[1]), Blocks(axes[2]), ToSource().Then(source.VoxelToWorld));
    }

    /// <summary>The lattice itself, in the scan's world.</summary>
    internal Grid Grid { get; }

    /// <summary>The mean of the finite values of each block; NaN where there is none.</summary>
    internal Volume Mean(Volume volume, int threads) => Reduce(volume, threads, block =>
    {
        double sum = 0;
        int count = 0;
        foreach (float value in block)
        {
            if (float.IsFinite(value))
            {
                sum += value;
                count++;
            }
        }

        return count > 0 ? (float)(sum / count) : float.NaN;
    });

    /// <summary>The smallest value of each block; NaN where one of them is NaN.</summary>
    internal Volume Lowest(Volume volume, int threads) => Reduce(volume, threads, block =>
    {
        float lowest = float.PositiveInfinity;
        foreach (float value in block)
        {
            lowest = Math.Min(lowest, value);
        }

        return lowest;
    });

    private int Blocks(int axis) => (Size(axis) + factors[axis] - 1) / factors[axis];

    private int Size(int axis) => axis switch { 0 => source.Nx, 1 => source.Ny, _ => source.Nz };

    /// <summary>Indices of this lattice to voxels of the scan: the middle of the block.</summary>
    private Affine ToSource()
    {
        double[] rows = new double[12];
        for (int display = 0; display < 3; display++)
        {
            int axis = axes[display];
            double half = (factors[axis] - 1) / 2.0;
            rows[(4 * axis) + display] = flipped[display] ? -factors[axis] : factors[axis];
            rows[(4 * axis) + 3] = flipped[display] ? Size(axis) - 1 - half : half;
        }

        return Affine.FromRows(rows);
    }

    private Volume Reduce(Volume volume, int threads, Func<ReadOnlySpan<float>, float> summary)
    {
        if (!volume.Grid.SameSizeAs(source))
        {
            throw new ArgumentException($"a volume of {volume.Grid} does not lie on {source}", nameof(volume));
        }

        float[] result = new float[Grid.Count];
        int[] strides = [1, source.Nx, source.Nx * source.Ny];
        (int First, int Last) Range(int display, int index)
        {
            int axis = axes[display];
            int start = index * factors[axis];
            int end = Math.Min(start + factors[axis], Size(axis));
            return flipped[display] ? (Size(axis) - end, Size(axis) - start) : (start, end);
        }

        Slices.ForEach(Grid, threads, z =>
        {
            float[] block = new float[factors[0] * factors[1] * factors[2]];
            (int firstZ, int lastZ) = Range(2, z);
            int target = z * Grid.Nx * Grid.Ny;
            for (int y = 0; y < Grid.Ny; y++)
            {
                (int firstY, int lastY) = Range(1, y);
                for (int x = 0; x < Grid.Nx; x++)
                {
                    (int firstX, int lastX) = Range(0, x);
                    int count = 0;
                    for (int k = firstZ; k < lastZ; k++)
                    {
                        for (int j = firstY; j < lastY; j++)
                        {
                            int from = (k * strides[axes[2]]) + (j * strides[axes[1]]);
                            for (int i = firstX; i < lastX; i++)
                            {
                                block[count++] = volume.Values[from + (i * strides[axes[0]])];
                            }
                        }
                    }

                    result[target++] = summary(block.AsSpan(0, count));
                }
            }
        });
        return new Volume(Grid, result, volume.StoredAs);
    }
}
