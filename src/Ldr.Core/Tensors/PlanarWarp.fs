namespace Ldr

open System.Collections.Generic
open System.Runtime.InteropServices
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime

#nowarn "9" // Kernels work on the tensors' own memory.
#nowarn "51"

/// moved(x) = image(x + u(x)) by the kernels of `Ldr.Runtime`, several times as fast as libtorch's on a processor
/// (docs/performance.md). Arguments: the image [N, C, Z, Y, X] and the field [N, 3, Z, Y, X], both float32. Its gradient has none of its own.
[<Sealed>]
type internal WarpFunction() =
    inherit torch.autograd.SingleTensorFunction<WarpFunction>()

    static let start (tensor: torch.Tensor) : nativeptr<float32> =
        &&MemoryMarshal.GetReference(MemoryMarshal.Cast<byte, float32> tensor.bytes)

    static let size (image: torch.Tensor) =
        struct (int image.shape[4], int image.shape[3], int image.shape[2])

    static let nowhere: nativeptr<float32> = NativePtr.ofNativeInt 0n

    /// Whether the kernels can do it: their tensors are addressed by spans, of at most 2³¹ bytes.
    static member Fits(field: torch.Tensor, image: torch.Tensor) =
        let fits (tensor: torch.Tensor) =
            tensor.device_type = DeviceType.CPU
            && tensor.dtype = torch.ScalarType.Float32
            && tensor.numel () > 0L
            && tensor.numel () < (1L <<< 29)

        fits field && fits image

    override _.Name = nameof WarpFunction

    override _.forward(context, inputs) =
        let image = (inputs[0] :?> torch.Tensor).contiguous()
        let field = (inputs[1] :?> torch.Tensor).contiguous()
        let moved = torch.empty_like image

        PlanarWarp.Apply(
            start image,
            start field,
            int image.shape[0],
            int image.shape[1],
            size image,
            start moved,
            torch.get_num_threads ()
        )

        // In here no tensor has a history, and a copy forgets that it wants a gradient.
        context.save_data (
            "wanted",
            inputs |> Array.map (fun input -> (input :?> torch.Tensor).requires_grad)
        )

        context.save_for_backward (List [ image; field ])
        moved

    override _.backward(context, gradient) =
        let saved = context.get_saved_variables ()
        let wanted = context.get_data "wanted" :?> bool[]
        let image, field = saved[0], saved[1]
        use gradient = gradient.contiguous ()

        let results =
            Seq.zip wanted saved
            |> Seq.map (fun (wanted, tensor) -> if wanted then Some(torch.empty_like tensor) else None)
            |> List

        let startOf = Option.map start >> Option.defaultValue nowhere

        PlanarWarp.Gradient(
            start image,
            start field,
            start gradient,
            int image.shape[0],
            int image.shape[1],
            size image,
            startOf results[1],
            startOf results[0],
            torch.get_num_threads ()
        )

        results.ConvertAll(Option.defaultValue Unchecked.defaultof<torch.Tensor>)
