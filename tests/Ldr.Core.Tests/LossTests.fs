module Ldr.Core.Tests.LossTests

open System
open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

let private images seed =
    precise seed (0.0, 1.0) [ 2; 1; 3; 4; 5 ], precise (seed + 1) (0.0, 1.0) [ 2; 1; 3; 4; 5 ]

let private maskOf seed =
    precise (seed + 2) (0.0, 1.0) [ 2; 1; 3; 4; 5 ]

/// Pearson's correlation of weighted numbers, by the definition.
let private slowCorrelation (weights: float[]) (a: float[]) (b: float[]) =
    let total = Array.sum weights

    let mean (v: float[]) =
        (Array.map2 (*) weights v |> Array.sum) / total

    let centred v = Array.map (fun x -> x - mean v) v
    let a, b = centred a, centred b

    mean (Array.map2 (*) a b)
    / sqrt (mean (Array.map2 (*) a a) * mean (Array.map2 (*) b b))

/// The local correlation of one sample by the definition: a loop over the voxels and their neighbourhoods.
let private slowLocal (window: int) (x, y, z) (weights: float[]) (a: float[]) (b: float[]) =
    let reach = window / 2
    let at i j k = i + x * (j + y * k)

    let near n i =
        [ max 0 (i - reach) .. min (n - 1) (i + reach) ]

    let squared i j k =
        let places =
            [|
                for c in near z k do
                    for d in near y j do
                        for e in near x i do
                            at e d c
            |]

        let total = places |> Array.sumBy (fun p -> weights[p])

        let mean (v: int -> float) =
            (places |> Array.sumBy (fun p -> weights[p] * v p)) / max total 1e-6

        let ma, mb = mean (fun p -> a[p]), mean (fun p -> b[p])
        let covariance = mean (fun p -> (a[p] - ma) * (b[p] - mb))
        let va, vb = mean (fun p -> (a[p] - ma) ** 2.0), mean (fun p -> (b[p] - mb) ** 2.0)
        covariance * covariance / (va * vb + 0.03 ** 4.0)

    let all =
        [
            for k in 0..2 .. z - 1 do
                for j in 0..2 .. y - 1 do
                    for i in 0..2 .. x - 1 -> weights[at i j k], squared i j k
        ]

    (all |> List.sumBy (fun (w, s) -> w * s)) / (all |> List.sumBy fst)

let private localSimilarity =
    testList
        "local correlation"
        [
            testPropertyWithConfig few "is the mean of squared correlations around every second voxel"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let a, b = images seed
                        let mask = maskOf seed
                        let shape = a.shape

                        for weights in [ None; Some mask ] do
                            let r = Similarity.measured (LocalCorrelation 3) weights a b
                            expectShape r [ 2 ] "one number for each sample"

                            for i in 0L .. 1L do
                                let part (t: torch.Tensor) = numbers (t.narrow (0L, i, 1L))

                                let w =
                                    weights |> Option.map part |> Option.defaultValue (Array.create 60 1.0)

                                let expected =
                                    slowLocal
                                        3
                                        (int shape[4], int shape[3], int shape[2])
                                        w
                                        (part a)
                                        (part b)

                                Expect.floatClose
                                    Accuracy.high
                                    (Array.head (part r))
                                    expected
                                    "by the definition")
                    ()

            testCase "is 1 for equal images with structure, and its gradient is that of finite differences"
            <| scoped (fun () ->
                let a, b = images 4
                let same = Similarity.localCorrelation 3 None (a * 10.0) (a * 10.0)
                expectClose 1e-2 same (torch.ones_like same) "with itself"
                let moved = b.clone().requires_grad_ true
                (Similarity.localCorrelation 3 (Some(maskOf 4)) a moved).sum().backward()
                let gradient = numbers (moved.grad)
                let step = 1e-5

                for place in [ 0; 17; 59; 101 ] do
                    let value change =
                        use _ = torch.no_grad ()
                        let other = b.clone ()
                        let flat = other.view -1L
                        flat[int64 place] <- flat[int64 place] + change
                        number ((Similarity.localCorrelation 3 (Some(maskOf 4)) a other).sum())

                    Expect.floatClose
                        Accuracy.medium
                        gradient[place]
                        ((value step - value -step) / (2.0 * step))
                        $"at {place}")
        ]

