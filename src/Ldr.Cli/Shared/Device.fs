namespace Ldr.Cli

open System.Runtime.CompilerServices
open TorchSharp
open Ldr

/// The argument of --device.
type DeviceName =
    | Cpu
    | Cuda

module Device =
    /// A method of its own: libtorch is loaded when it is entered.
    [<MethodImpl(MethodImplOptions.NoInlining)>]
    let private chooseLoaded (context: Context) : Result<torch.Device, Error> =
        context.Threads |> Option.iter torch.set_num_threads

        if not context.Cuda then
            Ok torch.CPU
        elif torch.cuda.is_available () then
            Ok torch.CUDA
        else
            Error(
                BadInput
                    "--device cuda: no CUDA device can be used here; build with LDR_CUDA=true on a machine with one, or leave the option out"
            )

    /// The device of libtorch, checked; torch's threads set.
    let choose (context: Context) : Result<torch.Device, Error> =
        Libtorch.check () |> Result.bind (fun () -> chooseLoaded context)
