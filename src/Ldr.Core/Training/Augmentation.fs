namespace Ldr

open System
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// Which image of a pair is deformed: the two by draws of their own, or the moving one.
type Deformed =
    | BothImages
    | MovingImage

/// How training pairs are varied. A part with probability 0 does not happen. Lengths are mm along the training grid's axes.
type Augmentation =
    {
        /// The probability that both images are mirrored together, along x, y, z.
        Flip: float * float * float
        Deformed: Deformed
        /// Rotation about every axis (degrees), scale along every axis (a factor e^±scale) and shift (mm) are uniform up to
        /// these bounds.
        AffineProbability: float
        Rotation: float
        Scale: float
        Shift: float
        /// A free-form deformation by cubic B-splines (Rueckert et al., 1999): the knots' distance, and the bound of
        /// their uniform displacements along every axis, mm.
        ElasticProbability: float
        ElasticSpacing: float
        ElasticAmplitude: float
        /// Intensities in [0, 1] to the power e^±gamma.
        GammaProbability: float
        Gamma: float
        /// The deviation of normal noise.
        NoiseProbability: float
        Noise: float
        /// A smooth factor, between e^−bias and e^bias.
        BiasProbability: float
        Bias: float
    }

module Augmentation =
    /// Bias fields have so many knots' distances along an axis.
    let private biasCells = 3

    /// Nothing happens; how much would, if it did.
    let standard: Augmentation =
        {
            Flip = 0.0, 0.0, 0.0
            Deformed = BothImages
            AffineProbability = 0.0
            Rotation = 10.0
            Scale = 0.1
            Shift = 2.0
            ElasticProbability = 0.0
            ElasticSpacing = 16.0
            ElasticAmplitude = 3.0
            GammaProbability = 0.0
            Gamma = 0.3
            NoiseProbability = 0.0
            Noise = 0.02
            BiasProbability = 0.0
            Bias = 0.2
        }

    let codec: Codec<Augmentation> =
        let bounded what most =
            Codec.notNegative |> Codec.where what (fun v -> v <= most)

        codec {
            let! flip = optional "flip" (Codec.triple Codec.fraction) standard.Flip _.Flip

            and! deformed =
                optional
                    "deformed"
                    (Codec.choice [ "both", BothImages; "moving", MovingImage ])
                    standard.Deformed
                    _.Deformed

            and! affineProbability =
                optional "affine_probability" Codec.fraction standard.AffineProbability _.AffineProbability

            and! rotation =
                optional "rotation" (bounded "degrees from 0 to 180" 180.0) standard.Rotation _.Rotation

            and! scale =
                optional "scale" (bounded "a number from 0 to 1" 1.0) standard.Scale _.Scale

            and! shift = optional "shift" Codec.notNegative standard.Shift _.Shift

            and! elasticProbability =
                optional "elastic_probability" Codec.fraction standard.ElasticProbability _.ElasticProbability

            and! elasticSpacing =
                optional
                    "elastic_spacing"
                    (Codec.finite |> Codec.where "a number of mm, 1 or more" (fun v -> v >= 1.0))
                    standard.ElasticSpacing
                    _.ElasticSpacing

            and! elasticAmplitude =
                optional "elastic_amplitude" Codec.notNegative standard.ElasticAmplitude _.ElasticAmplitude

            and! gammaProbability =
                optional "gamma_probability" Codec.fraction standard.GammaProbability _.GammaProbability

            and! gamma =
                optional "gamma" (bounded "a number from 0 to 3" 3.0) standard.Gamma _.Gamma

            and! noiseProbability =
                optional "noise_probability" Codec.fraction standard.NoiseProbability _.NoiseProbability

            and! noise = optional "noise" Codec.notNegative standard.Noise _.Noise

            and! biasProbability =
                optional "bias_probability" Codec.fraction standard.BiasProbability _.BiasProbability

            and! bias = optional "bias" (bounded "a number from 0 to 3" 3.0) standard.Bias _.Bias

            return
                {
                    Flip = flip
                    Deformed = deformed
                    AffineProbability = affineProbability
                    Rotation = rotation
                    Scale = scale
                    Shift = shift
                    ElasticProbability = elasticProbability
                    ElasticSpacing = elasticSpacing
                    ElasticAmplitude = elasticAmplitude
                    GammaProbability = gammaProbability
                    Gamma = gamma
                    NoiseProbability = noiseProbability
                    Noise = noise
                    BiasProbability = biasProbability
                    Bias = bias
                }
        }

    /// Whether images are moved, so that fields made for the pair as it was do not fit.
    let isGeometric (options: Augmentation) =
        let x, y, z = options.Flip

        x + y + z > 0.0
        || options.AffineProbability > 0.0
        || options.ElasticProbability > 0.0

    let private happens probability purpose seed =
        probability > 0.0
        && (Seed.random (Seed.split purpose seed)).NextDouble() < probability

    let private product (a: float[,]) (b: float[,]) =
        Array2D.init 3 3 (fun i j -> Seq.sum (seq { for k in 0..2 -> a[i, k] * b[k, j] }))

    /// A sum of cubic B-splines with knots so many voxels apart, whose values come from `value`, by their channels; [1, C, Z, Y, X].
    let private spline (grid: Grid) (distance: float[]) (channels: int) (value: int -> float) : torch.Tensor =
        let size = [| grid.Nx; grid.Ny; grid.Nz |]

        let perChannel =
            Array.map2 (fun n d -> FreeForm.Knots(n, d)) size distance |> Array.reduce (*)

        let knots =
            Array.init (channels * perChannel) (fun i -> float32 (value (i / perChannel)))

        let result =
            torch.empty [| 1L; int64 channels; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]

        FreeForm.Evaluate(
            knots,
            channels,
            grid,
            struct (distance[0], distance[1], distance[2]),
            TensorMemory.start result,
            torch.get_num_threads ()
        )

        result

    let private uniform (random: Random) bound =
        bound * (2.0 * random.NextDouble() - 1.0)

    let private diagonal (d: float[]) =
        Array2D.init 3 3 (fun i j -> if i = j then d[i] else 0.0)

    /// A rotation about an axis.
    let private turn (axis: int) (angle: float) =
        let a, b = (axis + 1) % 3, (axis + 2) % 3
        let r = diagonal [| 1.0; 1.0; 1.0 |]
        r[a, a] <- cos angle
        r[b, b] <- cos angle
        r[a, b] <- -(sin angle)
        r[b, a] <- sin angle
        r

    /// −1 along the axes that a pair is mirrored along, else 1.
    let private mirrorOf (options: Augmentation) (pair: Seed) : float[] =
        let px, py, pz = options.Flip

        [| "x", px; "y", py; "z", pz |]
        |> Array.map (fun (axis, p) -> if happens p ("flip " + axis) pair then -1.0 else 1.0)

    /// A random affine map in voxels of a grid with that spacing: its matrix and its shift.
    let private affineOf (options: Augmentation) (spacing: float[]) (image: Seed) =
        if happens options.AffineProbability "affine?" image then
            let random = Seed.random (Seed.split "affine" image)

            let turns =
                [
                    for axis in 0..2 -> turn axis (uniform random options.Rotation * Math.PI / 180.0)
                ]
                |> List.reduce product

            let scales = Array.init 3 (fun _ -> exp (uniform random options.Scale))
            let inMm = product turns (diagonal scales)
            let shift = Array.init 3 (fun i -> uniform random options.Shift / spacing[i])
            Array2D.init 3 3 (fun i j -> inMm[i, j] * spacing[j] / spacing[i]), shift
        else
            diagonal [| 1.0; 1.0; 1.0 |], [| 0.0; 0.0; 0.0 |]

    /// A random free-form deformation, [1, 3, Z, Y, X] in voxels, if there is one.
    let private elasticOf (options: Augmentation) (grid: Grid) (spacing: float[]) (image: Seed) =
        if happens options.ElasticProbability "elastic?" image then
            let random = Seed.random (Seed.split "elastic" image)
            let distance = spacing |> Array.map (fun s -> options.ElasticSpacing / s)

            Some(
                spline grid distance 3 (fun channel ->
                    uniform random options.ElasticAmplitude / spacing[channel])
            )
        else
            None

    /// The same without affine maps and free-form deformations.
    let private still (options: Augmentation) : Augmentation =
        { options with
            AffineProbability = 0.0
            ElasticProbability = 0.0
        }

    /// The displacement of one image, [1, 3, Z, Y, X] in voxels: mirrored as its pair is, and deformed if it is to be.
    let displacement (options: Augmentation) (grid: Grid) (pair: Seed) (image: Seed) (deform: bool) =
        let struct (sx, sy, sz) = grid.Spacing
        let spacing = [| sx; sy; sz |]
        let own = if deform then options else still options
        let mirror = mirrorOf options pair
        let linear, shift = affineOf own spacing image
        let total = product (diagonal mirror) linear

        let w =
            Array.init 9 (fun i -> float32 (total[i / 3, i % 3] - (if i / 3 = i % 3 then 1.0 else 0.0)))

        let b = Array.init 3 (fun i -> float32 (mirror[i] * shift[i]))
        let elastic = elasticOf own grid spacing image

        match elastic with
        | Some elastic when Array.forall ((=) 0.0f) (Array.append w b) -> elastic
        | _ ->
            let result = torch.empty [| 1L; 3L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]
            use w = fixed w
            use b = fixed b

            AffineField.Total(
                w,
                b,
                elastic
                |> Option.map TensorMemory.start
                |> Option.defaultValue NativePtr.nullPtr,
                1,
                TensorMemory.size result,
                TensorMemory.start result,
                torch.get_num_threads ()
            )

            elastic |> Option.iter _.Dispose()
            result

    /// 1 where a displacement stays on the grid (up to half a voxel), else 0; [N, 1, Z, Y, X], on the displacement's device.
    let onGrid (displacement: torch.Tensor) =
        use scope = torch.NewDisposeScope()
        let onCpu = displacement.cpu().contiguous()
        let size = displacement.shape
        let result = torch.empty [| size[0]; 1L; size[2]; size[3]; size[4] |]

        GridBounds.Mark(
            TensorMemory.start onCpu,
            int size[0],
            TensorMemory.size onCpu,
            TensorMemory.start result,
            torch.get_num_threads ()
        )

        scope.MoveToOuter(result.``to`` displacement.device)

    /// A pair's tensors, [N, C, Z, Y, X] each: images, the fixed one's mask, label maps or whatever else of the labels is wanted.
    [<NoEquality; NoComparison>]
    type Batch =
        {
            Fixed: torch.Tensor
            Moving: torch.Tensor
            Mask: torch.Tensor
            Labels: (torch.Tensor * torch.Tensor) option
        }

    /// Tensors under one displacement, by one interpolation, continued at the border.
    let private warpParts (field: torch.Tensor) (parts: torch.Tensor list) : torch.Tensor[] =
        use scope = torch.NewDisposeScope()
        let moved = Field.warp field (torch.cat (Array.ofList parts, 1L))

        moved.split (parts |> List.map (fun p -> p.shape[1]) |> Array.ofList, 1L)
        |> Array.map (fun part -> scope.MoveToOuter(part.contiguous ()))

    /// Fixed scan, mask and labels under one displacement, the moving scan and its labels under another. The mask is 0 where the
    /// fixed scan was continued.
    let warp (ofFixed: torch.Tensor) (ofMoving: torch.Tensor) (batch: Batch) : Batch =
        use scope = torch.NewDisposeScope()

        let fixedParts =
            warpParts ofFixed (batch.Fixed :: batch.Mask :: (batch.Labels |> Option.map fst |> Option.toList))

        let movingParts =
            warpParts ofMoving (batch.Moving :: (batch.Labels |> Option.map snd |> Option.toList))

        let keep (tensor: torch.Tensor) = scope.MoveToOuter tensor

        {
            Fixed = keep fixedParts[0]
            Moving = keep movingParts[0]
            Mask = keep (fixedParts[1] * onGrid ofFixed)
            Labels = batch.Labels |> Option.map (fun _ -> keep fixedParts[2], keep movingParts[1])
        }

    /// Mirrors and deforms a batch: images, mask and labels of one image by one displacement and one interpolation, continued
    /// at the border; the mask is 0 where it was continued. The draws of an item depend on its own seed alone.
    let deform (options: Augmentation) (own: int -> Seed) (grid: Grid) (batch: Batch) : Batch =
        if not (isGeometric options) then
            batch
        else
            use _ = torch.no_grad ()
            let items = int batch.Fixed.shape[0]

            let displacements purpose moved =
                use scope = torch.NewDisposeScope()

                let fields =
                    [|
                        for item in 0 .. items - 1 do
                            let pair = own item
                            displacement options grid pair (Seed.split purpose pair) moved
                    |]

                scope.MoveToOuter((torch.cat (fields, 0L)).``to`` batch.Fixed.device)

            use ofFixed = displacements "fixed" (options.Deformed = BothImages)
            use ofMoving = displacements "moving" true
            warp ofFixed ofMoving batch

    /// Changes the intensities of images [N, 1, Z, Y, X] in [0, 1], each by draws of its own, and keeps them in [0, 1]; `name`
    /// tells the fixed images from the moving ones.
    let intensities
        (options: Augmentation)
        (own: int -> Seed)
        (name: string)
        (images: torch.Tensor)
        : torch.Tensor =
        if options.GammaProbability + options.NoiseProbability + options.BiasProbability = 0.0 then
            images
        else
            use scope = torch.NewDisposeScope()
            use _ = torch.no_grad ()

            let vary item =
                let seed = own item |> Seed.split (name + " intensities")
                let random purpose = Seed.random (Seed.split purpose seed)
                let mutable image = images.narrow (0L, int64 item, 1L)

                if happens options.GammaProbability "gamma?" seed then
                    let power = exp (uniform (random "gamma") options.Gamma)
                    image <- image.clamp(0.0.ToScalar(), 1.0.ToScalar()).pow(power.ToScalar())

                if happens options.BiasProbability "bias?" seed then
                    let random = random "bias"

                    let grid = TensorMemory.grid images

                    let distance =
                        [| grid.Nx; grid.Ny; grid.Nz |]
                        |> Array.map (fun size -> float (size - 1) / float biasCells)

                    let factor = spline grid distance 1 (fun _ -> exp (uniform random options.Bias))

                    image <- image * factor.``to`` images.device

                if happens options.NoiseProbability "noise?" seed then
                    use generator = new torch.Generator(uint64 (Seed.toInt64 (Seed.split "noise" seed)))
                    let noise = torch.randn (image.shape, generator = generator)
                    image <- image + (noise * options.Noise.ToScalar()).``to`` images.device

                image

            let all =
                torch.cat ([| for item in 0 .. int images.shape[0] - 1 -> vary item |], 0L)

            scope.MoveToOuter(all.clamp (0.0.ToScalar(), 1.0.ToScalar()))
