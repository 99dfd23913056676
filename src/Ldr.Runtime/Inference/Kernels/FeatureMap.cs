namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// Activations, channels last, x fastest among the voxels, with a border of one voxel on every side that stays zero.
/// </summary>
internal sealed unsafe class FeatureMap
{
    private readonly Arena arena;
    private readonly long begin;

    /// <summary>Reserves a map in an arena.</summary>
    internal FeatureMap(Arena arena, int nx, int ny, int nz, int channels)
    {
        this.arena = arena;
        (Nx, Ny, Nz, Channels) = (nx, ny, nz, channels);
        Row = (nint)(nx + 2) * channels;
        Plane = (ny + 2) * Row;
        begin = arena.Reserve(Length);
    }

    internal int Nx { get; }

    internal int Ny { get; }

    internal int Nz { get; }

    /// <summary>Numbers of a voxel.</summary>
    internal int Channels { get; }

    /// <summary>Numbers from one row to the next.</summary>
    internal nint Row { get; }

    /// <summary>Numbers from one plane to the next.</summary>
    internal nint Plane { get; }

    /// <summary>All numbers, the border's among them.</summary>
    internal long Length => (long)(Nz + 2) * Plane;

    /// <summary>The first channel of a voxel; indices from −1 to n.</summary>
    internal float* At(int x, int y, int z) => arena.At(begin) + Offset(x, y, z);

    /// <summary>How far that is from the start.</summary>
    internal nint Offset(int x, int y, int z) => ((z + 1) * Plane) + ((y + 1) * Row) + ((nint)(x + 1) * Channels);

    /// <summary>Makes the border zero again, after another buffer lay here.</summary>
    internal void ClearBorder()
    {
        new Span<float>(At(-1, -1, -1), (int)Plane).Clear();
        new Span<float>(At(-1, -1, Nz), (int)Plane).Clear();
        for (int z = 0; z < Nz; z++)
        {
            new Span<float>(At(-1, -1, z), (int)Row).Clear();
            new Span<float>(At(-1, Ny, z), (int)Row).Clear();
            for (int y = 0; y < Ny; y++)
            {
                new Span<float>(At(-1, y, z), Channels).Clear();
                new Span<float>(At(Nx, y, z), Channels).Clear();
            }
        }
    }
}
