namespace Ldr.Runtime.Geometry;

/// <summary>
/// A scalar image or label map on a grid. Label maps are volumes too; their numbers are exact up to 2^24.
/// </summary>
public sealed class Volume
{
    /// <summary>Wraps values without copying them.</summary>
    /// <param name="grid">Where the voxels are.</param>
    /// <param name="values">One value per voxel, x fastest, then y, then z.</param>
    /// <param name="storedAs">The number type to use when the volume is written.</param>
    /// <exception cref="ArgumentException">Not as many values as the grid has voxels.</exception>
    public Volume(Grid grid, float[] values, VoxelType storedAs = VoxelType.Float32)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(values);
        if (values.LongLength != grid.Count)
        {
            throw new ArgumentException(
                $"{values.LongLength} values for a grid of {grid.Nx}×{grid.Ny}×{grid.Nz} = {grid.Count} voxels", nameof(values));
        }

        Grid = grid;
        Values = values;
        StoredAs = storedAs;
    }

    /// <summary>Where the voxels are.</summary>
    public Grid Grid { get; }

    /// <summary>One value per voxel, x fastest, then y, then z: index <c>x + nx·(y + ny·z)</c>. Not a copy.</summary>
    public float[] Values { get; }

    /// <summary>The number type to use when the volume is written.</summary>
    public VoxelType StoredAs { get; }

    /// <summary>Smallest and largest finite value, in one pass over the voxels; both NaN when no value is finite.</summary>
    public (float Min, float Max) Range
    {
        get
        {
            float min = float.PositiveInfinity;
            float max = float.NegativeInfinity;
            foreach (float value in Values)
            {
                if (float.IsFinite(value))
                {
                    min = value < min ? value : min;
                    max = value > max ? value : max;
                }
            }

            return min <= max ? (min, max) : (float.NaN, float.NaN);
        }
    }

    /// <summary>The value of one voxel.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An index outside the grid.</exception>
    public float this[int x, int y, int z]
    {
        get
        {
            CheckIndex(x, Grid.Nx, nameof(x));
            CheckIndex(y, Grid.Ny, nameof(y));
            CheckIndex(z, Grid.Nz, nameof(z));
            return Values[x + (Grid.Nx * (y + (Grid.Ny * z)))];
        }
    }

    private static void CheckIndex(int index, int size, string name)
    {
        if ((uint)index >= (uint)size)
        {
            throw new ArgumentOutOfRangeException(name, index, $"the axis has {size} voxels");
        }
    }
}
