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
