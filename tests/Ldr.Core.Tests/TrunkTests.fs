/// Students forward and back by the kernels of Ldr.Runtime, against libtorch.
module Ldr.Core.Tests.TrunkTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

/// The largest difference from the other tensor, in parts of that one's norm.
let private apart (actual: torch.Tensor) (expected: torch.Tensor) : float =
    let difference =
        actual.``to``(torch.float64).sub(expected.``to`` torch.float64).norm().item<float>()

    difference / max 1e-12 (expected.``to``(torch.float64).norm().item<float>())

/// A result and the gradients of its weighted sum: of the pairs, if asked for, and of every parameter by name.
let private both
    (wantsPairs: bool)
    (network: torch.nn.Module)
    (run: torch.Tensor -> torch.Tensor)
    (pairs: torch.Tensor)
    =
    network.zero_grad ()
    let pairs = pairs.detach().clone().requires_grad_ wantsPairs
    let result = run pairs

    let weights =
        (uniform torch.float32 11 (-1.0, 1.0) (List.ofArray result.shape)).``to`` result.dtype

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

let private widths encoder decoder =
    { Encoder = encoder; Decoder = decoder }

let private students =
    [
        "ldr-half", Student.half, widths [ 16; 32; 64; 128 ] [ 64; 32; 16 ], [ 2L; 2L; 32L; 48L; 32L ]
        "ldr-half, odd widths", Student.half, widths [ 5; 7; 9; 11 ] [ 10; 6; 3 ], [ 3L; 2L; 16L; 32L; 48L ]
        "ldr", Student.full, widths [ 16; 32; 64; 128 ] [ 128; 64; 32 ], [ 1L; 2L; 32L; 32L; 48L ]
        "ldr, odd widths", Student.full, widths [ 6; 17; 33; 40 ] [ 34; 20; 18 ], [ 2L; 2L; 16L; 16L; 32L ]
    ]

let private vtn levels channels =
    let scale = { Levels = levels; Channels = channels }
    $"vtn, {levels} levels, {channels} channels", (fun seed -> Vtn.create seed scale 0.05)

let private layers =
    [
        for name, make, widths, shape in students do
            name, (fun seed -> make seed widths), shape
        for (name, make), shape in
            [
                vtn 4 16, [ 2L; 2L; 32L; 48L; 32L ]
                vtn 3 5, [ 2L; 2L; 8L; 24L; 16L ]
                vtn 2 9, [ 1L; 2L; 12L; 4L; 20L ]
                vtn 6 2, [ 1L; 2L; 64L; 64L; 64L ]
            ] do
            name, make, shape
    ]

let private layerTests =
    [
        for name, make, shape in layers do
            testCase
                $"{name}: result and gradients are libtorch's"
                (scoped (fun () ->
                    let layer: Layer = make (Seed.ofInt 5)
                    let network = new Composite("network", layer.Parts)
                    loud network
                    let pairs = single 7 (0.0, 1.0) shape
                    let own = both true network layer.Run pairs

                    let theirs =
                        OwnKernels.without (fun () ->
                            network.``to`` torch.float64 |> ignore
                            both true network layer.Run (pairs.``to`` torch.float64))

                    compare 2e-5 own theirs))
    ]

/// What a discriminator says of fields and images [N, 3 or 5, Z, Y, X].
let private judgements =
    let split (seen: torch.Tensor) =
        let images =
            if seen.shape[1] = 5L then
                seen.narrow (1L, 3L, 2L)
            else
                seen

        images, seen.narrow (1L, 0L, 3L)

    let features (judge: Discriminator) seen =
        (judge.Judge(split seen)).Features
        |> List.map (fun feature -> feature.flatten ())
        |> fun all -> torch.cat (Array.ofList all)

    let map (judge: Discriminator) seen = (judge.JudgeMap(split seen)).Map

    let maps (judge: Discriminator) seen =
        let images, field = split seen
        let one, other = judge.JudgeMaps(images, field, field * 0.5)
        torch.cat [| one.Map; other.Map |]

    let norm (judge: Discriminator) seen =
        split seen ||> Discrimination.gradientNormOf judge

    [ "features", features; "map", map; "maps", maps; "norm of the gradient", norm ]

let private judges =
    [
        "as published",
        { DiscriminatorOptions.published with
            Widths = [ 4; 5; 6; 7; 8 ]
        },
        [ 1L; 3L; 32L; 32L; 64L ]
        "standard",
        { DiscriminatorOptions.standard with
            Widths = [ 16; 32 ]
        },
        [ 2L; 3L; 16L; 24L; 20L ]
        "conditioned",
        {
            Widths = [ 16; 32; 64 ]
            Conditioned = true
            FullSize = false
            FirstRelu = true
        },
        [ 2L; 5L; 32L; 24L; 16L ]
        "conditioned, at full size",
        {
            Widths = [ 7 ]
            Conditioned = true
            FullSize = true
            FirstRelu = false
        },
        [ 3L; 5L; 2L; 6L; 4L ]
    ]

