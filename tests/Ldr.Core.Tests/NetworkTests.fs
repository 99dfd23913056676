module Ldr.Core.Tests.NetworkTests

open System
open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

let private seed = Seed.ofInt 1

let private narrow =
    {
        Encoder = [ 4; 4; 8; 8 ]
        Decoder = [ 8; 4; 4 ]
    }

let private smallVtn = Stage.Vtn { Levels = 3; Channels = 4 }

let private system affine count stage =
    Architecture.Cascade
        {
            Affine = affine
            Stages = count
            Stage = stage
        }

let private known =
    [
        "ldr-slim", Architecture.Single(Stage.Ldr StudentWidths.slim), 1_548_528L, 7.5
        "ldr", Architecture.Single(Stage.Ldr StudentWidths.published), 2_731_248L, 15.0
        "ldr-half", Architecture.Single(Stage.LdrHalf StudentWidths.slim), 1_544_979L, 6.6
        "ldr-velocity", Architecture.Single(Stage.LdrVelocity StudentWidths.slim), 1_544_979L, 6.6
        "ldr-reference", Architecture.Single Stage.LdrReference, 280_659L, 55.2
        "vtn", Architecture.Single(Stage.Vtn VtnScale.standard), 28_252_203L, 8.2
        "voxelmorph", Architecture.Single Stage.VoxelMorph, 300_547L, 69.0
        "affine", system (Some(Affine 16)) 0 Stage.VoxelMorph, 14_166_288L, 2.0
        "affine-light", system (Some(AffineLight 16)) 0 Stage.VoxelMorph, 332_880L, 1.0
        "affine + vtn", system (Some(Affine 16)) 1 (Stage.Vtn VtnScale.standard), 42_418_491L, 10.2
        "affine + 2 × vtn", system (Some(Affine 16)) 2 (Stage.Vtn VtnScale.standard), 70_670_694L, 18.4
        "affine + 3 × vtn", system (Some(Affine 16)) 3 (Stage.Vtn VtnScale.standard), 98_922_897L, 26.6
        "affine-light + ldr-reference", system (Some(AffineLight 16)) 1 Stage.LdrReference, 613_539L, 56.2
        "affine-light + 2 × ldr-reference",
        system (Some(AffineLight 16)) 2 Stage.LdrReference,
        894_198L,
        111.4
        "affine-light + 3 × ldr-reference",
        system (Some(AffineLight 16)) 3 Stage.LdrReference,
        1_174_857L,
        166.5
    ]

/// One small system of every kind.
let private small =
    [
        "ldr", Architecture.Single(Stage.Ldr narrow)
        "ldr-half", Architecture.Single(Stage.LdrHalf narrow)
        "ldr-velocity", Architecture.Single(Stage.LdrVelocity narrow)
        "ldr-reference", Architecture.Single Stage.LdrReference
        "vtn", Architecture.Single smallVtn
        "voxelmorph", Architecture.Single Stage.VoxelMorph
        "affine", system (Some(Affine 2)) 0 smallVtn
        "affine-light", system (Some(AffineLight 2)) 0 smallVtn
        "affine + 2 × vtn", system (Some(Affine 2)) 2 smallVtn
        "affine-light + 2 × ldr", system (Some(AffineLight 2)) 2 (Stage.Ldr narrow)
    ]

let private withNetwork architecture (test: Network -> unit) =
    use network = Network.create seed architecture
    test network

let private pair (n: int64) (z: int64, y: int64, x: int64) number =
    single number (0.0, 1.0) [ n; 1; z; y; x ], single (number + 1) (0.0, 1.0) [ n; 1; z; y; x ]

let private parameters (network: torch.nn.Module) =
    [
        for struct (name, parameter) in network.named_parameters () -> name, (parameter :> torch.Tensor)
    ]

/// Heads as large as if it had been trained, so that fields are some voxels long.
let private enliven (network: Network) =
    use _ = torch.no_grad ()

    for name, parameter in parameters network do
        if name.Contains ".flow." then
            parameter.mul_ (torch.tensor 3e4) |> ignore

        if name.Contains ".matrix." then
            parameter.mul_ (torch.tensor 3e3) |> ignore

        if name.Contains ".shift." then
            parameter.mul_ (torch.tensor 3e4) |> ignore

