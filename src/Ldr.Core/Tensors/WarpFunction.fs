namespace Ldr

open System.Collections.Generic
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Transforms

#nowarn "9" // Kernels work on the tensors' own memory.

/// moved(x) = image(x + u(x)) by the kernels of `Ldr.Runtime`, several times as fast as libtorch's on a processor
/// (docs/lab/performance.md, Training). Arguments: the field [N, 3, Z, Y, X] and the image [N, C, Z, Y, X], both float32. Its
/// gradient has no history: there are no second derivatives.
[<Sealed>]
type internal WarpFunction() =
    inherit torch.autograd.SingleTensorFunction<WarpFunction>()

    /// Whether the kernels can do it.
    static member Fits(field: torch.Tensor, image: torch.Tensor) : bool = OwnKernels.fit [ field; image ]

    override _.Name = nameof WarpFunction

    override _.forward(context, inputs) =
        let arguments = inputs |> Array.map (fun input -> input :?> torch.Tensor)
        let field, image = arguments[0].contiguous(), arguments[1].contiguous()
        let moved = torch.empty_like image

        PlanarWarp.Apply(
            TensorMemory.start field,
            TensorMemory.start image,
            int image.shape[0],
            int image.shape[1],
            TensorMemory.grid image,
            TensorMemory.start moved,
            torch.get_num_threads ()
        )

        // In here no tensor has a history, and a copy forgets that it wants a gradient.
        context.save_data ("wanted", arguments |> Array.map _.requires_grad)
        context.save_for_backward (List [ field; image ])
        moved

    override _.backward(context, gradient) =
        let saved = context.get_saved_variables ()
        let wanted = context.get_data "wanted" :?> bool[]
        let field, image = saved[0], saved[1]
        let whole = gradient.contiguous ()

        let results =
            Seq.zip wanted saved
            |> Seq.map (fun (wanted, tensor) -> if wanted then Some(torch.empty_like tensor) else None)
            |> List

        let startOf = Option.map TensorMemory.start >> Option.defaultValue NativePtr.nullPtr

        PlanarWarp.Gradient(
            TensorMemory.start field,
            TensorMemory.start image,
            TensorMemory.start whole,
            int image.shape[0],
            int image.shape[1],
            TensorMemory.grid image,
            startOf results[0],
            startOf results[1],
            torch.get_num_threads ()
        )

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in [ whole; gradient; field; image ] do
            tensor.Dispose()

        results.ConvertAll(Option.defaultValue Unchecked.defaultof<torch.Tensor>)
