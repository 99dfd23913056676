using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Packs the weights of operations, which have changed since the last step.</summary>
/// <param name="withBias">Whether the biases too: not for the way back.</param>
internal sealed unsafe class PackWeights(bool withBias) : Operation
{
    private readonly List<(FilteredOperation Operation, LayerNumbers Numbers, int Chunk)> parts = [];

    internal override string Name => "weights";

    internal override int Chunks => parts.Count;

    /// <summary>The operation, which will find its weights packed.</summary>
    internal TOperation Of<TOperation>(TOperation operation, LayerNumbers numbers)
        where TOperation : FilteredOperation
    {
        for (int chunk = 0; chunk < operation.PackingChunks; chunk++)
        {
            parts.Add((operation, numbers, chunk));
        }

        return operation;
    }

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        (FilteredOperation operation, LayerNumbers numbers, int part) = parts[chunk];
        operation.Pack(part, numbers.Weights, withBias ? numbers.Bias : null);
    }
}
