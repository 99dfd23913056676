using System.Runtime.Intrinsics;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>The layers of a discriminator.</summary>
/// <param name="Channels">Of what it looks at.</param>
/// <param name="FullSize">Whether a convolution 3³ at full size, with as many channels, comes first.</param>
/// <param name="FirstRelu">Whether a ReLU follows that one.</param>
/// <param name="Widths">Channels of the halving convolutions 4³: a ReLU follows all but the last, a sigmoid that.</param>
internal sealed record DiscriminatorLayers(int Channels, bool FullSize, bool FirstRelu, int[] Widths);

/// <summary>
/// A discriminator forward and back on a batch of one size, and the norm of its derivative by the field with the gradients of that
/// norm. Its mean M is piecewise linear in front of the sigmoid: for a direction v of the field the derivatives of v · ∇M by the
/// weights need one more way forward, of v itself (tangents), and one more way back, which starts from the sigmoid's second
/// derivative (curvatures). What a way forward found stays until the next one. No result depends on the number of threads. Not
/// safe to use from several threads at once.
/// </summary>
internal sealed unsafe class DiscriminatorGraph : IDisposable
{
    /// <summary>Of the channels, those of the field; images may follow.</summary>
    private const int FieldChannels = 3;

    private readonly DiscriminatorLayers network;
    private readonly int samples;
    private readonly bool ofNorm;
    private readonly Arena arena = new();
    private readonly OperationTeam team = new();
    private readonly PlanarField[] input;
    private readonly PlanarField[] inputGradient;
    private readonly PlanarField[] planes;
    private readonly FeatureMap[][] values;
    private readonly FeatureMap[][] gradients;
    private readonly FeatureMap[][] tangents;
    private readonly FeatureMap[][] curvatures;
    private readonly Layer[] layers;
    private readonly PackWeights packForward = new(withBias: true);
    private readonly PackWeights packBackward = new(withBias: false);
    private readonly PackWeights packTangents = new(withBias: false);
    private readonly double[] planeSums;
    private readonly float[] seeds;

    /// <summary>A graph.</summary>
    /// <param name="network">The layers.</param>
    /// <param name="ofNorm">Whether it is for <see cref="GradientNorm"/>, or for <see cref="Forward"/>.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Multiples of 2 to the power of the number of widths.</param>
    internal DiscriminatorGraph(DiscriminatorLayers network, bool ofNorm, int samples, (int X, int Y, int Z) size)
    {
        (this.network, this.ofNorm, this.samples) = (network, ofNorm, samples);
        int multiple = 1 << network.Widths.Length;
        if (size.X % multiple != 0 || size.Y % multiple != 0 || size.Z % multiple != 0)
        {
            throw new ArgumentException($"sides must be multiples of {multiple}", nameof(size));
        }

        int[] halvings = [.. network.FullSize ? [0] : Array.Empty<int>(), .. Enumerable.Range(1, network.Widths.Length)];
        int[] channels = [.. network.FullSize ? [network.Channels] : Array.Empty<int>(), .. network.Widths];
        FeatureMap[] NewMaps(int halving, int of) =>
        [
            .. Enumerable.Range(0, samples).Select(_ =>
                new FeatureMap(arena, size.X >> halving, size.Y >> halving, size.Z >> halving, of)),
        ];
        FeatureMap[][] NewLevels() => [NewMaps(0, network.Channels), .. halvings.Zip(channels, NewMaps)];
        values = NewLevels();
        gradients = NewLevels();
        tangents = ofNorm ? NewLevels() : [];
        curvatures = ofNorm ? NewLevels() : [];
        PlanarField[] NewFields() => [.. Enumerable.Range(0, samples).Select(_ => new PlanarField(size))];
        input = NewFields();
        inputGradient = NewFields();
        planes = network is { FullSize: true, Channels: FieldChannels }
            ? [.. Enumerable.Range(0, samples).Select(_ => new PlanarField(size, arena))]
            : [];
        planeSums = new double[samples * size.Z];
        seeds = new float[samples];
        layers = StudentGraph.Lanes switch
        {
            16 => Build<Lanes512, Vector512<float>>(),
            8 => Build<Lanes256, Vector256<float>>(),
            4 => Build<Lanes128, Vector128<float>>(),
            _ => Build<LanesScalar, float>(),
        };

        // Tiles read a few numbers beyond the last map, which they do not use.
        arena.Reserve(64);
        arena.Allocate();
    }

