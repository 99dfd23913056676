namespace Ldr

open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

/// One scale of a known field: cubic B-splines with knots so many mm apart, displaced by up to so many mm along every axis.
type KnownScale = { Spacing: float; Amplitude: float }

/// Pairs whose field is known: a scan and the same scan, warped, each with noise and contrast of its own. Bounds are those of
/// uniform draws; lengths are mm along the training grid's axes.
type KnownPairs =
    {
        /// The share of the steps that see such pairs; the others see pairs of different scans.
        Share: float
        /// Rotation about every axis (degrees), scale along every axis (a factor e^±scale), shift (mm).
        Rotation: float
        Scale: float
        Shift: float
        /// Fields that are composed, each drawn down to nothing.
        Elastic: KnownScale list
        /// Intensities in [0, 1] to the power e^±gamma.
        Gamma: float
        /// A smooth factor, between e^−bias and e^bias.
        Bias: float
        /// The deviation of normal noise, at most.
        Noise: float
        /// The deviation (voxels) of the Gaussian that blurs one of the two, at most.
        Blur: float
    }

module KnownPairs =
    /// What an experiment calls a teacher that gives these fields.
    let teacher = "known"

    let standard =
        {
            Share = 0.5
            Rotation = 8.0
            Scale = 0.1
            Shift = 3.0
            Elastic =
                [
                    { Spacing = 32.0; Amplitude = 6.0 }
                    { Spacing = 16.0; Amplitude = 4.0 }
                    { Spacing = 8.0; Amplitude = 2.0 }
                ]
            Gamma = 0.3
            Bias = 0.2
            Noise = 0.05
            Blur = 0.7
        }

    /// Displacements of cubic B-splines of up to 0.4 of the knots' distance never fold (Choi and Lee, Injectivity conditions of
    /// 2D and 3D uniform cubic B-spline functions, 2000), and neither do fields that are composed of such.
    let private injective = 0.4

    let private scale: Codec<KnownScale> =
        codec {
            let! spacing =
                required
                    "spacing"
                    (Codec.finite |> Codec.where "a number of mm, 1 or more" (fun v -> v >= 1.0))
                    _.Spacing

            and! amplitude = required "amplitude" Codec.notNegative _.Amplitude

            return
                {
                    Spacing = spacing
                    Amplitude = amplitude
                }
        }
        |> Codec.where $"an amplitude of at most {injective} of the spacing, which never folds" (fun s ->
            s.Amplitude <= injective * s.Spacing)

    let codec: Codec<KnownPairs> =
        let bounded what most =
            Codec.notNegative |> Codec.where what (fun v -> v <= most)

        codec {
            let! share = optional "share" Codec.fraction standard.Share _.Share

            and! rotation =
                optional "rotation" (bounded "degrees from 0 to 180" 180.0) standard.Rotation _.Rotation

            and! scale =
                optional "scale" (bounded "a number from 0 to 1" 1.0) standard.Scale _.Scale

            and! shift = optional "shift" Codec.notNegative standard.Shift _.Shift
            and! elastic = optional "elastic" (Codec.list scale) standard.Elastic _.Elastic

            and! gamma =
                optional "gamma" (bounded "a number from 0 to 3" 3.0) standard.Gamma _.Gamma

            and! bias = optional "bias" (bounded "a number from 0 to 3" 3.0) standard.Bias _.Bias

            and! noise =
                optional "noise" (bounded "a number from 0 to 1" 1.0) standard.Noise _.Noise

            and! blur = optional "blur" (bounded "voxels from 0 to 5" 5.0) standard.Blur _.Blur

            return
                {
                    Share = share
                    Rotation = rotation
                    Scale = scale
                    Shift = shift
                    Elastic = elastic
                    Gamma = gamma
                    Bias = bias
                    Noise = noise
                    Blur = blur
                }
        }

    /// Whether a step sees such pairs.
    let atStep (options: KnownPairs) (seed: Seed) (step: int) : bool =
        let own = seed |> Seed.split "known" |> Seed.at step
        (Seed.random own).NextDouble() < options.Share

    /// The draws of one kind alone, as an augmentation that always happens.
    let private drawn: Augmentation =
        {
            Flip = 0.0, 0.0, 0.0
            Deformed = BothImages
            AffineProbability = 0.0
            Rotation = 0.0
            Scale = 0.0
            Shift = 0.0
            ElasticProbability = 0.0
            ElasticSpacing = 16.0
            ElasticAmplitude = 0.0
            GammaProbability = 0.0
            Gamma = 0.0
            NoiseProbability = 0.0
            Noise = 0.0
            BiasProbability = 0.0
            Bias = 0.0
        }

    /// A field, [1, 3, Z, Y, X] in voxels of the grid, that takes points of the fixed image to the moving one: an affine map
    /// and fields of every scale, composed.
    let field (options: KnownPairs) (grid: Grid) (seed: Seed) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let affine =
            Augmentation.displacement
                { drawn with
                    AffineProbability = 1.0
                    Rotation = options.Rotation
                    Scale = options.Scale
                    Shift = options.Shift
                }
                grid
                seed
                (Seed.split "known affine" seed)
                true

        let elastic index (own: KnownScale) =
            let seed = seed |> Seed.split "known elastic" |> Seed.at index
            let size = (Seed.random (Seed.split "size" seed)).NextDouble()

            Augmentation.displacement
                { drawn with
                    ElasticProbability = 1.0
                    ElasticSpacing = own.Spacing
                    ElasticAmplitude = own.Amplitude * size
                }
                grid
                seed
                seed
                true

        let whole =
            (affine, List.indexed options.Elastic)
            ||> List.fold (fun before (index, own) -> Field.compose before (elastic index own))

        scope.MoveToOuter whole

    let private uniform purpose seed bound =
        bound * (Seed.random (Seed.split purpose seed)).NextDouble()

    /// Images [N, 1, Z, Y, X] in [0, 1], each blurred by a Gaussian of its own.
    let private blurred (options: KnownPairs) (own: int -> Seed) (images: torch.Tensor) =
        let grid = TensorMemory.grid images

        let blur item =
            let sigma = uniform "blur" (own item) options.Blur
            let values = Bridge.toArray (images.narrow (0L, int64 item, 1L))
            Gaussian.Blur(values, grid, sigma, torch.get_num_threads ())

        List.init (int images.shape[0]) blur
        |> Bridge.ofParts images.device images.shape

    /// A batch of such pairs, made of scans that are both images of their pair, and their fields [N, 3, Z, Y, X]. With an
    /// augmentation the scan itself is deformed too; both images are interpolated once, from the scan. The draws of an item
    /// depend on its own seed alone.
    let make
        (options: KnownPairs)
        (augmentation: Augmentation option)
        (own: int -> Seed)
        (grid: Grid)
        (scans: Augmentation.Batch)
        : Augmentation.Batch * torch.Tensor =
        use scope = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let device = scans.Fixed.device
        let items = [| 0 .. int scans.Fixed.shape[0] - 1 |]

        let together (make: int -> torch.Tensor) =
            torch.cat(items |> Array.map make, 0L).``to`` device

        let truth = together (fun item -> field options grid (own item))

        let toMoving =
            match augmentation with
            | Some augmentation when Augmentation.isGeometric augmentation ->
                together (fun item ->
                    let pair = own item
                    Augmentation.displacement augmentation grid pair (Seed.split "moving" pair) true)
            | _ -> torch.zeros_like truth

        // Both scans of a pair are the same one.
        let pairs = scans |> Augmentation.warp (Field.compose toMoving truth) toMoving

        let varied: Augmentation =
            { drawn with
                GammaProbability = 0.5
                Gamma = options.Gamma
                BiasProbability = 0.5
                Bias = options.Bias
                NoiseProbability = 1.0
                Noise = options.Noise / 2.0
            }

        let seen name images =
            images
            |> blurred options (own >> Seed.split ("known " + name))
            |> Augmentation.intensities varied own ("known " + name)

        let keep (tensor: torch.Tensor) = scope.MoveToOuter tensor

        let batch: Augmentation.Batch =
            {
                Fixed = keep (seen "fixed" pairs.Fixed)
                Moving = keep (seen "moving" pairs.Moving)
                Mask = keep pairs.Mask
                Labels = pairs.Labels |> Option.map (fun (f, m) -> keep f, keep m)
            }

        batch, keep truth
