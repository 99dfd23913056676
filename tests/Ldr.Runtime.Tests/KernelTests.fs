/// The engine's kernels against slow loops in double precision, at every vector width.
module Ldr.Runtime.Tests.KernelTests

#nowarn "9" // Feature maps are native memory.

open System
open System.Runtime.Intrinsics
open Microsoft.FSharp.NativeInterop
open Expecto
open Ldr.Runtime.Inference.Kernels
open Ldr.TestKit.Helpers

/// Makes the operations of one vector width.
type private IWidth =
    abstract Halving: Filter * FeatureMap * FeatureMap * Activation -> Operation
    abstract Doubling: Filter * FeatureMap * FeatureMap * int -> Operation

    abstract Pair:
        Filter *
        PlanarImage *
        PlanarImage *
        struct (int * int * int) *
        struct (int * int * int) *
        FeatureMap *
        Activation ->
            Operation

    abstract Flow: Filter * FeatureMap * FeatureMap * PlanarField * struct (int * int * int) -> Operation
    abstract HalfFlow: Filter * FeatureMap * FeatureMap * PlanarField -> Operation
    abstract DoubleField: PlanarField * PlanarField * struct (int * int * int) -> Operation

type private Width<'L, 'V
    when 'L: struct
    and 'L: (new: unit -> 'L)
    and 'L :> ValueType
    and 'L :> ILanes<'V>
    and 'V: struct
    and 'V: (new: unit -> 'V)
    and 'V :> ValueType>() =
    interface IWidth with
        member _.Halving(filter, input, output, activation) =
            let convolution =
                TiledConvolution<'L, 'V>
                    .Convolution("conv", filter.Shape, input, 0, output, 0, activation, 2, false)

            FilteredOperations.With(convolution, filter)

        member _.Doubling(filter, input, output, channel) =
            let doubling =
                TiledConvolution<'L, 'V>
                    .Doubling("deconv", filter.Shape, input, 0, output, channel, Activation.Relu)

            FilteredOperations.With(doubling, filter)

        member _.Pair(filter, first, second, size, before, output, activation) =
            FilteredOperations.With(
                PairConvolution<'L, 'V>(
                    "conv1",
                    filter.Shape,
                    first,
                    second,
                    size,
                    before,
                    output,
                    activation
                ),
                filter
            )

        member _.Flow(filter, first, second, field, before) =
            FilteredOperations.With(
                FlowHead<'L, 'V>("flow", filter.Shape, first, second, field, before),
                filter
            )

        member _.HalfFlow(filter, first, second, field) =
            FilteredOperations.With(
                HalfFlowHead<'L, 'V>("flow", filter.Shape, first, second, field, 1.0f),
                filter
            )

        member _.DoubleField(half, field, before) =
            FieldDoubling<'L, 'V>("doubling", half, field, before)

let private widths: (string * IWidth) list =
    [
        "512 bits", Width<Lanes512, Vector512<float32>>()
        "256 bits", Width<Lanes256, Vector256<float32>>()
        "128 bits", Width<Lanes128, Vector128<float32>>()
        "scalar", Width<LanesScalar, float32>()
    ]

let private run (operation: Operation) =
    use team = new WorkerTeam(2, operation.ScratchBytes)
    team.Begin()
    team.Run operation
    team.End()

type private Size = int * int * int

let private structOf (x: int, y: int, z: int) = struct (x, y, z)

/// Numbers [channel][z][y][x] with zeros outside.
type private Cube =
    {
        Channels: int
        Size: Size
        Values: float32[]
    }

    member this.Item
        with get (c: int, x: int, y: int, z: int) =
            let nx, ny, nz = this.Size

            if x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz then
                0.0
            else
                float this.Values[((c * nz + z) * ny + y) * nx + x]

let private cube (random: Random) channels (nx, ny, nz) =
    {
        Channels = channels
        Size = nx, ny, nz
        Values = randomFloats random (channels * nx * ny * nz) -1.0 1.0
    }

let private filter (random: Random) transposed inputs outputs side bias =
    let weights = randomFloats random (inputs * outputs * side * side * side) -0.3 0.3

    let biases =
        if bias then
            randomFloats random outputs -0.5 0.5
        else
            Unchecked.defaultof<float32[]>

    Filter(inputs, outputs, side, weights, biases, transposed)

let private biasOf (filter: Filter) output =
    if isNull (box filter.Bias) then
        0.0
    else
        float filter.Bias[output]