let private judgeTests =
    [
        for name, options, shape in judges do
            for what, run in judgements do
                testCase
                    $"{what} of a discriminator, {name}: result and gradients are libtorch's"
                    (scoped (fun () ->
                        use judge = Discriminator.create (Seed.ofInt 5) options
                        loud judge
                        let seen = single 7 (-1.0, 1.0) shape
                        let own = both true judge (run judge) seen

                        let theirs =
                            OwnKernels.without (fun () ->
                                judge.``to`` torch.float64 |> ignore
                                both true judge (run judge) (seen.``to`` torch.float64))

                        compare 1e-4 own theirs))

                testCase
                    $"{what} of a discriminator, {name}: the same to the last bit for any number of threads, and held"
                    (scoped (fun () ->
                        use judge = Discriminator.create (Seed.ofInt 5) options
                        let before = torch.get_num_threads ()

                        let by threads =
                            torch.set_num_threads threads

                            try
                                both true judge (run judge) (single 7 (-1.0, 1.0) shape)
                            finally
                                torch.set_num_threads before

                        let one = by 1

                        for (name, a), (_, b) in List.zip one (by 2) do
                            Expect.equal (numbers a) (numbers b) name

                        for parameter in judge.parameters () do
                            parameter.requires_grad <- false

                        let seen = (single 7 (-1.0, 1.0) shape).requires_grad_ true
                        let result = run judge seen
                        let weights = uniform torch.float32 11 (-1.0, 1.0) (List.ofArray result.shape)
                        (result * weights).sum().backward()
                        let expected = one |> List.find (fun (name, _) -> name = "pairs") |> snd
                        Expect.equal (numbers (nonNull seen.grad)) (numbers expected) "the weights are held"

                        let held =
                            use _ = torch.no_grad ()
                            numbers (run judge (seen.detach ()))

                        Expect.equal held (numbers (snd one.Head)) "without a history"))
    ]

/// A function of tensors by our kernels, and by libtorch in double precision: the value and the gradients.
let private agrees
    (bound: float)
    (run: torch.Tensor list -> torch.Tensor)
    (wanted: bool list)
    (inputs: torch.Tensor list)
    =
    let by (dtype: torch.ScalarType) =
        let inputs =
            List.zip wanted inputs
            |> List.map (fun (wanted, input) -> input.detach().clone().``to``(dtype).requires_grad_ wanted)

        let result = run inputs

        let weights =
            (uniform torch.float32 12 (-1.0, 1.0) (List.ofArray result.shape)).``to`` dtype

        (result * weights).sum().backward()

        ("result", result.detach ())
        :: [
            for index, (wanted, input) in List.indexed (List.zip wanted inputs) do
                if wanted then
                    $"input {index}", nonNull input.grad
        ]

    compare bound (by torch.float32) (OwnKernels.without (fun () -> by torch.float64))

