namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// An operation with weights of its own order: they are packed once for a model that only runs, and before each use in a
/// training.
/// </summary>
internal abstract unsafe class FilteredOperation : Operation
{
    /// <summary>Parts of the packing, for threads to share.</summary>
    internal abstract int PackingChunks { get; }

    /// <summary>Packs a part.</summary>
    /// <param name="chunk">Which, from 0.</param>
    /// <param name="weights">The layer's weights.</param>
    /// <param name="bias">One number for each output; null for none.</param>
    internal abstract void Pack(int chunk, float* weights, float* bias);
}

/// <summary>Packing as part of a construction.</summary>
internal static unsafe class FilteredOperations
{
    /// <summary>The operation, with the numbers of a model.</summary>
    internal static TOperation With<TOperation>(this TOperation operation, Filter filter)
        where TOperation : FilteredOperation
    {
        fixed (float* weights = filter.Weights, bias = filter.Bias)
        {
            for (int chunk = 0; chunk < operation.PackingChunks; chunk++)
            {
                operation.Pack(chunk, weights, bias);
            }
        }

        return operation;
    }
}