    /// <summary>The numbers of the layers, in the order of the network's parameters.</summary>
    internal IEnumerable<LayerNumbers> Layers => layers.Select(layer => layer.Numbers);

    /// <summary>The way forward.</summary>
    /// <param name="seen">[N, C, Z, Y, X].</param>
    /// <param name="features">Takes what each layer gives, [N, C', Z', Y', X']; null where it is not wanted.</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Forward(float* seen, float*[] features, int threads)
    {
        PlanarField.Lend(input, seen, network.Channels);
        List<Operation> operations = [.. WayForward()];
        for (int level = 1; level < values.Length; level++)
        {
            if (features[level - 1] is null)
            {
                continue;
            }

            PlanarField[] planes = FieldsLike(values[level], features[level - 1]);
            FeatureMap[] maps = values[level];
            operations.Add(Together.Each(samples, i => Interleaving.From("features", maps[i], planes[i])));
        }

        team.Run(operations, threads);
    }

    /// <summary>The way back of the last way forward.</summary>
    /// <param name="featureGradients">Those of the features; null for none.</param>
    /// <param name="seenGradient">Takes that of the input; null where it is not wanted.</param>
    /// <param name="ofWeights">Whether the layers' gradients are wanted.</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Backward(float*[] featureGradients, float* seenGradient, bool ofWeights, int threads)
    {
        List<Operation> operations = [packBackward];
        int last = layers.Length;
        if (featureGradients[last - 1] is null)
        {
            operations.Add(Each(gradients, last, (map, _) => Clear(map)));
        }
        else
        {
            PlanarField[] planes = FieldsLike(gradients[last], featureGradients[last - 1]);
            operations.Add(Together.Each(samples, i => Interleaving.Into("features", planes[i], gradients[last][i])));
            operations.Add(Each(gradients, last, (map, i) => OverPairs(map, values[last][i], (g, s) => g * s * (1 - s))));
        }

        for (int level = last; level > 0; level--)
        {
            Layer layer = layers[level - 1];
            if (ofWeights)
            {
                operations.AddRange(layer.Weights);
            }

            if (level > 1)
            {
                operations.AddRange(layer.Back);
                if (featureGradients[level - 2] is not null)
                {
                    operations.Add(AddFeatures(level - 1, featureGradients[level - 2]));
                }
            }
            else if (seenGradient != null)
            {
                operations.AddRange(layer.Back);
                operations.Add(Return(gradients[0], seenGradient));
            }
        }

        team.Run(operations, threads);
    }

    /// <summary>The norm of the derivative of M by the field, over all its numbers.</summary>
    /// <param name="seen">[N, C, Z, Y, X]; the field is the first three channels.</param>
    /// <param name="norms">Takes [N].</param>
    /// <param name="threads">How many threads at most.</param>
    internal void GradientNorm(float* seen, float* norms, int threads)
    {
        PlanarField.Lend(input, seen, network.Channels);
        int last = layers.Length;
        float share = ShareOfMean(last);
        List<Operation> operations =
        [
            .. WayForward(),
            packBackward,
            Each(gradients, last, (map, i) => OverPairs(map, values[last][i], (_, s) => share * s * (1 - s))),
        ];
        for (int level = last; level > 0; level--)
        {
            operations.AddRange(layers[level - 1].Back);
        }

        operations.Add(Each(gradients, 0, (map, i) => new Rows("norm", map, (y, z) => AddSquares(map, i, y, z))));
        Array.Clear(planeSums);
        team.Run(operations, threads);
        int planes = planeSums.Length / samples;
        for (int i = 0; i < samples; i++)
        {
            // A root of 0 has no derivative; 1e-24 moves a norm of 1e-6 by half a millionth of itself.
            double squares = 1e-24;
            for (int z = 0; z < planes; z++)
            {
                squares += planeSums[(i * planes) + z];
            }

            norms[i] = (float)Math.Sqrt(squares);
            seeds[i] = (float)(1 / Math.Sqrt(squares));
        }
    }

