namespace Ldr

open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// How the student is drawn to the teacher's fields: what it minimises, and what the discriminator does (`studentTerm`,
/// `discriminatorTerm`). φ_s and φ_t are the student's and the teacher's field, M_s and M_t the discriminator's means.
type Objective =
    /// The paper's ‖D(φ_s) − D(φ_t)‖² = (M_s − M_t)²: the discriminator widens the gap, the student closes it.
    | SquaredGap
    /// The paper's ‖D(φ_s) − D(φ_t)‖² with D as a vector: the mean over space of each of its last layer's channels.
    | MeanFeatures
    /// The same at every place of the discriminator's map instead of its mean, so that it says where the fields differ.
    | PatchGap
    /// The critic of WGAN-GP (Gulrajani et al., Improved Training of Wasserstein GANs, 2017), the intent of the authors'
    /// released code: the discriminator raises M_t and lowers M_s, the student raises M_s.
    | Critic
    /// Feature matching (Salimans et al., Improved Techniques for Training GANs, 2016; Larsen et al., Autoencoding beyond
    /// pixels, 2016): the discriminator learns as the critic does, the student matches what all its layers make of φ_t.
    | FeatureGap
    /// No discriminator: the mean squared length of φ_s − φ_t (knowledge distillation by regression).
    | FieldDistance
    /// Nothing: the teacher is not asked. For comparisons.
    | Off

/// How voxels count in the distance between two fields.
type FieldWeights =
    /// All alike.
    | Even
    /// By how much the teacher deforms there (`Discrimination.strain`).
    | Strain
    /// Those of the fixed image's content alone (`Discrimination.content`): where there is nothing to see, nothing is known.
    | Content

/// In whose loss the gradient penalty is.
type PenaltyPlayers =
    /// The discriminator's alone, as with WGAN-GP.
    | DiscriminatorAlone
    /// The student's too: the paper writes it into l_dis, which is a part of the student's loss, and φ̂ depends on φ_s.
    | BothPlayers

module PenaltyPlayers =
    let codec: Codec<PenaltyPlayers> =
        Codec.choice [ "discriminator", DiscriminatorAlone; "both", BothPlayers ]

module FieldWeights =
    let codec: Codec<FieldWeights> =
        Codec.choice [ "even", Even; "strain", Strain; "content", Content ]

module Objective =
    let codec: Codec<Objective> =
        Codec.choice
            [
                "squared-gap", SquaredGap
                "mean-features", MeanFeatures
                "patch-gap", PatchGap
                "critic", Critic
                "feature-gap", FeatureGap
                "field-distance", FieldDistance
                "none", Off
            ]

    /// Whether it needs a discriminator.
    let isAdversarial objective =
        match objective with
        | SquaredGap
        | MeanFeatures
        | PatchGap
        | Critic
        | FeatureGap -> true
        | FieldDistance
        | Off -> false

