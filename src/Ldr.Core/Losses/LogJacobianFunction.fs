namespace Ldr

open System.Collections.Generic
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Transforms

#nowarn "9" // Kernels work on the tensors' own memory.

/// The mean over the samples and cells of log² J of a field [N, 3, Z, Y, X], by the kernels of `Ldr.Runtime.LogJacobian`.
/// Its gradient has no history: there are no second derivatives.
[<Sealed>]
type internal LogJacobianFunction() =
    inherit torch.autograd.SingleTensorFunction<LogJacobianFunction>()

    static let samples (field: torch.Tensor) =
        let grid = TensorMemory.grid field
        let length = 3 * int grid.Count

        [
            for sample in 0 .. int field.shape[0] - 1 -> fun start -> NativePtr.add start (sample * length)
        ]

    override _.Name = nameof LogJacobianFunction

    override _.forward(context, inputs) =
        let field = (inputs[0] :?> torch.Tensor).contiguous()
        let start, grid = TensorMemory.start field, TensorMemory.grid field

        let mean =
            samples field
            |> List.averageBy (fun at -> LogJacobian.Mean(at start, grid, torch.get_num_threads ()))

        context.save_for_backward (List [ field ])
        torch.tensor (float32 mean)

    override _.backward(context, gradient) =
        let field = context.get_saved_variables()[0]
        let result = torch.zeros_like field
        let start, grid = TensorMemory.start field, TensorMemory.grid field
        let target = TensorMemory.start result
        let own = samples field
        let factor = float (gradient.item<float32>()) / float own.Length

        for at in own do
            LogJacobian.AddGradient(at start, grid, factor, at target, torch.get_num_threads ())

        gradient.Dispose()
        field.Dispose()
        List [ result ]
