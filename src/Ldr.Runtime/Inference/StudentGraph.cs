using System.Runtime.Intrinsics;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Inference;

/// <summary>
/// The operations that run a model on images of one size, in order, and the memory that they share.
/// </summary>
internal sealed class StudentGraph : IDisposable
{
    /// <summary>Squarings of a velocity field, as in training.</summary>
    private const int Squarings = 6;

    private readonly List<Operation> network = [];

    private StudentGraph((int X, int Y, int Z) size)
    {
        Size = size;
        Field = new PlanarField(size);
    }

    /// <summary>Lanes of the widest vectors that this machine has.</summary>
    internal static int Lanes =>
        Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : Vector128.IsHardwareAccelerated ? 4 : 1;

    /// <summary>The images' size, voxels.</summary>
    internal (int X, int Y, int Z) Size { get; }

    internal PlanarImage Fixed { get; } = new();

    internal PlanarImage Moving { get; } = new();

    /// <summary>The moving image, warped once by the field.</summary>
    internal PlanarImage Moved { get; } = new();

    /// <summary>The total displacement field.</summary>
    internal PlanarField Field { get; }

    /// <summary>What makes the field.</summary>
    internal List<Operation> Network => network;

    /// <summary>What makes the moved image from it.</summary>
    internal Operation Warp { get; private set; } = null!;

    /// <summary>All but the caller's images.</summary>
    internal Arena Arena { get; } = new();

    /// <summary>Multiplications and additions of the network.</summary>
    internal double Flops => network.Sum(operation => operation.Flops);

    /// <summary>Bytes that every thread needs.</summary>
    internal int ScratchBytes => Math.Max(network.Max(operation => operation.ScratchBytes), Warp.ScratchBytes);

    /// <summary>A graph with the widest vectors that this machine has.</summary>
    internal static StudentGraph Make(StudentModel model, (int X, int Y, int Z) size)
    {
        StudentGraph graph = new(size);
        switch (Lanes)
        {
            case 16:
                new Builder<Lanes512, Vector512<float>>(graph, model).Build();
                break;
            case 8:
                new Builder<Lanes256, Vector256<float>>(graph, model).Build();
                break;
            case 4:
                new Builder<Lanes128, Vector128<float>>(graph, model).Build();
                break;
            default:
                new Builder<LanesScalar, float>(graph, model).Build();
                break;
        }

        graph.Arena.Allocate();
        return graph;
    }

    public void Dispose() => Arena.Dispose();

    private sealed class Builder<TLanes, TVector>(StudentGraph graph, StudentModel model)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        private readonly StudentArchitecture architecture = model.Architecture;
        private readonly (int X, int Y, int Z) size = graph.Size;
        private readonly Arena arena = graph.Arena;

        internal void Build()
        {
            int stages = architecture.Stages;
            PlanarField? other = stages > 1 ? new PlanarField(size, arena) : null;
            PlanarImage? between = stages > 1 || architecture.AffineChannels > 0 ? new PlanarImage(size, arena) : null;
            AffineMap? affine = null;
            long mark = arena.Mark();
            if (architecture.AffineChannels > 0)
            {
                affine = new AffineMap();
                AddAffine(affine);
                arena.Release(mark);
            }

            Stage? shared = stages > 0 ? new Stage(arena, size, architecture) : null;
            if (shared is not null && affine is not null)
            {
                graph.network.Add(new ClearBorders(shared.Maps));
            }

            PlanarField? before = null;
            for (int stage = 1; stage <= stages; stage++)
            {
                PlanarImage moved = graph.Moving;
                if (before is not null || affine is not null)
                {
                    moved = between!;
                    graph.network.Add(new WarpImage(
                        $"stage{stage}.input", new Displacement(before, affine, size), graph.Moving, size)
                    { Moved = moved });
                }

                // Fields take turns so that the last one is the caller's.
                PlanarField own = (stages - stage) % 2 == 0 ? graph.Field : other!;
                AddStage($"stage{stage}.", shared!, moved, own);
                if (before is not null)
                {
                    graph.network.Add(new ComposeFields($"stage{stage}.compose", before, own, own));
                }

                before = own;
            }

            if (affine is not null)
            {
                graph.network.Add(new WarpImage(
                    "total", new Displacement(before, affine, size), graph.Moving, size)
                { Total = graph.Field });
            }

            graph.Warp = new WarpImage("warp", new Displacement(graph.Field, null, size), graph.Moving, size)
            {
                Moved = graph.Moved,
            };
        }

        private void AddAffine(AffineMap affine)
        {
            int channels = architecture.AffineChannels;
            FeatureMap[] maps = new FeatureMap[4];
            (int x, int y, int z) = size;
            for (int level = 0; level < 4; level++)
            {
                (x, y, z) = ((x + 1) / 2, (y + 1) / 2, (z + 1) / 2);
                maps[level] = new FeatureMap(arena, x, y, z, channels << level);
            }

            graph.network.Add(new ClearBorders(maps));
            graph.network.Add(new PairConvolution<TLanes, TVector>(
                "affine.conv1",
                model.Filters["affine.conv1"].Shape,
                graph.Fixed,
                graph.Moving,
                size,
                (0, 0, 0),
                maps[0],
                Activation.LeakyRelu).With(model.Filters["affine.conv1"]));
            for (int level = 1; level < 4; level++)
            {
                string name = $"affine.conv{level + 1}";
                graph.network.Add(Convolution(name, model.Filters[name], maps[level - 1], maps[level], Activation.LeakyRelu));
            }

            graph.network.Add(new AffineHead(
                maps[3], model.Filters["affine.matrix"], model.Filters["affine.shift"], affine));
        }

