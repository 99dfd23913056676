namespace Ldr

open System.Collections.Generic
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// The window of a local correlation and its ε.
type internal LocalWindow = { Side: int; Epsilon: float }

/// `Similarity.localCorrelation` by the kernels of `Ldr.Runtime`; arguments: the window, the fixed and moved images and the weights,
/// [N, 1, Z, Y, X] each. A gradient reaches the moved image alone, and has no history.
[<Sealed>]
type internal LocalCorrelationFunction() =
    inherit torch.autograd.SingleTensorFunction<LocalCorrelationFunction>()

    static let imagesOf (tensors: torch.Tensor list) =
        let address tensor =
            NativePtr.toNativeInt (TensorMemory.start tensor)

        LocalCorrelation.Images(address tensors[0], address tensors[1], address tensors[2])

    /// Whether the kernels can do it.
    static member Fits(fixedImage: torch.Tensor, moved: torch.Tensor, weights: torch.Tensor) : bool =
        OwnKernels.areUsed ()
        && [ fixedImage; moved; weights ]
           |> List.forall (fun image -> TensorMemory.fits image && image.shape = moved.shape)
        && moved.shape[1] = 1L
        && not (torch.is_grad_enabled () && (fixedImage.requires_grad || weights.requires_grad))

    override _.Name = nameof LocalCorrelationFunction

    override _.forward(context, inputs) =
        let window = inputs[0] :?> LocalWindow

        let images =
            [ for input in Seq.tail inputs -> (input :?> torch.Tensor).contiguous() ]

        let moved = images[1]
        let struct (x, y, z) as size = TensorMemory.size moved
        let samples = moved.shape[0]
        let centres side = int64 (LocalCorrelation.Centres side)
        let result = torch.empty [| samples |]

        let factors =
            torch.empty [| samples; centres z; centres y; centres x; int64 LocalCorrelation.Factors |]

        LocalCorrelation.Measure(
            imagesOf images,
            int samples,
            size,
            window.Side,
            window.Epsilon,
            TensorMemory.start result,
            TensorMemory.start factors,
            torch.get_num_threads ()
        )

        context.save_data ("window", window)
        context.save_for_backward (List(factors :: images))
        result

    override _.backward(context, gradient) =
        let window = context.get_data "window" :?> LocalWindow
        let saved = context.get_saved_variables () |> List.ofSeq
        let factors, images = saved.Head, saved.Tail
        let whole = gradient.contiguous ()
        let result = torch.empty_like images[1]

        LocalCorrelation.Gradient(
            imagesOf images,
            int images[1].shape[0],
            TensorMemory.size images[1],
            window.Side,
            TensorMemory.start factors,
            TensorMemory.start whole,
            TensorMemory.start result,
            torch.get_num_threads ()
        )

        for tensor in whole :: gradient :: saved do
            tensor.Dispose()

        let none = Unchecked.defaultof<torch.Tensor>
        List [ none; none; result; none ]
