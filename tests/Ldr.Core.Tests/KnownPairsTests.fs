/// Pairs whose field is known: that it is the right one, folds nowhere, and can be learnt from.
module Ldr.Core.Tests.KnownPairsTests

open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Registration
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.TensorSupport

let private grid = Grid(24, 20, 28, Affine.Scaling(1.0, 1.5, 1.2))
let private shape channels = [ 2L; channels; 28L; 20L; 24L ]

let private seed = Seed.ofInt 3
let private own item = Seed.at item seed

/// Nothing but the field: the intensities stay.
let private plain =
    { KnownPairs.standard with
        Gamma = 0.0
        Bias = 0.0
        Noise = 0.0
        Blur = 0.0
    }

/// Smooth images, so that interpolating twice is as good as once.
let private smooth seed channels =
    let coarse = single seed (0.2, 0.8) [ 2L; channels; 7L; 5L; 6L ]

    torch.nn.functional.interpolate (
        coarse,
        size = [| 28L; 20L; 24L |],
        mode = torch.InterpolationMode.Trilinear,
        align_corners = true
    )

let private batch () : Augmentation.Batch =
    let image = smooth 1 1L
    let labels = smooth 2 2L

    {
        Fixed = image
        Moving = image.clone ()
        Mask = torch.ones (Array.ofList (shape 1L))
        Labels = Some(labels, labels.clone ())
    }

/// The middle, where nothing came over the border, as far as these fields go.
let private middle (tensor: torch.Tensor) =
    tensor.narrow(2L, 9L, 10L).narrow(3L, 7L, 6L).narrow(4L, 8L, 8L)

let private determinants (field: torch.Tensor) item =
    Jacobian.Determinants(
        DisplacementField(grid, Bridge.toArray (field.narrow(0L, int64 item, 1L).contiguous()))
    )

let private moved =
    """{"flip": [0.5, 0.5, 0.5], "affine_probability": 1, "rotation": 6, "scale": 0.05, "shift": 1}"""
    |> Codec.ofText "" Augmentation.codec
    |> Error.orRaise

let private read text =
    Codec.ofText "known.json" KnownPairs.codec text

