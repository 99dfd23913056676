namespace Ldr

open System.Collections.Generic
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// Where two images are correlated.
type internal CorrelationPlace =
    /// `Similarity.correlation`.
    | EverywhereAtOnce
    /// `Similarity.localCorrelation`: the cube's side, and its ε.
    | InCubes of side: int * epsilon: float

/// The correlation of two images by the kernels of `Ldr.Runtime`; arguments: the place, the fixed and moved images and the weights,
/// [N, 1, Z, Y, X] each. A gradient reaches the moved image alone, and has no history.
[<Sealed>]
type internal CorrelationFunction() =
    inherit torch.autograd.SingleTensorFunction<CorrelationFunction>()

    static let start = TensorMemory.start

    static let images (tensors: torch.Tensor list) =
        WeightedImages(start tensors[0], start tensors[1], start tensors[2])

    static let voxels (image: torch.Tensor) =
        nativeint ((TensorMemory.grid image).Count)

    /// What the gradient needs: room for it.
    static let factorsOf place (image: torch.Tensor) =
        let n = image.shape[0]

        match place with
        | EverywhereAtOnce -> [| n; int64 GlobalCorrelation.Factors |]
        | InCubes _ ->
            [|
                yield n
                for side in image.shape[2..] do
                    yield int64 (LocalCorrelation.Centres(int side))
                yield int64 LocalCorrelation.Factors
            |]

    /// Whether the kernels can do it.
    static member Fits(fixedImage: torch.Tensor, moved: torch.Tensor, weights: torch.Tensor) : bool =
        OwnKernels.fit [ fixedImage; moved; weights ]
        && [ fixedImage; weights ] |> List.forall (fun image -> image.shape = moved.shape)
        && moved.shape[1] = 1L
        && not (torch.is_grad_enabled () && (fixedImage.requires_grad || weights.requires_grad))

    override _.Name = nameof CorrelationFunction

    override _.forward(context, inputs) =
        let place = inputs[0] :?> CorrelationPlace

        let tensors =
            [ for input in Seq.tail inputs -> (input :?> torch.Tensor).contiguous() ]

        let moved, threads = tensors[1], torch.get_num_threads ()
        let samples = int moved.shape[0]

        let result, factors =
            torch.empty [| moved.shape[0] |], torch.empty (factorsOf place moved)

        match place with
        | EverywhereAtOnce ->
            GlobalCorrelation.Measure(
                images tensors,
                samples,
                voxels moved,
                start result,
                start factors,
                threads
            )
        | InCubes(side, epsilon) ->
            LocalCorrelation.Measure(
                images tensors,
                samples,
                TensorMemory.size moved,
                side,
                epsilon,
                start result,
                start factors,
                threads
            )

        context.save_data ("place", place)
        context.save_for_backward (List(factors :: tensors))
        result

    override _.backward(context, gradient) =
        let place = context.get_data "place" :?> CorrelationPlace
        let saved = context.get_saved_variables () |> List.ofSeq
        let factors, tensors = saved.Head, saved.Tail
        let moved, threads = tensors[1], torch.get_num_threads ()
        let samples = int moved.shape[0]
        let whole = gradient.contiguous ()
        let result = torch.empty_like moved

        match place with
        | EverywhereAtOnce ->
            GlobalCorrelation.Gradient(
                images tensors,
                samples,
                voxels moved,
                start factors,
                start whole,
                start result,
                threads
            )
        | InCubes(side, _) ->
            LocalCorrelation.Gradient(
                images tensors,
                samples,
                TensorMemory.size moved,
                side,
                start factors,
                start whole,
                start result,
                threads
            )

        for tensor in whole :: gradient :: saved do
            tensor.Dispose()

        let none = Unchecked.defaultof<torch.Tensor>
        List [ none; none; result; none ]
