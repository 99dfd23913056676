namespace Ldr.Cli

open System.Runtime.CompilerServices
open TorchSharp
open Ldr
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration

/// The argument of --engine.
type EngineName =
    | Managed
    | Torch

/// What computes a registration.
type EngineChoice =
    /// Ours, where it runs the model's network; libtorch otherwise.
    | Automatic
    | ManagedEngine
    | TorchEngine

/// Makes registrars.
[<NoEquality; NoComparison>]
type RegistrarSource =
    {
        /// With so many threads; 0 for all.
        Make: int -> Registrar
        /// Whether only one of them may work at a time.
        OneAtATime: bool
    }

module Engine =
    /// The text of --help.
    let usage =
        "what computes: managed (ours; the default for ldr, ldr-half, ldr-velocity, affine-light and cascades of them) or torch (every network)."

    /// The engine that was asked for; libtorch alone computes on a GPU, and networks only.
    let parse
        (hasNetwork: bool)
        (name: EngineName option)
        (device: DeviceName option)
        : Result<EngineChoice, string> =
        match name, device with
        | _, Some Cuda when not hasNetwork ->
            Error "--device cuda computes networks; without one (--model none) leave it out"
        | Some Managed, Some Cuda -> Error "--engine managed computes on the CPU; leave --device cuda out"
        | Some Managed, _ -> Ok ManagedEngine
        | Some Torch, _
        | None, Some Cuda -> Ok TorchEngine
        | None, _ -> Ok Automatic

    /// A method of its own: libtorch's classes are loaded when it is entered.
    [<MethodImpl(MethodImplOptions.NoInlining)>]
    let private byTorch
        (context: Context)
        (path: string)
        (action: RegistrarSource -> Result<'r, Error>)
        : Result<'r, Error> =
        match Device.choose context with
        | Error error -> Error error
        | Ok device ->
            match ModelFile.read path with
            | Error error -> Error error
            | Ok model ->
                model.Network.``to`` device |> ignore
                let predictor = TorchPredictor(device, model)

                action
                    {
                        Make = fun _ -> new Registrar(predictor)
                        OneAtATime = true
                    }

    let private byUs
        (path: string)
        (file: SafetensorsFile)
        (action: RegistrarSource -> Result<'r, Error>)
        : Result<'r, Error> =
        Error.guard (fun () -> StudentModel.Load(file, path))
        |> Result.bind (fun model ->
            action
                {
                    Make = fun threads -> new Registrar(model, threads)
                    OneAtATime = false
                })

    /// Runs an action with registrars of a model: of the managed engine where it runs the model's network (unless libtorch
    /// was asked for), and of libtorch, which is not even loaded otherwise.
    let runMany
        (context: Context)
        (choice: EngineChoice)
        (path: string)
        (file: SafetensorsFile)
        (action: RegistrarSource -> Result<'r, Error>)
        : Result<'r, Error> =
        match choice, StudentModel.Supports file.Metadata with
        | TorchEngine, _ -> OwnKernels.without (fun () -> byTorch context path action)
        | Automatic, (false, kind) ->
            context.Speaker.Detail $"The managed engine does not run {kind}: libtorch computes."
            byTorch context path action
        | _ -> byUs path file action

    /// The same with one registrar.
    let run
        (context: Context)
        (choice: EngineChoice)
        (path: string)
        (file: SafetensorsFile)
        (action: Registrar -> Result<'r, Error>)
        : Result<'r, Error> =
        runMany context choice path file (fun source ->
            use registrar = source.Make(context.Threads |> Option.defaultValue 0)
            action registrar)
