namespace Ldr

open System.Collections.Generic
open TorchSharp
open Ldr.Runtime.Training

#nowarn "9" // Kernels work on the tensors' own memory.

/// The deformable stages of a cascade that `Ldr.Runtime` can train as a whole.
type internal StudentStages =
    {
        Widths: StudentWidths
        Ending: StageEnding
        Count: int
    }

/// What a cascade says of pairs of images.
[<NoEquality; NoComparison>]
type internal CascadeResult =
    {
        /// The total field, [N, 3, Z, Y, X].
        Field: torch.Tensor
        /// [N, 1, Z, Y, X]
        Moved: torch.Tensor
        /// Each stage's own field.
        StageFields: torch.Tensor list
    }

/// Cascades that are not in use.
module internal IdleCascades =
    let pool =
        Idle<StudentStages, TrainingCascade>(fun stages shape ->
            new TrainingCascade(
                Array.ofList stages.Widths.Encoder,
                Array.ofList stages.Widths.Decoder,
                stages.Ending,
                stages.Count,
                Field.squarings,
                int shape[0],
                struct (int shape[4], int shape[3], int shape[2])
            ))

/// The stages of a cascade forward and back by the kernels of `Ldr.Runtime`. Arguments: the stages, whether there is an affine map,
/// the fixed and the moving image [N, 1, Z, Y, X], then W [N, 3, 3] and b [N, 3] of the map, then weights and biases layer by layer,
/// stage by stage. Results: the total field, the moved image, each stage's own field. No gradient reaches the images, and none has
/// a history: there are no second derivatives.
[<Sealed>]
type internal CascadeFunction() =
    inherit torch.autograd.MultiTensorFunction<CascadeFunction>()

    /// The affine map's tensors, if it has one, and the parameters.
    static let split (hasAffine: bool) (tensors: torch.Tensor list) =
        tensors |> List.splitAt (if hasAffine then 2 else 0)

    static let lend
        (act: TrainingGraph -> torch.Tensor list -> unit)
        (cascade: TrainingCascade)
        (parameters: torch.Tensor list)
        =
        let each = parameters.Length / cascade.Graphs.Count
        Seq.iter2 act cascade.Graphs (List.chunkBySize each parameters)

    static let affineNumbers (affine: torch.Tensor list) =
        match affine with
        | [ matrix; shift ] -> AffineNumbers(TensorMemory.start matrix, TensorMemory.start shift)
        | _ -> AffineNumbers()

    static let images (fixedImage: torch.Tensor) (moving: torch.Tensor) =
        ImagePair(TensorMemory.start fixedImage, TensorMemory.start moving)

    /// A way forward from contiguous tensors: the results, and the cascade, which the caller has to give back.
    static member private Forward(stages: StudentStages, hasAffine: bool, tensors: torch.Tensor list) =
        let fixedImage, moving = tensors[0], tensors[1]
        let affine, parameters = split hasAffine (List.skip 2 tensors)
        let cascade = IdleCascades.pool.Rent(stages, fixedImage.shape)
        lend TrunkGraphs.lend cascade parameters
        cascade.Lend(images fixedImage moving, affineNumbers affine)
        cascade.Forward(torch.get_num_threads ())
        let n, size = fixedImage.shape[0], fixedImage.shape[2..]

        let copy channels from =
            let result = torch.empty (Array.append [| n; channels |] size)
            TensorMemory.copyFrom from result
            result

        let results =
            copy 3L cascade.Total
            :: copy 1L cascade.Moved
            :: [ for stage in 0 .. stages.Count - 1 -> copy 3L (cascade.OwnField stage) ]

        cascade, results

    /// What the stages say of a pair; with a history where a parameter or the affine map wants a gradient.
    static member Run
        (
            stages: StudentStages,
            fixedImage: torch.Tensor,
            moving: torch.Tensor,
            affine: (torch.Tensor * torch.Tensor) option,
            parameters: torch.Tensor list
        ) : CascadeResult =
        let tensors =
            [
                fixedImage
                moving
                for matrix, shift in Option.toList affine do
                    matrix
                    shift
                yield! parameters
            ]

        let wanted = torch.is_grad_enabled () && tensors |> List.exists _.requires_grad

        let results =
            if wanted then
                let arguments = box stages :: box affine.IsSome :: List.map box tensors
                CascadeFunction.apply (Array.ofList arguments) |> List.ofSeq
            else
                use _ = torch.NewDisposeScope()
                let whole = tensors |> List.map _.contiguous()
                let cascade, results = CascadeFunction.Forward(stages, affine.IsSome, whole)
                IdleCascades.pool.GiveBack(stages, fixedImage.shape, cascade)
                results |> List.map _.MoveToOuterDisposeScope()

        {
            Field = results[0]
            Moved = results[1]
            StageFields = List.skip 2 results
        }

    override _.Name = nameof CascadeFunction

    override _.forward(context, inputs) =
        let stages = inputs[0] :?> StudentStages
        let hasAffine = inputs[1] :?> bool

        let tensors =
            [ for input in Seq.skip 2 inputs -> (input :?> torch.Tensor).contiguous() ]

        let cascade, results = CascadeFunction.Forward(stages, hasAffine, tensors)
        context.set_materialize_grads false
        context.save_data ("stages", stages)
        context.save_data ("has affine", hasAffine)
        context.save_data ("cascade", cascade)
        context.save_for_backward (List tensors)
        List results

    override _.backward(context, gradients) =
        let stages = context.get_data "stages" :?> StudentStages
        let hasAffine = context.get_data "has affine" :?> bool
        let cascade = context.get_data "cascade" :?> TrainingCascade
        let saved = context.get_saved_variables () |> List.ofSeq
        let affine, parameters = split hasAffine (List.skip 2 saved)

        let given = TrunkGraphs.given gradients
        let start = TrunkGraphs.startOf
        let ofAffine = affine |> List.map torch.empty_like
        let ofParameters = parameters |> List.map torch.empty_like
        let own = CascadeGradients(stages.Count)
        own.Total <- start given[0]
        own.Moved <- start given[1]

        for stage in 0 .. stages.Count - 1 do
            own.SetOwn(stage, start given[stage + 2])

        match ofAffine with
        | [ matrix; shift ] ->
            own.Matrix <- TensorMemory.start matrix
            own.Shift <- TensorMemory.start shift
        | _ -> ()

        cascade.Lend(images saved[0] saved[1], affineNumbers affine)
        lend TrunkGraphs.lend cascade parameters
        lend TrunkGraphs.lendGradients cascade ofParameters
        cascade.Backward(own, torch.get_num_threads ())
        IdleCascades.pool.GiveBack(stages, saved.Head.shape, cascade)

        // Else they would stay until the step's scope ends; libtorch holds what it needs of them.
        for tensor in List.choose id given @ saved @ List.ofSeq gradients do
            tensor.Dispose()

        let none = Unchecked.defaultof<torch.Tensor>
        List([ none; none; none; none ] @ ofAffine @ ofParameters)

/// Cascades of students as a whole by the kernels of `Ldr.Runtime`, where they can.
module internal ManagedCascade =
    /// The stages of an architecture, if the kernels can do them.
    let ofArchitecture (architecture: Architecture) : StudentStages option =
        let cascade = Architecture.asCascade architecture

        let stages widths ending =
            {
                Widths = widths
                Ending = ending
                Count = cascade.Stages
            }

        match cascade.Stage with
        | _ when cascade.Stages = 0 -> None
        | Stage.Ldr widths -> Some(stages widths StageEnding.Full)
        | Stage.LdrHalf widths -> Some(stages widths StageEnding.Half)
        | Stage.LdrVelocity widths -> Some(stages widths StageEnding.Velocity)
        | Stage.LdrReference
        | Stage.Vtn _
        | Stage.VoxelMorph -> None

    /// Whether the kernels can do these images: sides that are multiples of 16, and nobody wants their gradients.
    let fits (fixedImage: torch.Tensor) (moving: torch.Tensor) =
        OwnKernels.fit [ fixedImage; moving ]
        && ManagedTrunk.canHalve ManagedTrunk.halvings fixedImage.shape[2..]
        && not (torch.is_grad_enabled () && (fixedImage.requires_grad || moving.requires_grad))