let private image =
    testList
        "pairs"
        [
            testCase "the fixed image is the moving one under the truth"
            <| scoped (fun () ->
                let scans = batch ()
                let made, truth = KnownPairs.make plain None own grid scans
                expectShape truth (shape 3L) "a field for each"
                Expect.isGreaterThan (largest truth) 2.0 "it does something"
                expectClose 1e-6 made.Moving scans.Moving "the moving image is the scan"
                expectClose 1e-6 made.Fixed (Field.warp truth made.Moving) "everywhere"
                // The two of a batch are different.
                Expect.isGreaterThan (largest (truth[0L] - truth[1L])) 1.0 "each its own")

            testCase "also when the scan itself is moved and mirrored, away from the border"
            <| scoped (fun () ->
                let scans = batch ()

                let little =
                    { plain with
                        Rotation = 2.0
                        Scale = 0.02
                        Shift = 1.0
                        Elastic = [ { Spacing = 16.0; Amplitude = 2.0 } ]
                    }

                let made, truth = KnownPairs.make little (Some moved) own grid scans
                Expect.isGreaterThan (largest (made.Moving - scans.Moving)) 0.1 "the scan is moved"
                let off = middle (made.Fixed - Field.warp truth made.Moving)
                Expect.isLessThan (largest off) 0.03 "of 1"
                let without = middle (made.Fixed - made.Moving)
                Expect.isGreaterThan (largest without) (3.0 * largest off) "it would not fit otherwise")

            testCase "labels go along with their images, inside is where the scan was"
            <| scoped (fun () ->
                let scans = batch ()
                let image = smooth 1 1L

                let made, truth =
                    KnownPairs.make
                        plain
                        (Some moved)
                        own
                        grid
                        { scans with
                            Labels = Some(image, image.clone ())
                        }

                let fixedLabels, movingLabels = made.Labels.Value
                expectClose 1e-6 fixedLabels made.Fixed "fixed"
                expectClose 1e-6 movingLabels made.Moving "moving"

                let none, _ = KnownPairs.make plain None own grid { scans with Labels = None }

                Expect.isTrue none.Labels.IsNone "no labels, none"
                let unmoved, truth' = KnownPairs.make plain None own grid scans
                expectSame truth' truth "the scan's own motion is not in the truth"
                expectSame unmoved.Mask (Augmentation.onGrid truth') "1 where the truth stays on the grid"
                let inside = number (unmoved.Mask.mean ())
                Expect.isTrue (inside > 0.3 && inside < 1.0) $"{inside} inside"

                let half = torch.ones (Array.ofList (shape 1L))
                half.narrow(4L, 0L, 12L).fill_ 0.0 |> ignore
                let masked, _ = KnownPairs.make plain None own grid { scans with Mask = half }

                expectClose
                    1e-6
                    masked.Mask
                    (Field.warp truth' half * Augmentation.onGrid truth')
                    "what is left out stays out")

            testCase "the draws of a pair depend on its own seed alone"
            <| scoped (fun () ->
                let scans = batch ()
                let both, truth = KnownPairs.make KnownPairs.standard (Some moved) own grid scans

                for item in 0L .. 1L do
                    let only (tensor: torch.Tensor) = tensor.narrow (0L, item, 1L)

                    let alone, field =
                        KnownPairs.make
                            KnownPairs.standard
                            (Some moved)
                            (fun _ -> own (int item))
                            grid
                            {
                                Fixed = only scans.Fixed
                                Moving = only scans.Moving
                                Mask = only scans.Mask
                                Labels = None
                            }

                    expectSame field (only truth) "truth"
                    expectClose 1e-6 alone.Fixed (only both.Fixed) "fixed"
                    expectClose 1e-6 alone.Moving (only both.Moving) "moving"

                let other, _ =
                    KnownPairs.make
                        KnownPairs.standard
                        (Some moved)
                        (fun i -> Seed.at (i + 9) seed)
                        grid
                        scans

                Expect.isGreaterThan (largest (other.Fixed - both.Fixed)) 0.05 "another seed, another pair")

            testCase "each image has noise, contrast, shading and blur of its own, and stays in [0, 1]"
            <| scoped (fun () ->
                let scans = batch ()

                let still =
                    { plain with
                        Rotation = 0.0
                        Scale = 0.0
                        Shift = 0.0
                        Elastic = []
                    }

                let clean, truth = KnownPairs.make still None own grid scans
                Expect.equal (largest truth) 0.0 "nothing moves"
                expectClose 1e-6 clean.Fixed clean.Moving "nothing differs"

                for name, change in
                    [
                        "noise", { still with Noise = 0.1 }
                        "gamma", { still with Gamma = 1.0 }
                        "bias", { still with Bias = 1.0 }
                        "blur", { still with Blur = 3.0 }
                    ] do
                    // Gamma and bias fall to every second image.
                    let differences =
                        [
                            for index in 0..5 do
                                let made, _ =
                                    KnownPairs.make
                                        change
                                        None
                                        (fun i -> Seed.at (i + 2 * index) seed)
                                        grid
                                        scans

                                Expect.isLessThanOrEqual (number (made.Fixed.max ())) 1.0 "at most 1"
                                Expect.isGreaterThanOrEqual (number (made.Fixed.min ())) 0.0 "at least 0"
                                largest (made.Fixed - clean.Fixed)
                                largest (made.Moving - clean.Moving)
                                largest (made.Fixed - made.Moving)
                        ]

                    Expect.isGreaterThan (List.max differences) 0.02 name)

            testCase
                "blur is a Gaussian of at most so many voxels: it keeps a constant, the sum, and widens a point"
            <| scoped (fun () ->
                let still =
                    { plain with
                        Rotation = 0.0
                        Scale = 0.0
                        Shift = 0.0
                        Elastic = []
                        Blur = 1.5
                    }

                let constant = torch.full (Array.ofList (shape 1L), 0.4f.ToScalar())
                let point = torch.zeros (Array.ofList (shape 1L))

                for item in 0L .. 1L do
                    point[item, 0L, 14L, 10L, 12L] <- torch.tensor 1.0f

                let of' image : Augmentation.Batch =
                    {
                        Fixed = image
                        Moving = image.clone ()
                        Mask = torch.ones (Array.ofList (shape 1L))
                        Labels = None
                    }

                let flat, _ = KnownPairs.make still None own grid (of' constant)
                expectClose 1e-6 flat.Fixed constant "a constant"

                let widths =
                    [
                        for index in 0..9 do
                            let made, _ =
                                KnownPairs.make
                                    still
                                    None
                                    (fun i -> Seed.at (i + 2 * index) seed)
                                    grid
                                    (of' point)

                            for image in [ made.Fixed; made.Moving ] do
                                for item in 0L .. 1L do
                                    let own = image[item, 0L]
                                    Expect.floatClose Accuracy.medium (number (own.sum ())) 1.0 "the sum"

                                    // The variance along each axis is the Gaussian's.
                                    [
                                        for axis, centre in [ 0L, 14.0; 1L, 10.0; 2L, 12.0 ] ->
                                            let others = [| 0L; 1L; 2L |] |> Array.filter ((<>) axis)
                                            let line = numbers (own.sum others)

                                            line
                                            |> Array.mapi (fun i v -> v * (float i - centre) ** 2.0)
                                            |> Array.sum
                                            |> sqrt
                                    ]
                    ]

                for width in widths do
                    Expect.isLessThan (List.max width - List.min width) 1e-3 "the same along every axis"
                    Expect.isLessThanOrEqual width.Head 1.5 "at most"

                Expect.isGreaterThan (widths |> List.map _.Head |> List.max) 1.2 "and up to it"
                Expect.isLessThan (widths |> List.map _.Head |> List.min) 0.5 "from nothing on")

            testCase "the truth never folds, as large as it may be"
            <| scoped (fun () ->
                let most =
                    { KnownPairs.standard with
                        Rotation = 25.0
                        Scale = 0.3
                        Elastic =
                            [ 20.0; 12.0; 6.0 ]
                            |> List.map (fun spacing ->
                                {
                                    Spacing = spacing
                                    Amplitude = 0.4 * spacing
                                })
                    }

                let mutable widest = infinityf

                for index in 0..19 do
                    use _ = torch.NewDisposeScope()

                    for options in [ KnownPairs.standard; most ] do
                        let field = KnownPairs.field options grid (Seed.at index seed)
                        let least = Array.min (determinants field 0).Values
                        widest <- min widest least
                        Expect.isGreaterThan least 0.0f $"{index}: the least determinant"

                Expect.isLessThan widest 0.5f "though volumes change")

            testCase "what is in a field: shift, scale and rotation as bounded, splines of every scale, in mm"
            <| scoped (fun () ->
                let none =
                    { plain with
                        Rotation = 0.0
                        Scale = 0.0
                        Shift = 0.0
                        Elastic = []
                    }

                let fields options =
                    [
                        for index in 0..29 do
                            let field = KnownPairs.field options grid (Seed.at index seed)
                            // Millimetres.
                            let mm = torch.tensor([| 1.0f; 1.5f; 1.2f |]).view(1L, 3L, 1L, 1L, 1L)
                            numbers ((field * mm).abs().amax [| 2L; 3L; 4L |])
                    ]

                Expect.isTrue (fields none |> List.forall (Array.forall ((=) 0.0))) "nothing"

                for name, options, most, least in
                    [
                        "shift", { none with Shift = 4.0 }, 4.0, 0.5
                        "elastic",
                        { none with
                            Elastic = [ { Spacing = 12.0; Amplitude = 3.0 } ]
                        },
                        3.0,
                        0.1
                    ] do
                    let found = fields options |> List.map Array.max
                    Expect.isLessThanOrEqual (List.max found) (most + 1e-3) $"{name}: at most"
                    Expect.isGreaterThan (List.max found) (0.5 * most) $"{name}: as far as that"
                    Expect.isLessThan (List.min found) (least * most) $"{name}: drawn"

                // The affine map and every scale, each composed with what comes before.
                let coarse, fine =
                    { Spacing = 12.0; Amplitude = 3.0 }, { Spacing = 6.0; Amplitude = 1.5 }

                let nothing = { coarse with Amplitude = 0.0 }

                let turn =
                    { none with
                        Rotation = 20.0
                        Shift = 3.0
                    }

                let field options = KnownPairs.field options grid seed
                let first = field { none with Elastic = [ coarse ] }

                let second =
                    field
                        { none with
                            Elastic = [ nothing; fine ]
                        }

                expectClose
                    1e-5
                    (field { none with Elastic = [ coarse; fine ] })
                    (Field.compose first second)
                    "two scales"

                expectClose
                    1e-5
                    (field { turn with Elastic = [ coarse ] })
                    (Field.compose (field turn) first)
                    "after the affine map"

                let scaled = KnownPairs.field { none with Scale = 0.3 } grid seed
                let volumes = (determinants scaled 0).Values
                Expect.isLessThan (Array.max volumes - Array.min volumes) 1e-3f "a scale is one everywhere"

                Expect.isTrue
                    (abs (log (float volumes[0])) <= 0.9 && abs (volumes[0] - 1f) > 1e-3f)
                    "within its bound"

                let turned = KnownPairs.field { none with Rotation = 20.0 } grid seed

                Expect.isLessThan
                    (abs ((determinants turned 0).Values[3000] - 1f))
                    1e-3f
                    "a rotation keeps volumes"

                Expect.isGreaterThan (largest turned) 0.5 "and turns")

            test "about the share of the steps sees such pairs, the same ones for one seed" {
                let at share seed =
                    [
                        for step in 0..3999 -> KnownPairs.atStep { plain with Share = share } seed step
                    ]

                let count share =
                    at share seed |> List.filter id |> List.length
                // Five deviations of a binomial count.
                Expect.isLessThan (abs (count 0.25 - 1000)) 137 "a quarter"
                Expect.isLessThan (abs (count 0.8 - 3200)) 127 "four fifths"
                Expect.equal (count 0.0, count 1.0) (0, 4000) "never, always"
                Expect.equal (at 0.5 seed) (at 0.5 seed) "the same"
                Expect.notEqual (at 0.5 seed) (at 0.5 (Seed.ofInt 4)) "another seed"
            }

            test "what folds is refused, with what would be right; the rest as JSON and back" {
                for text, words in
                    [
                        """{"elastic": [{"spacing": 10, "amplitude": 4.1}]}""",
                        [ "$.elastic[0]"; "0.4 of the spacing"; "never folds" ]
                        """{"elastic": [{"spacing": 16, "amplitude": 1}, {"spacing": 2, "amplitude": 0.9}]}""",
                        [ "$.elastic[1]" ]
                        """{"elastic": [{"spacing": 0.5, "amplitude": 0}]}""",
                        [ "$.elastic[0].spacing"; "1 or more" ]
                        """{"elastic": [{"spacing": 10}]}""", [ "$.elastic[0].amplitude"; "is missing" ]
                        """{"share": 1.5}""", [ "$.share" ]
                        """{"rotation": 200}""", [ "$.rotation"; "180" ]
                        """{"blur": 6}""", [ "$.blur"; "0 to 5" ]
                        """{"noise": -0.1}""", [ "$.noise" ]
                        """{"amplitude": 3}""", [ "$.amplitude"; "not a known key" ]
                    ] do
                    match read text with
                    | Ok _ -> failtestf "accepted: %s" text
                    | Error e ->
                        for word in words do
                            Expect.stringContains (String.concat "\n" (Error.lines e)) word text

                Expect.equal (read "{}") (Ok KnownPairs.standard) "by itself"

                let other =
                    {
                        Share = 0.3
                        Rotation = 1.0
                        Scale = 0.02
                        Shift = 0.5
                        Elastic = [ { Spacing = 10.0; Amplitude = 4.0 } ]
                        Gamma = 0.1
                        Bias = 0.4
                        Noise = 0.2
                        Blur = 2.0
                    }

                Expect.equal (read (Codec.toLine KnownPairs.codec other)) (Ok other) "and back, at the bound"
            }
        ]

let private distillation: Distillation =
    """{"teacher": "known", "objective": "field-distance", "schedule": [{"cycle": [0.0]}]}"""
    |> Codec.ofText "" Distillation.codec
    |> Error.orRaise

let private training =
    testList
        "training"
        [
            test "a teacher that knows brings its pairs; others come with what is said of them" {
                let options: TrainingOptions =
                    { TrainerTests.options with
                        Distillation = Some distillation
                    }

                Expect.equal (TrainingOptions.known options) (Some KnownPairs.standard) "the standard ones"
                let own = { KnownPairs.standard with Share = 0.1 }
                Expect.equal (TrainingOptions.known { options with Known = Some own }) (Some own) "its own"
                Expect.equal (TrainingOptions.known TrainerTests.options) None "nobody asked for them"

                Expect.equal
                    (TrainingOptions.known
                        { options with
                            Distillation = Some { distillation with Teacher = "other" }
                        })
                    None
                    "another teacher"
            }

            testInFolder
                "from known fields alone a tiny network learns to halve its error against fields that it has not seen"
                (fun folder ->
                    let known =
                        { KnownPairs.standard with
                            Share = 1.0
                            Rotation = 0.0
                            Scale = 0.0
                            Shift = 2.0
                            Elastic = []
                            Noise = 0.0
                            Gamma = 0.0
                            Bias = 0.0
                            Blur = 0.0
                        }

                    let reported = ResizeArray()

                    let sink event =
                        match event with
                        | Progressed(_, _, _, metrics, _, _) -> reported.Add metrics
                        | _ -> ()

                    let job = TrainerTests.job folder false CancellationToken.None sink
                    // A small grid, so that a step takes milliseconds.
                    let side = 16

                    let small =
                        { job.Set with
                            GridOf =
                                fun scan ->
                                    ModelGrid.Canvas(
                                        scan.Grid,
                                        struct (1.0, 1.0, 1.0),
                                        struct (side, side, side)
                                    )
                        }

                    let ending =
                        trained
                            { job with
                                Set = small
                                Options =
                                    { job.Options with
                                        Steps = 600
                                        Batch = 4
                                        Known = Some known
                                        Distillation = Some distillation
                                        Architecture =
                                            Architecture.Single(
                                                Stage.LdrHalf
                                                    {
                                                        Encoder = [ 8; 16; 16; 32 ]
                                                        Decoder = [ 32; 16; 8 ]
                                                    }
                                            )
                                        LearningRate =
                                            {
                                                Initial = 3e-3
                                                Decay = Cosine
                                                Cycles = 1
                                            }
                                        Loss =
                                            { LossWeights.standard with
                                                Smoothness = 0.0
                                            }
                                        ValidateEvery = 1000
                                        CheckpointEvery = 1000
                                    }
                            }

                    let network =
                        match ending with
                        | Finished(network, _) -> network
                        | Interrupted step -> failtestf "interrupted after %d" step

                    // In units of the truth: 1 is doing nothing.
                    let told index =
                        reported[index] |> List.find (fst >> (=) "field_distance") |> snd

                    Expect.isTrue (told 0 > 0.95 && told 0 < 1.15) $"{told 0} at first"
                    Expect.isLessThan (told (reported.Count - 1)) 0.5 "what the training tells falls"

                    // Scans of the set, fields of other seeds.
                    use _ = torch.NewDisposeScope()
                    use _ = torch.no_grad ()
                    let set = small

                    let errors =
                        [
                            for index in 0..4 do
                                use _ = torch.NewDisposeScope()
                                let pair = TrainingSet.pair set (index, index)

                                let tensor (values: float32[]) =
                                    Bridge.toTensor
                                        torch.CPU
                                        [| 1L; 1L; int64 side; int64 side; int64 side |]
                                        values

                                let batch: Augmentation.Batch =
                                    {
                                        Fixed = tensor pair.Fixed
                                        Moving = tensor pair.Moving
                                        Mask = tensor pair.Inside
                                        Labels = None
                                    }

                                let made, truth =
                                    KnownPairs.make
                                        known
                                        None
                                        (fun _ -> Seed.ofInt (1000 + index))
                                        pair.Grid
                                        batch

                                let length (field: torch.Tensor) =
                                    number (((field.square().sum(1L, true)).sqrt() * made.Mask).sum())
                                    / number (made.Mask.sum ())

                                let found = network.Predict(made.Fixed, made.Moving).Field
                                length truth, length (truth - found)
                        ]

                    let before, after = List.averageBy fst errors, List.averageBy snd errors
                    Expect.isLessThan after (0.5 * before) $"voxels, {before:F2} before")

            testInFolder
                "beside known pairs, steps of other scans learn by likeness alone, and neither asks for a teacher"
                (fun folder ->
                    let run name share =
                        let seen = ResizeArray()

                        let sink event =
                            match event with
                            | Progressed(_, _, _, metrics, _, _) -> seen.Add(List.map fst metrics)
                            | _ -> ()

                        let job = TrainerTests.job (folder </> name) false CancellationToken.None sink

                        let weights =
                            trained
                                { job with
                                    Options =
                                        { job.Options with
                                            Steps = 2
                                            Known =
                                                Some
                                                    { KnownPairs.standard with
                                                        Share = share
                                                    }
                                            Distillation = Some distillation
                                        }
                                }
                            |> TrainerTests.weights

                        weights, List.concat seen

                    let none, metrics = run "none" 0.0

                    Expect.isFalse (List.contains "objective" metrics) "nothing is drawn to a field"

                    let alone =
                        trained (
                            let job =
                                TrainerTests.job (folder </> "alone") false CancellationToken.None ignore

                            { job with
                                Options = { job.Options with Steps = 2 }
                            }
                        )
                        |> TrainerTests.weights

                    Expect.equal none alone "as without a teacher, to the bit"
                    let all, metrics = run "all" 1.0
                    Expect.isTrue (List.contains "objective" metrics) "drawn to known fields"
                    Expect.notEqual all alone "another network")

            testInFolder "known pairs without a teacher are more pairs to learn likeness from" (fun folder ->
                let run name known =
                    let job = TrainerTests.job (folder </> name) false CancellationToken.None ignore

                    trained
                        { job with
                            Options =
                                { job.Options with
                                    Steps = 2
                                    Known = known
                                }
                        }
                    |> TrainerTests.weights

                let plain = run "plain" None
                Expect.equal (run "never" (Some { KnownPairs.standard with Share = 0.0 })) plain "at no step"

                Expect.notEqual
                    (run "always" (Some { KnownPairs.standard with Share = 1.0 }))
                    plain
                    "at every step")
        ]

let tests = testSequenced <| testList "known pairs" [ image; training ]