        private static TiledConvolution<TLanes, TVector> Convolution(
            string name, Filter filter, FeatureMap from, FeatureMap to, Activation activation) =>
            TiledConvolution<TLanes, TVector>.Convolution(name, filter.Shape, from, 0, to, 0, activation).With(filter);

        private void AddStage(string prefix, Stage stage, PlanarImage moving, PlanarField field)
        {
            Filter Of(string layer) => model.Filters[prefix + layer];
            void Down(int level, FeatureMap from, FeatureMap to) =>
                graph.network.Add(Convolution(
                    $"{prefix}conv{level}", Of($"conv{level}"), from, to, Activation.Relu));
            void Up(int level, FeatureMap from, FeatureMap to, int channel)
            {
                string name = $"deconv{level}";
                TiledConvolution<TLanes, TVector> doubling = TiledConvolution<TLanes, TVector>.Doubling(
                    prefix + name, Of(name).Shape, from, 0, to, channel, Activation.Relu);
                graph.network.Add(doubling.With(Of(name)));
            }

            graph.network.Add(new PairConvolution<TLanes, TVector>(
                $"{prefix}conv1", Of("conv1").Shape, graph.Fixed, moving, size, stage.Before, stage.Skip, Activation.Relu)
                .With(Of("conv1")));
            Down(2, stage.Skip, stage.Quarter);
            Down(3, stage.Quarter, stage.Eighth);
            Down(4, stage.Eighth, stage.Bottom);
            Up(3, stage.Bottom, stage.Eighth, architecture.Encoder[2]);
            Up(2, stage.Eighth, stage.Quarter, architecture.Encoder[1]);
            Up(1, stage.Quarter, stage.Up, 0);
            if (stage.HalfField is null)
            {
                graph.network.Add(new FlowHead<TLanes, TVector>(
                    $"{prefix}flow", Of("flow").Shape, stage.Skip, stage.Up, field, stage.Before).With(Of("flow")));
                return;
            }

            float scale = stage.Squares is null ? 1f : 1f / (1 << Squarings);
            graph.network.Add(new HalfFlowHead<TLanes, TVector>(
                $"{prefix}flow", Of("flow").Shape, stage.Skip, stage.Up, stage.HalfField, scale).With(Of("flow")));
            if (stage.Squares is not null)
            {
                // An even number of squarings ends where it began.
                (PlanarField from, PlanarField to) = (stage.HalfField, stage.Squares);
                for (int square = 1; square <= Squarings; square++)
                {
                    graph.network.Add(new ComposeFields($"{prefix}square{square}", from, from, to));
                    (from, to) = (to, from);
                }
            }

            graph.network.Add(new FieldDoubling<TLanes, TVector>(
                $"{prefix}doubling", stage.HalfField, field, stage.Before));
        }
    }

    /// <summary>The maps of a stage; all stages of a cascade use them in turn.</summary>
    private sealed class Stage
    {
        internal Stage(Arena arena, (int X, int Y, int Z) size, StudentArchitecture architecture)
        {
            // Padded with zeros, equally on both sides (the odd voxel after), to what four halvings need.
            (int x, int y, int z) = ((size.X + 15) / 16, (size.Y + 15) / 16, (size.Z + 15) / 16);
            Before = (((16 * x) - size.X) / 2, ((16 * y) - size.Y) / 2, ((16 * z) - size.Z) / 2);
            int[] encoder = architecture.Encoder;
            int[] decoder = architecture.Decoder;

            // At half size the skip and what comes up from below are apart: the second convolution reads the skip alone,
            // and there the map is too large for the caches.
            Skip = new FeatureMap(arena, 8 * x, 8 * y, 8 * z, encoder[0]);
            Up = new FeatureMap(arena, 8 * x, 8 * y, 8 * z, decoder[2]);
            Quarter = new FeatureMap(arena, 4 * x, 4 * y, 4 * z, encoder[1] + decoder[1]);
            Eighth = new FeatureMap(arena, 2 * x, 2 * y, 2 * z, encoder[2] + decoder[0]);
            Bottom = new FeatureMap(arena, x, y, z, encoder[3]);
            HalfField = architecture.IsHalf ? new PlanarField((8 * x, 8 * y, 8 * z), arena) : null;
            Squares = architecture.IsVelocity ? new PlanarField((8 * x, 8 * y, 8 * z), arena) : null;
        }

        internal (int X, int Y, int Z) Before { get; }

        internal FeatureMap Skip { get; }

        internal FeatureMap Up { get; }

        internal FeatureMap Quarter { get; }

        internal FeatureMap Eighth { get; }

        internal FeatureMap Bottom { get; }

        internal PlanarField? HalfField { get; }

        /// <summary>Takes turns with <see cref="HalfField"/> while a velocity field is squared.</summary>
        internal PlanarField? Squares { get; }

        internal FeatureMap[] Maps => [Skip, Up, Quarter, Eighth, Bottom];
    }
}
