namespace Ldr

open System
open TorchSharp
open TorchSharp.Modules

/// How the weights of a convolution start.
type Start =
    /// Uniform ±√(3 / fan-in): the variance of the inputs is kept. (Recursive Cascaded Networks.)
    | Scaled
    /// Normal with standard deviation 1e-5: a head that starts at nearly nothing. (VoxelMorph's flow.)
    | NearZero

/// A convolution or transposed convolution, the same along the three axes.
type Filter =
    {
        Inputs: int
        Outputs: int
        Kernel: int
        Stride: int
        Padding: int
        Bias: bool
        Start: Start
    }

module Filter =
    /// Kernel 3, stride 1, same size, with bias.
    let same inputs outputs =
        {
            Inputs = inputs
            Outputs = outputs
            Kernel = 3
            Stride = 1
            Padding = 1
            Bias = true
            Start = Scaled
        }

    /// Stride 2 with the given kernel (3 or 4), with bias: half the size, rounded up for kernel 3 and down for kernel 4.
    let halving kernel inputs outputs =
        { same inputs outputs with
            Kernel = kernel
            Stride = 2
        }

    /// Kernel 4, stride 2, no bias; twice the size as a transposed convolution.
    let doubling inputs outputs =
        { halving 4 inputs outputs with
            Bias = false
        }

    /// A kernel as large as its input, no padding, no bias: one voxel.
    let whole kernel inputs outputs =
        { same inputs outputs with
            Kernel = kernel
            Padding = 0
            Bias = false
        }

    /// The same filter as a head that starts near zero.
    let head filter = { filter with Start = NearZero }

/// The parameters of one layer, registered under their names. It keeps no field of them, so that `to(device)`, which
/// replaces parameters, is seen by the next use.
[<Sealed>]
type Weights(name: string, parameters: (string * Parameter) list) as this =
    inherit torch.nn.Module(name)

    do
        for key, parameter in parameters do
            // A parameter outlives the scope in which its network happens to be made.
            parameter.DetachFromDisposeScope() |> ignore
            this.register_parameter (key, parameter)

    /// The parameter of that name.
    member this.Item
        with get (key: string): torch.Tensor = nonNull (this.get_parameter key) :> torch.Tensor

/// The parameters of one layer before they are made: their names and shapes tell what they will be, and cost nothing.
[<NoEquality; NoComparison>]
type Part =
    {
        Name: string
        Shapes: (string * int64[]) list
        /// Drawn when it is first asked for.
        Weights: Lazy<Weights>
    }

/// A part of a network: a function of a tensor, with the parameters that it uses.
[<NoEquality; NoComparison>]
type Layer =
    {
        /// The owners of the parameters, with names unique in the network.
        Parts: Part list
        /// [N, C, Z, Y, X] → [N, C', Z', Y', X']. The input stays as it is.
        Run: torch.Tensor -> torch.Tensor
        /// The same for an input that may be overwritten, where that saves memory.
        RunInPlace: (torch.Tensor -> torch.Tensor) option
        /// Whether the output is a new tensor that nothing needs later, autograd included: what follows may overwrite it.
        IsScratch: bool
        /// From the size [z; y; x] of an input: the size of the output, and the multiplications with addition of one
        /// sample.
        Cost: int64[] -> int64[] * float
    }

/// Layers under one name, as a module: it registers their parts.
[<Sealed>]
type Composite(name: string, parts: Part list) as this =
    inherit torch.nn.Module(name)

    do
        for part in parts do
            this.register_module (part.Name, part.Weights.Value)

