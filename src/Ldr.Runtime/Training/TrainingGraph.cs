using System.Diagnostics;
using System.Runtime.Intrinsics;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>
/// A network of a student forward and back, on a batch of one size: the operations in order, and the memory that they share. What
/// the way forward found stays until the next one. No result depends on the number of threads. Not safe to use from several
/// threads at once.
/// </summary>
internal sealed unsafe class TrainingGraph : IDisposable
{
    private readonly List<Operation> forward = [];
    private readonly List<Operation> backward = [];
    private readonly List<Operation> inputBackward = [];
    private readonly List<LayerNumbers> layers = [];
    private readonly Arena arena = new();
    private readonly PlanarField[] inputs;
    private readonly PlanarField[] outputs;
    private readonly PlanarField[] outputGradients;
    private readonly PlanarField[] inputGradients;
    private readonly int outputChannels;
    private WorkerTeam? team;

    private TrainingGraph(int samples, (int X, int Y, int Z) size, (int X, int Y, int Z) outputSize, int outputChannels)
    {
        if (size.X % 16 != 0 || size.Y % 16 != 0 || size.Z % 16 != 0)
        {
            throw new ArgumentException("sides must be multiples of 16", nameof(size));
        }

        this.outputChannels = outputChannels;
        inputs = Make(size);
        inputGradients = Make(size);
        outputs = Make(outputSize);
        outputGradients = Make(outputSize);
        PlanarField[] Make((int X, int Y, int Z) of) => [.. Enumerable.Range(0, samples).Select(_ => new PlanarField(of))];
    }

    /// <summary>The layers, in the order of the network's parameters.</summary>
    internal IReadOnlyList<LayerNumbers> Layers => layers;

    /// <summary>Bytes of activations and gradients.</summary>
    internal long Bytes => arena.Bytes;

    /// <summary>
    /// A stage of <c>ldr</c>, <c>ldr-half</c> or <c>ldr-velocity</c> without what follows its head: from pairs [N, 2, Z, Y, X]
    /// to displacements [N, 3, Z, Y, X] at full or half size. Layers: conv1 to conv4, deconv3 to deconv1, flow.
    /// </summary>
    /// <param name="encoder">Channels of the four convolutions.</param>
    /// <param name="decoder">Channels of the three transposed convolutions.</param>
    /// <param name="half">Whether the head is at half size.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Multiples of 16.</param>
    internal static TrainingGraph Stage(int[] encoder, int[] decoder, bool half, int samples, (int X, int Y, int Z) size)
    {
        TrainingGraph graph = new(samples, size, half ? (size.X / 2, size.Y / 2, size.Z / 2) : size, 3);
        graph.Build(new StageLayers(encoder, decoder, half), null, size);
        return graph;
    }

    /// <summary>
    /// The convolutions of <c>affine-light</c>: from pairs [N, 2, Z, Y, X] to features [N, 8 channels, Z/16, Y/16, X/16].
    /// Layers: conv1 to conv4.
    /// </summary>
    /// <param name="channels">Channels of the first convolution.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Multiples of 16.</param>
    internal static TrainingGraph AffineLight(int channels, int samples, (int X, int Y, int Z) size)
    {
        TrainingGraph graph = new(samples, size, (size.X / 16, size.Y / 16, size.Z / 16), 8 * channels);
        graph.Build(null, channels, size);
        return graph;
    }

    /// <summary>The way forward.</summary>
    /// <param name="pairs">What it looks at.</param>
    /// <param name="result">[N, C, Z', Y', X'].</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Forward(PairMemory pairs, float* result, int threads)
    {
        Lend(inputs, pairs);
        Lend(outputs, result, outputChannels);
        Run(forward, threads);
    }

    /// <summary>The way back of the last way forward; fills the gradients of the layers.</summary>
    /// <param name="gradient">Of the result.</param>
    /// <param name="pairGradient">Takes that of the pairs; null where it is not wanted (or not offered: affine-light).</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Backward(float* gradient, PairMemory? pairGradient, int threads)
    {
        Lend(outputGradients, gradient, outputChannels);
        Run(backward, threads);
        if (pairGradient is { } memory)
        {
            Lend(inputGradients, memory);
            Run(inputBackward, threads);
        }
    }

    /// <summary>Milliseconds and arithmetic operations of each operation of the last call, when somebody wants to know.</summary>
    internal List<(string Name, double Milliseconds, double Operations)>? Profile { get; set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        team?.Dispose();
        arena.Dispose();
    }

    private static void Lend(PlanarField[] fields, float* memory, int channels)
    {
        for (int sample = 0; sample < fields.Length; sample++)
        {
            fields[sample].Borrowed = memory + (sample * fields[sample].Count * channels);
        }
    }