let private gradientOf (parameter: torch.Tensor) =
    match parameter.grad with
    | null -> 0.0
    | slope -> largest slope

let private inits =
    testList
        "initialisation"
        [
            testCase
                "the same seed makes the same network, another seed another one, whatever the global generator"
            <| scoped (fun () ->
                for name, architecture in small do
                    let make (number: int) (globalSeed: int64) =
                        torch.random.manual_seed globalSeed |> ignore
                        use network = Network.create (Seed.ofInt number) architecture
                        [ for key, parameter in parameters network -> key, numbers parameter ]

                    let first, again, other = make 1 1L, make 1 2L, make 2 1L
                    Expect.equal first again $"{name}, the same seed"

                    for (key, values), (_, others) in List.zip first other do
                        if key.EndsWith "weight" then
                            Expect.notEqual values others $"{name}, another seed: {key}")

            testCase "the global generator is left alone"
            <| scoped (fun () ->
                let draw before =
                    torch.random.manual_seed 7L |> ignore
                    before ()
                    numbers (torch.rand (4L))

                let untouched = draw ignore

                let create () =
                    withNetwork (Architecture.Single smallVtn) ignore
                    use _ = Discriminator.create seed DiscriminatorOptions.standard
                    ()

                Expect.equal (draw create) untouched "the numbers that follow")

            testCase "weights are uniform with the variance of their fan-in, heads tiny, biases zero"
            <| scoped (fun () ->
                withNetwork (Architecture.Single(Stage.LdrHalf StudentWidths.slim)) (fun network ->
                    let values = parameters network |> List.map (fun (k, p) -> k, numbers p) |> Map

                    let deviation key =
                        let v = values[$"stage1.{key}.weight"]
                        sqrt (Array.averageBy (fun x -> x * x) v), Array.max (Array.map abs v)

                    let expectFan key fanIn =
                        let spread, most = deviation key
                        let bound = sqrt (3.0 / fanIn)
                        Expect.isLessThanOrEqual most (bound * (1.0 + 1e-6)) $"{key}: bound"
                        Expect.isGreaterThan most (bound * 0.99) $"{key}: bound is reached"

                        Expect.floatClose
                            { absolute = 0.0; relative = 0.02 }
                            spread
                            (sqrt (1.0 / fanIn))
                            $"{key}: deviation"

                    expectFan "conv2" (16.0 * 64.0)
                    expectFan "conv4" (64.0 * 64.0)
                    // Of the 4³ taps of a transposed convolution of stride 2, 2³ reach a voxel.
                    expectFan "deconv3" (128.0 * 8.0)
                    expectFan "deconv1" (64.0 * 8.0)
                    let head, _ = deviation "flow"
                    Expect.floatClose { absolute = 0.0; relative = 0.1 } head 1e-5 "flow"

                    for KeyValue(key, numbers) in values do
                        if key.EndsWith "bias" then
                            Expect.all numbers (fun b -> b = 0.0) key))

            testCase "a transposed convolution keeps the variance of its input"
            <| scoped (fun () ->
                let layer = Layer.transposed seed "up" (Filter.doubling 32 32)
                let result = layer.Run(single 3 (-1.7320508, 1.7320508) [ 1; 32; 8; 8; 8 ])
                let inner = result.narrow(2L, 2L, 12L).narrow(3L, 2L, 12L).narrow(4L, 2L, 12L)
                let variance = numbers inner |> Array.averageBy (fun v -> v * v)
                Expect.isTrue (variance > 0.8 && variance < 1.25) $"from 1 to {variance}")

            testCase "the first stage of a cascade starts as the single network does"
            <| scoped (fun () ->
                use alone = Network.create seed (Architecture.Single(Stage.Ldr narrow))

                use cascade =
                    Network.create seed (system (Some(AffineLight 2)) 2 (Stage.Ldr narrow))

                let all = Map(parameters cascade)

                for name, parameter in parameters alone do
                    expectSame all[name] parameter name

                Expect.notEqual
                    (numbers all["stage1.conv1.weight"])
                    (numbers all["stage2.conv1.weight"])
                    "the stages differ")

            testCase "a network made in a scope outlives it"
            <| fun () ->
                let network =
                    use _ = torch.NewDisposeScope()
                    Network.create seed (Architecture.Single(Stage.Ldr narrow))

                use _ = network
                scoped (fun () -> network.Predict(pair 1 (16L, 16L, 16L) 1).Field |> ignore) ()
        ]