module Layer =
    /// The parameters, in the order of the parts.
    let parameters (layer: Layer) : torch.Tensor list =
        [
            for part in layer.Parts do
                for key, _ in part.Shapes -> part.Weights.Value[key]
        ]

    /// A parameter whose values depend on the seed alone, never on the global generator.
    let private draw (seed: Seed) (start: Start) fanIn (shape: int64[]) =
        use generator = new torch.Generator(uint64 (Seed.toInt64 seed), torch.CPU)
        let values = torch.empty (shape, dtype = torch.float32)

        match start with
        | Scaled ->
            let bound = sqrt (3.0 / fanIn)
            values.uniform_ (-bound, bound, generator) |> ignore
        | NearZero -> values.normal_ (0.0, 1e-5, generator) |> ignore

        new Parameter(values)

    let private part seed name (filter: Filter) fanIn (shape: int64[]) : Part =
        let shapes =
            [
                "weight", shape
                if filter.Bias then
                    "bias", [| int64 filter.Outputs |]
            ]

        let make (key, shape) =
            match key with
            | "weight" -> key, draw (seed |> Seed.split name) filter.Start fanIn shape
            | _ -> key, new Parameter(torch.zeros (shape, dtype = torch.float32))

        {
            Name = name
            Shapes = shapes
            Weights = lazy new Weights(name, List.map make shapes)
        }

    let private biasOf (filter: Filter) (part: Part) : torch.Tensor =
        if filter.Bias then
            part.Weights.Value["bias"]
        else
            Unchecked.defaultof<torch.Tensor>

    let private volume (size: int64[]) =
        size |> Array.map float |> Array.reduce (*)

    let private cube (value: int) = Array.create 3 (int64 value)

    /// A convolution, named `name`; its seed is split by that name.
    let convolution (seed: Seed) (name: string) (filter: Filter) : Layer =
        let side = int64 filter.Kernel
        let taps = float filter.Inputs * float (side * side * side)

        let own =
            part seed name filter taps [| int64 filter.Outputs; int64 filter.Inputs; side; side; side |]

        {
            Parts = [ own ]
            Run =
                fun x ->
                    torch.nn.functional.conv3d (
                        OneDnn.tried x,
                        own.Weights.Value["weight"],
                        biasOf filter own,
                        cube filter.Stride,
                        cube filter.Padding
                    )
            RunInPlace = None
            IsScratch = true
            Cost =
                fun size ->
                    let out =
                        size
                        |> Array.map (fun n ->
                            (n + 2L * int64 filter.Padding - side) / int64 filter.Stride + 1L)

                    out, volume out * taps * float filter.Outputs
        }

    /// A transposed convolution, named `name`. Its fan-in is what reaches one voxel of the output:
    /// inputs × (kernel/stride)³.
    let transposed (seed: Seed) (name: string) (filter: Filter) : Layer =
        let side = int64 filter.Kernel
        let fanIn = float filter.Inputs * (float filter.Kernel / float filter.Stride) ** 3.0

        let own =
            part seed name filter fanIn [| int64 filter.Inputs; int64 filter.Outputs; side; side; side |]

        {
            Parts = [ own ]
            Run =
                fun x ->
                    torch.nn.functional.conv_transpose3d (
                        OneDnn.tried x,
                        own.Weights.Value["weight"],
                        biasOf filter own,
                        cube filter.Stride,
                        cube filter.Padding
                    )
            RunInPlace = None
            IsScratch = true
            Cost =
                fun size ->
                    let out =
                        size
                        |> Array.map (fun n ->
                            (n - 1L) * int64 filter.Stride - 2L * int64 filter.Padding + side)

                    out,
                    volume size
                    * float filter.Inputs
                    * float filter.Outputs
                    * float (side * side * side)
        }

    /// A function without parameters that costs next to nothing; `resize` tells the size of its output.
    let private plain resize run : Layer =
        {
            Parts = []
            Run = run
            RunInPlace = None
            IsScratch = false
            Cost = fun size -> resize size, 0.0
        }

    /// A function of every voxel by itself, and the same in place.
    let private activation run inPlace : Layer =
        { plain id run with
            RunInPlace = Some inPlace
        }

    /// Leaves its input as it is.
    let identity: Layer = plain id id

    /// max(0, x).
    let relu: Layer = activation (fun x -> x.relu ()) (fun x -> x.relu_ ())

    /// x for x > 0, 0.1 x below.
    let leakyRelu: Layer =
        activation (fun x -> torch.nn.functional.leaky_relu (x, 0.1)) (fun x -> x.leaky_relu_ 0.1)

    /// The logistic function.
    let sigmoid: Layer = activation (fun x -> x.sigmoid ()) (fun x -> x.sigmoid_ ())

    /// Multiplication by a constant.
    let scale (factor: float) : Layer = plain id (fun x -> x * factor)

    let private twice = Array.map (fun n -> 2L * n)

    /// Every voxel eight times.
    let nearestDouble: Layer =
        plain twice (fun x ->
            torch.nn.functional.interpolate (
                x,
                size = twice x.shape[2..],
                mode = torch.InterpolationMode.Nearest
            ))

    /// `Field.double`: trilinear × 2, vectors × 2.
    let fieldDouble: Layer = plain twice Field.double

    /// `Field.exponential`.
    let fieldExponential: Layer = plain id Field.exponential

    /// Average pooling to side³, whatever the size.
    let pool (side: int) : Layer =
        plain (fun _ -> cube side) (fun x -> torch.nn.functional.adaptive_avg_pool3d (x, cube side))

    /// One after the other. What lies between them is released at once, or overwritten by an activation right after a
    /// convolution; autograd keeps what it needs.
    let (>=>) (first: Layer) (second: Layer) : Layer =
        let last =
            match second.RunInPlace with
            | Some inPlace when first.IsScratch -> inPlace
            | _ -> second.Run

        {
            Parts = first.Parts @ second.Parts
            RunInPlace = None
            IsScratch = second.IsScratch
            Run =
                fun x ->
                    let between = first.Run x
                    let result = last between

                    if
                        not (Object.ReferenceEquals(between, result))
                        && not (Object.ReferenceEquals(between, x))
                    then
                        between.Dispose()

                    result
            Cost =
                fun size ->
                    let middle, cost = first.Cost size
                    let last, rest = second.Cost middle
                    last, cost + rest
        }

    /// All of them on the same input, their channels concatenated in that order; the outputs must have one size.
    let fork (branches: Layer list) : Layer =
        {
            Parts = branches |> List.collect (fun b -> b.Parts)
            RunInPlace = None
            IsScratch = false
            Run =
                fun x ->
                    let results = branches |> List.map (fun b -> b.Run x)
                    let joined = torch.cat (Array.ofList results, 1L)

                    for result in results do
                        if not (Object.ReferenceEquals(result, x)) then
                            result.Dispose()

                    joined
            Cost =
                fun size ->
                    let costs = branches |> List.map (fun b -> b.Cost size)
                    fst costs.Head, List.sumBy snd costs
        }

    /// The input, then the inner layer's output: [x; inner x].
    let skip (inner: Layer) : Layer = fork [ identity; inner ]

    /// How much zero padding goes before and after n voxels, so that they become a multiple: equally on both sides, the odd
    /// voxel after.
    let private padding (multiple: int) (n: int64) =
        let missing = (int64 multiple - n % int64 multiple) % int64 multiple
        missing / 2L, missing - missing / 2L

    /// The input with zeros around it, so that its sides are multiples of `multiple`.
    let pad (multiple: int) : Layer =
        plain (Array.map (fun n -> let before, after = padding multiple n in n + before + after)) (fun x ->
            let sides = x.shape[2..] |> Array.map (padding multiple)

            if sides |> Array.forall (fun (before, after) -> before = 0L && after = 0L) then
                x
            else
                let amounts =
                    sides |> Array.rev |> Array.collect (fun (before, after) -> [| before; after |])

                torch.nn.functional.pad (x, amounts, PaddingModes.Constant, 0.0))

    /// A layer that keeps the size of multiples of `multiple`, for any size: padded, run, cropped.
    let padded (multiple: int) (inner: Layer) : Layer =
        let body = pad multiple >=> inner

        { body with
            IsScratch = false
            Run =
                fun x ->
                    use scope = torch.NewDisposeScope()

                    let crop (result: torch.Tensor) axis =
                        let n = x.shape[axis]
                        result.narrow (int64 axis, fst (padding multiple n), n)

                    scope.MoveToOuter((body.Run x, [ 2; 3; 4 ]) ||> List.fold crop)
            Cost = fun size -> size, snd (body.Cost size)
        }
