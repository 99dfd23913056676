namespace Ldr

open System.Collections.Generic
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// The layers of a discriminator that `Ldr.Runtime` can train.
type internal JudgeLayers =
    {
        /// Of what it looks at; the field is the first three.
        Channels: int
        FullSize: bool
        FirstRelu: bool
        Widths: int list
    }

/// The graphs of discriminators.
module internal JudgeGraphs =
    let private make (layers: JudgeLayers, ofNorm: bool) (shape: int64[]) =
        new DiscriminatorGraph(
            DiscriminatorLayers(
                layers.Channels,
                layers.FullSize,
                layers.FirstRelu,
                Array.ofList layers.Widths
            ),
            ofNorm,
            int shape[0],
            struct (int shape[4], int shape[3], int shape[2])
        )

    /// By layers, and whether they are for the norm of the gradient; for what is seen, [N, C, Z, Y, X].
    let pool = Idle<JudgeLayers * bool, DiscriminatorGraph> make

    let private each
        (act: LayerNumbers -> torch.Tensor -> torch.Tensor -> unit)
        (graph: DiscriminatorGraph)
        tensors
        =
        (List.ofSeq graph.Layers, List.chunkBySize 2 tensors)
        ||> List.iter2 (fun numbers pair -> act numbers pair[0] pair[1])

    /// Lends weights and biases.
    let lend graph (parameters: torch.Tensor list) =
        (graph, parameters)
        ||> each (fun numbers weight bias ->
            numbers.Weights <- TensorMemory.start weight
            numbers.Bias <- TensorMemory.start bias)

    /// Lends where the gradients of weights and biases go.
    let lendGradients graph (gradients: torch.Tensor list) =
        (graph, gradients)
        ||> each (fun numbers weight bias ->
            numbers.WeightGradient <- TensorMemory.start weight
            numbers.BiasGradient <- TensorMemory.start bias)

    /// Graphs look at what is seen, and then at weights and biases layer by layer; the gradients that are wanted of those, from an
    /// action that takes a place for that of what is seen, and whether the weights' are wanted.
    let gradients
        (graph: DiscriminatorGraph)
        (wanted: bool list)
        (saved: torch.Tensor list)
        (back: nativeptr<float32> -> bool -> unit)
        =
        let none = Unchecked.defaultof<torch.Tensor>
        let ofWeights = List.exists id wanted.Tail

        let ofSeen =
            if wanted.Head then
                Some(torch.empty_like saved.Head)
            else
                None

        let own =
            if ofWeights then
                saved.Tail |> List.map torch.empty_like
            else
                []

        lend graph saved.Tail

        if ofWeights then
            lendGradients graph own

        back (TrunkGraphs.startOf ofSeen) ofWeights

        // One for the layers, which are no tensor.
        none
        :: Option.defaultValue none ofSeen
        :: (if ofWeights then
                own
            else
                saved.Tail |> List.map (fun _ -> none))

    let wantsHistory (tensors: torch.Tensor list) =
        torch.is_grad_enabled () && tensors |> List.exists _.requires_grad

/// What the layers of a discriminator give by the kernels of `Ldr.Runtime`. Arguments: the layers, what is seen [N, C, Z, Y, X], then
/// weights and biases layer by layer. There are no second derivatives.
[<Sealed>]
type internal JudgeFunction() =
    inherit torch.autograd.MultiTensorFunction<JudgeFunction>()

    static member private Forward(layers: JudgeLayers, tensors: torch.Tensor list) =
        let seen = tensors.Head
        let graph = JudgeGraphs.pool.Rent((layers, false), seen.shape)
        JudgeGraphs.lend graph tensors.Tail

        let features =
            [
                if layers.FullSize then
                    torch.empty_like seen
                for level, width in List.indexed layers.Widths do
                    let sides = seen.shape[2..] |> Array.map (fun side -> side >>> (level + 1))
                    torch.empty (Array.append [| seen.shape[0]; int64 width |] sides)
            ]

        graph.Forward(
            TensorMemory.start seen,
            [| for feature in features -> TensorMemory.start feature |],
            torch.get_num_threads ()
        )

        graph, features

    /// Each layer's output, first to last.
    static member Run
        (layers: JudgeLayers, seen: torch.Tensor, parameters: torch.Tensor list)
        : torch.Tensor list =
        if JudgeGraphs.wantsHistory (seen :: parameters) then
            let arguments = box layers :: box seen :: List.map box parameters
            JudgeFunction.apply (Array.ofList arguments) |> List.ofSeq
        else
            use whole = seen.contiguous ()
            let graph, features = JudgeFunction.Forward(layers, whole :: parameters)
            JudgeGraphs.pool.GiveBack((layers, false), whole.shape, graph)
            features

    override _.Name = nameof JudgeFunction

    override _.forward(context, inputs) =
        let layers = inputs[0] :?> JudgeLayers
        let arguments = [ for input in Seq.tail inputs -> input :?> torch.Tensor ]
        let tensors = arguments.Head.contiguous () :: arguments.Tail
        let graph, features = JudgeFunction.Forward(layers, tensors)
        context.set_materialize_grads false
        context.save_data ("layers", layers)
        context.save_data ("graph", graph)
        context.save_data ("wanted", arguments |> List.map _.requires_grad)
        context.save_for_backward (List tensors)
        List features

    override _.backward(context, gradients) =
        let layers = context.get_data "layers" :?> JudgeLayers
        let graph = context.get_data "graph" :?> DiscriminatorGraph
        let wanted = context.get_data "wanted" :?> bool list
        let saved = context.get_saved_variables () |> List.ofSeq

        let given =
            [
                for gradient in gradients ->
                    // libtorch gives nothing for a result that no loss looked at.
                    if gradient.IsInvalid then
                        None
                    else
                        Some(gradient.contiguous ())
            ]

        let starts = [| for gradient in given -> TrunkGraphs.startOf gradient |]

        let results =
            JudgeGraphs.gradients graph wanted saved (fun ofSeen ofWeights ->
                graph.Backward(starts, ofSeen, ofWeights, torch.get_num_threads ()))

        JudgeGraphs.pool.GiveBack((layers, false), saved.Head.shape, graph)

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in List.choose id given @ saved @ List.ofSeq gradients do
            tensor.Dispose()

        List results