let private similarity =
    testList
        "correlation"
        [
            testPropertyWithConfig few "is Pearson's, in [−1, 1], symmetric, with and without a mask"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let a, b = images seed
                        let mask = maskOf seed

                        for weights in [ None; Some mask ] do
                            let r = Similarity.correlation weights a b
                            expectShape r [ 2 ] "one number for each sample"

                            for i in 0L .. 1L do
                                let part (t: torch.Tensor) = numbers (t.narrow (0L, i, 1L))

                                let w =
                                    weights |> Option.map part |> Option.defaultValue (Array.create 60 1.0)

                                let expected = slowCorrelation w (part a) (part b)

                                Expect.floatClose
                                    Accuracy.high
                                    (Array.head (part r))
                                    expected
                                    "by the definition"

                            expectClose 1e-12 (Similarity.correlation weights b a) r "symmetric"

                            expectClose
                                1e-12
                                (Similarity.correlation weights a a)
                                (torch.ones_like r)
                                "with itself"

                            expectClose
                                1e-12
                                (Similarity.correlation weights a -a)
                                (-torch.ones_like r)
                                "with its negative"

                            Expect.all (numbers r) (fun v -> abs v <= 1.0) "range")
                    ()

            testPropertyWithConfig few "does not see scale and shift, in single precision"
            <| fun (seed: int) (exponent: int) (shift: int) ->
                scoped
                    (fun () ->
                        let a, b = images seed
                        let a, b = a.``to`` torch.float32, b.``to`` torch.float32
                        let r = Similarity.correlation None a b
                        let scale = 10.0 ** float (exponent % 7)
                        expectClose 2e-6 (Similarity.correlation None (a * scale) b) r $"fixed × {scale}"
                        expectClose 2e-6 (Similarity.correlation None a (b * scale)) r $"moved × {scale}"
                        let shift = float (shift % 20)
                        expectClose 1e-5 (Similarity.correlation None a (b + shift)) r $"moved + {shift}"
                        expectClose 2e-6 (Similarity.correlation None a (b * -scale)) -r "a negative scale")
                    ()

            testCase "is exact in single precision at 128³"
            <| scoped (fun () ->
                let generator = new torch.Generator(5UL, torch.CPU)
                let size = [| 1L; 1L; 128L; 128L; 128L |]

                let noise () =
                    torch.empty(size, dtype = torch.float32).uniform_(0.0, 255.0, generator)

                let a = noise ()
                let b = a * 0.01 + noise () + 1000.0
                let single = number (Similarity.correlation None a b)

                let exact =
                    Similarity.correlation None (a.``to`` torch.float64) (b.``to`` torch.float64)

                Expect.isLessThan (abs (single - number exact)) 1e-5 "against double precision")

            testPropertyWithConfig few "its gradient is that of finite differences"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let a, b = images seed

                        for weights in [ None; Some(maskOf seed) ] do
                            let score (moved: torch.Tensor) =
                                (Similarity.correlation weights a moved).sum()

                            let expected = slope score b
                            Expect.isGreaterThan (largest expected) 1e-3 "there is a slope"
                            expectClose 1e-7 (gradient score b) expected "gradient")
                    ()

            testCase "constant images correlate 0, with gradient 0"
            <| scoped (fun () ->
                let textured = single 1 (0.0, 1.0) [ 1; 1; 7; 6; 5 ]

                for value in [ 0.0; 0.1; 1.0; 333.3; 1e6; -1e-7 ] do
                    let flat = torch.full_like (textured, value)

                    for a, b in [ textured, flat; flat, textured; flat, flat ] do
                        let score moved =
                            (Similarity.correlation None a moved).sum()

                        Expect.equal (number (score b)) 0.0 $"{value}"
                        Expect.equal (largest (gradient score b)) 0.0 $"{value}: gradient")

            testCase "a mask counts nothing outside, and may be empty"
            <| scoped (fun () ->
                let a, b = images 4
                let mask = torch.zeros_like a
                mask.narrow(4L, 0L, 3L).fill_ 1.0 |> ignore
                let inside (t: torch.Tensor) = t.narrow (4L, 0L, 3L)
                let expected = Similarity.correlation None (inside a) (inside b)
                expectClose 1e-12 (Similarity.correlation (Some mask) a b) expected "as if cut out"

                expectClose
                    1e-12
                    (Similarity.correlation (Some(mask * 5.0)) a b)
                    expected
                    "weights are relative"

                let score moved =
                    (Similarity.correlation (Some(torch.zeros_like a)) a moved).sum()

                Expect.equal (number (score b)) 0.0 "empty"
                Expect.equal (largest (gradient score b)) 0.0 "empty: gradient"
                // Constant where it counts, not elsewhere.
                let half = torch.where (mask.gt (0.0.ToScalar()), torch.full_like (a, 0.3), a)

                let score moved =
                    (Similarity.correlation (Some mask) b moved).sum()

                Expect.equal (number (score half)) 0.0 "constant inside the mask"
                Expect.equal (largest (gradient score half)) 0.0 "constant inside the mask: gradient")

            testCase "a NaN is not hidden"
            <| scoped (fun () ->
                let a, b = images 4
                let bad = b.clone ()
                bad[0L, 0L, 0L, 0L, 0L] <- torch.tensor nan
                let r = numbers (Similarity.correlation None a bad)
                Expect.isTrue (Double.IsNaN r[0]) "the sample with a NaN"
                Expect.isTrue (Double.IsFinite r[1]) "the other one")
        ]

let private overlap =
    testList
        "soft Dice"
        [
            testPropertyWithConfig few "is the overlap by the definition, and has its gradient"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let f, m =
                            precise seed (0.0, 1.0) [ 2; 3; 3; 4; 5 ],
                            precise (seed + 1) (0.0, 1.0) [ 2; 3; 3; 4; 5 ]

                        let expected i =
                            List.average
                                [
                                    for l in 0L .. 2L do
                                        let a, b = numbers f[i, l], numbers m[i, l]
                                        2.0 * Array.sum (Array.map2 (*) a b) / (Array.sum a + Array.sum b)
                                ]

                        Expect.floatClose
                            Accuracy.high
                            ((numbers (Similarity.dice f m)).[0])
                            (expected 0L)
                            "first"

                        Expect.floatClose
                            Accuracy.high
                            ((numbers (Similarity.dice f m)).[1])
                            (expected 1L)
                            "second"

                        let score m = (Similarity.dice f m).sum()
                        expectClose 1e-7 (gradient score m) (slope score m) "gradient")
                    ()

            testCase "labels that neither map has do not count"
            <| scoped (fun () ->
                let f = torch.zeros ([| 1L; 3L; 2L; 2L; 2L |], dtype = torch.float64)
                f[0L, 0L].fill_ 1.0 |> ignore
                let m = f.clone ()
                m[0L, 1L].fill_ 1.0 |> ignore
                Expect.floatClose Accuracy.high (number (Similarity.dice f m)) 0.5 "one fits, one is alone"
                Expect.floatClose Accuracy.high (number (Similarity.dice f f)) 1.0 "itself"
                Expect.equal (number (Similarity.dice (f * 0.0) (f * 0.0))) 0.0 "no label at all")
        ]

let private rotation (seed: int) =
    let random = Random(seed)

    let a, b, c =
        random.NextDouble() * 6.0, random.NextDouble() * 6.0, random.NextDouble() * 6.0

    let matrix (rows: float list) =
        ofNumbers (Array.ofList rows) [| 3L; 3L |]

    let x = matrix [ 1.0; 0.0; 0.0; 0.0; cos a; -sin a; 0.0; sin a; cos a ]
    let y = matrix [ cos b; 0.0; sin b; 0.0; 1.0; 0.0; -sin b; 0.0; cos b ]
    let z = matrix [ cos c; -sin c; 0.0; sin c; cos c; 0.0; 0.0; 0.0; 1.0 ]
    torch.matmul (x, torch.matmul (y, z))

let private identity () = torch.eye (3L, dtype = torch.float64)

