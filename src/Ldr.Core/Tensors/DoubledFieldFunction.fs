namespace Ldr

open System.Collections.Generic
open TorchSharp
open Ldr.Runtime.Training

/// `Field.double` by the kernels of `Ldr.Runtime`; the argument is [N, 3, Z, Y, X]. Its gradient has no history: there are no
/// second derivatives.
[<Sealed>]
type internal DoubledFieldFunction() =
    inherit torch.autograd.SingleTensorFunction<DoubledFieldFunction>()

    static let planes (tensor: torch.Tensor) = int (tensor.shape[0] * tensor.shape[1])

    override _.Name = nameof DoubledFieldFunction

    override _.forward(_, inputs) =
        let half = (inputs[0] :?> torch.Tensor).contiguous()
        let size = half.shape |> Array.mapi (fun i n -> if i < 2 then n else 2L * n)
        let result = torch.empty size

        DoubledField.Apply(
            TensorMemory.start half,
            planes half,
            TensorMemory.size half,
            TensorMemory.start result,
            torch.get_num_threads ()
        )

        result

    override _.backward(_, gradient) =
        let whole = gradient.contiguous ()
        let size = whole.shape |> Array.mapi (fun i n -> if i < 2 then n else n / 2L)
        let result = torch.empty size

        DoubledField.Gradient(
            TensorMemory.start whole,
            planes result,
            TensorMemory.size result,
            TensorMemory.start result,
            torch.get_num_threads ()
        )

        for tensor in [ whole; gradient ] do
            tensor.Dispose()

        List [ result ]