let private shapes =
    testList
        "shapes"
        [
            for name, architecture in small do
                testPropertyWithConfig
                    { few with maxTest = 3 }
                    $"{name} takes any size and starts near the identity"
                <| fun (number: int) (a: int) (b: int) (c: int) ->
                    scoped
                        (fun () ->
                            use _ = torch.no_grad ()

                            withNetwork architecture (fun network ->
                                let size = side 8 19 a, side 8 19 b, side 8 19 c
                                let z, y, x = size
                                let fixedImage, movingImage = pair 2 size number
                                let prediction = network.Predict(fixedImage, movingImage)
                                expectShape prediction.Field [ 2; 3; z; y; x ] "field"
                                expectShape prediction.Moved [ 2; 1; z; y; x ] "moved"
                                let cascade = Architecture.asCascade architecture

                                Expect.equal
                                    prediction.StageFields.Length
                                    cascade.Stages
                                    "one field for each stage"

                                for field in prediction.StageFields do
                                    expectShape field [ 2; 3; z; y; x ] "stage field"

                                Expect.equal prediction.Affine.IsSome cascade.Affine.IsSome "the affine map"

                                for w, b in Option.toList prediction.Affine do
                                    expectShape w [ 2; 3; 3 ] "W"
                                    expectShape b [ 2; 3 ] "b"

                                let length = largest prediction.Field
                                Expect.isTrue (length < 0.05) $"nearly the identity: {length} voxels"
                                Expect.isGreaterThan length 0.0 "but not quite"

                                expectSame
                                    prediction.Moved
                                    (Field.warp prediction.Field movingImage)
                                    "moved once"))
                        ()

            testCase "the full-size networks take 8³"
            <| scoped (fun () ->
                use _ = torch.no_grad ()

                for architecture in
                    [
                        Architecture.Single(Stage.Vtn VtnScale.standard)
                        system (Some(Affine 16)) 0 smallVtn
                        system (Some(AffineLight 16)) 0 smallVtn
                    ] do
                    withNetwork architecture (fun network ->
                        let prediction = network.Predict(pair 1 (8L, 8L, 8L) 1)
                        expectShape prediction.Field [ 1; 3; 8; 8; 8 ] (Architecture.describe architecture)))

            testCase "padding is with zeros, equal on both sides, the odd voxel after"
            <| scoped (fun () ->
                use _ = torch.no_grad ()

                withNetwork (Architecture.Single(Stage.Ldr narrow)) (fun network ->
                    enliven network
                    let fixedImage, movingImage = pair 1 (13L, 16L, 22L) 4

                    let surround (t: torch.Tensor) =
                        torch.nn.functional.pad (
                            t,
                            [| 5L; 5L; 0L; 0L; 1L; 2L |],
                            PaddingModes.Constant,
                            0.0
                        )

                    let wide = network.Predict(surround fixedImage, surround movingImage).Field
                    let expected = wide.narrow(2L, 1L, 13L).narrow(4L, 5L, 22L)
                    let field = network.Predict(fixedImage, movingImage).Field
                    Expect.isGreaterThan (largest field) 0.1 "there is something to compare"
                    expectClose 1e-4 field expected "field"))

            testCase "images that do not fit are refused, with their shapes"
            <| scoped (fun () ->
                withNetwork (Architecture.Single smallVtn) (fun network ->
                    let image (shape: int64 list) = torch.zeros (Array.ofList shape)

                    for a, b in
                        [
                            [ 1L; 1L; 8L; 8L; 8L ], [ 1L; 1L; 8L; 8L; 9L ]
                            [ 1L; 1L; 8L; 8L; 7L ], [ 1L; 1L; 8L; 8L; 7L ]
                            [ 1L; 2L; 8L; 8L; 8L ], [ 1L; 2L; 8L; 8L; 8L ]
                            [ 8L; 8L; 8L ], [ 8L; 8L; 8L ]
                        ] do
                        Expect.throwsT<ArgumentException>
                            (fun () -> network.Predict(image a, image b) |> ignore)
                            $"{a} and {b}"))
        ]

