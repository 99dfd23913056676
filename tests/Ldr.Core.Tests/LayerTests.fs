module Ldr.Core.Tests.LayerTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Layer
open Ldr.Core.Tests.TensorSupport

let private seed = Seed.ofInt 3

/// Every layer that takes 3 channels of a cube of 16 voxels a side.
let private layers: (string * Layer) list =
    let two = convolution seed "first" (Filter.same 3 2)

    [
        "identity", identity
        "relu", relu
        "leaky relu", leakyRelu
        "sigmoid", sigmoid
        "scale", scale 2.0
        "nearest double", nearestDouble
        "field double", fieldDouble
        "field exponential", fieldExponential
        "pool", pool 2
        "pad, nothing to do", pad 4
        "pad", pad 5
        "padded", padded 5 relu
        "padded, nothing to do", padded 4 relu
        "convolution", two
        "transposed", transposed seed "up" (Filter.doubling 3 2)
        "convolution, relu", two >=> relu
        "relu, convolution", relu >=> two
        "relu, relu", relu >=> relu
        "identity, relu", identity >=> relu
        "pad, relu", pad 4 >=> relu
        "skip relu", skip relu
        "skip of skips", skip (skip sigmoid >=> leakyRelu)
        "fork", fork [ relu; identity; leakyRelu; sigmoid ]
    ]

/// Architectures as layers of 2 channels.
let private networks: (string * Layer) list =
    let widths =
        {
            Encoder = [ 4; 4; 8; 8 ]
            Decoder = [ 8; 4; 4 ]
        }

    [
        "ldr", Student.full seed widths
        "ldr-half", Student.half seed widths
        "ldr-velocity", Student.velocity seed widths
        "vtn", Vtn.create seed { Levels = 3; Channels = 4 } 1.0
        "voxelmorph", VoxelMorph.create seed
        "ldr-reference", VoxelMorph.reference seed
    ]

let private leavesInput (name: string) (channels: int64) (layer: Layer) =
    use _ = torch.NewDisposeScope()
    let x = single 7 (-1.0, 1.0) [ 2L; channels; 16L; 16L; 16L ]
    let before = numbers x

    (use _ = torch.no_grad ()
     layer.Run x |> ignore)

    Expect.equal (numbers x) before $"{name}, without gradients"
    let learnt = x.detach().clone().requires_grad_ true
    (layer.Run(learnt * 1.0)).sum().backward()
    Expect.equal (numbers x) before $"{name}, with gradients"

/// Layers of any shape from numbers: activations, convolutions, skips and forks, each activation as `change` makes it.
let private built (change: Layer -> Layer) (choices: int list) : Layer =
    let grow (layer: Layer, channels: int, depth: int) choice =
        let convolved = convolution (Seed.at depth seed) "conv" (Filter.same channels 2)

        let next, channels =
            match abs (choice % 8) with
            | 0 -> layer >=> change relu, channels
            | 1 -> layer >=> change leakyRelu, channels
            | 2 -> layer >=> change sigmoid, channels
            | 3 -> layer >=> convolved, 2
            | 4 -> layer >=> (convolved >=> change relu), 2
            | 5 -> layer >=> convolved >=> skip (change relu), 4
            | 6 -> skip layer, 3 + channels
            | _ -> layer >=> fork [ change leakyRelu; identity ], 2 * channels

        next, channels, depth + 1

    let layer, _, _ = ((identity, 3, 0), List.truncate 6 choices) ||> List.fold grow
    layer

/// What a layer gives, the input's gradient, and the input afterwards.
let private ran (layer: Layer) =
    let x = (single 11 (-1.0, 1.0) [ 1L; 3L; 4L; 4L; 4L ]).requires_grad_ true
    let result = layer.Run x
    (result * result).sum().backward()
    numbers result, numbers (nonNull x.grad), numbers x

/// Whole numbers from -3 to 3: sums of their products are exact in single precision, in whatever order.
let private whole seed (shape: int64 list) = (single seed (-3.5, 3.5) shape).round()

