using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Operations that do not depend on each other, as one: the same layer of several samples.</summary>
internal sealed unsafe class Together(IReadOnlyList<Operation> operations) : Operation
{
    internal override string Name => operations[0].Name;

    internal override double Flops { get; } = operations.Sum(operation => operation.Flops);

    internal override int Chunks { get; } = operations.Sum(operation => operation.Chunks);

    internal override int ScratchBytes => operations.Max(operation => operation.ScratchBytes);

    /// <summary>An operation for every sample.</summary>
    internal static Together Each(int samples, Func<int, Operation> make) => new([.. Enumerable.Range(0, samples).Select(make)]);

    /// <summary>The same convolution of every sample, with weights packed once.</summary>
    /// <param name="first">That of the first one.</param>
    /// <param name="from">Its maps, a sample each.</param>
    /// <param name="to">Those it writes.</param>
    /// <param name="ending">What follows, by sample.</param>
    internal static Together Convolutions<TLanes, TVector>(
        TiledConvolution<TLanes, TVector> first, FeatureMap[] from, FeatureMap[] to, Func<int, Ending> ending)
        where TLanes : struct, ILanes<TVector>
        where TVector : struct =>
        Each(from.Length, i => i == 0 ? first : first.On(from[i], to[i], ending(i)));

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        int index = 0;
        while (chunk >= operations[index].Chunks)
        {
            chunk -= operations[index].Chunks;
            index++;
        }

        operations[index].Run(chunk, scratch);
    }
}