/// ALDK: adversarial learning with distilling knowledge. Fields are [N, 3, Z, Y, X] in voxels, features [N] in (0, 1).
module Discrimination =
    let private within = [| 1L; 2L; 3L; 4L |]

    /// A field in units of the teacher's: divided by the root mean square length of the teacher's vectors of that sample, at
    /// least 0.001 voxels; the unit is a constant (no gradient). The student's and the teacher's field of a pair are both
    /// divided by the teacher's unit, so that what is compared does not depend on the voxel size or on how far apart the
    /// images of a pair are.
    let normalise (teacherField: torch.Tensor) (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        // The mean over channels is a third of the mean squared length.
        let unit =
            (teacherField.detach().square().mean(within, true) * 3.0).sqrt().clamp_min 1e-3

        scope.MoveToOuter(field / unit)

    /// φ̂ = β φ_t + (1 − β) φ_s, detached from both.
    let joint (beta: float) (teacher: torch.Tensor) (student: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter(teacher.detach () * beta + student.detach () * (1.0 - beta))

    /// The same with the student's history: what is made of it reaches the student.
    let jointOfStudent (beta: float) (teacher: torch.Tensor) (student: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter(teacher.detach () * beta + student * (1.0 - beta))

    // The kernels of `Ldr.Runtime` have no second derivatives: libtorch computes all of the critic.
    let private normAt (critic: torch.Tensor -> torch.Tensor) (place: torch.Tensor) : torch.Tensor =
        OwnKernels.without (fun () ->
            use scope = torch.NewDisposeScope()
            let features = critic place

            let gradient =
                torch.autograd.grad (
                    [| features.sum () |],
                    [| place |],
                    create_graph = true,
                    retain_graph = true
                )

            // The square root of 0 has no derivative; 1e-24 moves a norm of 1e-6 by half a millionth of itself.
            scope.MoveToOuter((gradient[0].square().sum within + 1e-24).sqrt()))

    /// ‖∇D(φ̂)‖₂ of every sample, [N], the norm over all voxels and channels; it can be differentiated with respect to the
    /// critic's parameters, and to the field where that has a history (`jointOfStudent`). The critic maps fields to [N], sample by
    /// sample.
    let gradientNorm (critic: torch.Tensor -> torch.Tensor) (joint: torch.Tensor) : torch.Tensor =
        if joint.requires_grad then
            normAt critic joint
        else
            use scope = torch.NewDisposeScope()
            scope.MoveToOuter(normAt critic (joint.detach().clone().requires_grad_ true))

    /// The gradient penalty: the mean over the samples of (‖∇D(φ̂)‖₂ − 1)², from the norms.
    let penalty (norms: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter((norms - 1.0).square().mean())

    /// M of every sample as one number, the mean over channels and space, [N].
    let mean (judgement: Judgement) : torch.Tensor = judgement.Map.mean within

    /// `gradientNorm` of a discriminator's M, where it sees these images [N, 2, Z, Y, X].
    let gradientNormOf (judge: Discriminator) (images: torch.Tensor) (joint: torch.Tensor) : torch.Tensor =
        judge.TryGradientNorm(images, joint)
        |> Option.defaultWith (fun () ->
            joint |> gradientNorm (fun field -> mean (judge.Judge(images, field))))

    /// M of every sample as a vector, the mean over space of each channel, [N, C].
    let channelMeans (judgement: Judgement) : torch.Tensor = judgement.Map.mean [| 2L; 3L; 4L |]

    /// The mean over the layers of the mean squared difference of two judgements' features, each layer's in units of the
    /// teacher's mean square there (a constant, at least 1e-6), so that a layer can neither dominate nor be turned down.
    let private featureGap (student: Judgement) (teacher: Judgement) =
        let layer (s: torch.Tensor) (t: torch.Tensor) =
            let unit = t.detach().square().mean().clamp_min 1e-6
            (s - t).square().mean() / unit

        let gaps = List.map2 layer student.Features teacher.Features
        List.reduce (+) gaps / float gaps.Length

    /// What the student minimises, a scalar ≥ 0 (critic: in (−1, 1)): squared gap: mean (M_s − M_t)²; mean
    /// features: the mean over the samples of the squared norm of that difference, M with a number for each channel; patch gap: the mean of
    /// the squared differences over the map; critic: mean M_t − mean M_s; feature gap: see there. Outputs are bounded, and
    /// features count in units of the teacher's, so none of them runs away.
    let studentTerm (objective: Objective) (student: Judgement) (teacher: Judgement) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        scope.MoveToOuter(
            match objective with
            | SquaredGap -> (mean student - mean teacher).square().mean()
            | MeanFeatures -> (channelMeans student - channelMeans teacher).square().sum(1L).mean()
            | PatchGap -> (student.Map - teacher.Map).square().mean()
            | Critic -> (mean teacher - mean student).mean()
            | FeatureGap -> featureGap student teacher
            | FieldDistance
            | Off -> invalidArg (nameof objective) "has no discriminator"
        )

    /// What the discriminator minimises (beside λ times the gradient penalty), a scalar: the opposite of the student's
    /// term; with the feature gap, the critic's.
    let discriminatorTerm (objective: Objective) (student: Judgement) (teacher: Judgement) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let opposed =
            match objective with
            | FeatureGap -> Critic
            | other -> other

        scope.MoveToOuter((studentTerm opposed student teacher).neg())

    /// Strain that counts everywhere, so that the distance reaches every voxel and a teacher without strain counts evenly.
    let private leastStrain = 0.01

    /// `strain` by tensors, for other devices than the processor and other numbers than float32.
    let private strainByLibtorch (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let squares axis =
            let n = field.shape[int axis]

            let slope =
                (field.narrow (axis, 2L, n - 2L) - field.narrow (axis, 0L, n - 2L)) * 0.5

            let own = slope - slope.mean ([| 2L; 3L; 4L |], true)

            let amounts =
                [ 4L; 3L; 2L ]
                |> List.collect (fun a -> if a = axis then [ 1L; 1L ] else [ 0L; 0L ])

            torch.nn.functional.pad (own.square().sum(1L, true), Array.ofList amounts, PaddingModes.Replicate)

        // One axis after the other: the mean over a box is the mean of means.
        let mean axis (values: torch.Tensor) =
            let along side other =
                Array.init 3 (fun i -> if i = axis then side else other)

            torch.nn.functional.avg_pool3d (
                values,
                along 5L 1L,
                along 1L 1L,
                along 2L 0L,
                count_include_pad = false
            )

        let around = squares 2L + squares 3L + squares 4L |> mean 0 |> mean 1 |> mean 2

        let strain = around.sqrt () + leastStrain
        scope.MoveToOuter(strain / strain.mean (within, true))

    /// `strain` by the kernels of `Ldr.Runtime`.
    let private strainByKernels (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let field = field.contiguous ()
        let size = field.shape
        let result = torch.empty [| size[0]; 1L; size[2]; size[3]; size[4] |]

        let grid, start, target =
            TensorMemory.grid field, TensorMemory.start field, TensorMemory.start result

        for sample in 0 .. int size[0] - 1 do
            FieldStrain.Measure(
                NativePtr.add start (3 * sample * int grid.Count),
                grid,
                float32 leastStrain,
                NativePtr.add target (sample * int grid.Count),
                torch.get_num_threads ()
            )

        scope.MoveToOuter result

    /// How much a field [N, 3, Z, Y, X] in voxels, of 5 voxels a side or more, deforms around each voxel, beyond one affine
    /// map of the whole: the root mean square, over what a cube of 5 voxels a side has within the grid, of what the
    /// derivatives of its displacements (central differences, voxels per voxel; the outermost voxels along an axis take
    /// their neighbours') differ from their means over the grid, and 0.01 more; divided by its mean over the grid.
    /// [N, 1, Z, Y, X] with mean 1, without history.
    let strain (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let field = field.detach ()

        scope.MoveToOuter(
            if OwnKernels.fit [ field ] then
                strainByKernels field
            else
                strainByLibtorch field
        )

    /// Intensities, in [0, 1], up to which a voxel is dark surround.
    let private dark = 0.05

    /// 1, divided by its mean over the grid, for the voxels inside the fixed scan (`mask` above 0.5) that have something
    /// brighter than 0.05 within 2 voxels along every axis, else 0. Images and result [N, 1, Z, Y, X]; 1 everywhere for a
    /// sample without any.
    let content (mask: torch.Tensor) (fixedImage: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        // One axis after the other, which is ten times as fast as all at once.
        let near =
            (fixedImage.detach (), [ 0; 1; 2 ])
            ||> List.fold (fun image axis ->
                let along side other =
                    Array.init 3 (fun i -> if i = axis then side else other)

                torch.nn.functional.max_pool3d (image, along 5L 1L, along 1L 1L, along 2L 0L))

        let inside =
            (near.gt(dark.ToScalar()).logical_and(mask.gt (0.5.ToScalar()))).``to`` fixedImage.dtype

        let mean = inside.mean (within, true)
        let empty = mean.eq (0.0.ToScalar())
        scope.MoveToOuter(torch.where (empty, torch.ones_like inside, inside / mean.clamp_min 1e-6))

    /// The mean over the voxels of the squared length of the difference of two fields, times the voxels' weights
    /// [N, 1, Z, Y, X], if any; a scalar.
    let fieldDistance
        (weights: torch.Tensor option)
        (student: torch.Tensor)
        (teacher: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let squares = (student - teacher).square().sum(1L, true)

        scope.MoveToOuter(
            match weights with
            | Some weights -> (squares * weights).mean()
            | None -> squares.mean ()
        )

    /// The squared forward differences of φ_s − φ_t, summed over the three axes and all voxels and channels of a sample, in
    /// units of how far those of φ_t are from their means over the grid (squared, at least 0.01² a voxel); the mean over the
    /// samples, a scalar. An affine map that differs counts too. Fields [N, 3, Z, Y, X].
    let derivativeDistance (student: torch.Tensor) (teacher: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let teacher = teacher.detach ()
        // The mean over all numbers of half the squares.
        let numbers = float (teacher.numel () / teacher.shape[0])

        // What the mean difference takes off the sum of the squares. All differences along a line together are its ends'.
        let ofMeans axis =
            let n = teacher.shape[int axis]
            let place index = teacher.narrow (axis, index, 1L)
            let sums = (place (n - 1L) - place 0L).sum([| 2L; 3L; 4L |], true)

            sums.square().sum(within, true)
            / (numbers / 3.0 / float n * float (max 1L (n - 1L)))

        let squares =
            torch.stack
                [|
                    for sample in 0L .. teacher.shape[0] - 1L ->
                        Regularity.smoothness (teacher.narrow (0L, sample, 1L))
                        * (2.0 * numbers).ToScalar()
                |]

        let least = leastStrain * leastStrain * numbers / 3.0

        let unit =
            (squares.view (-1L, 1L, 1L, 1L, 1L) - ofMeans 2L - ofMeans 3L - ofMeans 4L)
                .clamp_min(least.ToScalar())
                .sqrt()

        scope.MoveToOuter(Regularity.smoothness ((student - teacher) / unit) * (2.0 * numbers).ToScalar())