let private regularity =
    testList
        "regularity"
        [
            testPropertyWithConfig few "smoothness is 0 for translations and does not see them"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let shift = precise seed (-9.0, 9.0) [ 2; 3; 1; 1; 1 ]
                        let field = precise (seed + 1) (-1.0, 1.0) [ 2; 3; 3; 4; 5 ]

                        Expect.equal
                            (number (Regularity.smoothness (shift.expand ([| 2L; 3L; 3L; 4L; 5L |]))))
                            0.0
                            "translation"

                        let rough = Regularity.smoothness field
                        Expect.isGreaterThan (number rough) 0.0 "a rough field"
                        expectClose 1e-12 (Regularity.smoothness (field + shift)) rough "moved along"
                        expectClose 1e-12 (Regularity.smoothness (field * 3.0)) (rough * 9.0) "quadratic")
                    ()

            testCase "smoothness by hand"
            <| scoped (fun () ->
                // u_x = 2 x + 3 z on 2 × 1 × 3 voxels: differences 4 × 2² along x, 3 × 3² along z; 18 numbers.
                let field = torch.zeros [| 1L; 3L; 2L; 1L; 3L |]

                for z in 0L .. 1L do
                    for x in 0L .. 2L do
                        field[0L, 0L, z, 0L, x] <- torch.tensor (float32 (2L * x + 3L * z))

                Expect.floatClose
                    Accuracy.high
                    (number (Regularity.smoothness field))
                    (0.5 * 43.0 / 18.0)
                    "one sample"

                let two = torch.cat ([| field; torch.zeros_like field |], 0L)

                Expect.floatClose
                    Accuracy.high
                    (number (Regularity.smoothness two))
                    (0.25 * 43.0 / 18.0)
                    "mean over samples")

            testPropertyWithConfig few "rotations cost nothing"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let w = (rotation seed - identity ()).unsqueeze 0L
                        Expect.isLessThan (abs (number (Regularity.determinant w))) 1e-12 "determinant"
                        // s1 and s2/s3 agree only up to ε².
                        Expect.isLessThan (abs (number (Regularity.orthogonality w))) 1e-8 "orthogonality")
                    ()

            testPropertyWithConfig few "determinant and orthogonality are what their definitions say"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let w = precise seed (-0.4, 0.4) [ 2; 3; 3 ]
                        let a = w + identity ()
                        let det = numbers (torch.linalg.det a)
                        let expected = det |> Array.averageBy (fun d -> 0.5 * (d - 1.0) ** 2.0)

                        Expect.floatClose
                            Accuracy.high
                            (number (Regularity.determinant w))
                            expected
                            "determinant"

                        let epsilon = 1e-5
                        let c = torch.matmul (a.transpose (1L, 2L), a) + identity () * epsilon
                        let eigenvalues = numbers (torch.linalg.eigvalsh c)

                        let expected =
                            Array.chunkBySize 3 eigenvalues
                            |> Array.averageBy (fun e ->
                                let s2 = e[0] * e[1] + e[0] * e[2] + e[1] * e[2]

                                Array.sum e + (1.0 + epsilon) ** 2.0 * s2 / (e[0] * e[1] * e[2])
                                - 6.0 * (1.0 + epsilon))

                        let loss = number (Regularity.orthogonality w)

                        Expect.isLessThan
                            (abs (loss - expected))
                            (1e-9 * (1.0 + abs expected))
                            "orthogonality"

                        expectClose
                            1e-6
                            (gradient Regularity.determinant w)
                            (slope Regularity.determinant w)
                            "gradient")
                    ()

            testCase "a singular map has finite gradients"
            <| scoped (fun () ->
                let flat = -(identity ()).unsqueeze 0L
                Expect.equal (number (Regularity.determinant flat)) 0.5 "determinant"

                Expect.isTrue
                    (Double.IsFinite(largest (gradient Regularity.determinant flat)))
                    "its gradient"

                Expect.isTrue
                    (Double.IsFinite(largest (gradient Regularity.orthogonality flat)))
                    "orthogonality's")
        ]

/// Depths in a ball of voxels, mm of 1 each, in units of 4 mm and cut at ± 1: [1, 1, 20, 20, 20].
let private ballDepth (cx, cy, cz) radius =
    let values =
        Array.init 8000 (fun i ->
            let x, y, z = float (i % 20), float (i / 20 % 20), float (i / 400)
            let away = sqrt ((x - cx) ** 2.0 + (y - cy) ** 2.0 + (z - cz) ** 2.0)
            (radius - away) / 4.0 |> max -1.0 |> min 1.0)

    (ofNumbers values [| 1L; 1L; 20L; 20L; 20L |]).``to`` torch.float32

let private depth =
    testList
        "depth in labels"
        [
            testCase "is the mean squared difference over samples, labels and voxels"
            <| scoped (fun () ->
                let f, m =
                    precise 1 (-1.0, 1.0) [ 2; 3; 2; 4; 5 ], precise 2 (-1.0, 1.0) [ 2; 3; 2; 4; 5 ]

                let expected =
                    Array.map2 (fun a b -> (a - b) ** 2.0) (numbers f) (numbers m) |> Array.average

                Expect.floatClose Accuracy.high (number (Similarity.depthDifference f m)) expected "by hand"
                Expect.equal (number (Similarity.depthDifference f f)) 0.0 "equal depths"

                expectClose
                    1e-9
                    (gradient (Similarity.depthDifference f) m)
                    (slope (Similarity.depthDifference f) m)
                    "gradient")

            testCase "rises when a structure goes into its middle, with which soft Dice is content"
            <| scoped (fun () ->
                let centre, away = (9.0, 9.0, 9.0), (12.0, 9.0, 9.0)
                let fixedDepth, movingDepth = ballDepth centre 6.0, ballDepth away 6.0

                let label (depth: torch.Tensor) =
                    depth.ge(0.0.ToScalar()).``to`` torch.float32

                let fixedLabel, movingLabel = label fixedDepth, label movingDepth

                /// Inside the fixed ball, to so much of the distance from the moving ball's middle.
                let towards (share: float) =
                    let field = Array.zeroCreate<float>(3 * 8000)

                    for i in 0..7999 do
                        let place = [| float (i % 20); float (i / 20 % 20); float (i / 400) |]
                        let rest = Array.map2 (-) place [| 9.0; 9.0; 9.0 |]

                        if (rest |> Array.sumBy (fun r -> r * r)) <= 36.0 then
                            for c in 0..2 do
                                let goal = [| 12.0; 9.0; 9.0 |][c] + share * rest[c]
                                field[c * 8000 + i] <- goal - place[c]

                    (ofNumbers field [| 1L; 3L; 20L; 20L; 20L |]).``to`` torch.float32

                let still = torch.zeros [| 1L; 3L; 20L; 20L; 20L |]

                let dice field =
                    number (Similarity.dice fixedLabel (Field.warp field movingLabel))

                let depths field =
                    number (Similarity.depthDifference fixedDepth (Field.warp field movingDepth))

                let collapse = towards 0.1
                Expect.isGreaterThan (dice collapse) (dice still + 0.05) "Dice improves"
                Expect.isGreaterThan (depths collapse) (1.2 * depths still) "depth does not"
                let right = towards 1.0
                Expect.isLessThan (depths right) (0.8 * depths still) "where all goes along, it falls")
        ]

