namespace Ldr

open System
open System.Runtime.InteropServices
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Geometry

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

    /// Fills a tensor with numbers from elsewhere.
    let copyFrom (source: nativeptr<float32>) (tensor: torch.Tensor) =
        let bytes = 4L * tensor.numel ()
        Buffer.MemoryCopy(NativePtr.toVoidPtr source, NativePtr.toVoidPtr (start tensor), bytes, bytes)

    /// The size of [N, C, Z, Y, X] along x, y and z.
    let size (tensor: torch.Tensor) =
        struct (int tensor.shape[4], int tensor.shape[3], int tensor.shape[2])

    /// The grid of [N, C, Z, Y, X], as far as kernels ask: its size.
    let grid (tensor: torch.Tensor) =
        Grid(int tensor.shape[4], int tensor.shape[3], int tensor.shape[2], Affine.Identity)

/// Whether the kernels of `Ldr.Runtime` compute what they can, or libtorch does.
[<Sealed>]
type private KernelChoice() =
    [<ThreadStatic; DefaultValue>]
    static val mutable private withoutKernels: bool

    static member Without
        with get () = KernelChoice.withoutKernels
        and set value = KernelChoice.withoutKernels <- value

/// Kernels of our own in training.
module OwnKernels =
    /// Whether they are used on this thread.
    let areUsed () : bool = not KernelChoice.Without

    /// Whether they are used, and can do all of these tensors.
    let fit (tensors: torch.Tensor list) : bool =
        areUsed () && tensors |> List.forall TensorMemory.fits

    /// What an action gives when libtorch computes everything in it, on this thread: for comparisons, and where a training
    /// asks for it.
    let without (action: unit -> 'a) : 'a =
        let before = KernelChoice.Without
        KernelChoice.Without <- true

        try
            action ()
        finally
            KernelChoice.Without <- before
