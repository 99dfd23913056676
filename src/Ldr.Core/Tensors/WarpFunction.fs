namespace Ldr

open System
open System.Collections.Generic
open System.Runtime.InteropServices
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime

#nowarn "9" // Kernels work on the tensors' own memory.
#nowarn "51"

/// moved(x) = image(x + u(x)) by the kernels of `Ldr.Runtime`, several times as fast as libtorch's on a processor
/// (docs/performance.md, Training). Arguments: the field [N, 3, Z, Y, X] and the image [N, C, Z, Y, X], both float32. Its
/// gradient has no history: there are no second derivatives.
[<Sealed>]
type internal WarpFunction() =
    inherit torch.autograd.SingleTensorFunction<WarpFunction>()

    static let start (tensor: torch.Tensor) : nativeptr<float32> =
        &&MemoryMarshal.GetReference(MemoryMarshal.Cast<byte, float32> tensor.bytes)

    static let grid (image: torch.Tensor) =
        Grid(int image.shape[4], int image.shape[3], int image.shape[2], Affine.Identity)

    [<ThreadStatic; DefaultValue>]
    static val mutable private withoutKernels: bool

    /// Whether the kernels can do it: their tensors are addressed by spans, of less than 2³¹ bytes.
    static member Fits(field: torch.Tensor, image: torch.Tensor) : bool =
        let fits (tensor: torch.Tensor) =
            tensor.device_type = DeviceType.CPU
            && tensor.dtype = torch.ScalarType.Float32
            && tensor.numel () > 0L
            && tensor.numel () < (1L <<< 29)

        not WarpFunction.withoutKernels && fits field && fits image

    /// Runs an action that does without the kernels on this thread.
    static member Without(action: unit -> 'a) : 'a =
        let before = WarpFunction.withoutKernels
        WarpFunction.withoutKernels <- true

        try
            action ()
        finally
            WarpFunction.withoutKernels <- before

    override _.Name = nameof WarpFunction

    override _.forward(context, inputs) =
        let arguments = inputs |> Array.map (fun input -> input :?> torch.Tensor)
        let field, image = arguments[0].contiguous(), arguments[1].contiguous()
        let moved = torch.empty_like image

        PlanarWarp.Apply(
            start field,
            start image,
            int image.shape[0],
            int image.shape[1],
            grid image,
            start moved,
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

        let startOf = Option.map start >> Option.defaultValue NativePtr.nullPtr

        PlanarWarp.Gradient(
            start field,
            start image,
            start whole,
            int image.shape[0],
            int image.shape[1],
            grid image,
            startOf results[0],
            startOf results[1],
            torch.get_num_threads ()
        )

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in [ whole; gradient; field; image ] do
            tensor.Dispose()

        results.ConvertAll(Option.defaultValue Unchecked.defaultof<torch.Tensor>)
