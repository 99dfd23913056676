using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <content>What the networks are made of, and how their operations are made.</content>
internal sealed unsafe partial class TrainingGraph
{
    /// <summary>The layers of a network.</summary>
    private abstract record Layout
    {
        internal abstract void Build<TLanes, TVector>(Builder<TLanes, TVector> builder)
            where TLanes : struct, ILanes<TVector>
            where TVector : struct;
    }

    /// <summary>The channels of a stage.</summary>
    private sealed record StageLayers(int[] Encoder, int[] Decoder, bool Half) : Layout
    {
        internal override void Build<TLanes, TVector>(Builder<TLanes, TVector> builder) => builder.BuildStage(this);
    }

    /// <summary>The channels of the first convolution of affine-light.</summary>
    private sealed record AffineLightLayers(int Channels) : Layout
    {
        internal override void Build<TLanes, TVector>(Builder<TLanes, TVector> builder) => builder.BuildAffine(Channels);
    }

    /// <summary>The size of a Volume Tweening Network.</summary>
    private sealed record VtnLayers(int Levels, int Channels) : Layout
    {
        internal override void Build<TLanes, TVector>(Builder<TLanes, TVector> builder) => builder.BuildVtn(this);
    }

    /// <summary>A layer's maps of all samples, and the gradients of them.</summary>
    /// <param name="Values">What the layer's activation gave.</param>
    /// <param name="Gradients">Those of the numbers before the activation.</param>
    /// <param name="Activation">The layer's.</param>
    /// <param name="Linear">The channel from which on there is no activation.</param>
    private sealed record Level(
        FeatureMap[] Values, FeatureMap[] Gradients, Activation Activation, int Linear = int.MaxValue)
    {
        internal int Channels => Values[0].Channels;

        /// <summary>The way back to the level's gradients.</summary>
        internal Ending Back(int sample, bool adds) =>
            Activation == Activation.None && !adds
                ? Activation.None
                : Ending.Back(Activation, Values[sample], adds, Linear);

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
            Level half = NewLevel(2, encoder[0] + decoder[2], Activation.Relu);
            Level quarter = NewLevel(4, encoder[1] + decoder[1], Activation.Relu);
            Level eighth = NewLevel(8, encoder[2] + decoder[0], Activation.Relu);
            Level bottom = NewLevel(16, encoder[3], Activation.Relu);
            graph.forward.Add(packForward);
            FeatureMap[] pairs = ReadPairs();
            First(pairs, half, FilterShape.Convolution(2, encoder[0], 4), stage: true);
            Down("conv2", half, quarter, FilterShape.Convolution(encoder[0], encoder[1], 4), adds: true);
            Down("conv3", quarter, eighth, FilterShape.Convolution(encoder[1], encoder[2], 4), adds: true);
            Down("conv4", eighth, bottom, FilterShape.Convolution(encoder[2], encoder[3], 4), adds: true);
            Up("deconv3", bottom, eighth, FilterShape.Transposed(encoder[3], decoder[0], 4), encoder[2], adds: false);
            Up("deconv2", eighth, quarter, FilterShape.Transposed(eighth.Channels, decoder[1], 4), encoder[1], adds: false);
            Up("deconv1", quarter, half, FilterShape.Transposed(quarter.Channels, decoder[2], 4), encoder[0], adds: false);
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
            Level[] levels =
                [.. Enumerable.Range(0, 4).Select(k => NewLevel(2 << k, channels << k, Activation.LeakyRelu))];
            FeatureMap[] pairs = ReadPairs();
            First(pairs, levels[0], FilterShape.Convolution(2, channels, 3), stage: false);
            for (int k = 1; k < 4; k++)
            {
                FilterShape shape = FilterShape.Convolution(channels << (k - 1), channels << k, 3);
                Down($"conv{k + 1}", levels[k - 1], levels[k], shape, adds: false);
            }

            Level last = levels[3];
            graph.forward.Add(All(i => Interleaving.From("features", last.Values[i], graph.outputs[i])));
            stepsBack.Add([
                All(i => Interleaving.Into("features", graph.outputGradients[i], last.Gradients[i])),
                All(i => new ActivationBack("features", last.Gradients[i], last.Values[i], 0.1f)),
            ]);
            Finish();
        }

        /// <summary>
        /// A level upwards is what the convolutions gave, what the transposed convolution brings, and the doubled
        /// prediction of the level below, which has no activation.
        /// </summary>
        internal void BuildVtn(VtnLayers network)
        {
            int Encoded(int level) => network.Channels << (level - 1);
            Level[] levels =
            [
                .. Enumerable.Range(1, network.Levels).Select(k => k == network.Levels
                    ? NewLevel(1 << k, Encoded(k), Activation.LeakyRelu)
                    : NewLevel(1 << k, (2 * Encoded(k)) + 3, Activation.LeakyRelu, 2 * Encoded(k))),
            ];
            Level At(int level) => levels[level - 1];
            graph.forward.Add(packForward);
            FeatureMap[] pairs = ReadPairs();
            First(pairs, At(1), FilterShape.Convolution(2, Encoded(1), 3), stage: true);
            for (int k = 2; k <= network.Levels; k++)
            {
                FilterShape shape = FilterShape.Convolution(Encoded(k - 1), Encoded(k), 3);
                if (k == 2)
                {
                    Down("conv2", At(1), At(2), shape, adds: true);
                }
                else
                {
                    Level between = NewLevel(1 << k, Encoded(k), Activation.LeakyRelu);
                    Down($"conv{k}", At(k - 1), between, shape, adds: true);
                    Same($"conv{k}_1", between, At(k), FilterShape.Convolution(Encoded(k), Encoded(k), 3), adds: false);
                }
            }

            for (int k = network.Levels - 1; k > 0; k--)
            {
                Level prediction = NewLevel(2 << k, 3, Activation.None);
                int below = At(k + 1).Channels;
                Up($"deconv{k}", At(k + 1), At(k), FilterShape.Transposed(below, Encoded(k), 4), Encoded(k), adds: true);
                Same($"pred{k + 1}", At(k + 1), prediction, FilterShape.Convolution(below, 3, 3), adds: false);
                Up($"upsamp{k + 1}", prediction, At(k), FilterShape.Transposed(3, 3, 4), 2 * Encoded(k), adds: false, linear: true);
            }

            FullFlow(At(1));
            Finish();
        }

