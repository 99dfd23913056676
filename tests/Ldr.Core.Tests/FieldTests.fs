module Ldr.Core.Tests.FieldTests

open System
open Expecto
open TorchSharp
open Ldr
open Ldr.Core.Tests.TensorSupport

/// Trilinear interpolation of one channel, clamped, by a loop over numbers.
let private slowWarp (field: torch.Tensor) (image: torch.Tensor) =
    let shape = image.shape |> Array.map int
    let n, c, nz, ny, nx = shape[0], shape[1], shape[2], shape[3], shape[4]
    let u, values = numbers field, numbers image

    let index batch channel channels z y x =
        (((batch * channels + channel) * nz + z) * ny + y) * nx + x

    let corners size (position: float) =
        let clamped = Math.Clamp(position, 0.0, float (size - 1))
        let low = min (int (floor clamped)) (max 0 (size - 2))
        let part = clamped - float low
        [ low, 1.0 - part; min (low + 1) (size - 1), part ]

    let moved =
        [|
            for batch in 0 .. n - 1 do
                for channel in 0 .. c - 1 do
                    for z in 0 .. nz - 1 do
                        for y in 0 .. ny - 1 do
                            for x in 0 .. nx - 1 do
                                let shift k = u[index batch k 3 z y x]

                                [
                                    for kz, wz in corners nz (float z + shift 2) do
                                        for ky, wy in corners ny (float y + shift 1) do
                                            for kx, wx in corners nx (float x + shift 0) do
                                                wz * wy * wx * values[index batch channel c kz ky kx]
                                ]
                                |> List.sum
        |]

    ofNumbers moved image.shape

let private sample seed size =
    let z, y, x = size
    let field = precise seed (-3.0, 3.0) [ 2; 3; z; y; x ]
    field, precise (seed + 1) (-1.0, 1.0) [ 2; 2; z; y; x ]

let private translation (x: float, y: float, z: float) (size: int64 list) =
    let one (value: float) =
        torch.ones (Array.ofList size, dtype = torch.float32) * value

    torch.stack([ one x; one y; one z ], 0L).unsqueeze 0L

let private low (tensor: torch.Tensor) = tensor.``to`` torch.float32

/// The moved image, and the gradients of its weighted sum by the field and by the image. In single precision on the
/// processor there are kernels of our own, libtorch's are for double precision.
let private derived (weights: torch.Tensor) (field: torch.Tensor) (image: torch.Tensor) =
    let f, i = field.clone().requires_grad_ true, image.clone().requires_grad_ true
    let moved = Field.warp f i
    let found = torch.autograd.grad ([| (moved * weights).sum() |], [| f; i |])
    moved.detach (), found[0], found[1]

/// Without `margin` voxels on every side.
let private inside margin (tensor: torch.Tensor) =
    (tensor, [ 2L; 3L; 4L ])
    ||> List.fold (fun t axis -> t.narrow (axis, margin, t.shape[int axis] - 2L * margin))

