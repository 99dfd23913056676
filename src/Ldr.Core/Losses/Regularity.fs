namespace Ldr

open TorchSharp
open Ldr.Runtime.Transforms

/// What keeps transforms plausible. All of them are means over the batch, as scalars.
module Regularity =
    /// Half the squared forward differences of a field [N, 3, Z, Y, X] in voxels, summed over the three axes, averaged over
    /// all voxels and channels. (VTN; `regularize_loss` of Recursive Cascaded Networks.)
    let smoothness (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let along axis =
            let n = field.shape[int axis]

            if n < 2L then
                torch.zeros ([||], dtype = field.dtype, device = field.device)
            else
                (field.narrow (axis, 1L, n - 1L) - field.narrow (axis, 0L, n - 1L)).square().sum()

        scope.MoveToOuter(
            if OwnKernels.fit [ field ] then
                FieldTermFunction.apply (SmoothnessTerm, field)
            else
                (along 2L + along 3L + along 4L) / (2.0 * float (field.numel ()))
        )

    /// The bending energy of a field [N, 3, Z, Y, X] in voxels: the squared second differences along each axis and twice those
    /// along each pair of axes, summed, averaged over all voxels and channels; 0 for an affine field. (Rueckert et al.,
    /// Nonrigid registration using free-form deformations, 1999.)
    let bending (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let step axis (values: torch.Tensor) =
            let n = values.shape[int axis]

            let narrow first =
                values.narrow (axis, first, max 0L (n - 1L))

            narrow (min 1L n) - narrow 0L

        let squares first second =
            (field |> step first |> step second).square().sum()

        let along () =
            [ 2L; 3L; 4L ] |> List.map (fun axis -> squares axis axis)

        let across () =
            [ 2L, 3L; 2L, 4L; 3L, 4L ] |> List.map (fun (a, b) -> squares a b * 2.0)

        scope.MoveToOuter(
            if OwnKernels.fit [ field ] then
                FieldTermFunction.apply (BendingTerm, field)
            else
                List.reduce (+) (along () @ across ()) / float (field.numel ())
        )

    /// log² J of a field by tensors, for other devices than the processor and other numbers than float32.
    let private logJacobianByLibtorch (field: torch.Tensor) : torch.Tensor =
        let cells axis (values: torch.Tensor) =
            values.narrow (axis, 0L, max 1L (values.shape[int axis] - 1L))

        // The derivatives along an axis, at the first voxel of every cell.
        let along axis =
            let slope =
                if field.shape[int axis] < 2L then
                    torch.zeros_like field
                else
                    field.diff (1L, axis)

            [ 2L; 3L; 4L ]
            |> List.filter ((<>) axis)
            |> List.fold (fun values other -> cells other values) slope

        let slopes = [| along 4L; along 3L; along 2L |]

        let a channel axis =
            let own: torch.Tensor = slopes[axis].select(1L, int64 channel)
            if channel = axis then own + 1.0 else own

        let determinant =
            a 0 0 * (a 1 1 * a 2 2 - a 1 2 * a 2 1)
            - a 0 1 * (a 1 0 * a 2 2 - a 1 2 * a 2 0)
            + a 0 2 * (a 1 0 * a 2 1 - a 1 1 * a 2 0)

        let least = LogJacobian.Least
        let logarithm = (determinant.clamp_min least).log()
        let below = (determinant - least).clamp_max 0.0
        (logarithm * logarithm + below * LogJacobian.Slope(least - 1.0)).mean()

    /// The mean of log² J over the samples and cells of a field [N, 3, Z, Y, X] in voxels, a scalar: 0 where volumes stay, the
    /// same for twice and for half of a volume; see `Ldr.Runtime.LogJacobian`. (Log-unbiased regularisation, after Leow et
    /// al., Statistical properties of Jacobian maps and the realization of unbiased large-deformation nonlinear image
    /// registration, 2007; here squared.)
    let logJacobian (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        scope.MoveToOuter(
            if OwnKernels.fit [ field ] then
                FieldTermFunction.apply (LogJacobianTerm, field)
            else
                logJacobianByLibtorch field
        )

    /// The entries of A = W + I, each [N].
    let private entries (w: torch.Tensor) =
        let a = w + torch.eye (3L, dtype = w.dtype, device = w.device)
        a, fun (i: int) (j: int) -> a.select(1L, int64 i).select(1L, int64 j)

    // Written out, since the derivative of linalg.det is not defined for a singular matrix.
    let private det (a: int -> int -> torch.Tensor) =
        a 0 0 * (a 1 1 * a 2 2 - a 1 2 * a 2 1)
        - a 0 1 * (a 1 0 * a 2 2 - a 1 2 * a 2 0)
        + a 0 2 * (a 1 0 * a 2 1 - a 1 1 * a 2 0)

    /// ½ (det A − 1)² with A = W + I; W [N, 3, 3]. (VTN's determinant loss, weight 0.1.)
    let determinant (w: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let _, a = entries w
        scope.MoveToOuter((det a - 1.0).square().mean() / 2.0)

    /// s1 + (1 + ε)² s2 / s3 − 6 (1 + ε) with ε = 1e-5 and s1, s2, s3 the elementary symmetric polynomials of the
    /// eigenvalues of AᵀA + ε I, A = W + I; W [N, 3, 3]. Zero for rotations. (VTN's orthogonality loss, weight 0.1.)
    let orthogonality (w: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let epsilon = 1e-5
        let a, _ = entries w

        let c =
            torch.matmul (a.transpose (1L, 2L), a)
            + epsilon * torch.eye (3L, dtype = w.dtype, device = w.device)

        let at (i: int) (j: int) =
            c.select(1L, int64 i).select(1L, int64 j)

        let minor i j = at i i * at j j - at i j * at j i
        let s1 = at 0 0 + at 1 1 + at 2 2
        let s2 = minor 0 1 + minor 0 2 + minor 1 2
        let loss = s1 + (1.0 + epsilon) ** 2.0 * s2 / det at - 6.0 * (1.0 + epsilon)
        scope.MoveToOuter(loss.mean ())
