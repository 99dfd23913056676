module Ldr.Core.Tests.AugmentationTests

open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Core.Tests.TensorSupport

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

/// A grid whose voxels have different sides.
let private uneven = Grid(12, 10, 8, Affine.Scaling(1.0, 2.0, 4.0))
let private sides = [| 1.0; 2.0; 4.0 |]

let private draws = [ for index in 0..39 -> Seed.at index seed ]

/// The affine displacement of an image on the uneven grid: its matrix (that of the map) and its shift at the centre of the
/// grid, both in millimetres.
let private affineMm (options: Augmentation) (pair: Seed) : float[,] * float[] =
    let field =
        Augmentation.displacement options uneven pair (Seed.split "moving" pair) true

    let at c (z: int64) (y: int64) (x: int64) =
        float (field[0L, c, z, y, x].item<float32>())

    let origin c = at (int64 c) 0L 0L 0L

    let step c j =
        at (int64 c) (if j = 2 then 1L else 0L) (if j = 1 then 1L else 0L) (if j = 0 then 1L else 0L)

    let matrix =
        Array2D.init 3 3 (fun c j ->
            (step c j - origin c + (if c = j then 1.0 else 0.0)) * sides[c] / sides[j])

    matrix, Array.init 3 (fun c -> (origin c + at (int64 c) 7L 9L 11L) / 2.0 * sides[c])

let private turnedOnly =
    { none with
        AffineProbability = 1.0
        Rotation = 0.0
        Scale = 0.0
        Shift = 0.0
    }

let private flat () =
    torch.ones [| 1L; 1L; 24L; 20L; 16L |] * 0.5

