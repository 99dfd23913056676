using System.Runtime.Intrinsics;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>
/// A network of a student forward and back, on a batch of one size: the operations in order, and the memory that they share. What
/// the way forward found stays until the next one. No result depends on the number of threads. Not safe to use from several
/// threads at once.
/// </summary>
internal sealed unsafe partial class TrainingGraph : IDisposable
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
    private readonly OperationTeam team = new();

    private TrainingGraph(
        int samples, (int X, int Y, int Z) size, int multiple, (int X, int Y, int Z) outputSize, int outputChannels)
    {
        if (size.X % multiple != 0 || size.Y % multiple != 0 || size.Z % multiple != 0)
        {
            throw new ArgumentException($"sides must be multiples of {multiple}", nameof(size));
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
        TrainingGraph graph = new(samples, size, 16, half ? (size.X / 2, size.Y / 2, size.Z / 2) : size, 3);
        graph.Build(new StageLayers(encoder, decoder, half), size);
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
        TrainingGraph graph = new(samples, size, 16, (size.X / 16, size.Y / 16, size.Z / 16), 8 * channels);
        graph.Build(new AffineLightLayers(channels), size);
        return graph;
    }

    /// <summary>
    /// A Volume Tweening Network without the scale of its flow: from pairs [N, 2, Z, Y, X] to displacements [N, 3, Z, Y, X]. Layers:
    /// conv1, conv2, conv3, conv3_1, … to the lowest level; then for each level upwards deconv, pred, upsamp; flow.
    /// </summary>
    /// <param name="levels">At least 2.</param>
    /// <param name="channels">Of the first convolution; each level doubles them.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Multiples of 2 to the power of the levels.</param>
    internal static TrainingGraph Vtn(int levels, int channels, int samples, (int X, int Y, int Z) size)
    {
        TrainingGraph graph = new(samples, size, 1 << levels, size, 3);
        graph.Build(new VtnLayers(levels, channels), size);
        return graph;
    }

    /// <summary>The way forward.</summary>
    /// <param name="pairs">What it looks at.</param>
    /// <param name="result">[N, C, Z', Y', X'].</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Forward(PairMemory pairs, float* result, int threads)
    {
        Lend(inputs, pairs);
        PlanarField.Lend(outputs, result, outputChannels);
        team.Run(forward, threads);
    }

    /// <summary>The way back of the last way forward; fills the gradients of the layers.</summary>
    /// <param name="gradient">Of the result.</param>
    /// <param name="pairGradient">Takes that of the pairs; null where it is not wanted (or not offered: affine-light).</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Backward(float* gradient, PairMemory? pairGradient, int threads)
    {
        PlanarField.Lend(outputGradients, gradient, outputChannels);
        team.Run(backward, threads);
        if (pairGradient is { } memory)
        {
            Lend(inputGradients, memory);
            team.Run(inputBackward, threads);
        }
    }

    /// <summary>Milliseconds and arithmetic operations of each operation of the last call, when somebody wants to know.</summary>
    internal List<(string Name, double Milliseconds, double Operations)>? Profile
    {
        get => team.Profile;
        set => team.Profile = value;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        team.Dispose();
        arena.Dispose();
    }

    private static void Lend(PlanarField[] fields, PairMemory pairs)
    {
        for (int sample = 0; sample < fields.Length; sample++)
        {
            fields[sample].Borrowed = pairs.Fixed + (sample * pairs.SampleStep);
            fields[sample].PlaneStep = (nint)(pairs.Moved - pairs.Fixed);
        }
    }

    private void Build(Layout layout, (int X, int Y, int Z) size)
    {
        switch (StudentGraph.Lanes)
        {
            case 16:
                layout.Build(new Builder<Lanes512, Vector512<float>>(this, size));
                break;
            case 8:
                layout.Build(new Builder<Lanes256, Vector256<float>>(this, size));
                break;
            case 4:
                layout.Build(new Builder<Lanes128, Vector128<float>>(this, size));
                break;
            default:
                layout.Build(new Builder<LanesScalar, float>(this, size));
                break;
        }

        // Tiles read a few numbers beyond the last map, which they do not use.
        arena.Reserve(64);
        arena.Allocate();
    }
}