let private convolve (filter: Filter) (input: Cube) (output, x, y, z) =
    let mutable sum = biasOf filter output

    for c in 0 .. filter.Inputs - 1 do
        for kz in 0 .. filter.Side - 1 do
            for ky in 0 .. filter.Side - 1 do
                for kx in 0 .. filter.Side - 1 do
                    let w =
                        filter.Weights[(((output * filter.Inputs + c) * filter.Side + kz) * filter.Side + ky)
                                       * filter.Side
                                       + kx]

                    sum <- sum + float w * input[c, 2 * x + kx - 1, 2 * y + ky - 1, 2 * z + kz - 1]

    sum

/// Scatters, as the definition of a transposed convolution says: input i reaches output 2i − 1 + k.
let private transpose (filter: Filter) (input: Cube) : Cube =
    let nx, ny, nz = input.Size
    let size = 2 * nx, 2 * ny, 2 * nz
    let sums = Array.zeroCreate<float>(filter.Outputs * 8 * nx * ny * nz)

    for c in 0 .. filter.Inputs - 1 do
        for z in 0 .. nz - 1 do
            for y in 0 .. ny - 1 do
                for x in 0 .. nx - 1 do
                    for o in 0 .. filter.Outputs - 1 do
                        for k in 0..63 do
                            let tz, ty, tx = 2 * z - 1 + k / 16, 2 * y - 1 + k / 4 % 4, 2 * x - 1 + k % 4

                            if tz >= 0 && ty >= 0 && tx >= 0 && tz < 2 * nz && ty < 2 * ny && tx < 2 * nx then
                                let i = ((o * 2 * nz + tz) * 2 * ny + ty) * 2 * nx + tx
                                let w = filter.Weights[(c * filter.Outputs + o) * 64 + k]
                                sums[i] <- sums[i] + float w * input[c, x, y, z]

    {
        Channels = filter.Outputs
        Size = size
        Values = Array.map float32 sums
    }

let private activate activation (value: float) =
    match activation with
    | Activation.Relu -> max 0.0 value
    | Activation.LeakyRelu -> if value > 0.0 then value else 0.1 * value
    | _ -> value

let private mapOf (arena: Arena) (nx, ny, nz) channels = FeatureMap(arena, nx, ny, nz, channels)

let private get (map: FeatureMap) c x y z = NativePtr.get (map.At(x, y, z)) c

let private fill (map: FeatureMap) first (values: Cube) =
    for z in 0 .. map.Nz - 1 do
        for y in 0 .. map.Ny - 1 do
            for x in 0 .. map.Nx - 1 do
                for c in 0 .. values.Channels - 1 do
                    NativePtr.set (map.At(x, y, z)) (first + c) (float32 values[c, x, y, z])

let private close (actual: float32) (expected: float) what =
    if not (abs (float actual - expected) <= 2e-4 * (1.0 + abs expected)) then
        failtest $"{what}: {actual} instead of {expected}"

/// Everything but the channels [first, first + count) of the inner voxels is still zero.
let private untouched (map: FeatureMap) first count =
    for z in -1 .. map.Nz do
        for y in -1 .. map.Ny do
            for x in -1 .. map.Nx do
                let inner = x >= 0 && y >= 0 && z >= 0 && x < map.Nx && y < map.Ny && z < map.Nz

                for c in 0 .. map.Channels - 1 do
                    if not (inner && c >= first && c < first + count) && get map c x y z <> 0.0f then
                        failtest $"channel {c} of voxel ({x}, {y}, {z}) was written"

let private side (random: Random) = random.Next(1, 8)
let private anySize random = side random, side random, side random

let private withWidths name count (test: IWidth -> Random -> unit) =
    testList name [ for label, width in widths -> testSeeds label count (test width) ]

let private checkMap (map: FeatureMap) first outputs (expected: int * int * int * int -> float) =
    for z in 0 .. map.Nz - 1 do
        for y in 0 .. map.Ny - 1 do
            for x in 0 .. map.Nx - 1 do
                for c in 0 .. outputs - 1 do
                    close (get map (first + c) x y z) (expected (c, x, y, z)) $"({x}, {y}, {z}) channel {c}"

    untouched map first outputs

