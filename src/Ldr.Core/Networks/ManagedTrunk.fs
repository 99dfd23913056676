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

/// Graphs that are not in use, by network and size: their memory is used again in the next step.
module internal TrunkGraphs =
    let private idle =
        ConcurrentDictionary<Trunk * int64 list, ConcurrentBag<TrainingGraph>>()

    let private make (trunk: Trunk) (shape: int64[]) : TrainingGraph =
        let samples = int shape[0]
        let struct (x, y, z) as size = struct (int shape[4], int shape[3], int shape[2])

        match trunk with
        | StudentTrunk(widths, half) ->
            TrainingGraph.Stage(Array.ofList widths.Encoder, Array.ofList widths.Decoder, half, samples, size)
        | AffineTrunk channels -> TrainingGraph.AffineLight(channels, samples, size)

    let private bag trunk (shape: int64[]) =
        idle.GetOrAdd((trunk, List.ofArray shape), (fun _ -> ConcurrentBag()))

    /// A graph for pairs of that shape [N, 2, Z, Y, X].
    let rent (trunk: Trunk) (shape: int64[]) : TrainingGraph =
        match (bag trunk shape).TryTake() with
        | true, graph -> graph
        | false, _ -> make trunk shape

    /// Which layers of a student's stage have biases: its convolutions, and the head at half size.
    let biases (half: bool) : bool list =
        List.replicate 4 true @ List.replicate 3 false @ [ half ]

    /// Gives a graph back whose values nobody needs any more.
    let giveBack (trunk: Trunk) (shape: int64[]) (graph: TrainingGraph) = (bag trunk shape).Add graph

    /// The shape of the result for pairs of a shape.
    let resultShape (trunk: Trunk) (shape: int64[]) : int64[] =
        let channels, reduction =
            match trunk with
            | StudentTrunk(_, half) -> 3L, (if half then 2L else 1L)
            | AffineTrunk channels -> int64 (8 * channels), 16L

        [|
            yield shape[0]
            yield channels
            for side in shape[2..] do
                yield side / reduction
        |]

    /// Every layer with its weight and its bias, if it has one, of tensors in the order of the network's parameters.
    let private byLayer (graph: TrainingGraph) (hasBias: bool list) (tensors: torch.Tensor list) =
        let next (rest: torch.Tensor list) (layer: LayerNumbers, hasBias) =
            match rest with
            | weight :: bias :: rest when hasBias -> (layer, weight, Some bias), rest
            | weight :: rest -> (layer, weight, None), rest
            | [] -> invalidOp "fewer tensors than layers"

        List.zip (List.ofSeq graph.Layers) hasBias |> List.mapFold next tensors |> fst

    let private startOf (tensor: torch.Tensor option) =
        tensor |> Option.map TensorMemory.start |> Option.defaultValue NativePtr.nullPtr

    /// Lends weights and biases.
    let lend (graph: TrainingGraph) (hasBias: bool list) (parameters: torch.Tensor list) =
        for layer, weight, bias in byLayer graph hasBias parameters do
            layer.Weights <- TensorMemory.start weight
            layer.Bias <- startOf bias

    /// Lends where the gradients of weights and biases go.
    let lendGradients (graph: TrainingGraph) (hasBias: bool list) (gradients: torch.Tensor list) =
        for layer, weight, bias in byLayer graph hasBias gradients do
            layer.WeightGradient <- TensorMemory.start weight
            layer.BiasGradient <- startOf bias

/// What `TrunkFunction` needs to know beside its tensors.
[<NoEquality; NoComparison>]
type internal TrunkCall = { Trunk: Trunk; HasBias: bool list }

