namespace Ldr

open TorchSharp

/// How alike two images are.
module Similarity =
    let private within = [| 1L; 2L; 3L; 4L |]

    /// Pearson's correlation of each sample, [N] in [−1, 1], with population (co)variances; images [N, C, Z, Y, X].
    /// `mask` [N, 1, Z, Y, X], if any, holds weights ≥ 0. An image that is constant (to about 16 units in the last place)
    /// where it counts correlates 0 with everything, with gradient 0, and so does an empty mask. `1 − correlation` is the reconstruction loss.
    let correlation (mask: torch.Tensor option) (fixedImage: torch.Tensor) (moved: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let mean: torch.Tensor -> torch.Tensor =
            match mask with
            | None -> fun values -> values.mean (within, true)
            | Some weights ->
                let share = weights / weights.sum(within, true).clamp_min 1e-30
                let share = share / float fixedImage.shape[1]
                fun values -> (values * share).sum (within, true)

        // Centred twice: the second mean is what rounding left of the first, so that a constant image gives nothing but
        // zeros, however large the constant is.
        let centred (image: torch.Tensor) =
            let average = mean image
            let near = image - average
            let far = near - mean near
            let variance = mean (far * far)
            let unit = average.abs () * 1e-6
            let flat = variance.le(unit * unit + 1e-30).detach ()
            far, variance, flat

        let f, fVariance, fFlat = centred fixedImage
        let m, mVariance, mFlat = centred moved
        let flat = fFlat.logical_or mFlat
        let one = torch.ones_like fVariance

        // No epsilon: a flat image's deviation is replaced by 1 before the root is taken, so its gradient is 0, not NaN.
        let deviation (variance: torch.Tensor) = torch.where(flat, one, variance).sqrt ()
        let covariance = mean (f / deviation fVariance * (m / deviation mVariance))
        let counted = flat.logical_not().``to`` covariance.dtype
        scope.MoveToOuter((covariance * counted).flatten ())
