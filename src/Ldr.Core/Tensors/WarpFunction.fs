namespace Ldr

open System
open System.Collections.Generic
open System.Runtime.InteropServices
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

#nowarn "9" // Kernels work on the tensors' own memory.
#nowarn "51"

/// The numbers of a contiguous float32 tensor on the processor, where kernels of `Ldr.Runtime` work on them.
module internal TensorMemory =
    let start (tensor: torch.Tensor) : nativeptr<float32> =
        &&MemoryMarshal.GetReference(MemoryMarshal.Cast<byte, float32> tensor.bytes)

    /// Whether kernels can do it: float32 on the processor, addressed by spans, of less than 2³¹ bytes.
    let fits (tensor: torch.Tensor) =
        tensor.device_type = DeviceType.CPU
        && tensor.dtype = torch.ScalarType.Float32
        && tensor.numel () > 0L
        && tensor.numel () < (1L <<< 29)

    /// The grid of [N, C, Z, Y, X], as far as kernels ask: its size.
    let grid (tensor: torch.Tensor) =
        Grid(int tensor.shape[4], int tensor.shape[3], int tensor.shape[2], Affine.Identity)

/// moved(x) = image(x + u(x)) by the kernels of `Ldr.Runtime`, several times as fast as libtorch's on a processor
/// (docs/lab/performance.md, Training). Arguments: the field [N, 3, Z, Y, X] and the image [N, C, Z, Y, X], both float32. Its
/// gradient has no history: there are no second derivatives.
[<Sealed>]
type internal WarpFunction() =
    inherit torch.autograd.SingleTensorFunction<WarpFunction>()

    [<ThreadStatic; DefaultValue>]
    static val mutable private withoutKernels: bool

    /// Whether the kernels can do it.
    static member Fits(field: torch.Tensor, image: torch.Tensor) : bool =
        not WarpFunction.withoutKernels
        && TensorMemory.fits field
        && TensorMemory.fits image

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
