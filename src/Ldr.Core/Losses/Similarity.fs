namespace Ldr

open System
open TorchSharp

/// What makes two images alike; all but the mutual information are 1 for equal images.
type SimilarityMeasure =
    /// Pearson's correlation of the whole images.
    | Correlation
    /// The squared correlation within cubes of so many voxels a side (odd).
    | LocalCorrelation of window: int
    /// 1 − the mean squared difference: for images whose intensities mean the same.
    | SquaredDifference
    /// Mutual information, in nats, of histograms with so many bins: for images of different kinds.
    | MutualInformation of bins: int

module SimilarityMeasure =
    /// As JSON: the word, or an object with `kind`.
    let codec: Codec<SimilarityMeasure> =
        let window =
            Codec.int
            |> Codec.where "an odd whole number from 3 to 31" (fun n -> n >= 3 && n <= 31 && n % 2 = 1)

        let bins =
            Codec.int
            |> Codec.where "a whole number from 8 to 128" (fun n -> n >= 8 && n <= 128)

        Union.codec
            "kind"
            [
                Union.case "correlation" Fields.none (fun () -> Correlation) (function
                    | Correlation -> Some()
                    | _ -> None)
                Union.case "local-correlation" (optional "window" window 7 id) LocalCorrelation (function
                    | LocalCorrelation w -> Some w
                    | _ -> None)
                Union.case "mse" Fields.none (fun () -> SquaredDifference) (function
                    | SquaredDifference -> Some()
                    | _ -> None)
                Union.case "mutual-information" (optional "bins" bins 32 id) MutualInformation (function
                    | MutualInformation b -> Some b
                    | _ -> None)
            ]