/// A trunk forward and back by the kernels of `Ldr.Runtime`. Arguments: the pairs [N, 2, Z, Y, X], then weights and biases layer by
/// layer. Its gradient has no history: there are no second derivatives.
[<Sealed>]
type internal TrunkFunction() =
    inherit torch.autograd.SingleTensorFunction<TrunkFunction>()

    static member private Forward(call: TrunkCall, pairs: torch.Tensor, parameters: torch.Tensor list) =
        let graph = TrunkGraphs.rent call.Trunk pairs.shape
        TrunkGraphs.lend graph call.HasBias parameters
        let result = torch.empty (TrunkGraphs.resultShape call.Trunk pairs.shape)
        graph.Forward(TensorMemory.start pairs, TensorMemory.start result, torch.get_num_threads ())
        graph, result

    /// The trunk of the pairs; with a history where anything wants a gradient.
    static member Run(call: TrunkCall, pairs: torch.Tensor, parameters: torch.Tensor list) : torch.Tensor =
        let wanted =
            torch.is_grad_enabled ()
            && (pairs.requires_grad || parameters |> List.exists _.requires_grad)

        if wanted then
            TrunkFunction.apply (Array.ofList (box call :: box pairs :: List.map box parameters))
        else
            use whole = pairs.contiguous ()
            let graph, result = TrunkFunction.Forward(call, whole, parameters)
            TrunkGraphs.giveBack call.Trunk whole.shape graph
            result

    override _.Name = nameof TrunkFunction

    override _.forward(context, inputs) =
        let call = inputs[0] :?> TrunkCall
        let arguments = [ for input in Seq.tail inputs -> input :?> torch.Tensor ]
        let pairs = arguments.Head.contiguous ()
        let graph, result = TrunkFunction.Forward(call, pairs, arguments.Tail)
        context.save_data ("call", call)
        context.save_data ("graph", graph)
        context.save_data ("wanted", arguments |> List.map _.requires_grad)
        context.save_for_backward (List(pairs :: arguments.Tail))
        result

    override _.backward(context, gradient) =
        let call = context.get_data "call" :?> TrunkCall
        let graph = context.get_data "graph" :?> TrainingGraph
        let wanted = context.get_data "wanted" :?> bool list
        let saved = context.get_saved_variables () |> List.ofSeq
        let whole = gradient.contiguous ()
        let gradients = saved.Tail |> List.map torch.empty_like

        let ofPairs =
            match call.Trunk with
            | StudentTrunk _ when wanted.Head -> Some(torch.empty_like saved.Head)
            | _ -> None

        TrunkGraphs.lend graph call.HasBias saved.Tail
        TrunkGraphs.lendGradients graph call.HasBias gradients

        graph.Backward(
            TensorMemory.start whole,
            (match ofPairs with
             | Some tensor -> TensorMemory.start tensor
             | None -> NativePtr.nullPtr),
            torch.get_num_threads ()
        )

        TrunkGraphs.giveBack call.Trunk saved.Head.shape graph

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in whole :: gradient :: saved do
            tensor.Dispose()

        let none = Unchecked.defaultof<torch.Tensor>
        List(none :: Option.defaultValue none ofPairs :: gradients)

/// Layers whose training is done by the kernels of `Ldr.Runtime` where they can.
module internal ManagedTrunk =
    let private multipleOf16 (pairs: torch.Tensor) =
        pairs.shape[2..] |> Array.forall (fun side -> side % 16L = 0L)

    /// Whether the kernels can do it: sides that are multiples of 16; affine-light has no way back to its images.
    let private fits (trunk: Trunk) (pairs: torch.Tensor) =
        OwnKernels.areUsed ()
        && TensorMemory.fits pairs
        && multipleOf16 pairs
        && (match trunk with
            | StudentTrunk _ -> true
            | AffineTrunk _ -> not (torch.is_grad_enabled () && pairs.requires_grad))

    /// A layer that is a trunk, with the same parameters in the order of the trunk's layers.
    let wrap (trunk: Trunk) (layer: Layer) : Layer =
        let hasBias =
            layer.Parts
            |> List.map (fun part -> part.Shapes |> List.exists (fst >> (=) "bias"))

        let parameters () =
            [
                for part in layer.Parts do
                    for key, _ in part.Shapes -> part.Weights.Value[key]
            ]

        { layer with
            RunInPlace = None
            IsScratch = false
            Run =
                fun pairs ->
                    if fits trunk pairs then
                        TrunkFunction.Run({ Trunk = trunk; HasBias = hasBias }, pairs, parameters ())
                    else
                        layer.Run pairs
        }
