namespace Ldr

open TorchSharp

/// What a network says about a pair of images [N, 1, Z, Y, X].
[<NoEquality; NoComparison>]
type Prediction =
    {
        /// The total displacement field, [N, 3, Z, Y, X].
        Field: torch.Tensor
        /// The original moving image, warped once by the total field, [N, 1, Z, Y, X].
        Moved: torch.Tensor
        /// Every deformable stage's own field in order, each [N, 3, Z, Y, X]: what is regularised.
        StageFields: torch.Tensor list
        /// W [N, 3, 3] and b [N, 3] of the affine stage: x ↦ (W + I) x + b from the centre of the grid.
        Affine: (torch.Tensor * torch.Tensor) option
    }

/// What `Network.Predict` is made of.
module private Cascading =
    let checkImages (fixedImage: torch.Tensor) (movingImage: torch.Tensor) =
        if
            fixedImage.dim () <> 5L
            || fixedImage.shape[1] <> 1L
            || fixedImage.shape <> movingImage.shape
            || fixedImage.shape[2..] |> Array.exists (fun n -> n < 8L)
        then
            invalidArg
                (nameof fixedImage)
                ("two images [N, 1, Z, Y, X] of one size, 8 voxels a side or more, are needed; "
                 + $"they are {Field.shapeOf fixedImage} and {Field.shapeOf movingImage}")

    /// The total of a deformation (the composition of the stages' fields) under the affine map, always a tensor of
    /// its own: one that is also a stage's field would be moved out of the scope twice.
    let total
        (image: torch.Tensor)
        (affine: (torch.Tensor * torch.Tensor) option)
        (deformation: torch.Tensor option)
        : torch.Tensor =
        let shape = image.shape

        match affine, deformation with
        | Some(w, b), Some d -> Field.underAffine w b d
        | Some(w, b), None -> Field.affine w b (shape[2], shape[3], shape[4])
        | None, Some d -> d.alias ()
        | None, None -> torch.zeros ([| shape[0]; 3L; shape[2]; shape[3]; shape[4] |], device = image.device)

/// A registration network: an affine stage, if any, and deformable stages. Its parameters are named
/// `affine.LAYER.weight` and `stageK.LAYER.weight` (K from 1), and `.bias`; a single network is `stage1`.
[<Sealed>]
type Network internal (architecture: Architecture option, affine: AffineLayers option, stages: Layer list) as this
    =
    inherit torch.nn.Module("network")

    /// The stages, where our kernels can do all of them as one.
    let managed = architecture |> Option.bind ManagedCascade.ofArchitecture

    do
        for stem in Option.toList affine do
            this.register_module ("affine", new Composite("affine", AffineLayers.parts stem))

        for index, stage in List.indexed stages do
            let name = $"stage{index + 1}"
            this.register_module (name, new Composite(name, stage.Parts))

    /// What it was made from; nothing: layers of one's own (`Network.ofLayers`).
    member _.Architecture = architecture

    /// Registers `movingImage` to `fixedImage`, both [N, 1, Z, Y, X] float32 of any size from 8 voxels a side.
    /// Differentiable through all stages (Zhao, Dong, Chang, Xu: Recursive Cascaded Networks, 2019): each sees the fixed
    /// image and the original moving image, warped once by the total of the fields so far. The affine part of the total
    /// is evaluated exactly, not interpolated. Protects itself from the garbage collector (`NativeCalls`).
    member this.Predict(fixedImage: torch.Tensor, movingImage: torch.Tensor) : Prediction =
        Cascading.checkImages fixedImage movingImage
        NativeCalls.protect (fun () -> this.PredictUnprotected(fixedImage, movingImage))

    member private this.PredictUnprotected(fixedImage: torch.Tensor, movingImage: torch.Tensor) : Prediction =
        use scope = torch.NewDisposeScope()

        let affine =
            affine
            |> Option.map (fun stem ->
                AffineLayers.predict stem (torch.cat ([| fixedImage; movingImage |], 1L)))

        let prediction =
            match managed with
            | Some stages when ManagedCascade.fits fixedImage movingImage ->
                this.PredictManaged(stages, affine, fixedImage, movingImage)
            | _ -> this.PredictByLayers(affine, fixedImage, movingImage)

        for tensor in prediction.Field :: prediction.Moved :: prediction.StageFields do
            scope.MoveToOuter tensor |> ignore

        for w, b in Option.toList affine do
            scope.MoveToOuter(w, b) |> ignore

        prediction

    /// All stages as one, by the kernels of `Ldr.Runtime`.
    member private _.PredictManaged(managed, affine, fixedImage, movingImage) : Prediction =
        let parameters = stages |> List.collect Layer.parameters

        let result =
            CascadeFunction.Run(managed, fixedImage, movingImage, affine, parameters)

        {
            Field = result.Field
            Moved = result.Moved
            StageFields = result.StageFields
            Affine = affine
        }

    /// Stage by stage.
    member private _.PredictByLayers(affine, fixedImage, movingImage) : Prediction =
        let total = Cascading.total fixedImage affine
        let start = total None

        let first =
            if affine.IsSome then
                Field.warp start movingImage
            else
                movingImage.alias ()

        let advance (deformation, _, moved: torch.Tensor, fields) (stage: Layer) =
            let field = stage.Run(torch.cat ([| fixedImage; moved |], 1L))

            let deformation =
                match deformation with
                | None -> field
                | Some before -> Field.compose before field

            let field' = total (Some deformation)
            Some deformation, field', Field.warp field' movingImage, field :: fields

        let _, field, moved, fields =
            ((None, start, first, []), stages) ||> List.fold advance

        {
            Field = field
            Moved = moved
            StageFields = List.rev fields
            Affine = affine
        }