    private static void Lend(PlanarField[] fields, PairMemory pairs)
    {
        for (int sample = 0; sample < fields.Length; sample++)
        {
            fields[sample].Borrowed = pairs.Fixed + (sample * pairs.SampleStep);
            fields[sample].PlaneStep = (nint)(pairs.Moved - pairs.Fixed);
        }
    }

    private void Run(List<Operation> operations, int threads)
    {
        if (team is null || team.Threads != threads)
        {
            team?.Dispose();
            int scratch = forward.Concat(backward).Concat(inputBackward).Max(operation => operation.ScratchBytes);
            team = new WorkerTeam(threads, scratch);
        }

        team.Begin();
        try
        {
            foreach (Operation operation in operations)
            {
                long start = Stopwatch.GetTimestamp();
                team.Run(operation);
                Profile?.Add((operation.Name, Stopwatch.GetElapsedTime(start).TotalMilliseconds, operation.Flops));
            }
        }
        finally
        {
            team.End();
        }
    }

    private void Build(StageLayers? stage, int? affineChannels, (int X, int Y, int Z) size)
    {
        switch (StudentGraph.Lanes)
        {
            case 16:
                Build(new Builder<Lanes512, Vector512<float>>(this, size), stage, affineChannels);
                break;
            case 8:
                Build(new Builder<Lanes256, Vector256<float>>(this, size), stage, affineChannels);
                break;
            case 4:
                Build(new Builder<Lanes128, Vector128<float>>(this, size), stage, affineChannels);
                break;
            default:
                Build(new Builder<LanesScalar, float>(this, size), stage, affineChannels);
                break;
        }

        // Tiles read a few numbers beyond the last map, which they do not use.
        arena.Reserve(64);
        arena.Allocate();
    }