let private cascades =
    testList
        "cascade"
        [
            testCase
                "the total is the composition of the stages, the affine map exact, and stages see what was moved"
            <| scoped (fun () ->
                use _ = torch.no_grad ()

                use network =
                    Network.create seed (system (Some(AffineLight 2)) 2 (Stage.Ldr narrow))

                use alone = Network.create seed (Architecture.Single(Stage.Ldr narrow))
                enliven network
                enliven alone
                let fixedImage, movingImage = pair 2 (16L, 18L, 17L) 8
                let prediction = network.Predict(fixedImage, movingImage)
                let w, b = prediction.Affine.Value
                let affine = Field.affine w b (16L, 18L, 17L)

                match prediction.StageFields with
                | [ first; second ] ->
                    for part in [ affine; first; second ] do
                        Expect.isGreaterThan (largest part) 0.1 "there is something to compose"

                    let seen = Field.warp affine movingImage
                    expectClose 1e-4 first (alone.Predict(fixedImage, seen).Field) "the first stage's input"
                    let deformation = Field.compose first second
                    let expected = Field.underAffine w b deformation
                    expectClose 1e-4 prediction.Field expected "the total"

                    expectClose
                        1e-5
                        prediction.Moved
                        (Field.warp expected movingImage)
                        "moved once, from the original"
                | other -> failtest $"{other.Length} stages")

            testCase "each VTN of a cascade of n starts with 1/n of the field"
            <| scoped (fun () ->
                use _ = torch.no_grad ()
                use one = Network.create seed (Architecture.Single smallVtn)
                use three = Network.create seed (system None 3 smallVtn)
                let fixedImage, movingImage = pair 1 (16L, 16L, 16L) 3
                let whole = one.Predict(fixedImage, movingImage).StageFields.Head
                let third = three.Predict(fixedImage, movingImage).StageFields.Head
                Expect.isGreaterThan (largest whole) 1e-4 "there is something to compare"
                expectClose (1e-4 * largest whole) (third * 3.0) whole "fields")

            testCase "gradients reach the first stage and the affine stage through the moved images"
            <| scoped (fun () ->
                withNetwork (system (Some(AffineLight 2)) 2 (Stage.Ldr narrow)) (fun network ->
                    enliven network
                    let fixedImage, movingImage = pair 1 (16L, 16L, 16L) 5
                    let prediction = network.Predict(fixedImage, movingImage)
                    // The second stage's own field depends on the first stage through its input alone.
                    prediction.StageFields[1].square().mean().backward()
                    let slopes = parameters network |> List.map (fun (k, p) -> k, gradientOf p)

                    for name, slope in slopes do
                        if name.EndsWith "weight" then
                            Expect.isTrue (slope > 0.0 && Double.IsFinite slope) $"{name}: {slope}"))
        ]

