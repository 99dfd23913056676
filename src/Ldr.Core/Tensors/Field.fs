namespace Ldr

open System
open TorchSharp

/// Displacement fields as tensors [N, 3, Z, Y, X]: channels x, y, z, in voxels of the fixed grid, pointing from fixed to
/// moving, so that moved(x) = moving(x + u(x)). Everything but `warpNearest` is differentiable in all of its tensors.
/// A tensor of the wrong shape is an `ArgumentException`.
module Field =
    let internal shapeOf (tensor: torch.Tensor) =
        let sizes = tensor.shape |> Array.map string |> String.concat ", "
        $"[{sizes}]"

    let private demandFit (field: torch.Tensor) (image: torch.Tensor) =
        let fits =
            field.dim () = 5L
            && image.dim () = 5L
            && field.shape[1] = 3L
            && field.shape[0] = image.shape[0]
            && field.shape[2..] = image.shape[2..]

        if not fits then
            invalidArg
                (nameof field)
                ("a field [N, 3, Z, Y, X] must fit its image [N, C, Z, Y, X]; "
                 + $"the field is {shapeOf field}, the image {shapeOf image}")

    /// The last voxel's index along an axis, 1 for an axis of one voxel (which then has index 0 wherever one looks).
    let private reach (size: int64) = float (max 1L (size - 1L))

    /// The view of a one-dimensional tensor along axis `axis` (0 z, 1 y, 2 x) of [N, Z, Y, X].
    let private along axis (values: torch.Tensor) =
        let shape = Array.create 3 1L
        shape[axis] <- values.shape[0]
        values.view shape

    /// `warp` by libtorch: for other devices than the processor and other numbers than float32.
    let private gridSample (field: torch.Tensor) (image: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let positions channel axis =
            let size = field.shape[axis + 2]

            let start =
                torch.linspace (-1.0, 1.0, size, dtype = field.dtype, device = field.device)

            field.select (1L, channel) * (2.0 / reach size) + along axis start

        let grid = torch.stack ([ positions 0L 2; positions 1L 1; positions 2L 0 ], -1L)

        let moved =
            torch.nn.functional.grid_sample (
                image,
                grid,
                mode = torch.GridSampleMode.Bilinear,
                padding_mode = torch.GridSamplePaddingMode.Border,
                align_corners = Nullable true
            )

        scope.MoveToOuter moved

    /// moved(x) = image(x + u(x)): trilinear, clamped at the border; the same as
    /// `grid_sample(bilinear, border, align_corners = true)`. Image and result: [N, C, Z, Y, X]. On the processor float32 has
    /// kernels of its own, without second derivatives.
    let warp (field: torch.Tensor) (image: torch.Tensor) : torch.Tensor =
        demandFit field image

        if WarpFunction.Fits(field, image) then
            use scope = torch.NewDisposeScope()
            scope.MoveToOuter(WarpFunction.apply (field, image))
        else
            gridSample field image

    /// The voxel nearest to x + u(x) (halves go up), clamped at the border; for labels, of any element type.
    /// Image and result: [N, C, Z, Y, X]. No gradient reaches the field.
    let warpNearest (field: torch.Tensor) (image: torch.Tensor) : torch.Tensor =
        demandFit field image
        use scope = torch.NewDisposeScope()

        let indices channel axis =
            let size = field.shape[axis + 2]
            let start = torch.arange (size, dtype = field.dtype, device = field.device)
            let nearest = (field.select(1L, channel).detach() + along axis start + 0.5).floor()
            nearest.``to``(torch.ScalarType.Int64).clamp(0L.ToScalar(), (size - 1L).ToScalar())

        let shape = image.shape
        let z, y, x = indices 2L 0, indices 1L 1, indices 0L 2
        let voxels = (z * shape[3] + y) * shape[4] + x

        let gathered: torch.Tensor =
            voxels.view([| shape[0]; 1L; -1L |]).expand([| shape[0]; shape[1]; -1L |])

        let moved =
            image.reshape([| shape[0]; shape[1]; -1L |]).gather(2L, gathered).view shape

        scope.MoveToOuter moved

    /// (a ∘ b)(x) = a(x + b(x)) + b(x): an image goes through `a` first, a point through `b`.
    let compose (a: torch.Tensor) (b: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        scope.MoveToOuter(warp b a + b)

    /// How often `exponential` squares: vectors of up to 32 voxels begin below half a voxel.
    let squarings = 6

    /// The field that a stationary velocity field (voxels per unit time) flows to in unit time, by scaling and squaring:
    /// v / 2⁶, composed with itself six times (Arsigny et al., A Log-Euclidean Framework for Statistics on Diffeomorphisms,
    /// 2006). [N, 3, Z, Y, X].
    let exponential (velocity: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let mutable field = velocity * (1.0 / float (pown 2 squarings))

        for _ in 1..squarings do
            field <- compose field field

        scope.MoveToOuter field

    /// The field on a grid of twice the size: trilinear with half-voxel centres (`align_corners = false`), vectors × 2,
    /// since a voxel is half as long. [N, 3, Z, Y, X] → [N, 3, 2Z, 2Y, 2X].
    let double (field: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        if OwnKernels.fit [ field ] then
            scope.MoveToOuter(DoubledFieldFunction.apply field)
        else
            let size = field.shape[2..] |> Array.map (fun n -> 2L * n)

            let larger =
                torch.nn.functional.interpolate (
                    field,
                    size = size,
                    mode = torch.InterpolationMode.Trilinear,
                    align_corners = Nullable false
                )

            scope.MoveToOuter(larger * 2.0)

    /// The position of every voxel, in voxels from the centre of the grid, channels x, y, z: [1, 3, Z, Y, X]; index i of n
    /// is at i − (n − 1)/2.
    let coordinates (z: int64, y: int64, x: int64) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let positions axis (size: int64) =
            let centred = torch.arange (size, dtype = torch.float32) - float (size - 1L) / 2.0
            (along axis centred).expand([| z; y; x |])

        scope.MoveToOuter(torch.stack([ positions 2 x; positions 1 y; positions 0 z ], 0L).unsqueeze 0L)

    /// flow(x) = W x + b with x in voxels from the centre of the grid (`coordinates`), rows and columns of W in the order
    /// x, y, z. W: [N, 3, 3], b: [N, 3], size (z, y, x) → [N, 3, Z, Y, X].
    let affine (w: torch.Tensor) (b: torch.Tensor) (z: int64, y: int64, x: int64) : torch.Tensor =
        use scope = torch.NewDisposeScope()

        let centred =
            (coordinates (z, y, x)).``to``(w.dtype, w.device).view([| 1L; 3L; -1L |])

        let flow = torch.matmul (w, centred) + b.unsqueeze -1L
        scope.MoveToOuter(flow.view ([| w.shape[0]; 3L; z; y; x |]))

    /// A displacement by `d` followed (for a point) by the affine map y ↦ (W + I) y + b, exactly, not by interpolation:
    /// (W + I) d + flow_affine. W: [N, 3, 3], b: [N, 3], d: [N, 3, Z, Y, X]. (RCN's rule for its affine stage.)
    let underAffine (w: torch.Tensor) (b: torch.Tensor) (d: torch.Tensor) : torch.Tensor =
        use scope = torch.NewDisposeScope()
        let shape = d.shape
        let turned = torch.matmul(w, d.reshape ([| shape[0]; 3L; -1L |])).view shape
        scope.MoveToOuter(turned + d + affine w b (shape[2], shape[3], shape[4]))
