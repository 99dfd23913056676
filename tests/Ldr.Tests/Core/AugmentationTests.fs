module Ldr.Tests.Core.AugmentationTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Tests.Core.TensorSupport

let private none = Codec.ofText "" Augmentation.codec "{}" |> Error.orRaise

let private everything =
    """{"flip": [0.5, 0.5, 0.5], "affine_probability": 1, "elastic_probability": 1, "gamma_probability": 1,
        "noise_probability": 1, "bias_probability": 1}"""
    |> Codec.ofText "" Augmentation.codec
    |> Error.orRaise

let private seed = Seed.ofInt 3

/// The seeds of a step's items.
let private items (step: Seed) item = Seed.at item step
let private grid = Grid(16, 20, 24, Affine.Identity)
let private shape channels = [ 2L; channels; 24L; 20L; 16L ]

let private batch () : Augmentation.Batch =
    let image = single 1 (0.0, 1.0) (shape 1L)

    {
        Fixed = image
        Moving = image.clone ()
        Mask = torch.ones [| 2L; 1L; 24L; 20L; 16L |]
        Labels = Some(image.clone (), image.clone ())
    }

let tests =
    testList
        "augmentation"
        [
            testCase "nothing asked for changes nothing"
            <| scoped (fun () ->
                let before = batch ()
                expectSame (Augmentation.deform none (items seed) grid before).Fixed before.Fixed "deformed"

                expectSame
                    (Augmentation.intensities none (items seed) "fixed" before.Fixed)
                    before.Fixed
                    "intensities")

            testCase "a mirrored pair is mirrored as numpy would, images and labels alike"
            <| scoped (fun () ->
                for axis, dimension in [ (1.0, 0.0, 0.0), 4L; (0.0, 1.0, 0.0), 3L; (0.0, 0.0, 1.0), 2L ] do
                    let before = batch ()
                    let after = Augmentation.deform { none with Flip = axis } (items seed) grid before
                    let expected = before.Fixed.flip dimension
                    expectClose 1e-4 after.Fixed expected "fixed"
                    expectClose 1e-4 after.Moving expected "moving"
                    expectClose 1e-4 (snd after.Labels.Value) expected "labels"
                    expectClose 1e-4 after.Mask before.Mask "mask")

            testCase "labels move with their image, and the images by themselves"
            <| scoped (fun () ->
                let after = Augmentation.deform everything (items seed) grid (batch ())
                expectSame (fst after.Labels.Value) after.Fixed "fixed"
                expectSame (snd after.Labels.Value) after.Moving "moving"
                Expect.isGreaterThan (largest (after.Fixed - after.Moving)) 0.1 "different draws"

                let only =
                    Augmentation.deform
                        { none with
                            Deformed = MovingImage
                            AffineProbability = 1.0
                        }
                        (items seed)
                        grid
                        (batch ())

                expectClose 1e-5 only.Fixed (batch ()).Fixed "the fixed image stays")

            testCase "what came over the border is outside the mask"
            <| scoped (fun () ->
                let shifted =
                    Augmentation.deform
                        { none with
                            AffineProbability = 1.0
                            Rotation = 0.0
                            Scale = 0.0
                            Shift = 8.0
                        }
                        (items seed)
                        grid
                        (batch ())

                let inside = number (shifted.Mask.mean ())
                Expect.isLessThan inside 0.95 "some is outside"
                Expect.isGreaterThan inside 0.05 "some is inside")

            testCase "the same step gives the same, another step another, and intensities stay in [0, 1]"
            <| scoped (fun () ->
                let made seed =
                    let deformed = Augmentation.deform everything (items seed) grid (batch ())
                    Augmentation.intensities everything (items seed) "fixed" deformed.Fixed

                expectSame (made seed) (made seed) "the same"
                Expect.isGreaterThan (largest (made seed - made (Seed.at 1 seed))) 0.1 "another step"
                Expect.isLessThanOrEqual (number ((made seed).max())) 1.0 "at most 1"
                Expect.isGreaterThanOrEqual (number ((made seed).min())) 0.0 "at least 0")

            testCase "a batch of 2 pairs of 48 x 64 x 48 with 2 labels takes less than a second"
            <| scoped (fun () ->
                let grid = Grid(48, 64, 48, Affine.Identity)

                let image channels =
                    single 2 (0.0, 1.0) [ 2L; channels; 48L; 64L; 48L ]

                let batch: Augmentation.Batch =
                    {
                        Fixed = image 1L
                        Moving = image 1L
                        Mask = image 1L
                        Labels = Some(image 2L, image 2L)
                    }

                let run seed =
                    use _ = torch.NewDisposeScope()
                    let deformed = Augmentation.deform everything (items seed) grid batch

                    Augmentation.intensities everything (items seed) "fixed" deformed.Fixed
                    |> ignore

                    Augmentation.intensities everything (items seed) "moving" deformed.Moving
                    |> ignore

                run seed
                let clock = System.Diagnostics.Stopwatch.StartNew()

                for step in 1..10 do
                    run (Seed.at step seed)

                let each = clock.Elapsed.TotalMilliseconds / 10.0
                printfn $"augmentation of a batch: {each:F1} ms"
                Expect.isLessThan each 1000.0 "ms")

        ]