let private pick (random: Random) (values: 'a list) = values[random.Next values.Length]

let private halving (width: IWidth) (random: Random) =
    let kernel = pick random [ 3; 4 ]
    let inputs, outputs = pick random [ 1; 3; 8 ], pick random [ 3; 16; 32; 37 ]
    let more = pick random [ 0; 2 ]
    let nx, ny, nz = anySize random

    let activation =
        pick random [ Activation.Relu; Activation.LeakyRelu; Activation.None ]

    use arena = new Arena()
    let output = mapOf arena (nx, ny, nz) (outputs + more)

    let odd n =
        if kernel = 3 then 2 * n - random.Next 2 else 2 * n

    let size = odd nx, odd ny, odd nz
    let input = mapOf arena size (inputs + more)
    arena.Allocate()
    let values = cube random (inputs + more) size
    fill input 0 values
    let filter = filter random false inputs outputs kernel (random.Next 2 = 0)
    run (width.Halving(filter, input, output, activation))
    checkMap output 0 outputs (convolve filter values >> activate activation)

let private doubling (width: IWidth) (random: Random) =
    let inputs, outputs = pick random [ 1; 5 ], pick random [ 1; 4; 16; 32; 37 ]
    let first = pick random [ 0; 3 ]
    let (nx, ny, nz) as size = anySize random
    use arena = new Arena()
    let input = mapOf arena size inputs
    let output = mapOf arena (2 * nx, 2 * ny, 2 * nz) (first + outputs + 1)
    arena.Allocate()
    let values = cube random inputs size
    fill input 0 values
    let filter = filter random true inputs outputs 4 false
    run (width.Doubling(filter, input, output, first))
    let expected = transpose filter values
    checkMap output first outputs (fun (c, x, y, z) -> max 0.0 expected[c, x, y, z])

let private withPinned (values: float32[]) (test: nativeptr<float32> -> unit) =
    use pointer = fixed values
    test pointer

let private pair (width: IWidth) (random: Random) =
    let kernel = pick random [ 3; 4 ]
    let outputs = pick random [ 5; 16; 32; 37 ]
    let sides () = random.Next(8, 24)
    let (nx, ny, nz) as size = sides (), sides (), random.Next(1, 4)

    // With kernel 4 the images lie anywhere in a padded grid of even sides.
    let before, (ox, oy, oz) =
        if kernel = 3 then
            (0, 0, 0), ((nx + 1) / 2, (ny + 1) / 2, (nz + 1) / 2)
        else
            let b = random.Next 3, random.Next 3, random.Next 3
            let half n b = (n + 2 * b + 1) / 2
            let bx, by, bz = b
            b, (half nx bx, half ny by, half nz bz)

    let values = cube random 2 size
    let count = nx * ny * nz
    use arena = new Arena()
    let output = mapOf arena (ox, oy, oz) (outputs + 1)
    arena.Allocate()
    let filter = filter random false 2 outputs kernel true

    withPinned (Array.take count values.Values) (fun first ->
        withPinned (Array.skip count values.Values) (fun second ->
            let image data = PlanarImage(Borrowed = data)

            run (
                width.Pair(
                    filter,
                    image first,
                    image second,
                    structOf size,
                    structOf before,
                    output,
                    Activation.LeakyRelu
                )
            )))

    let bx, by, bz = before

    let padded =
        let px, py, pz = 2 * ox, 2 * oy, 2 * oz

        {
            Channels = 2
            Size = px, py, pz
            Values =
                Array.init (2 * px * py * pz) (fun i ->
                    float32
                        values[i / (px * py * pz), i % px - bx, i / px % py - by, i / (px * py) % pz - bz])
        }

    checkMap output 0 outputs (convolve filter padded >> activate Activation.LeakyRelu)

/// Two maps of random numbers, and the two concatenated.
let private heads random (nx, ny, nz) =
    let a, b = pick random [ 1; 4; 16 ], pick random [ 2; 16 ]
    let arena = new Arena()
    let first, second = mapOf arena (nx, ny, nz) a, mapOf arena (nx, ny, nz) b
    arena.Allocate()
    let values = cube random (a + b) (nx, ny, nz)
    let count = nx * ny * nz

    fill
        first
        0
        { values with
            Channels = a
            Values = Array.take (a * count) values.Values
        }

    fill
        second
        0
        { values with
            Channels = b
            Values = Array.skip (a * count) values.Values
        }

    arena, first, second, values

let private checkField (field: float32[]) (nx, ny, nz) (expected: int * int * int * int -> float) =
    for c in 0..2 do
        for z in 0 .. nz - 1 do
            for y in 0 .. ny - 1 do
                for x in 0 .. nx - 1 do
                    close
                        field[((c * nz + z) * ny + y) * nx + x]
                        (expected (c, x, y, z))
                        $"({x}, {y}, {z}) component {c}"

let private flow (width: IWidth) (random: Random) =
    let (nx, ny, nz) as size =
        pick random [ side random; 16; 33 ], side random, side random

    let arena, first, second, values = heads random size

    use _ = arena
    // Cropped by up to one voxel in front, and at the end.
    let bx, by, bz = random.Next 2, random.Next 2, random.Next 2

    let fx, fy, fz =
        2 * nx - bx - random.Next 2, 2 * ny - by, 2 * nz - bz - random.Next 2

    let fx, fz = max 1 fx, max 1 fz
    let filter = filter random true values.Channels 3 4 false
    let vectors = Array.zeroCreate<float32>(3 * fx * fy * fz)

    withPinned vectors (fun data ->
        let field = PlanarField(structOf (fx, fy, fz), Borrowed = data)
        run (width.Flow(filter, first, second, field, structOf (bx, by, bz))))

    let expected = transpose filter values
    checkField vectors (fx, fy, fz) (fun (c, x, y, z) -> expected[c, x + bx, y + by, z + bz])

let private halfFlow (width: IWidth) (random: Random) =
    let (nx, ny, nz) as size =
        pick random [ side random; 16; 33 ], side random, side random

    let arena, first, second, values = heads random size

    use _ = arena
    let filter = filter random false values.Channels 3 3 true
    let vectors = Array.zeroCreate<float32>(3 * nx * ny * nz)

    withPinned vectors (fun data ->
        let field = PlanarField(structOf size, Borrowed = data)
        run (width.HalfFlow(filter, first, second, field)))

    checkField vectors size (fun (o, x, y, z) ->
        let mutable sum = biasOf filter o

        for c in 0 .. values.Channels - 1 do
            for k in 0..26 do
                let w = filter.Weights[(o * values.Channels + c) * 27 + k]

                sum <- sum + float w * values[c, x + k % 3 - 1, y + k / 3 % 3 - 1, z + k / 9 - 1]

        sum)

let private doubleField (width: IWidth) (random: Random) =
    let (nx, ny, nz) as size =
        pick random [ side random; 16; 33 ], side random, side random

    let values = cube random 3 size
    let bx, by, bz = random.Next 2, random.Next 2, random.Next 2
    let fx, fy, fz = 2 * nx - bx, 2 * ny - by, 2 * nz - bz
    let vectors = Array.zeroCreate<float32>(3 * fx * fy * fz)

    withPinned values.Values (fun source ->
        withPinned vectors (fun data ->
            let half = PlanarField(structOf size, Borrowed = source)
            let field = PlanarField(structOf (fx, fy, fz), Borrowed = data)
            run (width.DoubleField(half, field, structOf (bx, by, bz)))))

    // Output voxel o lies at (o + ½) / 2 − ½ of the input; what lies outside is continued.
    let weights o n =
        let at = (float o + 0.5) / 2.0 - 0.5
        let low = floor at
        let inside i = max 0 (min (n - 1) i)
        [ inside (int low), 1.0 - (at - low); inside (int low + 1), at - low ]

    checkField vectors (fx, fy, fz) (fun (c, x, y, z) ->
        List.sum
            [
                for ix, wx in weights (x + bx) nx do
                    for iy, wy in weights (y + by) ny do
                        for iz, wz in weights (z + bz) nz do
                            2.0 * wx * wy * wz * values[c, ix, iy, iz]
            ])

let private affineHead (random: Random) =
    let (nx, ny, nz) as size = anySize random
    let channels = pick random [ 1; 5 ]
    use arena = new Arena()
    let input = mapOf arena size channels
    arena.Allocate()
    let values = cube random channels size
    fill input 0 values
    let matrix = filter random false channels 9 3 false
    let shift = filter random false channels 3 3 false
    let map = AffineMap()
    run (AffineHead(input, matrix, shift, map))

    let cells i n =
        [ i * n / 3 .. int (ceil (float ((i + 1) * n) / 3.0)) - 1 ]

    let pooled c cell =
        List.average
            [
                for z in cells (cell / 9) nz do
                    for y in cells (cell / 3 % 3) ny do
                        for x in cells (cell % 3) nx do
                            values[c, x, y, z]
            ]

    let expected (filter: Filter) output =
        List.sum
            [
                for c in 0 .. channels - 1 do
                    for cell in 0..26 do
                        float filter.Weights[(output * channels + c) * 27 + cell] * pooled c cell
            ]

    map.Matrix |> Array.iteri (fun i w -> close w (expected matrix i) $"W {i}")
    map.Shift |> Array.iteri (fun i b -> close b (expected shift i) $"b {i}")

let tests =
    testList
        "kernels"
        [
            withWidths "a convolution of stride 2 is the slow loop's" 25 halving
            withWidths "a transposed convolution of stride 2 is the slow loop's" 15 doubling
            withWidths "the first convolution reads the pair with zeros around it" 10 pair
            withWidths "the head of ldr is a transposed convolution, cropped" 15 flow
            withWidths "the head of ldr-half is a convolution 3³" 15 halfFlow
            withWidths "a field is doubled with half-voxel centres" 15 doubleField
            testSeeds "the affine head pools and multiplies" 20 affineHead
        ]
