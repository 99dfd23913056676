namespace Ldr

open System
open TorchSharp

/// What makes two images alike; each is 1 for equal images.
type SimilarityMeasure =
    /// Pearson's correlation of the whole images (design §5).
    | Correlation
    /// The squared correlation within cubes of so many voxels a side (odd).
    | LocalCorrelation of window: int

module SimilarityMeasure =
    /// As JSON: the word, or an object with `kind`.
    let codec: Codec<SimilarityMeasure> =
        let window =
            Codec.int
            |> Codec.where "an odd whole number from 3 to 31" (fun n -> n >= 3 && n <= 31 && n % 2 = 1)

        Codec.union
            "kind"
            [
                Codec.case "correlation" (Codec.record ()) (fun () -> Correlation) (function
                    | Correlation -> Some()
                    | _ -> None)
                Codec.case
                    "local-correlation"
                    (Codec.record id |> Codec.optional "window" window 7 id)
                    LocalCorrelation
                    (function
                     | LocalCorrelation w -> Some w
                     | _ -> None)
            ]

/// How alike two images are.
module Similarity =
    let private within = [| 1L; 2L; 3L; 4L |]

    /// Pearson's correlation of each sample, [N] in [−1, 1], with population (co)variances; images [N, C, Z, Y, X].
    /// `mask` [N, 1, Z, Y, X], if any, holds weights ≥ 0. An image that is constant where it counts (whose deviation
    /// is below 1e-5 of its mean) correlates 0 with everything, with gradient 0, and so does an empty mask.
    /// `1 − correlation` is the reconstruction loss.
    let correlation
        (mask: torch.Tensor option)
        (fixedImage: torch.Tensor)
        (moved: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let mean: torch.Tensor -> torch.Tensor =
            match mask with
            | None -> fun values -> values.mean (within, true)
            | Some weights ->
                let share = weights / weights.sum(within, true).clamp_min 1e-30
                let share = share / float fixedImage.shape[1]
                fun values -> (values * share).sum(within, true)

        // Centred before anything is multiplied: in single precision, the mean square less the squared mean is noise
        // for images far from 0. What rounding leaves of a constant image is far below the limit.
        let centred (image: torch.Tensor) =
            let average = mean image
            let rest = image - average
            let variance = mean (rest * rest)
            let limit = average.abs () * 1e-5
            let flat = variance.le(limit * limit + 1e-30).detach()
            rest, variance, flat

        let f, fVariance, fFlat = centred fixedImage
        let m, mVariance, mFlat = centred moved
        let flat = fFlat.logical_or mFlat
        let one = torch.ones_like fVariance

        // No epsilon, which would depend on the images' scale: a flat image's variance is replaced by 1 before the root
        // is taken, so that its gradient is 0, not NaN.
        let deviation (variance: torch.Tensor) = torch.where(flat, one, variance).sqrt()
        let covariance = mean (f / deviation fVariance * (m / deviation mVariance))
        let counted = flat.logical_not().``to`` covariance.dtype
        scope.MoveToOuter((covariance * counted).flatten())

    /// The deviation of intensities, in [0, 1], below which a neighbourhood says little.
    let private faint = 0.03

    /// Between the voxels whose neighbourhoods are looked at, along every axis: cubes overlap, and an eighth of them says as
    /// much as all.
    let private stride = 2L

    /// Sums over a cube of `window` voxels a side around every second voxel along each axis; beyond the border there are
    /// zeros.
    let private boxSum (window: int) (maps: torch.Tensor) =
        use scope = torch.NewDisposeScope()
        let side, reach = int64 window, int64 (window / 2)

        // One axis after the other: 3 w additions for each voxel instead of w³.
        let along axis (values: torch.Tensor) =
            let kernel = Array.init 3 (fun i -> if i = axis then side else 1L)
            let padding = Array.init 3 (fun i -> if i = axis then reach else 0L)
            let step = Array.init 3 (fun i -> if i = axis then stride else 1L)

            torch.nn.functional.avg_pool3d (values, kernel, step, padding, count_include_pad = true)

        let mean = maps |> along 2 |> along 1 |> along 0
        scope.MoveToOuter(mean * float (side * side * side))

    /// The mean over every second voxel along each axis of the squared correlation of two images in a cube of `window`
    /// voxels a side around it, [N] in [0, 1]: cov² / (var var + ε), with ε = 0.03⁴, so that neighbourhoods without structure count little (VoxelMorph's
    /// local cross-correlation, Balakrishnan et al., 2019, with another ε). Images [N, 1, Z, Y, X] with intensities in [0, 1];
    /// `mask` [N, 1, Z, Y, X], if any, holds weights ≥ 0, for the voxels within a cube and for the cubes.
    let localCorrelation
        (window: int)
        (mask: torch.Tensor option)
        (fixedImage: torch.Tensor)
        (moved: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let weight = mask |> Option.defaultWith (fun () -> torch.ones_like fixedImage)

        // Around ½: less is lost when squared means are subtracted in single precision.
        let f, m = fixedImage - 0.5, moved - 0.5
        let wf, wm = weight * f, weight * m

        let sums =
            torch.cat ([| weight; wf; wm; wf * f; wm * m; wf * m |], 1L) |> boxSum window

        let sum channel = sums.narrow (1L, channel, 1L)
        let count = (sum 0L).clamp_min 1e-6
        let mean channel = sum channel / count
        let meanF, meanM = mean 1L, mean 2L
        let varianceF = (mean 3L - meanF * meanF).clamp_min 0.0
        let varianceM = (mean 4L - meanM * meanM).clamp_min 0.0
        let covariance = mean 5L - meanF * meanM

        let squared =
            covariance * covariance / (varianceF * varianceM + Math.Pow(faint, 4.0))

        let centres =
            ([ 2L; 3L; 4L ], weight)
            ||> List.foldBack (fun axis (values: torch.Tensor) ->
                values.slice (axis, 0L, values.shape[int axis], stride))

        scope.MoveToOuter((squared * centres).sum within / centres.sum(within).clamp_min 1e-6)

    /// The measure of each sample, [N]; 1 for equal images. See the functions of this module.
    let measured (measure: SimilarityMeasure) =
        match measure with
        | Correlation -> correlation
        | LocalCorrelation window -> localCorrelation window

    /// The soft Dice overlap of label maps with a channel for each label, [N, L, Z, Y, X] with values in [0, 1]: for each
    /// sample and label 2 Σ f m / (Σ f + Σ m), and the mean over the labels that either map has, [N] in [0, 1]; 0 for a
    /// sample without any. (Milletari et al., V-Net, 2016, without the squares.)
    let dice (fixedLabels: torch.Tensor) (movedLabels: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let sum (values: torch.Tensor) = values.sum [| 2L; 3L; 4L |]
        let both = sum fixedLabels + sum movedLabels
        let present = both.gt(0.0.ToScalar()).``to``(both.dtype).detach()
        let overlap = sum (fixedLabels * movedLabels) * 2.0 / both.clamp_min 1e-6
        scope.MoveToOuter((overlap * present).sum(1L) / present.sum(1L).clamp_min 1.0)
