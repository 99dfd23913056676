namespace Ldr

open TorchSharp

/// What the discriminator and the student make of M_s and M_t, the mean features of the student's and the teacher's field.
/// The paper states the distance and the penalty; who minimises what is in a picture only, hence the choice.
type Objective =
    /// The paper's ‖D(φ_s) − D(φ_t)‖²: the discriminator widens the gap, the student closes it.
    | SquaredGap
    /// The critic of WGAN-GP (Gulrajani et al., Improved Training of Wasserstein GANs, 2017), the form in the authors'
    /// released code: the discriminator raises M_t and lowers M_s, the student raises M_s.
    | Critic

module Objective =
    let codec: Codec<Objective> =
        Codec.choice [ "squared-gap", SquaredGap; "critic", Critic ]

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

    /// The mean over the samples of (‖∇D(φ̂)‖₂ − 1)², the norm over all voxels and channels of one sample; a scalar that can
    /// be differentiated with respect to the critic's parameters. The critic maps fields to [N], sample by sample.
    let gradientPenalty (critic: torch.Tensor -> torch.Tensor) (joint: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let place = joint.detach().clone().requires_grad_ true
        let features = critic place

        let gradient =
            torch.autograd.grad ([| features.sum () |], [| place |], create_graph = true, retain_graph = true)

        // The square root of 0 has no derivative; 1e-24 moves a norm of 1e-6 by half a millionth of itself.
        let norm = (gradient[0].square().sum within + 1e-24).sqrt()
        scope.MoveToOuter((norm - 1.0).square().mean())

    /// What the student minimises, a scalar. Squared gap: mean (M_s − M_t)², in [0, 1]. Critic: mean M_t − mean M_s, in
    /// (−1, 1). Features are bounded, so neither can run away.
    let studentTerm (objective: Objective) (mStudent: torch.Tensor) (mTeacher: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        scope.MoveToOuter(
            match objective with
            | SquaredGap -> (mStudent - mTeacher).square().mean()
            | Critic -> (mTeacher - mStudent).mean()
        )

    /// What the discriminator minimises (beside λ times the gradient penalty), a scalar: the opposite of the student's.
    /// Squared gap: −mean (M_s − M_t)². Critic: mean M_s − mean M_t.
    let discriminatorTerm
        (objective: Objective)
        (mStudent: torch.Tensor)
        (mTeacher: torch.Tensor)
        : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter((studentTerm objective mStudent mTeacher).neg())