let private kernelTests =
    let field seed shape = single seed (-1.0, 1.0) shape
    let image seed shape = single seed (0.0, 1.0) shape

    [
        for shape in [ [ 2L; 3L; 6L; 8L; 10L ]; [ 1L; 3L; 5L; 7L; 33L ]; [ 1L; 3L; 1L; 2L; 3L ] ] do
            testCase
                $"a doubled field is libtorch's, {shape}"
                (scoped (fun () -> agrees 1e-6 (fun i -> Field.double i.Head) [ true ] [ field 1 shape ]))

            testCase
                $"smoothness is libtorch's, {shape}"
                (scoped (fun () ->
                    agrees 1e-6 (fun i -> Regularity.smoothness i.Head) [ true ] [ field 2 shape ]))

            testCase
                $"bending energy is libtorch's, {shape}"
                (scoped (fun () ->
                    agrees 1e-5 (fun i -> Regularity.bending i.Head) [ true ] [ field 2 shape ]))

        for shape in [ [ 2L; 3L; 6L; 8L; 10L ]; [ 1L; 3L; 5L; 7L; 33L ]; [ 2L; 3L; 20L; 18L; 23L ] ] do
            testCase
                $"strain, and the distance of derivatives, are libtorch's, {shape}"
                (scoped (fun () ->
                    for term in
                        [
                            fun (i: torch.Tensor list) -> i[0] * Discrimination.strain i[1]
                            fun i -> Discrimination.derivativeDistance i[0] i[1]
                        ] do
                        agrees 1e-5 term [ true; false ] [ field 2 shape; field 3 shape ]))

        for window, shape in
            [
                7, [ 2L; 1L; 12L; 14L; 18L ]
                3, [ 1L; 1L; 9L; 11L; 13L ]
                9, [ 1L; 1L; 9L; 10L; 31L ]
            ] do
            testCase
                $"local correlation is libtorch's, window {window}, {shape}"
                (scoped (fun () ->
                    let weights = (image 5 shape).round()

                    agrees
                        1e-4
                        (fun i -> Similarity.localCorrelation window (Some i[2]) i[0] i[1])
                        [ false; true; false ]
                        [ image 3 shape; image 4 shape; weights ]))

        for shape in [ [ 2L; 1L; 12L; 14L; 18L ]; [ 1L; 1L; 3L; 5L; 7L ]; [ 3L; 1L; 32L; 33L; 35L ] ] do
            testCase
                $"correlation is libtorch's, {shape}"
                (scoped (fun () ->
                    let weights = (image 5 shape).round()

                    agrees
                        1e-4
                        (fun i -> Similarity.correlation (Some i[2]) i[0] i[1])
                        [ false; true; false ]
                        [ image 3 shape; image 4 shape; weights ]))

        testCase
            "the correlation of flat images is 0, and so is its gradient"
            (scoped (fun () ->
                let shape = [ 2L; 1L; 6L; 7L; 8L ]
                let moved = (torch.ones (Array.ofList shape) * 3.0).requires_grad_ true
                let weights = torch.ones (Array.ofList shape)
                let correlation = Similarity.correlation (Some weights) (image 3 shape) moved
                correlation.sum().backward()
                Expect.allEqual (numbers correlation) 0.0 "correlation"
                Expect.allEqual (numbers (nonNull moved.grad)) 0.0 "gradient"))

        testCase
            "Adam moves as libtorch's does"
            (scoped (fun () ->
                let after action =
                    let layer = Student.half (Seed.ofInt 2) (widths [ 4; 5; 6; 7 ] [ 3; 3; 3 ])
                    let network = new Composite("network", layer.Parts)
                    let optimiser = torch.optim.Adam(network.parameters (), 0.01)

                    for step in 1..4 do
                        optimiser.zero_grad ()
                        let pair = single step (0.0, 1.0) [ 1L; 2L; 16L; 16L; 16L ]
                        (OwnKernels.without (fun () -> layer.Run pair)).square().sum().backward()
                        action optimiser

                    [
                        for struct (name, parameter) in network.named_parameters () ->
                            name, parameter.detach ()
                    ]

                compare 1e-5 (after AdamMove.step) (after (fun optimiser -> optimiser.step () |> ignore))))
    ]

