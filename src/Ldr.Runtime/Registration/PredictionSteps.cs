using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference.Kernels;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>The intensity windows of both scans.</summary>
internal sealed unsafe class WindowStep(IntensityRule rule) : Operation
{
    private readonly Percentile.Workspace[] workspaces = [new(), new()];

    internal override string Name => "windows";

    internal override int Chunks => 2;

    internal Volume[] Scans { get; } = new Volume[2];

    internal (double Low, double High)[] Windows { get; } = new (double Low, double High)[2];

    internal override void Run(int chunk, byte* scratch) => Windows[chunk] = rule.WindowOf(Scans[chunk], workspaces[chunk]);
}

/// <summary>A scan's values, its window brought to [0, 1].</summary>
internal sealed unsafe class ScaleStep : Operation
{
    private const int Piece = 1 << 16;

    internal override string Name => "intensities";

    internal override int Chunks => (Source.Length + Piece - 1) / Piece;

    internal float[] Source { get; set; } = [];

    internal float[] Target { get; set; } = [];

    internal (double Low, double High) Window { get; set; }

    internal override void Run(int chunk, byte* scratch)
    {
        int begin = chunk * Piece;
        int count = Math.Min(Piece, Source.Length - begin);
        IntensityRule.Scale(Source.AsSpan(begin, count), Window.Low, Window.High, Target.AsSpan(begin, count));
    }
}

/// <summary>Planes of numbers on another grid, at displaced and mapped positions.</summary>
internal sealed unsafe class SampleStep(string name, int channels) : Operation
{
    internal override string Name => name;

    internal override int Chunks => Output!.Nz;

    internal float[] Source { get; set; } = [];

    internal Grid? SourceGrid { get; set; }

    internal float[] Target { get; set; } = [];

    internal Grid? Output { get; set; }

    internal float[]? Displacement { get; set; }

    internal Affine Map { get; set; } = Affine.Identity;

    internal override void Run(int chunk, byte* scratch)
    {
        fixed (float* from = Source, to = Target, displacement = Displacement)
        {
            Sampling.LinearSlice(from, SourceGrid!, channels, Output!, displacement, Map, chunk, to);
        }
    }
}

/// <summary>
/// Vectors turned from the network's grid to the fixed one, and the initial alignment after them:
/// u(x) = T(x + turn · d(x)) − x, in voxels of the fixed grid.
/// </summary>
internal sealed unsafe class TotalStep : Operation
{
    internal override string Name => "total";

    internal override int Chunks => Plan!.Fixed.Nz;

    internal PredictionPlan? Plan { get; set; }

    /// <summary>The network's vectors at the voxels of the fixed grid.</summary>
    internal float[] Source { get; set; } = [];

    /// <summary>Takes the network's part; may be the source.</summary>
    internal float[] Deformation { get; set; } = [];

    /// <summary>Takes the total; may be the source.</summary>
    internal float[] Target { get; set; } = [];

    internal override void Run(int chunk, byte* scratch)
    {
        Grid grid = Plan!.Fixed;
        int plane = (int)grid.Count;
        int i = chunk * grid.Nx * grid.Ny;
        for (int y = 0; y < grid.Ny; y++)
        {
            for (int x = 0; x < grid.Nx; x++, i++)
            {
                (double dx, double dy, double dz) = (Source[i], Source[plane + i], Source[(2 * plane) + i]);
                if (!Plan.IsFixedGrid)
                {
                    (dx, dy, dz) = Plan.Turn.ApplyLinear(dx, dy, dz);
                    Deformation[i] = (float)dx;
                    Deformation[plane + i] = (float)dy;
                    Deformation[(2 * plane) + i] = (float)dz;
                }

                if (!Plan.IsIdentity)
                {
                    (double px, double py, double pz) = Plan.World.Apply(x + dx, y + dy, chunk + dz);
                    (dx, dy, dz) = (px - x, py - y, pz - chunk);
                }

                Target[i] = (float)dx;
                Target[plane + i] = (float)dy;
                Target[(2 * plane) + i] = (float)dz;
            }
        }
    }
}
