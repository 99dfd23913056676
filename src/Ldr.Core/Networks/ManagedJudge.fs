namespace Ldr

open System.Collections.Generic
open FSharp.NativeInterop
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

/// What is asked of a discriminator.
type internal JudgeTask =
    /// What each layer gives.
    | EveryFeature
    /// What the last one gives.
    | Map
    /// The norm of the derivative of the last one's mean by the field.
    | NormOfGradient

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

    let private pool = Idle<JudgeLayers * bool, DiscriminatorGraph> make

    /// A graph for what is seen, [N, C, Z, Y, X].
    let rent (layers: JudgeLayers, task: JudgeTask) (seen: torch.Tensor) : DiscriminatorGraph =
        pool.Rent((layers, (task = NormOfGradient)), seen.shape)

    /// Gives it back.
    let giveBack (layers: JudgeLayers, task: JudgeTask) (seen: torch.Tensor) (graph: DiscriminatorGraph) =
        pool.GiveBack((layers, (task = NormOfGradient)), seen.shape, graph)

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
    let private gradients
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

    /// What a function of tensors gives: with a history where anything wants a gradient, else by its way forward alone.
    let run
        (what: JudgeLayers * JudgeTask)
        (seen: torch.Tensor)
        (parameters: torch.Tensor list)
        (apply: objnull[] -> 'result)
        (forward: JudgeLayers * JudgeTask -> torch.Tensor list -> DiscriminatorGraph * 'result)
        : 'result =
        let wanted =
            torch.is_grad_enabled () && (seen :: parameters) |> List.exists _.requires_grad

        if wanted then
            apply (Array.ofList (box what :: box seen :: List.map box parameters))
        else
            use whole = seen.contiguous ()
            let graph, result = forward what (whole :: parameters)
            giveBack what whole graph
            result

    /// A way forward of a function of tensors, of its inputs; what the way back needs is kept.
    let forward
        (context: torch.autograd.AutogradContext)
        (inputs: obj seq)
        (action: JudgeLayers * JudgeTask -> torch.Tensor list -> DiscriminatorGraph * 'result)
        : 'result =
        let what = Seq.head inputs :?> JudgeLayers * JudgeTask
        let arguments = [ for input in Seq.tail inputs -> input :?> torch.Tensor ]
        let tensors = arguments.Head.contiguous () :: arguments.Tail
        let graph, result = action what tensors
        context.save_data ("what", what)
        context.save_data ("graph", graph)
        context.save_data ("wanted", arguments |> List.map _.requires_grad)
        context.save_for_backward (List tensors)
        result

    /// Its way back, from the gradients of its results: the gradients of its inputs, from an action that takes a place for that of
    /// what is seen, and whether the weights' are wanted.
    let backward
        (context: torch.autograd.AutogradContext)
        (given: torch.Tensor seq)
        (action: DiscriminatorGraph -> nativeptr<float32> -> bool -> unit)
        : List<torch.Tensor> =
        let what = context.get_data "what" :?> JudgeLayers * JudgeTask
        let graph = context.get_data "graph" :?> DiscriminatorGraph
        let wanted = context.get_data "wanted" :?> bool list
        let saved = context.get_saved_variables () |> List.ofSeq
        let results = gradients graph wanted saved (action graph)
        giveBack what saved.Head graph

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in Seq.append given saved do
            tensor.Dispose()

        List results

/// What the layers of a discriminator give, or the last one, by the kernels of `Ldr.Runtime`. Arguments: the layers and the task, what
/// is seen [N, C, Z, Y, X], then weights and biases layer by layer. There are no second derivatives.
[<Sealed>]
type internal JudgeFunction() =
    inherit torch.autograd.MultiTensorFunction<JudgeFunction>()

    static member private Forward(what: JudgeLayers * JudgeTask, tensors: torch.Tensor list) =
        let layers, task = what
        let seen = tensors.Head
        let graph = JudgeGraphs.rent what seen
        JudgeGraphs.lend graph tensors.Tail

        let sizes =
            [
                if layers.FullSize then
                    seen.shape
                for level, width in List.indexed layers.Widths do
                    let sides = seen.shape[2..] |> Array.map (fun side -> side >>> (level + 1))
                    Array.append [| seen.shape[0]; int64 width |] sides
            ]

        let features =
            sizes
            |> List.mapi (fun level size ->
                if task = EveryFeature || level = sizes.Length - 1 then
                    Some(torch.empty size)
                else
                    None)

        graph.Forward(
            TensorMemory.start seen,
            [| for feature in features -> TrunkGraphs.startOf feature |],
            torch.get_num_threads ()
        )

        graph, List.choose id features

    /// Each layer's output, first to last, or the last one's alone.
    static member Run
        (what: JudgeLayers * JudgeTask, seen: torch.Tensor, parameters: torch.Tensor list)
        : torch.Tensor list =
        JudgeGraphs.run
            what
            seen
            parameters
            (fun inputs -> JudgeFunction.apply inputs |> List.ofSeq)
            (fun what tensors -> JudgeFunction.Forward(what, tensors))

    override _.Name = nameof JudgeFunction

    override _.forward(context, inputs) =
        context.set_materialize_grads false

        JudgeGraphs.forward context inputs (fun what tensors -> JudgeFunction.Forward(what, tensors))
        |> List

    override _.backward(context, gradients) =
        let given = TrunkGraphs.given gradients
        let starts = [| for gradient in given -> TrunkGraphs.startOf gradient |]

        JudgeGraphs.backward
            context
            (List.choose id given @ List.ofSeq gradients)
            (fun graph ofSeen ofWeights ->
                let nowhere =
                    Array.create (Seq.length graph.Layers - starts.Length) NativePtr.nullPtr

                graph.Backward(Array.append nowhere starts, ofSeen, ofWeights, torch.get_num_threads ()))

/// The norm of the derivative of a discriminator's mean by the field, [N], by the kernels of `Ldr.Runtime`. Arguments as above.
[<Sealed>]
type internal JudgeNormFunction() =
    inherit torch.autograd.SingleTensorFunction<JudgeNormFunction>()

    static member private Forward(what: JudgeLayers * JudgeTask, tensors: torch.Tensor list) =
        let seen = tensors.Head
        let graph = JudgeGraphs.rent what seen
        JudgeGraphs.lend graph tensors.Tail
        let norms = torch.empty [| seen.shape[0] |]
        graph.GradientNorm(TensorMemory.start seen, TensorMemory.start norms, torch.get_num_threads ())
        graph, norms

    /// The norm of every sample.
    static member Run(layers: JudgeLayers, seen: torch.Tensor, parameters: torch.Tensor list) : torch.Tensor =
        JudgeGraphs.run
            (layers, NormOfGradient)
            seen
            parameters
            (fun inputs -> JudgeNormFunction.apply inputs)
            (fun what tensors -> JudgeNormFunction.Forward(what, tensors))

    override _.Name = nameof JudgeNormFunction

    override _.forward(context, inputs) =
        JudgeGraphs.forward context inputs (fun what tensors -> JudgeNormFunction.Forward(what, tensors))

    override _.backward(context, gradient) =
        let whole = gradient.contiguous ()

        JudgeGraphs.backward context [ whole; gradient ] (fun graph ofSeen ofWeights ->
            graph.GradientNormBack(TensorMemory.start whole, ofSeen, ofWeights, torch.get_num_threads ()))

/// Discriminators by the kernels of `Ldr.Runtime`, where they can.
module internal ManagedJudge =
    /// Whether the kernels can do it: float32 on the processor, sides that can be halved as often as the layers do.
    let fits (layers: JudgeLayers) (seen: torch.Tensor) =
        OwnKernels.fit [ seen ]
        && ManagedTrunk.canHalve layers.Widths.Length seen.shape[2..]
