namespace Ldr

open System
open FSharp.NativeInterop
open TorchSharp

#nowarn "9" // The tensors' own memory.

/// The gradients of a network's parameters as one vector, behind them 1 for each parameter that has one and 0 for the others.
module internal FlatGradient =
    let private length (parameters: torch.Tensor list) =
        parameters |> List.sumBy (fun parameter -> int (parameter.numel ()))

    /// A copy.
    let take (parameters: torch.Tensor list) : float32[] =
        let count = length parameters
        let flat = Array.zeroCreate<float32>(count + parameters.Length)
        let mutable at = 0

        for index, parameter in List.indexed parameters do
            match parameter.grad with
            | null -> ()
            | gradient ->
                use whole = gradient.cpu().contiguous()
                let from = NativePtr.toVoidPtr (TensorMemory.start whole)
                Span<float32>(from, int (whole.numel ())).CopyTo(flat.AsSpan at)
                flat[count + index] <- 1.0f

            at <- at + int (parameter.numel ())

        flat

    /// Sets the gradients of the parameters that have one somewhere.
    let give (parameters: torch.Tensor list) (flat: float32[]) : unit =
        let count = length parameters
        let mutable at = 0

        for index, parameter in List.indexed parameters do
            let size = int (parameter.numel ())

            if flat[count + index] > 0.0f then
                parameter.grad <- Bridge.toTensor parameter.device parameter.shape (Array.sub flat at size)

            at <- at + size
