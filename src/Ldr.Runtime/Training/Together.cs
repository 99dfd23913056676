using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Training;

/// <summary>Operations that do not depend on each other, as one: the same layer of several samples.</summary>
internal sealed unsafe class Together(IReadOnlyList<Operation> operations) : Operation
{
    internal override string Name => operations[0].Name;

    internal override double Flops { get; } = operations.Sum(operation => operation.Flops);

    internal override int Chunks { get; } = operations.Sum(operation => operation.Chunks);

    internal override int ScratchBytes => operations.Max(operation => operation.ScratchBytes);

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