/// log² of a determinant, below 0.05 along its tangent.
let private penalty j =
    if j >= 0.05 then
        log j ** 2.0
    else
        log 0.05 ** 2.0 + 2.0 * log 0.05 / 0.05 * (j - 0.05)

let private volumes =
    testList
        "log² J"
        [
            testPropertyWithConfig
                few
                "of a linear field is log² of its determinant, the mean over the samples"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let w = precise seed (-0.3, 0.3) [ 2; 3; 3 ]
                        let field = torch.zeros ([| 2L; 3L; 4L; 3L; 5L |], dtype = torch.float64)

                        for n in 0L .. 1L do
                            for c in 0L .. 2L do
                                for z in 0L .. 3L do
                                    for y in 0L .. 2L do
                                        for x in 0L .. 4L do
                                            field[n, c, z, y, x] <-
                                                w[n, c, 0L] * float x
                                                + w[n, c, 1L] * float y
                                                + w[n, c, 2L] * float z

                        let identity = torch.eye (3L, dtype = torch.float64)

                        let expected = numbers (torch.linalg.det (w + identity)) |> Array.averageBy penalty

                        Expect.isLessThan
                            (abs (number (Regularity.logJacobian field) - expected))
                            1e-10
                            "by tensors"

                        Expect.isLessThan
                            (abs (number (Regularity.logJacobian (field.``to`` torch.float32)) - expected))
                            (1e-4 * (1.0 + expected))
                            "by the kernels")
                    ()

            for z, y, x in [ 5, 4, 6; 3, 1, 4; 1, 5, 2; 1, 1, 7; 9, 10, 3 ] do
                for size in [ 0.15; 1.5 ] do
                    testCase
                        $"kernels and tensors agree, value and gradient: {z} × {y} × {x}, numbers up to {size}"
                    <| scoped (fun () ->
                        let shape = [ 2L; 3L; int64 z; int64 y; int64 x ]
                        let single' = single (z + x) (-size, size) shape
                        let double' = single'.``to`` torch.float64
                        let value = number (Regularity.logJacobian double')
                        Expect.isGreaterThan value 0.0 "there is something to see"

                        Expect.isLessThan
                            (abs (number (Regularity.logJacobian single') - value))
                            (1e-5 * value)
                            "value"

                        // With a factor behind it, which the kernels have to take along.
                        let scaled field =
                            Regularity.logJacobian field * 3.0.ToScalar()

                        let expected = gradient scaled double'

                        expectClose
                            (2e-5 * largest expected)
                            ((gradient scaled single').``to`` torch.float64)
                            expected
                            "gradient")

            testCase "the gradient by tensors is that of finite differences"
            <| scoped (fun () ->
                let field = precise 3 (-0.15, 0.15) [ 2; 3; 3; 4; 2 ]
                let expected = slope Regularity.logJacobian field
                Expect.isGreaterThan (largest expected) 1e-3 "there is a slope"

                expectClose
                    (1e-6 * largest expected)
                    (gradient Regularity.logJacobian field)
                    expected
                    "gradient")

            testCase "a tensor that is not in order in memory gives what one in order gives"
            <| scoped (fun () ->
                let field = single 4 (-0.4, 0.4) [ 1; 3; 5; 4; 6 ]
                let turned = field.transpose (2L, 4L)
                Expect.isFalse (turned.is_contiguous ()) "out of order"

                expectSame
                    (Regularity.logJacobian turned)
                    (Regularity.logJacobian (turned.contiguous ()))
                    "value"

                let through (f: torch.Tensor) =
                    Regularity.logJacobian (f.transpose (2L, 4L))

                let expected =
                    (gradient Regularity.logJacobian (turned.contiguous ())).transpose(2L, 4L)

                expectClose 1e-7 (gradient through field) (expected.contiguous ()) "gradient")

            testCase "a NaN is not hidden"
            <| scoped (fun () ->
                for dtype in [ torch.float32; torch.float64 ] do
                    let field = uniform dtype 5 (-0.1, 0.1) [ 1; 3; 3; 3; 3 ]
                    field[0L, 1L, 1L, 1L, 1L] <- torch.tensor (nan, dtype = dtype)
                    Expect.isTrue (Double.IsNaN(number (Regularity.logJacobian field))) $"{dtype}")
        ]

/// The cubic B-spline.
let private spline (x: float) =
    match abs x with
    | d when d < 1.0 -> 2.0 / 3.0 - d * d + d * d * d / 2.0
    | d when d < 2.0 -> (2.0 - d) ** 3.0 / 6.0
    | _ -> 0.0

/// The mutual information of one sample by the definition: a full histogram, a voxel after the other.
let private slowInformation (bins: int) (weights: float[]) (f: float[]) (m: float[]) =
    let joint = Array2D.zeroCreate bins bins

    for v in 0 .. f.Length - 1 do
        let j = min (bins - 1) (int (f[v] * float bins))

        for b in 0 .. bins - 1 do
            let place = 1.0 + m[v] * float (bins - 3)
            joint[j, b] <- joint[j, b] + weights[v] * spline (place - float b)

    let total = joint |> Seq.cast<float> |> Seq.sum
    let p i j = joint[i, j] / total
    let range = [ 0 .. bins - 1 ]

    List.sum
        [
            for i in range do
                for j in range do
                    if p i j > 0.0 then
                        let own = range |> List.sumBy (p i)
                        let other = range |> List.sumBy (fun k -> p k j)
                        p i j * log (p i j / (own * other))
        ]

let private slowSquares (weights: float[]) (f: float[]) (m: float[]) =
    Array.sum (Array.map3 (fun w a b -> w * (a - b) ** 2.0) weights f m)
    / Array.sum weights

let private otherMeasures =
    let measures =
        [
            "mutual information", MutualInformation 8, slowInformation 8, 0.0
            "squared difference", SquaredDifference, (fun w f m -> 1.0 - slowSquares w f m), 1.0
        ]

    testList
        "other measures"
        [
            for name, measure, slow, ofNothing in measures do
                testPropertyWithConfig few $"{name}: is what the definition says, and has its gradient"
                <| fun (seed: int) ->
                    scoped
                        (fun () ->
                            // Off the ends of [0, 1], where intensities are cut off and a difference says nothing.
                            let a, b = images seed
                            let a, b = a * 0.98 + 0.01, b * 0.98 + 0.01

                            for mask in [ None; Some(maskOf seed) ] do
                                let r = Similarity.measured measure mask a b
                                expectShape r [ 2 ] "one number for each sample"

                                for i in 0L .. 1L do
                                    let part (t: torch.Tensor) = numbers (t.narrow (0L, i, 1L))

                                    let weights =
                                        mask |> Option.map part |> Option.defaultValue (Array.create 60 1.0)

                                    Expect.floatClose
                                        Accuracy.high
                                        (Array.head (part r))
                                        (slow weights (part a) (part b))
                                        "by the definition"

                                let score (moved: torch.Tensor) =
                                    (Similarity.measured measure mask a moved).sum()

                                let expected = slope score b
                                Expect.isGreaterThan (largest expected) 1e-3 "there is a slope"
                                expectClose 1e-7 (gradient score b) expected "gradient")
                        ()

                testCase $"{name}: an empty mask counts nothing, a NaN is not hidden"
                <| scoped (fun () ->
                    let a, b = images 4

                    let score moved =
                        (Similarity.measured measure (Some(torch.zeros_like a)) a moved).sum()

                    Expect.equal (number (score b)) (2.0 * ofNothing) "empty"
                    Expect.equal (largest (gradient score b)) 0.0 "empty: gradient"
                    let bad = b.clone ()
                    bad[0L, 0L, 0L, 0L, 0L] <- torch.tensor nan
                    let r = numbers (Similarity.measured measure None a bad)
                    Expect.isTrue (Double.IsNaN r[0]) "the sample with a NaN"
                    Expect.isTrue (Double.IsFinite r[1]) "the other one")

            testCase
                "two tissues that are told apart have log 2, whichever is bright; a flat image tells nothing"
            <| scoped (fun () ->
                let halves = torch.zeros ([| 1L; 1L; 4L; 4L; 4L |], dtype = torch.float32)
                halves.narrow(4L, 0L, 2L).fill_ 1.0 |> ignore

                let information moved =
                    number (Similarity.mutualInformation 32 None halves moved)

                Expect.floatClose Accuracy.medium (information halves) (log 2.0) "the same"
                Expect.floatClose Accuracy.medium (information (0.9 - halves * 0.4)) (log 2.0) "inverted"
                Expect.floatClose Accuracy.medium (information (torch.full_like (halves, 0.3))) 0.0 "flat")

            test "a measure as JSON and back, and what is refused" {
                let read = Codec.ofText "test.json" SimilarityMeasure.codec

                for measure in [ Correlation; LocalCorrelation 9; SquaredDifference; MutualInformation 64 ] do
                    Expect.equal
                        (read (Codec.toLine SimilarityMeasure.codec measure))
                        (Ok measure)
                        $"{measure}"

                Expect.equal (read "\"mutual-information\"") (Ok(MutualInformation 32)) "its default"
                Expect.isError (read """{ "kind": "mutual-information", "bins": 4 }""") "too few"
            }
        ]

/// The bending energy by the definition: a loop over the places of a field [1, 3, Z, Y, X].
let private slowBending (values: float[]) (z: int, y: int, x: int) =
    let at c (p: int[]) =
        values[((c * z + p[0]) * y + p[1]) * x + p[2]]

    let size = [| z; y; x |]

    let moved (p: int[]) axis =
        p |> Array.mapi (fun i v -> if i = axis then v + 1 else v)

    let isInside (p: int[]) = Array.forall2 (fun v n -> v < n) p size

    List.sum
        [
            for c in 0..2 do
                for k in 0 .. z - 1 do
                    for j in 0 .. y - 1 do
                        for i in 0 .. x - 1 do
                            let p = [| k; j; i |]

                            for a in 0..2 do
                                let two = moved (moved p a) a

                                if isInside two then
                                    (at c two - 2.0 * at c (moved p a) + at c p) ** 2.0

                                for b in a + 1 .. 2 do
                                    let both = moved (moved p a) b

                                    if isInside both then
                                        2.0
                                        * (at c both - at c (moved p a) - at c (moved p b) + at c p) ** 2.0
        ]
    / float values.Length

let private bending =
    testList
        "bending energy"
        [
            testPropertyWithConfig few "is what the definition says, and has its gradient"
            <| fun (seed: int) (a: int) (b: int) (c: int) ->
                scoped
                    (fun () ->
                        let size = side 1 4 a, side 1 4 b, side 2 4 c
                        let z, y, x = size
                        let field = precise seed (-2.0, 2.0) [ 1; 3; z; y; x ]

                        Expect.floatClose
                            Accuracy.high
                            (number (Regularity.bending field))
                            (slowBending (numbers field) (int z, int y, int x))
                            "by the definition"

                        expectClose
                            1e-6
                            (gradient Regularity.bending field)
                            (slope Regularity.bending field)
                            "gradient")
                    ()

            testCase "affine fields cost nothing, a parabola its curvature"
            <| scoped (fun () ->
                let w = precise 3 (-0.5, 0.5) [ 2; 3; 3 ]
                let b = precise 4 (-2.0, 2.0) [ 2; 3 ]

                Expect.isLessThan
                    (number (Regularity.bending (Field.affine w b (5L, 6L, 7L))))
                    1e-20
                    "affine"

                let line = torch.arange (10L, dtype = torch.float64)

                let parabola =
                    (line * line).view(1L, 1L, 1L, 1L, 10L).expand([| 1L; 3L; 4L; 4L; 10L |])
                // 2² at 8 of 10 places.
                Expect.floatClose Accuracy.high (number (Regularity.bending parabola)) 3.2 "x²")
        ]

let private fields seed =
    precise seed (-2.0, 2.0) [ 2; 3; 3; 4; 5 ], precise (seed + 1) (-2.0, 2.0) [ 2; 3; 3; 4; 5 ]

/// D(φ) = Σ a φ, for each sample.
let private linear (a: torch.Tensor) (field: torch.Tensor) = (field * a).sum [| 1L; 2L; 3L; 4L |]

let private discrimination =
    testList
        "discrimination"
        [
            testPropertyWithConfig
                few
                "normalised by itself, a field has unit root mean square length; units cancel"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let teacher, student = fields seed
                        let own = Discrimination.normalise teacher teacher

                        let lengths = own.square().sum([| 1L |]).mean([| 1L; 2L; 3L |]).sqrt()

                        expectClose 1e-12 lengths (torch.ones_like lengths) "length"
                        let normalised = Discrimination.normalise teacher student
                        let metres = Discrimination.normalise (teacher * 7.0) (student * 7.0)
                        expectClose 1e-12 metres normalised "in other units"
                        Expect.isGreaterThan (largest (normalised - student)) 0.01 "not the field as it was")
                    ()

            testCase "the unit is a constant with a floor"
            <| scoped (fun () ->
                let teacher, student = fields 3
                let teacher = teacher.requires_grad_ true
                let student = student.requires_grad_ true
                (Discrimination.normalise teacher student).sum().backward()
                Expect.isNull teacher.grad "no gradient for the teacher"
                Expect.isGreaterThan (largest (nonNull student.grad)) 0.0 "but for the student"
                let still = torch.zeros_like teacher

                expectClose
                    1e-9
                    (Discrimination.normalise still student)
                    (student * 1000.0)
                    "a teacher at rest")

            testPropertyWithConfig few "joint lies between teacher and student, detached"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let teacher, student = fields seed
                        expectSame (Discrimination.joint 1.0 teacher student) teacher "β = 1"
                        expectSame (Discrimination.joint 0.0 teacher student) student "β = 0"
                        let mixed = Discrimination.joint 0.1 teacher (student.requires_grad_ true)
                        expectClose 1e-12 mixed (teacher * 0.1 + student * 0.9) "β = 0.1"
                        Expect.isFalse mixed.requires_grad "detached")
                    ()

            testPropertyWithConfig few "the penalty of a linear critic is (‖a‖ − 1)², 0 for unit slope"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let place, a = fields seed
                        let a = a.narrow (0L, 0L, 1L)
                        let norm = number (a.norm ())

                        let penalty a =
                            number (Discrimination.penalty (Discrimination.gradientNorm (linear a) place))

                        Expect.floatClose Accuracy.high (penalty a) ((norm - 1.0) ** 2.0) "any slope"
                        Expect.isLessThan (penalty (a / norm)) 1e-12 "unit slope"
                        Expect.floatClose Accuracy.high (penalty (a * (3.0 / norm))) 4.0 "slope 3")
                    ()

            testPropertyWithConfig few "the norm is that of one sample, and the mean over samples"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        // D = ½ ‖φ‖² has the gradient φ.
                        let place, _ = fields seed
                        let critic (f: torch.Tensor) = linear (f / 2.0) f
                        let norms = [ for i in 0L .. 1L -> number (place[i].norm()) ]
                        let expected = norms |> List.averageBy (fun n -> (n - 1.0) ** 2.0)

                        let penalty =
                            number (Discrimination.penalty (Discrimination.gradientNorm critic place))

                        Expect.floatClose Accuracy.high penalty expected "penalty")
                    ()

            testCase "the penalty trains the critic, also where its slope is 0"
            <| scoped (fun () ->
                let place, a = fields 5
                let a = a.narrow (0L, 0L, 1L)

                let penalty a =
                    Discrimination.penalty (Discrimination.gradientNorm (linear a) place)

                expectClose 1e-6 (gradient penalty a) (slope penalty a) "gradient by the critic's weights"
                let flat = torch.zeros_like a
                Expect.floatClose Accuracy.high (number (penalty flat)) 1.0 "a critic that sees nothing"
                Expect.isTrue (Double.IsFinite(largest (gradient penalty flat))) "its gradient"

                let judge =
                    Discriminator.create
                        (Seed.ofInt 1)
                        {
                            Widths = [ 4; 4 ]
                            Conditioned = false
                            FullSize = true
                            FirstRelu = true
                        }

                use _ = judge

                let mean field =
                    Discrimination.mean (judge.Judge(field, field))

                (Discrimination.penalty (Discrimination.gradientNorm mean (place.``to`` torch.float32)))
                    .backward()

                for struct (name, parameter) in judge.named_parameters () do
                    if name.EndsWith "weight" then
                        match parameter.grad with
                        | null -> failtest $"no gradient reaches {name}"
                        | g -> Expect.isGreaterThan (largest g) 0.0 name)

            testCase "the penalty as a function of the student's field has the gradient of finite differences"
            <| scoped (fun () ->
                use judge =
                    Discriminator.create
                        (Seed.ofInt 1)
                        { DiscriminatorOptions.published with
                            Widths = [ 4; 4 ]
                        }

                judge.``to`` torch.float64 |> ignore

                // A steeper discriminator than a new one, whose gradient hardly depends on where it is taken.
                use _ = torch.no_grad ()

                for parameter in judge.parameters () do
                    parameter.mul_ (3.0.ToScalar()) |> ignore

                use _ = torch.enable_grad ()

                let mean field =
                    Discrimination.mean (judge.Judge(field, field))

                let teacher = precise 1 (-2.0, 2.0) [ 1; 3; 4; 4; 4 ]
                let student = precise 2 (-2.0, 2.0) [ 1; 3; 4; 4; 4 ]

                let penalty beta (student: torch.Tensor) =
                    Discrimination.jointOfStudent beta teacher student
                    |> Discrimination.gradientNorm mean
                    |> Discrimination.penalty

                // Finite differences of the same number, of a field without a history.
                let value beta (student: torch.Tensor) =
                    Discrimination.joint beta teacher student
                    |> Discrimination.gradientNorm mean
                    |> Discrimination.penalty

                for beta in [ 0.1; 0.6 ] do
                    let expected = slope (value beta) student
                    Expect.isGreaterThan (largest expected) 1e-9 $"β = {beta}: there is a slope"

                    expectClose
                        (1e-4 * largest expected)
                        (gradient (penalty beta) student)
                        expected
                        $"β = {beta}"

                Expect.equal
                    (largest (gradient (penalty 1.0) student))
                    0.0
                    "with β = 1 the student's field is not in it")

            testPropertyWithConfig few "student and discriminator want the opposite, within bounds"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let judgement seed =
                            let features =
                                [
                                    precise seed (0.0, 3.0) [ 2; 3; 4; 4; 4 ]
                                    precise (seed + 1) (0.0, 1.0) [ 2; 5; 2; 2; 2 ]
                                ]

                            {
                                Features = features
                                Map = List.last features
                            }

                        let s, t = judgement seed, judgement (seed + 7)

                        let term objective =
                            number (Discrimination.studentTerm objective s t)

                        for objective in [ SquaredGap; MeanFeatures; PatchGap; Critic; FeatureGap ] do
                            Expect.equal (number (Discrimination.studentTerm objective t t)) 0.0 "no gap"
                            let opposed = if objective = FeatureGap then Critic else objective

                            Expect.equal
                                (number (Discrimination.discriminatorTerm objective s t))
                                -(term opposed)
                                "opposite"

                        for objective in [ SquaredGap; PatchGap; Critic ] do
                            Expect.isTrue (abs (term objective) <= 1.0) "bounded"

                        let means = numbers (Discrimination.mean s - Discrimination.mean t)

                        Expect.floatClose
                            Accuracy.high
                            (term SquaredGap)
                            (Array.averageBy (fun g -> g * g) means)
                            "squared gap"

                        // Two samples, each with five channels of eight places.
                        let channels (judgement: Judgement) =
                            numbers judgement.Map |> Array.chunkBySize 8 |> Array.map Array.average

                        let squaredNorm =
                            (channels s, channels t) ||> Array.map2 (fun a b -> (a - b) ** 2.0) |> Array.sum

                        Expect.floatClose
                            Accuracy.high
                            (term MeanFeatures)
                            (squaredNorm / 2.0)
                            "mean features: the norm over the channels, the mean over the samples"

                        Expect.isTrue (term MeanFeatures <= 5.0) "bounded by the number of channels"

                        Expect.floatClose Accuracy.high (term Critic) -(Array.average means) "critic"

                        let squares (a: torch.Tensor) =
                            numbers a |> Array.averageBy (fun v -> v * v)

                        Expect.floatClose Accuracy.high (term PatchGap) (squares (s.Map - t.Map)) "patch gap"

                        let layers =
                            List.map2
                                (fun a (b: torch.Tensor) -> squares (a - b) / squares b)
                                s.Features
                                t.Features

                        Expect.floatClose Accuracy.high (term FeatureGap) (List.average layers) "feature gap")
                    ()

            testPropertyWithConfig few "the field distance is the mean squared length of the difference"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let s, t = fields seed
                        let expected = 3.0 * (numbers (s - t) |> Array.averageBy (fun v -> v * v))

                        Expect.floatClose
                            Accuracy.high
                            (number (Discrimination.fieldDistance None s t))
                            expected
                            "distance"

                        let weights =
                            precise
                                (seed + 9)
                                (0.0, 2.0)
                                [ s.shape[0]; 1L; s.shape[2]; s.shape[3]; s.shape[4] ]

                        Expect.floatClose
                            Accuracy.high
                            (number (Discrimination.fieldDistance (Some weights) s t))
                            (3.0 * (numbers ((s - t).square() * weights) |> Array.average))
                            "weighted")
                    ()

            testPropertyWithConfig few "the distance of derivatives is in units of what the teacher's vary"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let s, t = fields seed

                        let distance s t =
                            number (Discrimination.derivativeDistance s t)

                        let slopes axis (f: torch.Tensor) = f.diff (1L, axis)

                        let expected =
                            [
                                for item in 0L .. 1L ->
                                    let sum change =
                                        [ 2L; 3L; 4L ]
                                        |> List.sumBy (fun axis ->
                                            let d: torch.Tensor = change axis
                                            d[item].square().sum().item<float>())

                                    let centred axis =
                                        let d = slopes axis t
                                        d - d.mean ([| 2L; 3L; 4L |], true)

                                    sum (fun axis -> slopes axis (s - t)) / sum centred
                            ]
                            |> List.average

                        Expect.floatClose Accuracy.high (distance s t) expected "distance"
                        Expect.floatClose Accuracy.high (distance (s * 7.0) (t * 7.0)) expected "in any unit"
                        Expect.floatClose Accuracy.high (distance (t + 3.0) t) 0.0 "a shift does not count"
                        let flat = torch.ones_like t

                        // 60 voxels a sample; nothing but the floor.
                        let all =
                            [ 2L; 3L; 4L ]
                            |> List.sumBy (fun axis -> (slopes axis s).square().sum().item<float>())

                        Expect.floatClose
                            Accuracy.high
                            (distance s flat)
                            (all / 2.0 / (60.0 * 1e-4))
                            "a flat teacher"

                        let distanceOf (own: torch.Tensor) = Discrimination.derivativeDistance own t
                        expectClose 1e-7 (gradient distanceOf s) (slope distanceOf s) "its gradient"
                        let thin (f: torch.Tensor) = f.narrow (2L, 0L, 1L)
                        Expect.isGreaterThan (distance (thin s) (thin t)) 0.0 "one voxel thick")
                    ()

            testCase "strain is where a field is not affine"
            <| scoped (fun () ->
                let size = 24L, 20L, 28L
                let z, y, x = size
                let w = precise 1 (-0.2, 0.2) [ 2; 3; 3 ]
                let b = precise 2 (-5.0, 5.0) [ 2; 3 ]
                let affine = Field.affine w b size

                let even = Discrimination.strain affine
                expectClose 1e-9 even (torch.ones_like even) "an affine field is even"

                // A bump around voxel (x, y, z) = (9, 8, 10), in x, of the first sample only; its slope is largest 3 voxels away.
                let at =
                    Field.coordinates size + torch.tensor([| 4.5; 1.5; 1.5 |]).view(1, 3, 1, 1, 1)

                let bump = (at.square().sum(1L, true) * (-1.0 / 18.0)).exp() * 3.0
                let field = affine.clone ()
                field[0L, 0L].add_ bump[0L, 0L] |> ignore
                let weights = Discrimination.strain field
                let mean = weights.mean [| 1L; 2L; 3L; 4L |]
                expectClose 1e-9 mean (torch.ones_like mean) "mean 1"
                expectClose 1e-9 weights[1L] (torch.ones_like weights[1L]) "the other sample"
                let near = weights[0L, 0L, 10L, 8L, 12L].item<float>()
                let far = weights[0L, 0L, 17L, 13L, 23L].item<float>()
                Expect.isGreaterThan near 3.0 "near the bump"
                Expect.isLessThan far 0.5 "far from it"

                Expect.isFalse
                    (Discrimination.strain (field.requires_grad_ true)).requires_grad
                    "without history"

                // By the definition, at one voxel.
                let value = numbers field

                let slope axis channel (vx: int) (vy: int) (vz: int) =
                    let at (dx, dy, dz) =
                        value[((channel * int z + vz + dz) * int y + vy + dy) * int x + vx + dx]

                    let d = [| 1, 0, 0; 0, 1, 0; 0, 0, 1 |][axis]
                    let dx, dy, dz = d
                    (at d - at (-dx, -dy, -dz)) / 2.0

                let inner axis n edge =
                    if axis = edge then [ 1 .. n - 2 ] else [ 0 .. n - 1 ]

                let mean =
                    Array.init 3 (fun axis ->
                        Array.init 3 (fun channel ->
                            [
                                for vz in inner axis (int z) 2 do
                                    for vy in inner axis (int y) 1 do
                                        for vx in inner axis (int x) 0 -> slope axis channel vx vy vz
                            ]
                            |> List.average))

                let squares vx vy vz =
                    List.sum
                        [
                            for axis in 0..2 do
                                for channel in 0..2 ->
                                    (slope axis channel vx vy vz - mean[axis][channel]) ** 2.0
                        ]

                let strainAt cx cy cz =
                    sqrt (
                        List.average
                            [
                                for vz in cz - 2 .. cz + 2 do
                                    for vy in cy - 2 .. cy + 2 do
                                        for vx in cx - 2 .. cx + 2 -> squares vx vy vz
                            ]
                    )
                    + 0.01

                // At a border a cube has fewer voxels, not less strain.
                let squared = (at.narrow (1L, 0L, 1L)).square().expand(1L, 3L, z, y, x)
                let around = Discrimination.strain squared
                let row (vz: int64) (vy: int64) = numbers around[0L, 0L, vz, vy]

                for corner, inner in Array.zip (row 0L 0L) (row 12L 10L) do
                    Expect.floatClose Accuracy.high corner inner "as much at the border"

                let ratio =
                    weights[0L, 0L, 10L, 8L, 12L].item<float>()
                    / weights[0L, 0L, 9L, 9L, 8L].item<float>()

                Expect.floatClose
                    Accuracy.medium
                    ratio
                    (strainAt 12 8 10 / strainAt 8 9 9)
                    "by its definition")

            testPropertyWithConfig few "content is what lies inside, near something bright, by a slow loop"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let n, z, y, x = 2, 6, 5, 7
                        let random = Random seed
                        // A few bright voxels; the second sample has them outside the mask alone.
                        let image =
                            Array.init (n * z * y * x) (fun _ -> if random.Next 60 = 0 then 0.06 else 0.05)

                        let mask =
                            Array.init (n * z * y * x) (fun i ->
                                if i < z * y * x then float (random.Next 2) else 0.5)

                        let shape = [| int64 n; 1L; int64 z; int64 y; int64 x |]
                        let found = Discrimination.content (ofNumbers mask shape) (ofNumbers image shape)
                        let at k c b a = a + x * (b + y * (c + z * k))

                        let near k c b a =
                            List.exists
                                id
                                [
                                    for c' in max 0 (c - 2) .. min (z - 1) (c + 2) do
                                        for b' in max 0 (b - 2) .. min (y - 1) (b + 2) do
                                            for a' in max 0 (a - 2) .. min (x - 1) (a + 2) ->
                                                image[at k c' b' a'] > 0.05
                                ]

                        let inside =
                            [|
                                for k in 0 .. n - 1 do
                                    for c in 0 .. z - 1 do
                                        for b in 0 .. y - 1 do
                                            for a in 0 .. x - 1 ->
                                                if near k c b a && mask[at k c b a] > 0.5 then 1.0 else 0.0
                            |]

                        let expected =
                            inside
                            |> Array.chunkBySize (z * y * x)
                            |> Array.collect (fun own ->
                                let mean = Array.average own

                                if mean = 0.0 then
                                    Array.create own.Length 1.0
                                else
                                    own |> Array.map (fun v -> v / mean))

                        expectClose 1e-9 found (ofNumbers expected shape) "weights")
                    ()

            testCase "words"
            <| fun () ->
                let weights = Codec.ofText "test.json" FieldWeights.codec
                Expect.equal (weights "\"content\"") (Ok Content) "content"
                let read = Codec.ofText "test.json" Objective.codec
                Expect.equal (read "\"squared-gap\"") (Ok SquaredGap) "squared-gap"
                Expect.equal (read "\"critic\"") (Ok Critic) "critic"

                match read "\"critc\"" with
                | Ok _ -> failtest "accepted"
                | Error e ->
                    Expect.stringContains
                        (String.concat "\n" (Error.lines e))
                        "did you mean \"critic\"?"
                        "message"
        ]

let tests =
    testList
        "losses"
        [
            similarity
            localSimilarity
            otherMeasures
            overlap
            depth
            regularity
            volumes
            bending
            discrimination
        ]
