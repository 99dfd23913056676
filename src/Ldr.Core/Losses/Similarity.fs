namespace Ldr

open TorchSharp

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