    /// <summary>The way back of the last <see cref="GradientNorm"/>.</summary>
    /// <param name="normGradients">[N]</param>
    /// <param name="seenGradient">Takes that of the input; null where it is not wanted.</param>
    /// <param name="ofWeights">Whether the layers' gradients are wanted.</param>
    /// <param name="threads">How many threads at most.</param>
    internal void GradientNormBack(float* normGradients, float* seenGradient, bool ofWeights, int threads)
    {
        int last = layers.Length;
        float share = ShareOfMean(last);
        float[] factors = [.. Enumerable.Range(0, samples).Select(i => seeds[i] * normGradients[i])];
        List<Operation> operations =
        [
            packTangents,
            Each(tangents, 0, (map, i) => new Rows("direction", map, (y, z) => Direct(map, gradients[0][i], factors[i], y, z))),
            .. layers.SelectMany(layer => layer.Tangent),
            Each(curvatures, last, (map, i) => OverPairs(map, tangents[last][i], (_, u) => share * u)),
            Each(curvatures, last, (map, i) => OverPairs(map, values[last][i], (c, s) => c * s * (1 - s) * (1 - (2 * s)))),
        ];
        for (int level = last; level > 0; level--)
        {
            Layer layer = layers[level - 1];
            if (ofWeights)
            {
                operations.AddRange(layer.WeightsOfNorm);
            }

            if (level > 1 || seenGradient != null)
            {
                operations.AddRange(layer.CurvatureBack);
            }
        }

        if (seenGradient != null)
        {
            operations.Add(Return(curvatures[0], seenGradient));
        }

        team.Run(operations, threads);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        team.Dispose();
        arena.Dispose();
    }

    private static PlanarField[] FieldsLike(FeatureMap[] maps, float* memory)
    {
        PlanarField[] fields = [.. maps.Select(map => new PlanarField((map.Nx, map.Ny, map.Nz)))];
        PlanarField.Lend(fields, memory, maps[0].Channels);
        return fields;
    }

    private static Rows Clear(FeatureMap map) =>
        new("features", map, (y, z) => new Span<float>(map.At(0, y, z), map.Nx * map.Channels).Clear());

    /// <summary>Each number of a map becomes a function of itself and of the other map's number there.</summary>
    private static Rows OverPairs(FeatureMap map, FeatureMap other, Func<float, float, float> function) =>
        new("sigmoid", map, (y, z) =>
        {
            float* own = map.At(0, y, z);
            float* seen = other.At(0, y, z);
            for (int i = 0; i < map.Nx * map.Channels; i++)
            {
                own[i] = function(own[i], seen[i]);
            }
        });

    private static void Direct(FeatureMap direction, FeatureMap gradient, float factor, int y, int z)
    {
        float* to = direction.At(0, y, z);
        float* from = gradient.At(0, y, z);
        int channels = direction.Channels;
        for (int x = 0; x < direction.Nx; x++, to += channels, from += channels)
        {
            for (int channel = 0; channel < channels; channel++)
            {
                to[channel] = channel < FieldChannels ? factor * from[channel] : 0;
            }
        }
    }

    private Together Each(FeatureMap[][] levels, int level, Func<FeatureMap, int, Operation> make) =>
        Together.Each(samples, i => make(levels[level][i], i));

