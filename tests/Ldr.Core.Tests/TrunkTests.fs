/// Students forward and back by the kernels of Ldr.Runtime, against libtorch.
module Ldr.Core.Tests.TrunkTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

/// The largest difference from the other tensor, in parts of that one's norm.
let private apart (actual: torch.Tensor) (expected: torch.Tensor) : float =
    let difference = actual.``to``(torch.float64).sub(expected.``to`` torch.float64).norm().item<float>()
    difference / max 1e-12 (expected.``to``(torch.float64).norm().item<float>())

/// A result and the gradients of its weighted sum: of the pairs, if asked for, and of every parameter by name.
let private both (wantsPairs: bool) (network: torch.nn.Module) (run: torch.Tensor -> torch.Tensor) (pairs: torch.Tensor) =
    network.zero_grad ()
    let pairs = pairs.detach().clone().requires_grad_ wantsPairs
    let result = run pairs
    let weights = (uniform torch.float32 11 (-1.0, 1.0) (List.ofArray result.shape)).``to`` result.dtype
    (result * weights).sum().backward()

    [
        "result", result.detach().clone()
        if wantsPairs then
            "pairs", (nonNull pairs.grad).clone()
        for struct (name, parameter) in network.named_parameters () do
            name, (nonNull parameter.grad).clone()
    ]

let private compare (bound: float) actual expected =
    for (name, a), (_, e) in List.zip actual expected do
        let distance = apart a e
        Expect.isLessThan distance bound $"{name}: {distance} of its norm apart"

/// Weights that let all parts of a network speak: its head starts near zero.
let private loud (network: torch.nn.Module) =
    use _ = torch.no_grad ()

    for struct (name, parameter) in network.named_parameters () do
        if name.Contains "flow" then
            parameter.uniform_ (-0.2, 0.2, generator = new torch.Generator(3UL)) |> ignore

        if name.EndsWith "bias" then
            parameter.uniform_ (-0.1, 0.1, generator = new torch.Generator(4UL)) |> ignore

let private widths encoder decoder = { Encoder = encoder; Decoder = decoder }

let private students =
    [
        "ldr-half", Student.half, widths [ 16; 32; 64; 128 ] [ 64; 32; 16 ], [ 2L; 2L; 32L; 48L; 32L ]
        "ldr-half, odd widths", Student.half, widths [ 5; 7; 9; 11 ] [ 10; 6; 3 ], [ 3L; 2L; 16L; 32L; 48L ]
        "ldr", Student.full, widths [ 16; 32; 64; 128 ] [ 128; 64; 32 ], [ 1L; 2L; 32L; 32L; 48L ]
        "ldr, odd widths", Student.full, widths [ 6; 17; 33; 40 ] [ 34; 20; 18 ], [ 2L; 2L; 16L; 16L; 32L ]
    ]

let private layerTests =
    [
        for name, make, widths, shape in students do
            testCase
                $"{name}: result and gradients are libtorch's"
                (scoped (fun () ->
                    let layer: Layer = make (Seed.ofInt 5) widths
                    let network = new Composite("network", layer.Parts)
                    loud network
                    let pairs = single 7 (0.0, 1.0) shape
                    let own = both true network layer.Run pairs
                    let theirs = OwnKernels.without (fun () ->
                        network.``to`` torch.float64 |> ignore
                        both true network layer.Run (pairs.``to`` torch.float64))
                    compare 2e-5 own theirs))
    ]

let tests = testList "trunks" layerTests
