namespace Ldr

open Layer

/// Volume Tweening Network (Zhao, Lau, Luo, Chang, Xu: Unsupervised 3D End-to-End Medical Image Registration with Volume
/// Tweening Network, 2019; `base_networks.py` of Recursive Cascaded Networks).
module Vtn =
    /// The convolutions of level k, with 2^(k−1) c channels: one of stride 2, from level 3 on a second one.
    let internal encode seed channels k =
        let width = channels <<< (k - 1)
        let inputs = if k = 1 then 2 else width / 2

        let first =
            convolution seed $"conv{k}" (Filter.halving 3 inputs width) >=> leakyRelu

        if k < 3 then
            first
        else
            first >=> convolution seed $"conv{k}_1" (Filter.same width width) >=> leakyRelu

    /// (fixed, moving) [N, 2, Z, Y, X] → field [N, 3, Z, Y, X]; sides are multiples of 2^levels. `multiplier` is 1/n in a
    /// cascade of n, so that the n fields together begin as large as one.
    let create (seed: Seed) (scale: VtnScale) (multiplier: float) : Layer =
        let encoded k = scale.Channels <<< (k - 1)

        let width k =
            if k = scale.Levels then encoded k else 2 * encoded k + 3

        // The prediction of the level below, doubled by a learnt up-convolution.
        let upsampled k =
            convolution seed $"pred{k + 1}" (Filter.same (width (k + 1)) 3)
            >=> transposed seed $"upsamp{k + 1}to{k}" (Filter.doubling 3 3)

        let up k =
            transposed seed $"deconv{k}" (Filter.doubling (width (k + 1)) (encoded k))
            >=> leakyRelu

        let rec level k =
            if k = scale.Levels then
                encode seed scale.Channels k
            else
                encode seed scale.Channels k
                >=> skip (level (k + 1) >=> fork [ up k; upsampled k ])

        level 1 >=> transposed seed "flow" (Filter.doubling (width 1) 3 |> Filter.head)
        |> ManagedTrunk.wrap (VtnTrunk scale)
        >=> Layer.scale (20.0 * multiplier)
