namespace Ldr

open System
open System.Runtime.InteropServices
open TorchSharp

/// oneDNN inside libtorch, which convolves float32 on the processor. On some processors libtorch 2.10's reads memory that it
/// never wrote, and convolutions come out wrong, most of them not finite (seen on an AMD EPYC of 2024, with AVX-512, AVX2 and AVX;
/// the same in a C program without .NET; not in libtorch 1.13). So it is tried before it is used, and switched off where
/// it fails: libtorch then convolves by matrix products.
module OneDnn =
    /// Inputs, outputs, voxels along an axis; the channels that failed most often.
    let private trials = [ 2, 8, 16; 67, 3, 8; 16, 8, 16; 3, 16, 16 ]

    /// Leaves memory behind that spoils what is computed from it, in pieces of the sizes that come next.
    let private leaveNaN () =
        for power in 6..22 do
            use piece = torch.empty [| 1L <<< power |]
            piece.fill_ (Double.NaN.ToScalar()) |> ignore

    /// Whether a convolution of ones by ones (kernel 3, padding 1) and its gradients are what can be counted. All numbers are whole
    /// and below 2²⁴: right means equal, in whatever order they are added.
    let private isRight (inputs: int, outputs: int, side: int) : bool =
        use _ = torch.NewDisposeScope()
        use _ = torch.enable_grad ()
        let size = int64 side
        leaveNaN ()

        let image =
            torch.ones ([| 2L; int64 inputs; size; size; size |], requires_grad = true)

        let weights =
            torch.ones ([| int64 outputs; int64 inputs; 3L; 3L; 3L |], requires_grad = true)

        let result =
            torch.nn.functional.conv3d (image, weights, padding = Array.create 3 1L)

        result.sum().backward()

        /// The product of a number along each axis.
        let cubed (along: float32[]) =
            let line = torch.tensor along
            line.view (-1L, 1L, 1L) * line.view (-1L, 1L) * line

        let taps =
            cubed (Array.init side (fun at -> if at = 0 || at = side - 1 then 2f else 3f))

        let places = cubed [| float32 (side - 1); float32 side; float32 (side - 1) |]

        let equals (factor: int) (expected: torch.Tensor) (found: torch.Tensor) =
            found.eq(expected * factor).all().ToBoolean()

        equals inputs taps (result.detach ())
        && equals outputs taps (nonNull image.grad)
        && equals 2 places (nonNull weights.grad)

    let private areRight () =
        NativeCalls.protect (fun () -> Seq.init 3 (fun _ -> trials) |> Seq.concat |> Seq.forall isRight)

    /// Linux's name of `at::globalContext()`.
    [<DllImport("libtorch_cpu", EntryPoint = "_ZN2at13globalContextEv")>]
    extern nativeint private globalContext()

    /// Linux's name of `at::Context::setUserEnabledMkldnn`, which TorchSharp does not offer.
    [<DllImport("libtorch_cpu", EntryPoint = "_ZN2at7Context20setUserEnabledMkldnnEb")>]
    extern void private setUserEnabledMkldnn(nativeint context, [<MarshalAs(UnmanagedType.U1)>] bool enabled)

    let private switchOff () =
        try
            setUserEnabledMkldnn (globalContext (), false)
        with
        | :? DllNotFoundException
        | :? EntryPointNotFoundException -> ()

    let private usable =
        lazy
            (let usable = areRight ()

             if not usable then
                 switchOff ()

                 if not (areRight ()) then
                     Error.raiseInput
                         "libtorch's convolutions are wrong on this processor, and oneDNN, which makes them, can only be switched off on Linux"

             usable)

    /// A tensor that is to be convolved. On the processor oneDNN has been tried then.
    let tried (x: torch.Tensor) : torch.Tensor =
        if x.device_type = DeviceType.CPU then
            usable.Force() |> ignore

        x

    /// What is to be said after the engine's name: nothing where oneDNN convolves.
    let remark () : string =
        if usable.Value then
            ""
        else
            ", without oneDNN, which is wrong on this processor"