        private void Finish()
        {
            graph.backward.Add(packBackward);
            stepsBack.Reverse();
            graph.backward.AddRange(stepsBack.SelectMany(steps => steps));
        }

        private Level NewLevel(int reduction, int channels, Activation activation, int linear = int.MaxValue)
        {
            FeatureMap[] Maps() => [.. Enumerable.Range(0, samples).Select(_ => NewMap(reduction, channels))];
            return new Level(Maps(), Maps(), activation, linear);
        }

        private FeatureMap NewMap(int reduction, int channels) =>
            new(graph.arena, size.X / reduction, size.Y / reduction, size.Z / reduction, channels);

        private Together All(Func<int, Operation> make) => Together.Each(samples, make);

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

        private void Forward(
            string name, FilterShape shape, LayerNumbers numbers, FeatureMap[] from, Level to, int stride = 2)
        {
            TiledConvolution<TLanes, TVector> convolution = TiledConvolution<TLanes, TVector>.Convolution(
                name, shape, from[0], 0, to.Values[0], 0, to.Activation, stride);
            graph.forward.Add(Together.Convolutions(
                packForward.Of(convolution, numbers), from, to.Values, _ => to.Activation));
        }

        /// <summary>The first convolution; of a stage, the way back to the images too.</summary>
        private void First(FeatureMap[] pairs, Level to, FilterShape shape, bool stage)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            Forward("conv1", shape, numbers, pairs, to);
            Channels[] gradients = to.SomeGradients(0, shape.Outputs);
            stepsBack.Add([
                .. new WeightGradient<TLanes, TVector>("conv1", shape, [.. pairs.Select(Channels.Of)], gradients, numbers).Operations,
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

        private void Down(string name, Level from, Level to, FilterShape shape, bool adds)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            Forward(name, shape, numbers, from.Values, to);
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Doubling(
                $"{name}, back", shape.Back, to.Gradients[0], 0, from.Gradients[0], 0, from.Back(0, adds));
            BackOf(name, shape, from, to, adds, numbers, back);
        }

        /// <summary>A convolution that keeps the size.</summary>
        private void Same(string name, Level from, Level to, FilterShape shape, bool adds)
        {
            LayerNumbers numbers = NewLayer(hasBias: true);
            Forward(name, shape, numbers, from.Values, to, stride: 1);
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Convolution(
                $"{name}, back", shape.Back, to.Gradients[0], 0, from.Gradients[0], 0, from.Back(0, adds), 1, mirrored: true);
            BackOf(name, shape, from, to, adds, numbers, back, stride: 1);
        }

        /// <summary>The way back of a convolution with bias.</summary>
        private void BackOf(
            string name,
            FilterShape shape,
            Level from,
            Level to,
            bool adds,
            LayerNumbers numbers,
            TiledConvolution<TLanes, TVector> back,
            int stride = 2)
        {
            Channels[] gradients = to.SomeGradients(0, shape.Outputs);
            stepsBack.Add([
                Together.Convolutions(packBackward.Of(back, numbers), to.Gradients, from.Gradients, i => from.Back(i, adds)),
                .. new WeightGradient<TLanes, TVector>(name, shape, from.SomeValues(0, shape.Inputs), gradients, numbers, stride).Operations,
                new BiasGradient($"{name}, bias", gradients, numbers),
            ]);
        }

        /// <summary>A transposed convolution, to the larger maps' channels from one on.</summary>
        private void Up(
            string name, Level from, Level to, FilterShape shape, int first, bool adds, bool linear = false)
        {
            LayerNumbers numbers = NewLayer(hasBias: false);
            Activation activation = linear ? Activation.None : to.Activation;
            TiledConvolution<TLanes, TVector> doubling = TiledConvolution<TLanes, TVector>.Doubling(
                name, shape, from.Values[0], 0, to.Values[0], first, activation);
            graph.forward.Add(Together.Convolutions(
                packForward.Of(doubling, numbers), from.Values, to.Values, _ => activation));
            TiledConvolution<TLanes, TVector> back = TiledConvolution<TLanes, TVector>.Convolution(
                $"{name}, back", shape.Back, to.Gradients[0], first, from.Gradients[0], 0, from.Back(0, adds));
            stepsBack.Add([
                Together.Convolutions(packBackward.Of(back, numbers), to.Gradients, from.Gradients, i => from.Back(i, adds)),
                .. new WeightGradient<TLanes, TVector>(
                    name, shape.Back, to.SomeGradients(first, shape.Outputs), from.SomeValues(0, shape.Inputs), numbers).Operations,
            ]);
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
                "flow, back", shape.Back, gradients[0], 0, half.Gradients[0], 0, half.Back(0, adds: false), stride, mirrored);
            steps.Add(Together.Convolutions(
                packBackward.Of(back, numbers), gradients, half.Gradients, i => half.Back(i, adds: false)));
            Channels[] ofGradients = [.. gradients.Select(Channels.Of)];
            steps.AddRange(new WeightGradient<TLanes, TVector>(
                "flow", shape.Back, ofGradients, half.SomeValues(0, half.Channels), numbers, stride, mirrored).Operations);
        }
    }
}
