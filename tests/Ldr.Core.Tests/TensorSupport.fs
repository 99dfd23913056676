/// Small tensors, their numbers, and comparisons for the tests of the tensor code.
module Ldr.Core.Tests.TensorSupport

open System
open Expecto
open TorchSharp
open Ldr

/// The end of a training; bad input is raised.
let trained (job: TrainingJob) : TrainingEnd =
    Trainer.run (Trainer.step job.Options) job |> Error.orRaise

/// Few cases: every one of them runs a native library.
let few =
    { FsCheckConfig.defaultConfig with
        maxTest = 15
    }

/// Numbers in order as a tensor in double precision.
let ofNumbers (values: float[]) (shape: int64[]) : torch.Tensor =
    torch.tensor(values, dtype = torch.float64).reshape shape

/// Uniform numbers in [low, high), from the seed alone.
let uniform
    (dtype: torch.ScalarType)
    (seed: int)
    (low: float, high: float)
    (shape: int64 list)
    : torch.Tensor =
    let random = Random(seed)
    let count = shape |> List.fold (*) 1L |> int
    let numbers = Array.init count (fun _ -> low + (high - low) * random.NextDouble())
    (ofNumbers numbers (Array.ofList shape)).``to`` dtype

let single seed range shape = uniform torch.float32 seed range shape
let precise seed range shape = uniform torch.float64 seed range shape

/// A side from `low` to `high`, from any number.
let side low high (number: int) =
    int64 low + int64 (abs (number % (high - low + 1)))

let numbers (tensor: torch.Tensor) : float[] =
    tensor.detach().``to``(torch.float64).contiguous().data<float>().ToArray()

let number (tensor: torch.Tensor) : float =
    match numbers tensor with
    | [| only |] -> only
    | several -> failtest $"one number expected, found {several.Length}"

let largest (tensor: torch.Tensor) =
    numbers tensor
    |> Array.fold (fun m v -> if Double.IsNaN v then nan else max m (abs v)) 0.0

let expectShape (tensor: torch.Tensor) (shape: int64 list) what =
    Expect.sequenceEqual tensor.shape shape what

/// Of one shape, and nowhere further apart than `tolerance` (a NaN is too far).
let expectClose (tolerance: float) (actual: torch.Tensor) (expected: torch.Tensor) what =
    Expect.sequenceEqual actual.shape expected.shape $"{what}: shape"

    for a, e in Array.zip (numbers actual) (numbers expected) do
        if not (abs (a - e) <= tolerance) then
            failtest $"{what}: {a} instead of {e}"

let expectSame actual expected what = expectClose 0.0 actual expected what

/// The derivative of a scalar function by central differences, element by element; double precision.
let slope (f: torch.Tensor -> torch.Tensor) (place: torch.Tensor) : torch.Tensor =
    let step = 1e-5
    let start = numbers place

    let at (values: float[]) =
        f (ofNumbers values place.shape) |> number

    let slopes =
        Array.init start.Length (fun i ->
            let moved by =
                start |> Array.mapi (fun k v -> if k = i then v + by else v)

            (at (moved step) - at (moved (-step))) / (2.0 * step))

    ofNumbers slopes place.shape

/// The derivative of a scalar function by autograd.
let gradient (f: torch.Tensor -> torch.Tensor) (place: torch.Tensor) : torch.Tensor =
    let place = place.detach().clone().requires_grad_ true
    (f place).backward()
    nonNull place.grad

/// A test in a dispose scope of its own.
let scoped (test: unit -> unit) () =
    use _ = torch.NewDisposeScope()
    NativeCalls.protect test