module Network =
    /// The layers of an affine stage, if any, and of every deformable stage. Nothing is drawn yet.
    let private layers (seed: Seed) (architecture: Architecture) : AffineLayers option * Layer list =
        let cascade = Architecture.asCascade architecture
        let multiple = Architecture.multiple architecture

        let stage index =
            let seed = seed |> Seed.split $"stage{index}"

            match cascade.Stage with
            | Stage.Ldr widths -> Student.full seed widths
            | Stage.LdrHalf widths -> Student.half seed widths
            | Stage.LdrVelocity widths -> Student.velocity seed widths
            | Stage.LdrReference -> VoxelMorph.reference seed
            | Stage.Vtn scale -> Vtn.create seed scale (1.0 / float cascade.Stages)
            | Stage.VoxelMorph -> VoxelMorph.create seed
            |> Layer.padded multiple

        cascade.Affine |> Option.map (AffineLayers.create (Seed.split "affine" seed)),
        List.init cascade.Stages (fun k -> stage (k + 1))

    /// A network that starts near the identity. Its parameters depend on the seed and their own names, and on nothing else:
    /// stage 1 of a cascade starts as the single network does.
    let create (seed: Seed) (architecture: Architecture) : Network =
        use scope = torch.NewDisposeScope()
        let affine, stages = layers seed architecture
        new Network(Some architecture, affine, stages)

    /// A network of one's own layers: stages that see (fixed, moved) [N, 2, Z, Y, X], whose sides are multiples of `multiple`, and
    /// give a field [N, 3, Z, Y, X] of that size. No model file says how to make it again; `ModelFile.writeWeights` keeps its
    /// parameters.
    let ofLayers (multiple: int) (stages: Layer list) : Network =
        use scope = torch.NewDisposeScope()
        new Network(None, None, stages |> List.map (Layer.padded multiple))

    /// Names and shapes of the parameters that `create` gives a network, without making one.
    let shapes (architecture: Architecture) : (string * int64[]) list =
        let affine, stages = layers (Seed.ofInt 0) architecture

        let named prefix (parts: Part list) =
            [
                for part in parts do
                    for key, shape in part.Shapes -> $"{prefix}.{part.Name}.{key}", shape
            ]

        [
            for stem in Option.toList affine do
                yield! named "affine" (AffineLayers.parts stem)
            for index, stage in List.indexed stages do
                yield! named $"stage{index + 1}" stage.Parts
        ]

    /// Multiplications with addition of a network (not of its warps) for one pair of size (z, y, x), without making one.
    let macs (architecture: Architecture) (z: int, y: int, x: int) : float =
        let affine, stages = layers (Seed.ofInt 0) architecture
        let size = [| int64 z; int64 y; int64 x |]

        (affine
         |> Option.map (fun stem -> AffineLayers.macs stem size)
         |> Option.defaultValue 0.0)
        + (stages |> List.sumBy (fun stage -> snd (stage.Cost size)))

    /// How many numbers are learnt.
    let parameterCount (network: torch.nn.Module) =
        network.parameters () |> Seq.sumBy (fun p -> p.numel ())