let private modules =
    testList
        "modules"
        [
            for name, architecture, count, giga in known do
                testCase $"{name} has {count} parameters and {giga} GMAC at 128³"
                <| scoped (fun () ->
                    withNetwork architecture (fun network ->
                        Expect.equal (Network.parameterCount network) count "parameters"

                        Expect.floatClose
                            { absolute = 0.06; relative = 0.0 }
                            (Network.macs architecture (128, 128, 128) / 1e9)
                            giga
                            "GMAC"))

            testCase "affine + 10 × vtn has 296,688,318 parameters"
            <| scoped (fun () ->
                // By its parts, to save its gigabyte.
                let count architecture =
                    use network = Network.create seed architecture
                    Network.parameterCount network

                let stem = count (system (Some(Affine 16)) 0 smallVtn)

                Expect.equal
                    (stem + 10L * count (Architecture.Single(Stage.Vtn VtnScale.standard)))
                    296_688_318L
                    "sum")

            testCase "parameter names are unique, and in model files, so they stay"
            <| scoped (fun () ->
                for name, architecture in small do
                    withNetwork architecture (fun network ->
                        let names = parameters network |> List.map fst
                        Expect.isNonEmpty names name
                        Expect.equal (List.distinct names) names name)

                let namesOf architecture =
                    use network = Network.create seed architecture
                    parameters network |> List.map fst

                Expect.equal
                    (namesOf (Architecture.Single(Stage.LdrHalf narrow)))
                    [
                        for part in [ "conv1"; "conv2"; "conv3"; "conv4" ] do
                            $"stage1.{part}.weight"
                            $"stage1.{part}.bias"
                        for part in [ "deconv3"; "deconv2"; "deconv1"; "flow" ] do
                            $"stage1.{part}.weight"
                        "stage1.flow.bias"
                    ]
                    "ldr-half"

                let cascade = namesOf (system (Some(Affine 2)) 2 (Stage.Vtn VtnScale.standard))

                for expected in
                    [
                        "affine.conv6_1.bias"
                        "affine.matrix.weight"
                        "affine.shift.weight"
                        "stage1.conv1.weight"
                        "stage2.pred6.bias"
                        "stage2.upsamp2to1.weight"
                        "stage2.deconv5.weight"
                        "stage2.flow.weight"
                    ] do
                    Expect.contains cascade expected "cascade")

            testCase "parameters that were replaced are the ones in use"
            <| scoped (fun () ->
                // What `to` does, to another device or, here, to another element type.
                withNetwork (Architecture.Single(Stage.Ldr narrow)) (fun network ->
                    let fixedImage, movingImage = pair 1 (16L, 16L, 16L) 2
                    let before = network.Predict(fixedImage, movingImage).Field
                    network.``to`` torch.float64 |> ignore
                    let twice (t: torch.Tensor) = t.``to`` torch.float64
                    let after = network.Predict(twice fixedImage, twice movingImage).Field
                    Expect.equal after.dtype torch.float64 "element type"
                    expectClose 1e-8 after (twice before) "field"))

            testCase "layers release what lies between them"
            <| scoped (fun () ->
                let conv name =
                    Layer.convolution seed name (Filter.same 2 2)

                let (>=>) = Layer.(>=>)
                let layer = conv "a" >=> Layer.skip (conv "b") >=> Layer.relu
                let x = single 1 (0.0, 1.0) [ 1; 2; 4; 4; 4 ]
                // The weights are made at first use.
                (layer.Run x).Dispose()
                let before = DisposeScopeManager.Statistics.ThreadTotalLiveCount
                layer.Run x |> ignore

                Expect.equal
                    (DisposeScopeManager.Statistics.ThreadTotalLiveCount - before)
                    1L
                    "the result alone"

                Expect.isFalse x.IsInvalid "the input is the caller's")

            testCase "Predict leaves nothing behind but its prediction"
            <| scoped (fun () ->
                for name, architecture in small do
                    withNetwork architecture (fun network ->
                        let fixedImage, movingImage = pair 1 (11L, 16L, 16L) 1
                        let before = DisposeScopeManager.Statistics.ThreadTotalLiveCount

                        let tensors =
                            use _ = torch.NewDisposeScope()
                            let p = network.Predict(fixedImage, movingImage)
                            let live = DisposeScopeManager.Statistics.ThreadTotalLiveCount - before
                            let affine = if p.Affine.IsSome then 2 else 0

                            Expect.equal
                                live
                                (int64 (2 + p.StageFields.Length + affine))
                                $"{name}: what is alive"

                            p.Field :: p.Moved :: p.StageFields

                        Expect.all tensors (fun t -> t.IsInvalid) $"{name}: the scope owns them"

                        Expect.equal
                            (DisposeScopeManager.Statistics.ThreadTotalLiveCount - before)
                            0L
                            $"{name}: nothing is left"))
        ]