    /// <summary>What a number of the last layer counts in its mean over channels and space.</summary>
    private float ShareOfMean(int last)
    {
        FeatureMap map = values[last][0];
        return 1f / ((float)map.Nx * map.Ny * map.Nz * map.Channels);
    }

    private IEnumerable<Operation> WayForward()
    {
        yield return packForward;
        yield return Together.Each(samples, i => Interleaving.Into("seen", input[i], values[0][i]));
        foreach (Operation operation in layers.SelectMany(layer => layer.Forward))
        {
            yield return operation;
        }

        yield return Each(values, layers.Length, (map, _) => OverPairs(map, map, (v, _) => 1 / (1 + MathF.Exp(-v))));
    }

    /// <summary>From the maps of level 0 to the gradient that the caller asked for.</summary>
    private Together Return(FeatureMap[] from, float* to)
    {
        PlanarField.Lend(inputGradient, to, network.Channels);
        return Together.Each(samples, i => Interleaving.From("seen", from[i], inputGradient[i]));
    }

    /// <summary>Adds the gradients of a layer's features to those that came from behind it.</summary>
    private Together AddFeatures(int level, float* featureGradients)
    {
        PlanarField[] planes = FieldsLike(gradients[level], featureGradients);
        bool relu = ActivationOf(level) == Activation.Relu;
        return Each(gradients, level, (map, i) => new Rows("features", map, (y, z) =>
        {
            for (int channel = 0; channel < map.Channels; channel++)
            {
                float* gradient = map.At(0, y, z) + channel;
                float* value = values[level][i].At(0, y, z) + channel;
                float* given = planes[i].Row(channel, y, z);
                for (int x = 0; x < map.Nx; x++, gradient += map.Channels, value += map.Channels)
                {
                    *gradient += !relu || *value > 0 ? given[x] : 0;
                }
            }
        }));
    }

    private void AddSquares(FeatureMap map, int sample, int y, int z)
    {
        float* at = map.At(0, y, z);
        double sum = 0;
        for (int x = 0; x < map.Nx; x++, at += map.Channels)
        {
            for (int channel = 0; channel < FieldChannels; channel++)
            {
                sum += (double)at[channel] * at[channel];
            }
        }

        planeSums[(sample * map.Nz) + z] += sum;
    }

    /// <summary>What follows a layer's convolution, as far as the kernels do it.</summary>
    private Activation ActivationOf(int level) =>
        level == 0 || level == values.Length - 1 || (level == 1 && network is { FullSize: true, FirstRelu: false })
            ? Activation.None
            : Activation.Relu;

    /// <summary>What follows a sum that is a derivative at a level.</summary>
    private Ending DerivativeAt(int level, int sample) =>
        ActivationOf(level) == Activation.Relu
            ? Ending.Back(Activation.Relu, values[level][sample], adds: false)
            : Activation.None;

    private Layer[] Build<TLanes, TVector>()
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        return [.. Enumerable.Range(1, values.Length - 1).Select(Make)];