/// What a change makes of an image of 0.5, for each of the draws.
let private ofFlat (options: Augmentation) : float[] list =
    draws
    |> List.map (fun own -> Augmentation.intensities options (fun _ -> own) "fixed" (flat ()) |> numbers)

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

            testCase "a rotation turns the world, not the voxels, by up to its bound"
            <| scoped (fun () ->
                let angles =
                    [
                        for pair in draws do
                            let r, shift = affineMm { turnedOnly with Rotation = 20.0 } pair

                            for i in 0..2 do
                                for j in 0..2 do
                                    let product = Seq.sum (seq { for k in 0..2 -> r[k, i] * r[k, j] })

                                    Expect.isLessThan
                                        (abs (product - (if i = j then 1.0 else 0.0)))
                                        1e-3
                                        "columns of length 1, at right angles"

                            for b in shift do
                                Expect.isLessThan (abs b) 1e-3 "about the centre"

                            // The angle about z: the matrix is the product of turns about x, y and z.
                            System.Math.Atan2(-(r[0, 1]), r[0, 0]) * 180.0 / System.Math.PI
                    ]

                Expect.isLessThanOrEqual (angles |> List.map abs |> List.max) 20.1 "at most"
                Expect.isGreaterThan (List.max angles) 10.0 "one way"
                Expect.isLessThan (List.min angles) -10.0 "and the other")

            testCase "scales are factors along each axis, as likely below 1 as above"
            <| scoped (fun () ->
                let logs =
                    [
                        for pair in draws do
                            let m, _ = affineMm { turnedOnly with Scale = 0.2 } pair

                            for i in 0..2 do
                                for j in 0..2 do
                                    if i <> j then
                                        Expect.isLessThan (abs m[i, j]) 1e-4 "no shear"

                                log m[i, i]
                    ]

                Expect.isLessThanOrEqual (logs |> List.map abs |> List.max) 0.201 "at most"
                Expect.isGreaterThan (List.max logs) 0.15 "larger"
                Expect.isLessThan (List.min logs) -0.15 "smaller")

            testCase "shifts are millimetres along each axis, and are mirrored with their image"
            <| scoped (fun () ->
                let options = { turnedOnly with Shift = 3.0 }
                let shifts = draws |> List.map (affineMm options >> snd)

                for axis in 0..2 do
                    let own = shifts |> List.map (fun s -> s[axis])
                    Expect.isLessThanOrEqual (own |> List.map abs |> List.max) 3.001 $"at most, axis {axis}"
                    Expect.isGreaterThan (own |> List.map abs |> List.max) 2.0 $"as far as that, axis {axis}"

                for pair, shift in List.zip draws shifts do
                    let mirrored, back = affineMm { options with Flip = 1.0, 0.0, 0.0 } pair
                    Expect.isLessThan (abs (mirrored[0, 0] + 1.0)) 1e-3 "mirrored along x"
                    Expect.isLessThan (abs (back[0] + shift[0])) 1e-3 "the shift along x too"
                    Expect.isLessThan (abs (back[1] - shift[1])) 1e-3 "and along no other axis")

            testCase "elastic displacements are millimetres, and so is the distance of their knots"
            <| scoped (fun () ->
                let options =
                    { none with
                        ElasticProbability = 1.0
                        ElasticSpacing = 4.0
                        ElasticAmplitude = 3.0
                    }

                let fields =
                    [
                        for pair in draws ->
                            Augmentation.displacement options uneven pair (Seed.split "moving" pair) true
                    ]

                for axis in 0..2 do
                    let largest =
                        fields
                        |> List.map (fun field ->
                            (field.select (1L, int64 axis)).abs().max().item<float32>())
                        |> List.max
                        |> float

                    Expect.isLessThanOrEqual (largest * sides[axis]) 3.001 $"at most, axis {axis}"
                    Expect.isGreaterThan (largest * sides[axis]) 1.2 $"as far as that, axis {axis}"

                // Knots 4 mm apart are every voxel along z, and every fourth along x: rough there, smooth here.
                let roughness (dimension: int64) (field: torch.Tensor) =
                    let second = field.diff(1L, dimension).diff(1L, dimension)

                    float (second.abs().mean().item<float32>())
                    / float (field.abs().mean().item<float32>())

                Expect.isGreaterThan (fields |> List.averageBy (roughness 2L)) 1.0 "along z"
                Expect.isLessThan (fields |> List.averageBy (roughness 4L)) 0.5 "along x")

            testCase "gamma is a power, between e^−gamma and e^gamma"
            <| scoped (fun () ->
                let powers =
                    ofFlat
                        { none with
                            GammaProbability = 1.0
                            Gamma = 0.4
                        }
                    |> List.map (fun values ->
                        Expect.isLessThan (Array.max values - Array.min values) 1e-6 "one for all voxels"
                        log (log values[0] / log 0.5))

                Expect.isLessThanOrEqual (powers |> List.map abs |> List.max) 0.401 "at most"
                Expect.isGreaterThan (List.max powers) 0.2 "darker"
                Expect.isLessThan (List.min powers) -0.2 "brighter")

            testCase "noise has the deviation that is asked for"
            <| scoped (fun () ->
                for values in
                    ofFlat
                        { none with
                            NoiseProbability = 1.0
                            Noise = 0.05
                        }
                    |> List.truncate 5 do
                    let deviation = values |> Array.averageBy (fun v -> (v - 0.5) ** 2.0) |> sqrt

                    Expect.isLessThan (abs (deviation - 0.05)) 0.003 "deviation"
                    Expect.isLessThan (abs (Array.average values - 0.5)) 0.003 "mean")

            testCase "known pairs have noise of half the bound's deviation"
            <| scoped (fun () ->
                let options =
                    { KnownPairs.standard with
                        Rotation = 0.0
                        Scale = 0.0
                        Shift = 0.0
                        Elastic = []
                        Gamma = 0.0
                        Bias = 0.0
                        Blur = 0.0
                        Noise = 0.1
                    }

                let scans: Augmentation.Batch =
                    {
                        Fixed = flat ()
                        Moving = flat ()
                        Mask = flat () * 2.0
                        Labels = None
                    }

                let pair, _ = KnownPairs.make options None (items seed) grid scans

                for image in [ pair.Fixed; pair.Moving ] do
                    let deviation = numbers image |> Array.averageBy (fun v -> (v - 0.5) ** 2.0) |> sqrt

                    Expect.isLessThan (abs (deviation - 0.05)) 0.003 "deviation")

            testCase "bias is a smooth factor, between e^−bias and e^bias"
            <| scoped (fun () ->
                let factors =
                    ofFlat
                        { none with
                            BiasProbability = 1.0
                            Bias = 0.5
                        }
                    |> List.map (Array.map (fun v -> log (v / 0.5)))

                for own in factors do
                    Expect.isLessThanOrEqual (own |> Array.map abs |> Array.max) 0.501 "at most"
                    Expect.isGreaterThan (Array.max own - Array.min own) 0.1 "not the same everywhere"

                Expect.isGreaterThan (factors |> List.map Array.max |> List.max) 0.2 "brighter"
                Expect.isLessThan (factors |> List.map Array.min |> List.min) -0.2 "darker")

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