let private discriminator =
    testList
        "discriminator"
        [
            testCase "it has 2,789,094 parameters and 3.3 GMAC at 128³"
            <| scoped (fun () ->
                use network = Discriminator.create seed DiscriminatorOptions.standard
                Expect.equal (Network.parameterCount network) 2_789_094L "parameters"

                Expect.floatClose
                    { absolute = 0.06; relative = 0.0 }
                    (network.Macs(128, 128, 128) / 1e9)
                    3.3
                    "GMAC")

            testCase "it judges every sample on its own, in (0, 1), for any size"
            <| scoped (fun () ->
                use _ = torch.no_grad ()

                use network =
                    Discriminator.create
                        seed
                        {
                            Widths = [ 4; 4; 8; 8; 8 ]
                            Conditioned = false
                            FullSize = true
                            FirstRelu = true
                        }

                for z, y, x in [ 32L, 32L, 32L; 33L, 40L, 35L ] do
                    let fields = single 1 (-5.0, 5.0) [ 3; 3; z; y; x ]

                    let mean fields =
                        Discrimination.mean (network.Judge(fields, fields))

                    let features = mean fields
                    expectShape features [ 3 ] "features"
                    Expect.all (numbers features) (fun m -> m > 0.0 && m < 1.0) "range"
                    Expect.equal (Array.distinct (numbers features)).Length 3 "they differ"

                    for i in 0L .. 2L do
                        expectClose
                            1e-6
                            (mean (fields.narrow (0L, i, 1L)))
                            (features.narrow (0L, i, 1L))
                            "alone"

                    let huge = mean (fields * 1e6)

                    Expect.all
                        (numbers huge)
                        (fun m -> m >= 0.0 && m <= 1.0)
                        "bounded, however long the vectors")

            testCase "conditioned, it sees the images; else it does not"
            <| scoped (fun () ->
                use _ = torch.no_grad ()
                let field = single 1 (-5.0, 5.0) [ 1; 3; 32; 32; 32 ]
                let images = single 2 (0.0, 1.0) [ 1; 2; 32; 32; 32 ]
                let others = single 3 (0.0, 1.0) [ 1; 2; 32; 32; 32 ]

                for conditioned in [ true; false ] do
                    use network =
                        Discriminator.create
                            seed
                            {
                                Widths = [ 4; 8 ]
                                Conditioned = conditioned
                                FullSize = true
                                FirstRelu = true
                            }

                    let map images = network.Judge(images, field).Map
                    let difference = largest (map images - map others)
                    Expect.equal (difference > 0.0) conditioned $"conditioned {conditioned}")

            testCase "its features are what its layers give, in their order"
            <| scoped (fun () ->
                use network =
                    Discriminator.create
                        seed
                        {
                            Widths = [ 4; 8 ]
                            Conditioned = false
                            FullSize = true
                            FirstRelu = true
                        }

                let field = single 1 (-5.0, 5.0) [ 1; 3; 9; 16; 20 ]
                let judgement = network.Judge(field, field)

                Expect.equal
                    (judgement.Features |> List.map (fun f -> List.ofArray f.shape))
                    [ [ 1L; 3L; 12L; 16L; 20L ]; [ 1L; 4L; 6L; 8L; 10L ]; [ 1L; 8L; 3L; 4L; 5L ] ]
                    "padded, then halved"

                expectSame judgement.Map (List.last judgement.Features) "the last is the map")

            testCase "its first layer is cut at 0 only where it is asked for"
            <| scoped (fun () ->
                let field = single 1 (-5.0, 5.0) [ 1; 3; 8; 8; 8 ]

                let first options =
                    use network = Discriminator.create seed options
                    numbers (network.Judge(field, field).Features.Head)

                let cut, whole =
                    first DiscriminatorOptions.standard, first DiscriminatorOptions.published

                Expect.isLessThan (Array.min whole) -0.1 "as published, it is linear"
                Expect.equal cut (whole |> Array.map (max 0.0)) "with the ReLU, the same cut at 0")

            testCase "its names"
            <| scoped (fun () ->
                use network = Discriminator.create seed DiscriminatorOptions.standard

                Expect.equal
                    (parameters network |> List.map fst)
                    [
                        for k in 1..6 do
                            $"conv{k}.weight"
                            $"conv{k}.bias"
                    ]
                    "names")

            testCase "options: JSON and back, and what is refused"
            <| fun () ->
                let read = Codec.ofText "test.json" DiscriminatorOptions.codec
                Expect.equal (read "{}") (Ok DiscriminatorOptions.standard) "default"

                let some =
                    {
                        Widths = [ 3; 5 ]
                        Conditioned = true
                        FullSize = true
                        FirstRelu = false
                    }

                Expect.equal (read (Codec.toLine DiscriminatorOptions.codec some)) (Ok some) "back"
                Expect.isError (read "{\"widths\": []}") "no widths"
        ]

let tests =
    testList "networks" [ testSequenced inits; shapes; cascades; modules; discriminator ]