/// A convolution and its gradients, beside those in double precision, after NaN was left in memory.
let private expectExact (inputs: int64, outputs: int64, side: int64) =
    use _ = torch.NewDisposeScope()
    let image = whole 1 [ 2L; inputs; side; side; side ]
    let weights = whole 2 [ outputs; inputs; 3L; 3L; 3L ]

    let ran dtype =
        let image = image.``to``(dtype: torch.ScalarType).clone().requires_grad_ true
        let weights = weights.``to``(dtype).clone().requires_grad_ true

        let result =
            torch.nn.functional.conv3d (OneDnn.tried image, weights, padding = Array.create 3 1L)

        result.sum().backward()
        [ numbers result; numbers (nonNull image.grad); numbers (nonNull weights.grad) ]

    let wanted = ran torch.float64

    for power in 6..20 do
        use piece = torch.zeros [| 1L <<< power |]
        piece.fill_ (System.Double.NaN.ToScalar()) |> ignore

    let found = ran torch.float32

    for part, wanted, found in List.zip3 [ "values"; "image"; "weights" ] wanted found do
        Expect.equal found wanted $"{inputs} to {outputs} channels: {part}"

let tests =
    testList
        "layers"
        [
            test "an activation keeps its input for those that need it too" {
                use _ = torch.NewDisposeScope()
                let x = torch.tensor([| -1.0f; 2.0f; -3.0f; 4.0f |]).view(1L, 1L, 1L, 1L, 4L)
                let result = (skip relu).Run x

                Expect.equal
                    (numbers result)
                    [| -1.0; 2.0; -3.0; 4.0; 0.0; 2.0; 0.0; 4.0 |]
                    "input, then relu"

                Expect.equal (numbers x) [| -1.0; 2.0; -3.0; 4.0 |] "the input"
            }

            test "the activations' values" {
                use _ = torch.NewDisposeScope()
                let x = ofNumbers [| -2.0; 0.0; 3.0 |] [| 1L; 1L; 1L; 1L; 3L |]
                let close = Expect.sequenceEqual
                close (numbers (relu.Run x)) [ 0.0; 0.0; 3.0 ] "relu"
                close (numbers (leakyRelu.Run x)) [ -0.2; 0.0; 3.0 ] "leaky relu"

                for value, expected in
                    Seq.zip (numbers (sigmoid.Run x)) [ 1.0 / (1.0 + exp 2.0); 0.5; 1.0 / (1.0 + exp -3.0) ] do
                    Expect.floatClose Accuracy.veryHigh value expected "sigmoid"
            }

            for name, layer in layers do
                test $"{name} leaves its input as it was" { leavesInput name 3L layer }

            for name, layer in networks do
                test $"{name} leaves its input as it was" { leavesInput name 2L layer }

            testPropertyWithConfig few "layers of any shape leave their input, in place or not"
            <| fun (choices: int list) ->
                use _ = torch.NewDisposeScope()
                let result, gradient, x = ran (built id choices)

                let apart (layer: Layer) = { layer with RunInPlace = None }

                let wanted, wantedGradient, before = ran (built apart choices)
                Expect.equal x before "the input"
                Expect.equal result wanted "the values"
                Expect.equal gradient wantedGradient "the gradient"

            // libtorch's oneDNN fails here on some processors, where it is not switched off.
            test "convolutions are exact on memory that was used before" {
                for _ in 1..10 do
                    List.iter expectExact [ 2L, 8L, 16L; 67L, 3L, 8L; 16L, 8L, 8L; 3L, 16L, 8L; 9L, 5L, 8L ]
            }

            test "an activation after a convolution takes no memory of its own" {
                use scope = torch.NewDisposeScope()
                let convolved = convolution seed "conv" (Filter.same 3 2)
                let x = single 5 (-1.0, 1.0) [ 1L; 3L; 4L; 4L; 4L ]

                let made (layer: Layer) =
                    layer.Parts |> List.iter (fun part -> part.Weights.Force() |> ignore)
                    let before = scope.DisposablesCount
                    layer.Run x |> ignore
                    scope.DisposablesCount - before

                Expect.equal (made (convolved >=> relu)) (made convolved) "as many tensors"
            }
        ]