        Layer Make(int level)
        {
            string name = $"conv{level + (network.FullSize ? 0 : 1)}";
            bool full = network.FullSize && level == 1;
            FilterShape shape = FilterShape.Convolution(
                values[level - 1][0].Channels, values[level][0].Channels, full ? 3 : 4);
            int stride = full ? 1 : 2;
            LayerNumbers numbers = new(hasBias: true);
            if (full && planes.Length > 0)
            {
                HalfFlowHead<TLanes, TVector> Head(PackWeights pack, FilterShape of, bool mirrored) =>
                    pack.Of(new HalfFlowHead<TLanes, TVector>(name, of, values[0][0], null, planes[0], 1, mirrored), numbers);
                HalfFlowHead<TLanes, TVector> forward = Head(packForward, shape, mirrored: false);
                HalfFlowHead<TLanes, TVector> tangent = Head(packTangents, shape, mirrored: false);
                HalfFlowHead<TLanes, TVector> thinBack = Head(packBackward, shape.Back, mirrored: true);
                return LayerOf(
                    ByHead(forward, values[0], values[1], _ => ActivationOf(1)),
                    maps => ByHead(thinBack, maps[1], maps[0], _ => Activation.None),
                    maps => ByHead(tangent, maps[0], maps[1], i => DerivativeAt(1, i)));
            }

            Operation[] Down(PackWeights pack, FeatureMap[][] maps, Func<int, Ending> ending) =>
            [
                Together.Convolutions(
                    pack.Of(
                        TiledConvolution<TLanes, TVector>.Convolution(
                            name, shape, maps[level - 1][0], 0, maps[level][0], 0, ending(0), stride),
                        numbers),
                    maps[level - 1],
                    maps[level],
                    ending),
            ];
            (FeatureMap above, FeatureMap below) = (gradients[level][0], gradients[level - 1][0]);
            Ending first = DerivativeAt(level - 1, 0);
            TiledConvolution<TLanes, TVector> back = packBackward.Of(
                full
                    ? TiledConvolution<TLanes, TVector>.Convolution(
                        $"{name}, back", shape.Back, above, 0, below, 0, first, 1, mirrored: true)
                    : TiledConvolution<TLanes, TVector>.Doubling($"{name}, back", shape.Back, above, 0, below, 0, first),
                numbers);
            return LayerOf(
                Down(packForward, values, _ => ActivationOf(level)),
                maps => [Together.Each(samples, i => back.On(maps[level][i], maps[level - 1][i], DerivativeAt(level - 1, i)))],
                maps => Down(packTangents, maps, i => DerivativeAt(level, i)));

            Layer LayerOf(
                Operation[] wayForward, Func<FeatureMap[][], Operation[]> wayBack, Func<FeatureMap[][], Operation[]> ofTangents) =>
                ofNorm
                    ? new Layer(numbers, wayForward, wayBack(gradients))
                    {
                        Tangent = ofTangents(tangents),
                        CurvatureBack = wayBack(curvatures),
                        WeightsOfNorm = Weights(
                            [.. values[level - 1], .. tangents[level - 1]],
                            [.. curvatures[level], .. gradients[level]],
                            curvatures[level]),
                    }
                    : new Layer(numbers, wayForward, wayBack(gradients))
                    {
                        Weights = Weights(values[level - 1], gradients[level], gradients[level]),
                    };

            Operation[] Weights(FeatureMap[] wide, FeatureMap[] narrow, FeatureMap[] ofBias) =>
            [
                .. new WeightGradient<TLanes, TVector>(
                    name, shape, [.. wide.Select(Channels.Of)], [.. narrow.Select(Channels.Of)], numbers, stride).Operations,
                new BiasGradient($"{name}, bias", [.. ofBias.Select(Channels.Of)], numbers),
            ];
        }

        Operation[] ByHead(
            HalfFlowHead<TLanes, TVector> head, FeatureMap[] from, FeatureMap[] to, Func<int, Ending> ending) =>
        [
            Together.Each(samples, i => head.On(from[i], planes[i])),
            Together.Each(samples, i => Interleaving.Into(head.Name, planes[i], to[i])),
            .. ending(0) switch
            {
                { Values: not null } => [Together.Each(samples, i => new ActivationBack(head.Name, to[i], ending(i).Values!, 0))],
                { Activation: Activation.Relu } => [Together.Each(samples, i => new ActivationBack(head.Name, to[i], to[i], 0))],
                _ => Array.Empty<Operation>(),
            },
        ];
    }

    /// <summary>The operations of a layer.</summary>
    private sealed record Layer(LayerNumbers Numbers, Operation[] Forward, Operation[] Back)
    {
        internal Operation[] Weights { get; init; } = [];

        internal Operation[] Tangent { get; init; } = [];

        internal Operation[] CurvatureBack { get; init; } = [];

        internal Operation[] WeightsOfNorm { get; init; } = [];
    }
}
