namespace Ldr

open System.Collections.Concurrent
open System.Collections.Generic
open System.Linq
open FSharp.NativeInterop
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// The convolutions of a network that `Ldr.Runtime` can train.
type internal Trunk =
    /// From a pair to displacements at full or half size.
    | StudentTrunk of StudentWidths * half: bool
    /// From a pair to the features of `affine-light`.
    | AffineTrunk of channels: int
    /// From a pair to displacements at full size.
    | VtnTrunk of VtnScale

/// Graphs and cascades that are not in use, by kind and by the shape of what they look at: their memory is used again in the next
/// step.
[<Sealed>]
type internal Idle<'kind, 'value when 'kind: equality>(make: 'kind -> int64[] -> 'value) =
    let idle = ConcurrentDictionary<struct ('kind * string), ConcurrentBag<'value>>()

    let bag kind (shape: int64[]) =
        let size = String.concat "×" (Array.map string shape)
        idle.GetOrAdd(struct (kind, size), (fun _ -> ConcurrentBag()))

    /// One that nobody else has.
    member _.Rent(kind: 'kind, shape: int64[]) : 'value =
        match (bag kind shape).TryTake() with
        | true, value -> value
        | false, _ -> make kind shape

    /// Gives one back whose values nobody needs any more.
    member _.GiveBack(kind: 'kind, shape: int64[], value: 'value) = (bag kind shape).Add value

/// The graphs of trunks.
module internal TrunkGraphs =
    let private make (trunk: Trunk) (shape: int64[]) : TrainingGraph =
        let samples = int shape[0]
        let struct (x, y, z) as size = struct (int shape[4], int shape[3], int shape[2])

        match trunk with
        | StudentTrunk(widths, half) ->
            TrainingGraph.Stage(Array.ofList widths.Encoder, Array.ofList widths.Decoder, half, samples, size)
        | AffineTrunk channels -> TrainingGraph.AffineLight(channels, samples, size)
        | VtnTrunk scale -> TrainingGraph.Vtn(scale.Levels, scale.Channels, samples, size)

    /// For pairs of a shape [N, 2, Z, Y, X].
    let pool = Idle<Trunk, TrainingGraph> make

    /// The shape of the result for pairs of a shape.
    let resultShape (trunk: Trunk) (shape: int64[]) : int64[] =
        let channels, reduction =
            match trunk with
            | StudentTrunk(_, half) -> 3L, (if half then 2L else 1L)
            | AffineTrunk channels -> int64 (8 * channels), 16L
            | VtnTrunk _ -> 3L, 1L

        [|
            yield shape[0]
            yield channels
            for side in shape[2..] do
                yield side / reduction
        |]

    /// Every layer with its weight and its bias, if it has one, of tensors in the order of the network's parameters.
    let private byLayer (graph: TrainingGraph) (tensors: torch.Tensor list) =
        let next (rest: torch.Tensor list) (layer: LayerNumbers) =
            match rest with
            | weight :: bias :: rest when layer.HasBias -> (layer, weight, Some bias), rest
            | weight :: rest -> (layer, weight, None), rest
            | [] -> invalidOp "fewer tensors than layers"

        graph.Layers |> List.ofSeq |> List.mapFold next tensors |> fst

    /// Where a tensor's numbers start; nowhere for none.
    let startOf (tensor: torch.Tensor option) =
        tensor |> Option.map TensorMemory.start |> Option.defaultValue NativePtr.nullPtr

    /// The gradients of results, contiguous; none for a result that no loss looked at, of which libtorch gives nothing.
    let given (gradients: torch.Tensor seq) : torch.Tensor option list =
        [
            for gradient in gradients ->
                if gradient.IsInvalid then
                    None
                else
                    Some(gradient.contiguous ())
        ]

    /// Where pairs [N, 2, Z, Y, X] lie.
    let pairMemory (pairs: torch.Tensor) =
        PairMemory.Joined(TensorMemory.start pairs, nativeint ((TensorMemory.grid pairs).Count))

    /// Lends weights and biases.
    let lend (graph: TrainingGraph) (parameters: torch.Tensor list) =
        for layer, weight, bias in byLayer graph parameters do
            layer.Weights <- TensorMemory.start weight
            layer.Bias <- startOf bias

    /// Lends where the gradients of weights and biases go.
    let lendGradients (graph: TrainingGraph) (gradients: torch.Tensor list) =
        for layer, weight, bias in byLayer graph gradients do
            layer.WeightGradient <- TensorMemory.start weight
            layer.BiasGradient <- startOf bias

/// A trunk forward and back by the kernels of `Ldr.Runtime`. Arguments: the trunk, the pairs [N, 2, Z, Y, X], then weights and biases layer by
/// layer. Its gradient has no history: there are no second derivatives.
[<Sealed>]
type internal TrunkFunction() =
    inherit torch.autograd.SingleTensorFunction<TrunkFunction>()

    static member private Forward(trunk: Trunk, pairs: torch.Tensor, parameters: torch.Tensor list) =
        let graph = TrunkGraphs.pool.Rent(trunk, pairs.shape)
        TrunkGraphs.lend graph parameters
        let result = torch.empty (TrunkGraphs.resultShape trunk pairs.shape)
        graph.Forward(TrunkGraphs.pairMemory pairs, TensorMemory.start result, torch.get_num_threads ())
        graph, result

    /// The trunk of the pairs; with a history where anything wants a gradient.
    static member Run(trunk: Trunk, pairs: torch.Tensor, parameters: torch.Tensor list) : torch.Tensor =
        let wanted =
            torch.is_grad_enabled ()
            && (pairs.requires_grad || parameters |> List.exists _.requires_grad)

        if wanted then
            TrunkFunction.apply (Array.ofList (box trunk :: box pairs :: List.map box parameters))
        else
            use whole = pairs.contiguous ()
            let graph, result = TrunkFunction.Forward(trunk, whole, parameters)
            TrunkGraphs.pool.GiveBack(trunk, whole.shape, graph)
            result

    override _.Name = nameof TrunkFunction

    override _.forward(context, inputs) =
        let trunk = inputs[0] :?> Trunk
        let arguments = [ for input in Seq.tail inputs -> input :?> torch.Tensor ]
        let pairs = arguments.Head.contiguous ()
        let graph, result = TrunkFunction.Forward(trunk, pairs, arguments.Tail)
        context.save_data ("trunk", trunk)
        context.save_data ("graph", graph)
        context.save_data ("wanted", arguments |> List.map _.requires_grad)
        context.save_for_backward (List(pairs :: arguments.Tail))
        result

    override _.backward(context, gradient) =
        let trunk = context.get_data "trunk" :?> Trunk
        let graph = context.get_data "graph" :?> TrainingGraph
        let wanted = context.get_data "wanted" :?> bool list
        let saved = context.get_saved_variables () |> List.ofSeq
        let whole = gradient.contiguous ()
        let gradients = saved.Tail |> List.map torch.empty_like

        let ofPairs =
            match trunk with
            | StudentTrunk _
            | VtnTrunk _ when wanted.Head -> Some(torch.empty_like saved.Head)
            | _ -> None

        TrunkGraphs.lend graph saved.Tail
        TrunkGraphs.lendGradients graph gradients

        graph.Backward(
            TensorMemory.start whole,
            ofPairs |> Option.map TrunkGraphs.pairMemory |> Option.toNullable,
            torch.get_num_threads ()
        )

        TrunkGraphs.pool.GiveBack(trunk, saved.Head.shape, graph)

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in whole :: gradient :: saved do
            tensor.Dispose()

        let none = Unchecked.defaultof<torch.Tensor>
        List(none :: Option.defaultValue none ofPairs :: gradients)

/// Layers whose training is done by the kernels of `Ldr.Runtime` where they can.
module internal ManagedTrunk =
    /// Whether these sides can be halved so many times.
    let canHalve (times: int) (sides: int64 seq) =
        sides |> Seq.forall (fun side -> side % (1L <<< times) = 0L)

    /// How often a student and its affine stage halve their sides.
    let halvings = 4

    /// Whether the kernels can do it: sides that can be halved as often as the trunk does; affine-light has no way back to its
    /// images.
    let private fits (trunk: Trunk) (pairs: torch.Tensor) =
        OwnKernels.fit [ pairs ]
        && (match trunk with
            | StudentTrunk _ -> canHalve halvings pairs.shape[2..]
            | VtnTrunk scale -> canHalve scale.Levels pairs.shape[2..]
            | AffineTrunk _ ->
                canHalve halvings pairs.shape[2..]
                && not (torch.is_grad_enabled () && pairs.requires_grad))

    /// A layer that is a trunk, with the same parameters in the order of the trunk's layers.
    let wrap (trunk: Trunk) (layer: Layer) : Layer =
        { layer with
            RunInPlace = None
            IsScratch = false
            Run =
                fun pairs ->
                    if fits trunk pairs then
                        TrunkFunction.Run(trunk, pairs, Layer.parameters layer)
                    else
                        layer.Run pairs
        }