/// Whole networks: the gradients of a loss by all parameters, through affine stages, cascades, flows and warps.
let private networkTests =
    let cascade affine stage stages =
        Architecture.Cascade
            {
                Affine = affine
                Stages = stages
                Stage = stage
            }

    let student affine kind stages =
        cascade affine (kind (widths [ 8; 8; 16; 16 ] [ 16; 8; 8 ])) stages

    // Smooth images: a warp's derivative jumps where a place crosses from voxel to voxel.
    let image seed =
        (Field.double (single seed (0.0, 1.0) [ 2L; 3L; 16L; 16L; 16L ])).narrow(1L, 0L, 1L)

    let gradientless (network: Network) =
        (network.Predict(image 1, image 2)).Moved

    let gradients (dtype: torch.ScalarType) (network: Network) =
        network.``to`` dtype |> ignore
        let f, m = (image 1).``to`` dtype, (image 2).``to`` dtype
        network.zero_grad ()
        let prediction = network.Predict(f, m)
        let own = prediction.StageFields |> List.map (fun field -> field.square().mean())

        ((prediction.Moved - f).square().mean()
         + prediction.Field.square().mean()
         + List.reduce (+) own)
            .backward()

        [
            "moved", prediction.Moved.detach().clone()
            "field", prediction.Field.detach().clone()
            for struct (name, parameter) in network.named_parameters () do
                name, (nonNull parameter.grad).clone()
        ]

    [
        for name, architecture in
            [
                "affine-light and 2 × ldr-half", student (Some(AffineLight 4)) Stage.LdrHalf 2
                "affine-light and 2 × ldr-velocity", student (Some(AffineLight 4)) Stage.LdrVelocity 2
                "affine-light and 1 × ldr", student (Some(AffineLight 4)) Stage.Ldr 1
                "3 × ldr", student None Stage.Ldr 3
                "1 × ldr-velocity", student None Stage.LdrVelocity 1
                "affine-light and 2 × vtn",
                cascade (Some(AffineLight 4)) (Stage.Vtn { Levels = 3; Channels = 4 }) 2
            ] do
            testCase
                $"{name}: all gradients are libtorch's"
                (scoped (fun () ->
                    use network = Network.create (Seed.ofInt 3) architecture
                    loud network
                    let own = gradients torch.float32 network
                    let single = OwnKernels.without (fun () -> gradients torch.float32 network)
                    let precise = OwnKernels.without (fun () -> gradients torch.float64 network)

                    for (name, a), (_, s), (_, p) in List.zip3 own single precise do
                        // Rounding moves places across voxels, also for libtorch.
                        let distance, usual = apart a p, apart s p

                        Expect.isLessThan
                            distance
                            (1e-4 + 3.0 * usual)
                            $"{name}: {distance}; libtorch {usual}"))

        testCase
            "whole cascades: the same to the last bit for any number of threads, and without a history"
            (scoped (fun () ->
                let before = torch.get_num_threads ()

                use network =
                    Network.create (Seed.ofInt 3) (student (Some(AffineLight 4)) Stage.LdrVelocity 2)

                loud network

                let by threads =
                    torch.set_num_threads threads

                    try
                        gradients torch.float32 network
                    finally
                        torch.set_num_threads before

                let one = by 1

                for threads in [ 2; 3 ] do
                    for (name, a), (_, b) in List.zip one (by threads) do
                        // The affine heads are libtorch's.
                        if name.StartsWith "stage" then
                            Expect.equal (numbers a) (numbers b) $"{name}, {threads} threads"

                use _ = torch.no_grad ()
                let again = gradientless network
                Expect.equal (numbers again) (numbers (snd one.Head)) "moved, without a history"))

        testCase
            "the same to the last bit for any number of threads"
            (scoped (fun () ->
                let before = torch.get_num_threads ()
                let layer = Student.half (Seed.ofInt 5) (widths [ 16; 32; 64; 128 ] [ 64; 32; 16 ])
                let network = new Composite("network", layer.Parts)
                loud network

                let run (pairs: torch.Tensor) =
                    let field = layer.Run pairs
                    let images = pairs.narrow (1L, 0L, 1L), pairs.narrow (1L, 1L, 1L)

                    let alike =
                        Similarity.localCorrelation
                            7
                            None
                            ((fst images).detach())
                            (Field.warp field (snd images))

                    alike.mean () + Regularity.smoothness field + Regularity.logJacobian field

                let by threads =
                    torch.set_num_threads threads

                    try
                        both true network run (single 7 (0.0, 1.0) [ 2L; 2L; 32L; 48L; 32L ])
                    finally
                        torch.set_num_threads before

                let one = by 1

                for threads in [ 2; 3 ] do
                    for (name, a), (_, b) in List.zip one (by threads) do
                        Expect.equal (numbers a) (numbers b) $"{name}, {threads} threads"))
    ]

let private engineTests =
    let cascade affine stage =
        Architecture.Cascade
            {
                Affine = affine
                Stages = 1
                Stage = stage
            }

    let half = Stage.LdrHalf(widths [ 8; 8; 8; 8 ] [ 8; 8; 8 ])

    [
        for architecture, size, expected in
            [
                Architecture.Single half, (40, 40, 40), "managed"
                Architecture.Single(Stage.Vtn { Levels = 4; Channels = 16 }), (32, 48, 32), "managed"
                cascade (Some(AffineLight 16)) half, (48, 64, 48), "managed"
                cascade (Some(AffineLight 16)) half,
                (40, 64, 48),
                "managed; torch for affine-light on 40×64×48, no multiples of 16"
                cascade (Some(Affine 16)) half, (48, 64, 48), "managed; torch for affine"
                Architecture.Single Stage.VoxelMorph, (48, 64, 48), "torch, which alone trains voxelmorph"
            ] do
            testCase $"{Architecture.describe architecture} on {size}: {expected}" (fun () ->
                Expect.equal
                    (TrainingEngine.describe torch.CPU architecture size)
                    (if expected = "managed" then
                         expected
                     else
                         expected + OneDnn.remark ())
                    "what computes")

        testCase "torch, as asked for" (fun () ->
            let told =
                OwnKernels.without (fun () ->
                    TrainingEngine.describe torch.CPU (Architecture.Single half) (48, 48, 48))

            Expect.equal told ("torch, as asked for" + OneDnn.remark ()) "what computes")
    ]

let tests =
    testList
        "trunks"
        [
            testList "layers" layerTests
            testList "discriminators" judgeTests
            testList "kernels" kernelTests
            testList "networks" networkTests
            testList "engine" engineTests
        ]