let tests =
    testList
        "field"
        [
            testPropertyWithConfig few "warp is trilinear and clamped, for every size, one voxel included"
            <| fun (seed: int) (a: int) (b: int) (c: int) ->
                scoped
                    (fun () ->
                        let field, image = sample seed (side 1 5 a, side 1 5 b, side 1 5 c)

                        expectClose
                            1e-12
                            (Field.warp field image)
                            (slowWarp field image)
                            "warp in double precision"

                        expectClose
                            2e-5
                            (Field.warp (low field) (low image))
                            (slowWarp field image)
                            "warp in single precision")
                    ()

            testCase "warp is grid_sample(bilinear, border, align_corners = true)"
            <| scoped (fun () ->
                let field, image = sample 3 (5L, 6L, 7L)

                let grid =
                    [ 0, 7L; 1, 6L; 2, 5L ]
                    |> List.map (fun (channel, size) ->
                        let index = torch.arange (size, dtype = torch.float64)
                        let view = Array.init 3 (fun k -> if k = 2 - channel then size else 1L)

                        (field.select (1L, int64 channel) + index.view view) * (2.0 / float (size - 1L))
                        - 1.0)

                let expected =
                    torch.nn.functional.grid_sample (
                        image,
                        torch.stack (grid, -1L),
                        mode = torch.GridSampleMode.Bilinear,
                        padding_mode = torch.GridSamplePaddingMode.Border,
                        align_corners = Nullable true
                    )

                expectClose 1e-12 (Field.warp field image) expected "warp"
                expectClose 2e-5 (Field.warp (low field) (low image)) expected "warp in single precision")

            testCase "warp's gradients are those of finite differences"
            <| scoped (fun () ->
                // Away from whole positions, where trilinear interpolation has a kink.
                let field = precise 5 (0.2, 0.8) [ 1; 3; 3; 4; 3 ]
                let image = precise 6 (0.0, 1.0) [ 1; 1; 3; 4; 3 ]
                let weights = precise 7 (-1.0, 1.0) [ 1; 1; 3; 4; 3 ]
                let score f i = (Field.warp f i * weights).sum()
                let byField f = score f image
                let byImage i = score field i
                Expect.isGreaterThan (largest (gradient byField field)) 0.01 "the field matters"
                expectClose 1e-8 (gradient byField field) (slope byField field) "by the field"
                expectClose 1e-8 (gradient byImage image) (slope byImage image) "by the image")

            // The number of threads is the whole process's.
            testSequenced (
                testPropertyWithConfig
                    few
                    "warp and its gradients are the same in single precision, on any number of threads"
                <| fun (seed: int) (a: int) (b: int) ->
                    scoped
                        (fun () ->
                            // Positions far outside too, but none near a kink. Large enough for several threads.
                            let size =
                                if a % 4 = 0 then
                                    [ 1L; 3L; 2L; 70L; 128L ]
                                else
                                    [ 2L; 3L; 17L; 31L; side 16 30 a ]

                            let whole = (precise seed (-9.0, 9.0) size).round()
                            let field = whole + precise (seed + 1) (0.1, 0.9) size
                            let planes = size |> List.updateAt 1 (side 1 6 b)
                            let image = precise (seed + 2) (-1.0, 1.0) planes
                            let weights = precise (seed + 3) (-1.0, 1.0) planes
                            let moved, byField, byImage = derived weights field image
                            let threads = torch.get_num_threads ()

                            try
                                for count in [ 1; 2; 3 ] do
                                    torch.set_num_threads count

                                    let moved', byField', byImage' =
                                        derived (low weights) (low field) (low image)

                                    expectClose 2e-5 moved' moved $"moved, {count} threads"
                                    expectClose 5e-5 byField' byField $"by the field, {count} threads"
                                    expectClose 5e-5 byImage' byImage $"by the image, {count} threads"

                                    let _, _, again = derived (low weights) (low field) (low image)

                                    Expect.equal
                                        (numbers again)
                                        (numbers byImage')
                                        $"the same again, {count} threads"
                            finally
                                torch.set_num_threads threads)
                        ()
            )

            testCase
                "warp's gradients on whole positions and on the border are libtorch's, the zero field's too"
            <| scoped (fun () ->
                // Sizes 2ⁿ + 1, on which libtorch's positions are exact.
                let size = [ 2L; 3L; 5L; 9L; 17L ]
                let image = precise 20 (-1.0, 1.0) [ 2L; 2L; 5L; 9L; 17L ]
                let weights = precise 21 (-1.0, 1.0) [ 2L; 2L; 5L; 9L; 17L ]

                for name, field in
                    [
                        "zero", torch.zeros_like (precise 22 (0.0, 1.0) size)
                        "whole", (precise 22 (-5.0, 5.0) size).round()
                    ] do
                    let moved, byField, byImage = derived weights field image
                    let moved', byField', byImage' = derived (low weights) (low field) (low image)
                    Expect.isGreaterThan (largest byField) 0.1 "the field matters"
                    expectClose 1e-6 moved' moved $"{name}: moved"
                    expectClose 1e-5 byField' byField $"{name}: by the field"
                    expectClose 1e-5 byImage' byImage $"{name}: by the image")

            testCase "warp gives its gradient to what asks for one, through copies of views too"
            <| scoped (fun () ->
                let field = precise 8 (0.2, 0.8) [ 1; 3; 4; 5; 9 ] |> low
                let image = precise 9 (0.0, 1.0) [ 1; 2; 4; 5; 9 ] |> low
                Expect.isFalse (Field.warp field image).requires_grad "nothing asks"
                let _, byField, byImage = derived (torch.ones_like image) field image

                let asking, asking' =
                    field.clone().requires_grad_ true, image.clone().requires_grad_ true

                (Field.warp asking image).sum().backward()
                (Field.warp field asking').sum().backward()
                expectClose 0.0 asking.grad byField "the field alone"
                expectClose 0.0 asking'.grad byImage "the image alone"

                // The kernels read a copy of an expanded view, and of one whose axes are turned.
                let one = (precise 8 (0.2, 0.8) [ 1; 3; 1; 1; 1 ] |> low).requires_grad_ true
                let shared = one.expand (1L, 3L, 4L, 5L, 9L)
                let _, byShared, _ = derived (torch.ones_like image) (shared.detach ()) image
                (Field.warp shared image).sum().backward()
                expectClose 1e-4 one.grad (byShared.sum ([| 2L; 3L; 4L |], true)) "an expanded field"
                let turned = (field.transpose(2L, 4L).contiguous()).requires_grad_ true
                (Field.warp (turned.transpose (2L, 4L)) image).sum().backward()
                expectClose 0.0 (turned.grad.transpose (2L, 4L)) byField "a field with turned axes")

            testCase "by libtorch on this thread, if wished"
            <| scoped (fun () ->
                let field = precise 8 (-2.2, 2.8) [ 1; 3; 9; 15; 19 ] |> low
                let image = precise 9 (0.0, 1.0) [ 1; 2; 9; 15; 19 ] |> low
                let ours = Field.warp field image
                let theirs = OwnKernels.without (fun () -> Field.warp field image)
                expectClose 2e-5 theirs ours "the same"
                Expect.notEqual (numbers theirs) (numbers ours) "not by the same way"
                Expect.equal (numbers (Field.warp field image)) (numbers ours) "only within the action")

            testPropertyWithConfig few "warpNearest takes the nearest voxel, also of whole numbers"
            <| fun (seed: int) (a: int) (b: int) (c: int) ->
                scoped
                    (fun () ->
                        let z, y, x = side 1 5 a, side 1 5 b, side 1 5 c
                        let field = single seed (-3.0, 3.0) [ 1; 3; z; y; x ]
                        let labels = (precise seed (0.0, 9.0) [ 1; 1; z; y; x ]).``to`` torch.int64
                        let u, values = numbers field, numbers labels

                        let expected =
                            [|
                                for k in 0 .. int z - 1 do
                                    for j in 0 .. int y - 1 do
                                        for i in 0 .. int x - 1 do
                                            let voxel = (k * int y + j) * int x + i
                                            let shift channel = u[channel * int (z * y * x) + voxel]

                                            let nearest size start by =
                                                Math.Clamp(
                                                    int (floor (float start + by + 0.5)),
                                                    0,
                                                    int size - 1
                                                )

                                            let k, j, i =
                                                nearest z k (shift 2),
                                                nearest y j (shift 1),
                                                nearest x i (shift 0)

                                            values[(k * int y + j) * int x + i]
                            |]

                        let moved = Field.warpNearest field labels
                        Expect.equal moved.dtype torch.int64 "labels stay whole numbers"
                        expectSame moved (ofNumbers expected labels.shape) "labels")
                    ()

            testCase "a field that does not fit its image is refused, with both shapes"
            <| scoped (fun () ->
                let field, image =
                    torch.zeros [| 1L; 3L; 4L; 4L; 4L |], torch.zeros [| 1L; 1L; 4L; 4L; 5L |]

                Expect.throwsC (fun () -> Field.warp field image |> ignore) (fun e ->
                    Expect.stringContains e.Message "[1, 3, 4, 4, 4]" "the field's"
                    Expect.stringContains e.Message "[1, 1, 4, 4, 5]" "the image's"))

            testCase "the exponential of a linear velocity is the matrix's, of a constant one the constant"
            <| scoped (fun () ->
                // dx/dt = A x about the centre: after unit time x ↦ e^A x. A turn about z by 0.3 rad, with growth by e^0.1.
                let a =
                    torch.tensor (array2D [ [ 0.1; -0.3; 0.0 ]; [ 0.3; 0.1; 0.0 ]; [ 0.0; 0.0; 0.0 ] ])

                let grow = exp 0.1

                let expA =
                    torch.tensor (
                        array2D
                            [
                                [ grow * cos 0.3; -grow * sin 0.3; 0.0 ]
                                [ grow * sin 0.3; grow * cos 0.3; 0.0 ]
                                [ 0.0; 0.0; 1.0 ]
                            ]
                    )

                let size = 21L, 21L, 21L
                let still = torch.zeros ([| 1L; 3L |], dtype = torch.float64)
                let one = torch.eye (3L, dtype = torch.float64)
                let velocity = Field.affine (a.unsqueeze 0L) still size
                let expected = Field.affine ((expA - one).unsqueeze 0L) still size
                // Squaring starts from x + v/2⁶, which errs by about |A|² |x| / 2⁷.
                expectClose
                    0.01
                    (inside 6L (Field.exponential velocity))
                    (inside 6L expected)
                    "a linear velocity"

                let constant = torch.ones_like velocity * 1.7
                expectClose 1e-12 (Field.exponential constant) constant "a constant velocity")

            testCase "the negative of a velocity gives the inverse"
            <| scoped (fun () ->
                let at = Field.coordinates (32L, 32L, 32L)
                // Waves of 32 voxels, up to 3 voxels high, each component along another axis.
                let velocity = (at * (Math.PI / 16.0)).sin().roll(1L, 1L) * 3.0
                let there, back = Field.exponential velocity, Field.exponential -velocity

                Expect.isLessThan
                    (largest (inside 10L (Field.compose back there)))
                    0.05
                    "voxels: interpolating such waves errs by 3 (π/16)² / 8 = 0.014 each time"

                Expect.isGreaterThan (largest (inside 10L there)) 2.0 "and it is no small field")

            testPropertyWithConfig few "compose is a(x + b(x)) + b(x)"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let a = precise seed (-2.0, 2.0) [ 1; 3; 4; 5; 3 ]
                        let b = precise (seed + 1) (-2.0, 2.0) [ 1; 3; 4; 5; 3 ]
                        expectClose 1e-12 (Field.compose a b) (slowWarp b a + b) "compose")
                    ()

            testCase "an image goes through the first field of a composition first"
            <| scoped (fun () ->
                let size = [ 9L; 9L; 9L ]
                let image = single 1 (0.0, 1.0) [ 1; 1; 9; 9; 9 ]
                let a = translation (1.0, 0.0, -1.0) size
                // Not a translation, so that the order matters; whole voxels, so that nothing is interpolated.
                let b = (single 2 (-1.5, 1.5) [ 1; 3; 9; 9; 9 ]).round()
                let once = Field.warp (Field.compose a b) image
                let twice = Field.warp b (Field.warp a image)
                let other = Field.warp a (Field.warp b image)
                expectClose 1e-5 (inside 3L once) (inside 3L twice) "once by the composition, or twice"
                Expect.isGreaterThan (largest (inside 3L (twice - other))) 0.1 "the order matters")

            testPropertyWithConfig few "double of a linear field is the same map in half voxels"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let w, b =
                            single seed (-1.0, 1.0) [ 2; 3; 3 ], single (seed + 1) (-1.0, 1.0) [ 2; 3 ]

                        let doubled = Field.double (Field.affine w b (4L, 5L, 6L))
                        let expected = Field.affine w (b * 2.0) (8L, 10L, 12L)
                        expectShape doubled [ 2; 3; 8; 10; 12 ] "size"
                        expectClose 1e-4 (inside 1L doubled) (inside 1L expected) "away from the border")
                    ()

            testCase "coordinates are centred, in the order x, y, z"
            <| scoped (fun () ->
                let centred = Field.coordinates (2L, 3L, 4L)
                expectShape centred [ 1; 3; 2; 3; 4 ] "shape"

                let at (z: int64, y: int64, x: int64) =
                    [ for c in 0L .. 2L -> centred[0L, c, z, y, x].item<float32>() ]

                Expect.equal (at (0L, 0L, 0L)) [ -1.5f; -1.0f; -0.5f ] "the first voxel"
                Expect.equal (at (1L, 1L, 3L)) [ 1.5f; 0.0f; 0.5f ] "another one")

            testCase "an affine field is W x + b from the centre"
            <| scoped (fun () ->
                // x gets 0.5 y + 1, y gets −z, z gets 0.25 x.
                let w =
                    ofNumbers [| 0.0; 0.5; 0.0; 0.0; 0.0; -1.0; 0.25; 0.0; 0.0 |] [| 1L; 3L; 3L |]

                let b = ofNumbers [| 1.0; 0.0; 0.0 |] [| 1L; 3L |]
                let flow = Field.affine w b (3L, 5L, 9L)
                let at (c: int64) = flow[0L, c, 2L, 0L, 8L].item<float>()
                // That voxel is at (4, −2, 1).
                Expect.equal [ at 0L; at 1L; at 2L ] [ 0.0; -1.0; 1.0 ] "flow")

            testPropertyWithConfig
                few
                "underAffine is the composition with the affine field, evaluated exactly"
            <| fun (seed: int) ->
                scoped
                    (fun () ->
                        let w, b =
                            precise seed (-0.3, 0.3) [ 1; 3; 3 ], precise (seed + 1) (-1.0, 1.0) [ 1; 3 ]

                        let d = precise (seed + 2) (-4.0, 4.0) [ 1; 3; 4; 3; 5 ]
                        let u, m, t = numbers d, numbers w, numbers b

                        let expected =
                            [|
                                for c in 0..2 do
                                    for z in 0..3 do
                                        for y in 0..2 do
                                            for x in 0..4 do
                                                let shift k = u[((k * 4 + z) * 3 + y) * 5 + x]

                                                let at =
                                                    [|
                                                        float x - 2.0 + shift 0
                                                        float y - 1.0 + shift 1
                                                        float z - 1.5 + shift 2
                                                    |]

                                                (Seq.sum (seq { for k in 0..2 -> m[3 * c + k] * at[k] }))
                                                + t[c]
                                                + shift c
                            |]

                        expectClose
                            1e-6
                            (Field.underAffine w b d)
                            (ofNumbers expected d.shape)
                            "under the affine map"

                        // Inside the grid, interpolation of a linear function is exact too.
                        let gentle = d * 0.1
                        let composed = Field.compose (Field.affine w b (4L, 3L, 5L)) gentle

                        expectClose
                            1e-5
                            (inside 1L (Field.underAffine w b gentle))
                            (inside 1L composed)
                            "as a composition")
                    ()

            testCase "nothing but the result is left in the caller's scope"
            <| scoped (fun () ->
                let field, image = sample 1 (3L, 4L, 5L)
                let w, b = precise 1 (0.0, 1.0) [ 2; 3; 3 ], precise 2 (0.0, 1.0) [ 2; 3 ]
                let low', lowImage = low field, low image
                let asking = (low field).requires_grad_ true

                for name, run in
                    [
                        "warp", fun () -> Field.warp field image
                        "warp in single precision", fun () -> Field.warp low' lowImage
                        "warp with a gradient", fun () -> Field.warp asking lowImage
                        "warpNearest", fun () -> Field.warpNearest field image
                        "compose", fun () -> Field.compose field field
                        "double", fun () -> Field.double field
                        "exponential", fun () -> Field.exponential field
                        "affine", fun () -> Field.affine w b (3L, 4L, 5L)
                        "underAffine", fun () -> Field.underAffine w b field
                    ] do
                    let before = DisposeScopeManager.Statistics.ThreadTotalLiveCount
                    run () |> ignore
                    Expect.equal (DisposeScopeManager.Statistics.ThreadTotalLiveCount - before) 1L name)
        ]