/// The norm of the derivative of a discriminator's mean by the field, [N], by the kernels of `Ldr.Runtime`. Arguments as above.
[<Sealed>]
type internal JudgeNormFunction() =
    inherit torch.autograd.SingleTensorFunction<JudgeNormFunction>()

    static member private Forward(layers: JudgeLayers, tensors: torch.Tensor list) =
        let seen = tensors.Head
        let graph = JudgeGraphs.pool.Rent((layers, true), seen.shape)
        JudgeGraphs.lend graph tensors.Tail
        let norms = torch.empty [| seen.shape[0] |]
        graph.GradientNorm(TensorMemory.start seen, TensorMemory.start norms, torch.get_num_threads ())
        graph, norms

    /// The norm of every sample.
    static member Run(layers: JudgeLayers, seen: torch.Tensor, parameters: torch.Tensor list) : torch.Tensor =
        if JudgeGraphs.wantsHistory (seen :: parameters) then
            JudgeNormFunction.apply (Array.ofList (box layers :: box seen :: List.map box parameters))
        else
            use whole = seen.contiguous ()
            let graph, norms = JudgeNormFunction.Forward(layers, whole :: parameters)
            JudgeGraphs.pool.GiveBack((layers, true), whole.shape, graph)
            norms

    override _.Name = nameof JudgeNormFunction

    override _.forward(context, inputs) =
        let layers = inputs[0] :?> JudgeLayers
        let arguments = [ for input in Seq.tail inputs -> input :?> torch.Tensor ]
        let tensors = arguments.Head.contiguous () :: arguments.Tail
        let graph, norms = JudgeNormFunction.Forward(layers, tensors)
        context.save_data ("layers", layers)
        context.save_data ("graph", graph)
        context.save_data ("wanted", arguments |> List.map _.requires_grad)
        context.save_for_backward (List tensors)
        norms

    override _.backward(context, gradient) =
        let layers = context.get_data "layers" :?> JudgeLayers
        let graph = context.get_data "graph" :?> DiscriminatorGraph
        let wanted = context.get_data "wanted" :?> bool list
        let saved = context.get_saved_variables () |> List.ofSeq
        let whole = gradient.contiguous ()

        let results =
            JudgeGraphs.gradients graph wanted saved (fun ofSeen ofWeights ->
                graph.GradientNormBack(TensorMemory.start whole, ofSeen, ofWeights, torch.get_num_threads ()))

        JudgeGraphs.pool.GiveBack((layers, true), saved.Head.shape, graph)

        for tensor in whole :: gradient :: saved do
            tensor.Dispose()

        List results

/// Discriminators by the kernels of `Ldr.Runtime`, where they can.
module internal ManagedJudge =
    /// Whether the kernels can do it: float32 on the processor, sides that can be halved as often as the layers do.
    let fits (layers: JudgeLayers) (seen: torch.Tensor) =
        OwnKernels.areUsed ()
        && TensorMemory.fits seen
        && seen.shape[2..]
           |> Seq.forall (fun side -> side % (1L <<< layers.Widths.Length) = 0L)