    private static void Build<TLanes, TVector>(Builder<TLanes, TVector> builder, StageLayers? stage, int? affineChannels)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        if (stage is not null)
        {
            builder.BuildStage(stage);
        }
        else
        {
            builder.BuildAffine(affineChannels!.Value);
        }
    }

    /// <summary>The channels of a stage.</summary>
    private sealed record StageLayers(int[] Encoder, int[] Decoder, bool Half);

    /// <summary>A layer's maps of all samples, and the gradients of them.</summary>
    private sealed record Level(FeatureMap[] Values, FeatureMap[] Gradients)
    {
        internal int Channels => Values[0].Channels;

        internal Channels[] SomeValues(int first, int count) => [.. Values.Select(map => new Channels(map, first, count))];

        internal Channels[] SomeGradients(int first, int count) => [.. Gradients.Select(map => new Channels(map, first, count))];
    }

    /// <summary>Makes the operations.</summary>
    private sealed class Builder<TLanes, TVector>(TrainingGraph graph, (int X, int Y, int Z) size)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct
    {
        private readonly int samples = graph.inputs.Length;
        private readonly PackWeights packForward = new(withBias: true);
        private readonly PackWeights packBackward = new(withBias: false);

        /// <summary>Operations of the way back, which are made in the order of the way forward.</summary>
        private readonly List<List<Operation>> stepsBack = [];

        internal void BuildStage(StageLayers stage)
        {
            (int[] encoder, int[] decoder) = (stage.Encoder, stage.Decoder);
            Level half = NewLevel(2, encoder[0] + decoder[2]);
            Level quarter = NewLevel(4, encoder[1] + decoder[1]);
            Level eighth = NewLevel(8, encoder[2] + decoder[0]);
            Level bottom = NewLevel(16, encoder[3]);
            graph.forward.Add(packForward);
            FeatureMap[] pairs = ReadPairs();
            First(pairs, half, FilterShape.Convolution(2, encoder[0], 4), Activation.Relu, stage: true);
            Down("conv2", half, quarter, FilterShape.Convolution(encoder[0], encoder[1], 4), Activation.Relu, adds: true);
            Down("conv3", quarter, eighth, FilterShape.Convolution(encoder[1], encoder[2], 4), Activation.Relu, adds: true);
            Down("conv4", eighth, bottom, FilterShape.Convolution(encoder[2], encoder[3], 4), Activation.Relu, adds: true);
            Up("deconv3", bottom, eighth, FilterShape.Transposed(encoder[3], decoder[0], 4));
            Up("deconv2", eighth, quarter, FilterShape.Transposed(eighth.Channels, decoder[1], 4));
            Up("deconv1", quarter, half, FilterShape.Transposed(quarter.Channels, decoder[2], 4));
            if (stage.Half)
            {
                HalfFlow(half);
            }
            else
            {
                FullFlow(half);
            }

            Finish();
        }

        internal void BuildAffine(int channels)
        {
            graph.forward.Add(packForward);
            Level[] levels = [.. Enumerable.Range(0, 4).Select(k => NewLevel(2 << k, channels << k))];
            FeatureMap[] pairs = ReadPairs();
            First(pairs, levels[0], FilterShape.Convolution(2, channels, 3), Activation.LeakyRelu, stage: false);
            for (int k = 1; k < 4; k++)
            {
                FilterShape shape = FilterShape.Convolution(channels << (k - 1), channels << k, 3);
                Down($"conv{k + 1}", levels[k - 1], levels[k], shape, Activation.LeakyRelu, adds: false);
            }

            Level last = levels[3];
            graph.forward.Add(All(i => Interleaving.From("features", last.Values[i], graph.outputs[i])));
            stepsBack.Add([
                All(i => Interleaving.Into("features", graph.outputGradients[i], last.Gradients[i])),
                All(i => new ActivationBack("features", last.Gradients[i], last.Values[i], 0.1f)),
            ]);
            Finish();
        }

        private void Finish()
        {
            graph.backward.Add(packBackward);
            stepsBack.Reverse();
            graph.backward.AddRange(stepsBack.SelectMany(steps => steps));
        }

        private Level NewLevel(int reduction, int channels)
        {
            FeatureMap[] Maps() => [.. Enumerable.Range(0, samples).Select(_ => NewMap(reduction, channels))];
            return new Level(Maps(), Maps());
        }

        private FeatureMap NewMap(int reduction, int channels) =>
            new(graph.arena, size.X / reduction, size.Y / reduction, size.Z / reduction, channels);

        private Together All(Func<int, Operation> make) => new([.. Enumerable.Range(0, samples).Select(make)]);

        private LayerNumbers NewLayer(bool hasBias)
        {
            LayerNumbers numbers = new(hasBias);
            graph.layers.Add(numbers);
            return numbers;
        }

        private FeatureMap[] ReadPairs()
        {
            FeatureMap[] pairs = [.. Enumerable.Range(0, samples).Select(_ => NewMap(1, 2))];
            graph.forward.Add(All(i => Interleaving.Into("pair", graph.inputs[i], pairs[i])));
            return pairs;
        }

        /// <summary>What makes the gradient of a layer's weights.</summary>
        private static IEnumerable<Operation> WeightsOf(
            string name,
            FilterShape shape,
            Channels[] wide,
            Channels[] narrow,
            LayerNumbers numbers,
            int stride = 2,
            bool mirrored = false)
        {
            WeightGradient<TLanes, TVector> gradient = new(
                $"{name}, weights", shape, wide, narrow, numbers, stride, mirrored);
            yield return gradient;
            if (gradient.Summation is not null)
            {
                yield return gradient.Summation;
            }
        }

        /// <summary>The same convolution of every sample, with weights packed once.</summary>
        private Together Convolutions(
            TiledConvolution<TLanes, TVector> first, Func<int, FeatureMap> from, Func<int, FeatureMap> to, Func<int, Ending> ending) =>
            All(i => i == 0 ? first : first.On(from(i), to(i), ending(i)));

        private void Forward(
            string name, FilterShape shape, LayerNumbers numbers, FeatureMap[] from, FeatureMap[] to, Activation activation)
        {
            TiledConvolution<TLanes, TVector> convolution = TiledConvolution<TLanes, TVector>.Convolution(
                name, shape, from[0], 0, to[0], 0, activation);
            graph.forward.Add(Convolutions(
                packForward.Of(convolution, numbers), i => from[i], i => to[i], _ => activation));
        }

        /// <summary>The first convolution; of a stage, the way back to the images too.</summary>
        private void First(FeatureMap[] pairs, Level to, FilterShape shape, Activation activation, bool stage)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            Forward("conv1", shape, numbers, pairs, to.Values, activation);
            Channels[] gradients = to.SomeGradients(0, shape.Outputs);
            stepsBack.Add([
                .. WeightsOf("conv1", shape, [.. pairs.Select(Channels.Of)], gradients, numbers),
                new BiasGradient("conv1, bias", gradients, numbers),
            ]);
            if (stage)
            {
                FlowHead<TLanes, TVector> back = new(
                    "conv1, back", shape.Back, to.Gradients[0], null, graph.inputGradients[0], (0, 0, 0));
                packBackward.Of(back, numbers);
                graph.inputBackward.Add(All(i => i == 0 ? back : back.On(to.Gradients[i], graph.inputGradients[i])));
            }
        }

        private void Down(string name, Level from, Level to, FilterShape shape, Activation activation, bool adds)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            Forward(name, shape, numbers, from.Values, to.Values, activation);
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Doubling(
                $"{name}, back", shape.Back, to.Gradients[0], 0, from.Gradients[0], 0, Back(0));
            Channels[] gradients = to.SomeGradients(0, shape.Outputs);
            stepsBack.Add([
                Convolutions(packBackward.Of(back, numbers), i => to.Gradients[i], i => from.Gradients[i], Back),
                .. WeightsOf(name, shape, from.SomeValues(0, shape.Inputs), gradients, numbers),
                new BiasGradient($"{name}, bias", gradients, numbers),
            ]);
            Ending Back(int i) => Ending.Back(activation, from.Values[i], adds);
        }

        /// <summary>A transposed convolution: behind the skip's channels of the larger maps.</summary>
        private void Up(string name, Level from, Level to, FilterShape shape)
        {
            LayerNumbers numbers = NewLayer(hasBias: false);
            int skip = to.Channels - shape.Outputs;
            TiledConvolution<TLanes, TVector> doubling = TiledConvolution<TLanes, TVector>.Doubling(
                name, shape, from.Values[0], 0, to.Values[0], skip, Activation.Relu);
            graph.forward.Add(Convolutions(
                packForward.Of(doubling, numbers), i => from.Values[i], i => to.Values[i], _ => Activation.Relu));
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Convolution(
                $"{name}, back", shape.Back, to.Gradients[0], skip, from.Gradients[0], 0, Back(0));
            stepsBack.Add([
                Convolutions(packBackward.Of(back, numbers), i => to.Gradients[i], i => from.Gradients[i], Back),
                .. WeightsOf(
                    name, shape.Back, to.SomeGradients(skip, shape.Outputs), from.SomeValues(0, shape.Inputs), numbers),
            ]);
            Ending Back(int i) => Ending.Back(Activation.Relu, from.Values[i], adds: false);
        }

        /// <summary>The gradients of the result as maps.</summary>
        private FeatureMap[] ResultGradients(int reduction, List<Operation> steps)
        {
            FeatureMap[] maps = [.. Enumerable.Range(0, samples).Select(_ => NewMap(reduction, 3))];
            steps.Add(All(i => Interleaving.Into("gradient", graph.outputGradients[i], maps[i])));
            return maps;
        }

        private void HalfFlow(Level half)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            FilterShape shape = FilterShape.Convolution(half.Channels, 3, 3);
            HalfFlowHead<TLanes, TVector> head = new("flow", shape, half.Values[0], null, graph.outputs[0], 1);
            packForward.Of(head, numbers);
            graph.forward.Add(All(i => i == 0 ? head : head.On(half.Values[i], graph.outputs[i])));
            List<Operation> steps = [];
            FeatureMap[] gradients = ResultGradients(2, steps);
            FlowBack(half, shape, numbers, gradients, 1, mirrored: true, steps);
            steps.Add(new BiasGradient("flow, bias", [.. gradients.Select(Channels.Of)], numbers));
            stepsBack.Add(steps);
        }

        private void FullFlow(Level half)
        {
            LayerNumbers numbers = NewLayer(hasBias: false);
            FilterShape shape = FilterShape.Transposed(half.Channels, 3, 4);
            FlowHead<TLanes, TVector> head = new("flow", shape, half.Values[0], null, graph.outputs[0], (0, 0, 0));
            packForward.Of(head, numbers);
            graph.forward.Add(All(i => i == 0 ? head : head.On(half.Values[i], graph.outputs[i])));
            List<Operation> steps = [];
            FeatureMap[] gradients = ResultGradients(1, steps);
            FlowBack(half, shape, numbers, gradients, 2, mirrored: false, steps);
            stepsBack.Add(steps);
        }

        private void FlowBack(
            Level half,
            FilterShape shape,
            LayerNumbers numbers,
            FeatureMap[] gradients,
            int stride,
            bool mirrored,
            List<Operation> steps)
        {
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Convolution(
                "flow, back", shape.Back, gradients[0], 0, half.Gradients[0], 0, Back(0), stride, mirrored);
            steps.Add(Convolutions(packBackward.Of(back, numbers), i => gradients[i], i => half.Gradients[i], Back));
            Channels[] ofGradients = [.. gradients.Select(Channels.Of)];
            steps.AddRange(WeightsOf(
                "flow", shape.Back, ofGradients, half.SomeValues(0, half.Channels), numbers, stride, mirrored));
            Ending Back(int i) => Ending.Back(Activation.Relu, half.Values[i], adds: false);
        }
    }
}