/// How alike two images are.
module Similarity =
    let private within = [| 1L; 2L; 3L; 4L |]

    /// `correlation` by tensors.
    let private correlationByLibtorch
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

        let fits =
            mask
            |> Option.filter (fun weights -> CorrelationFunction.Fits(fixedImage, moved, weights))

        scope.MoveToOuter(
            match fits with
            | Some weights -> CorrelationFunction.apply (EverywhereAtOnce, fixedImage, moved, weights)
            | None -> correlationByLibtorch mask fixedImage moved
        )

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

    /// `localCorrelation` by tensors.
    let private localByLibtorch
        (window: int)
        (weight: torch.Tensor)
        (fixedImage: torch.Tensor)
        (moved: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()

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

        scope.MoveToOuter(
            if CorrelationFunction.Fits(fixedImage, moved, weight) then
                let place = InCubes(window, Math.Pow(faint, 4.0))
                CorrelationFunction.apply (place, fixedImage, moved, weight)
            else
                localByLibtorch window weight fixedImage moved
        )

    /// The mean squared difference of each sample, [N] ≥ 0; images [N, C, Z, Y, X]. `mask` [N, 1, Z, Y, X], if any, holds
    /// weights ≥ 0; 0 for an empty one.
    let squaredDifference
        (mask: torch.Tensor option)
        (fixedImage: torch.Tensor)
        (moved: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let squares = (moved - fixedImage).square().mean([| 1L |], true)

        scope.MoveToOuter(
            match mask with
            | None -> squares.mean within
            | Some weights -> (squares * weights).sum within / weights.sum(within).clamp_min 1e-30
        )

    /// The weights of the four bins that a cubic B-spline window around a place reaches, from one bin down to two up; `t` is
    /// the place within its bin.
    let private windows (t: torch.Tensor) : torch.Tensor list =
        let rest = 1.0 - t
        let t2, t3 = t * t, t * t * t

        [
            rest * rest * rest / 6.0
            (t3 * 3.0 - t2 * 6.0 + 4.0) / 6.0
            (t + t2 - t3) / 2.0 + 1.0 / 6.0
            t3 / 6.0
        ]

    /// The joint histogram of images [N, voxels] in [0, 1], [N, bins, bins] with sum 1; voxels count by `weight`.
    let private jointHistogram
        (bins: int)
        (weight: torch.Tensor -> torch.Tensor)
        (fixedValues: torch.Tensor)
        (movedValues: torch.Tensor)
        : torch.Tensor =
        let samples, side = fixedValues.shape[0], int64 bins

        // A NaN has no bin; it comes back by its weight.
        let lower (position: torch.Tensor) (last: int64) =
            position.detach().nan_to_num(0.0).floor().clamp_max(last.ToScalar()).``to`` torch.int64

        let fixedBin = lower (fixedValues * float bins) (side - 1L)
        // The window reaches one bin down and two up.
        let position = movedValues * float (bins - 3) + 1.0
        let first = lower position (side - 3L)
        let windows = windows (position - first.``to`` torch.float64)

        let sample =
            torch.arange(samples, device = movedValues.device).unsqueeze 1L * (side * side)

        let start = sample + fixedBin * side + first - 1L

        let counts =
            torch
                .zeros([| samples * side * side |], dtype = torch.float64, device = movedValues.device)
                .index_add(
                    0L,
                    torch.cat([| for k in 0L .. 3L -> start + k |]).flatten(),
                    torch.cat([| for window in windows -> weight window |]).flatten(),
                    1.0.ToScalar()
                )
                .view(samples, side, side)

        counts / counts.sum([| 1L; 2L |], true).clamp_min 1e-30

    /// The entropy of every sample of a histogram. 0 log 0 is 0, with a finite slope.
    let private entropy (p: torch.Tensor) : torch.Tensor =
        -(p * p.clamp_min(1e-12).log()).flatten(1L).sum(1L)

    /// The mutual information of each sample in nats, [N] ≥ 0: Σ p(f, m) log(p(f, m) / (p(f) p(m))) over a histogram of
    /// `bins` × `bins` (Mattes et al., PET-CT image registration in the chest using free-form deformations, 2003): a voxel
    /// falls into one bin of the fixed intensities and, by the weights of a cubic B-spline (the Parzen window), into four of the
    /// moved ones, so that the gradient is smooth. Images [N, 1, Z, Y, X] with intensities in [0, 1], which are kept there;
    /// `mask` [N, 1, Z, Y, X], if any, holds weights ≥ 0; 0 for an empty one. No gradient reaches the fixed image.
    let mutualInformation
        (bins: int)
        (mask: torch.Tensor option)
        (fixedImage: torch.Tensor)
        (moved: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let samples = fixedImage.shape[0]

        // In double precision: a bin may hold a million voxels.
        let rows (image: torch.Tensor) =
            image.``to``(torch.float64).reshape([| samples; -1L |])

        let inUnit (image: torch.Tensor) =
            (rows image).clamp(0.0.ToScalar(), 1.0.ToScalar())

        let weight: torch.Tensor -> torch.Tensor =
            match mask with
            | None -> id
            | Some weights ->
                let weights = rows weights
                fun window -> window * weights

        let joint = jointHistogram bins weight ((inUnit fixedImage).detach()) (inUnit moved)

        let ofFixed, ofMoved = entropy (joint.sum (2L)), entropy (joint.sum (1L))
        scope.MoveToOuter((ofFixed + ofMoved - entropy joint).``to`` moved.dtype)

    /// The measure of each sample, [N]: more is more alike. See the functions of this module.
    let measured (measure: SimilarityMeasure) =
        match measure with
        | Correlation -> correlation
        | LocalCorrelation window -> localCorrelation window
        | MutualInformation bins -> mutualInformation bins
        | SquaredDifference ->
            fun mask fixedImage moved ->
                use scope = torch.NewDisposeScope()
                scope.MoveToOuter(1.0 - squaredDifference mask fixedImage moved)

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

    /// The mean squared difference of how deep voxels lie in labels, signed distances [N, L, Z, Y, X] cut at ± 1: a scalar ≥ 0.
    /// It is 0 only where every depth meets its own, so that a structure keeps its volume: its middle cannot stand for the whole.
    let depthDifference (fixedDepths: torch.Tensor) (movedDepths: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter((fixedDepths - movedDepths).square().mean())
