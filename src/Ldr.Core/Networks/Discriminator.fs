namespace Ldr

open TorchSharp
open Layer

type DiscriminatorOptions =
    {
        /// The channels of the halving convolutions.
        Widths: int list
        /// It sees the fixed and the moving image beside the field, and so can tell where a deformation is wrong for its pair.
        Conditioned: bool
        /// A first convolution 3³ at full size, as published. Without it a step takes about a third of the time.
        FullSize: bool
        /// Whether a ReLU follows that convolution. The paper names ReLU from the second convolution on.
        FirstRelu: bool
    }

module DiscriminatorOptions =
    /// 16-32-64-128-256, as published, but for a ReLU after the first convolution.
    let standard =
        {
            Widths = [ 16; 32; 64; 128; 256 ]
            Conditioned = false
            FullSize = true
            FirstRelu = true
        }

    /// As published.
    let published = { standard with FirstRelu = false }

    /// The channels of what it looks at.
    let channels options = if options.Conditioned then 5 else 3

    let codec: Codec<DiscriminatorOptions> =
        let widths =
            Codec.list (
                Codec.int
                |> Codec.where "a whole number from 1 to 1024" (fun v -> v >= 1 && v <= 1024)
            )
            |> Codec.where "a list of 1 to 6 widths" (fun l -> l.Length >= 1 && l.Length <= 6)

        codec {
            let! widths = optional "widths" widths standard.Widths _.Widths

            and! conditioned =
                optional "conditioned" Codec.bool standard.Conditioned _.Conditioned

            and! fullSize = optional "full_size" Codec.bool standard.FullSize _.FullSize
            and! firstRelu = added "first_relu" Codec.bool standard.FirstRelu _.FirstRelu

            return
                {
                    Widths = widths
                    Conditioned = conditioned
                    FullSize = fullSize
                    FirstRelu = firstRelu
                }
        }

/// What a discriminator makes of fields, and, if it is told them, of the images of the pairs.
[<NoEquality; NoComparison>]
type Judgement =
    {
        /// What its layers give, first to last, each [N, C, Z, Y, X] of its own size.
        Features: torch.Tensor list
        /// The last of them: numbers in (0, 1), one in each channel for every part of the field. Its mean is the paper's M.
        Map: torch.Tensor
    }

/// Judges displacement fields [N, 3, Z, Y, X] of any size; where it is conditioned, the two images follow as channels 4
/// and 5. It normalises nothing itself (`Discrimination.normalise` does); sizes are padded with zeros to a multiple of
/// 2^(number of widths). Published: six convolutions, ReLU, the last sigmoid; not stated: the first one's kernel, here 3³.
[<Sealed>]
type Discriminator internal (options: DiscriminatorOptions, padding: Layer, layers: Layer list) as this =
    inherit torch.nn.Module("discriminator")

    let kernels =
        {
            Channels = DiscriminatorOptions.channels options
            FullSize = options.FullSize
            FirstRelu = options.FirstRelu
            Widths = options.Widths
        }

    /// What the layers look at, [N, C, Z, Y, X], padded.
    let seen (images: torch.Tensor) (field: torch.Tensor) =
        if options.Conditioned then
            padding.Run(torch.cat ([| field; images |], 1L))
        else
            padding.Run field

    let numbers () = layers |> List.collect Layer.parameters

    /// What the layers give, or as much of it as the task asks for.
    let give (task: JudgeTask) (seen: torch.Tensor) : torch.Tensor list =
        if ManagedJudge.fits kernels seen then
            JudgeFunction.Run((kernels, task), seen, numbers ())
        else
            (seen, layers) ||> List.scan (fun before layer -> layer.Run before) |> List.tail

    let ofMap (map: torch.Tensor) : Judgement = { Features = [ map ]; Map = map }

    do
        for layer in layers do
            for part in layer.Parts do
                this.register_module (part.Name, part.Weights.Value)

    /// Judges fields; `images` are the fixed and the moving one of each sample, [N, 2, Z, Y, X], which only a conditioned
    /// discriminator looks at.
    member _.Judge(images: torch.Tensor, field: torch.Tensor) : Judgement =
        use scope = torch.NewDisposeScope()
        let features = give EveryFeature (seen images field)

        for feature in features do
            scope.MoveToOuter feature |> ignore

        {
            Features = features
            Map = List.last features
        }

    /// The same without the features of the layers before the last.
    member _.JudgeMap(images: torch.Tensor, field: torch.Tensor) : Judgement =
        use scope = torch.NewDisposeScope()
        ofMap (scope.MoveToOuter(List.last (give Map (seen images field))))

    /// The same of two fields of the same images, at once.
    member _.JudgeMaps(images: torch.Tensor, one: torch.Tensor, other: torch.Tensor) : Judgement * Judgement =
        use scope = torch.NewDisposeScope()
        let seen = seen (torch.cat [| images; images |]) (torch.cat [| one; other |])
        let map, count = List.last (give Map seen), images.shape[0]

        let half first =
            ofMap (scope.MoveToOuter(map.narrow (0L, first, count)))

        half 0L, half count

    /// ‖∇M‖₂ of every sample, [N]: of the derivative of the mean of its map by the field, over all voxels and channels; with a history
    /// that reaches the field and the parameters. Nothing where our kernels cannot do it.
    member internal _.TryGradientNorm(images: torch.Tensor, field: torch.Tensor) : torch.Tensor option =
        use scope = torch.NewDisposeScope()
        let seen = seen images field

        if ManagedJudge.fits kernels seen then
            Some(scope.MoveToOuter(JudgeNormFunction.Run(kernels, seen, numbers ())))
        else
            None

    /// Multiplications with addition for one field of size (z, y, x).
    member _.Macs(z: int, y: int, x: int) =
        let cost (size, sum) (layer: Layer) =
            let size, macs = layer.Cost size
            size, sum + macs

        (([| int64 z; int64 y; int64 x |], 0.0), padding :: layers)
        ||> List.fold cost
        |> snd

module Discriminator =
    /// Its parameters depend on the seed and their own names, and on nothing else. About 2.79 M of them with the standard
    /// widths.
    let create (seed: Seed) (options: DiscriminatorOptions) : Discriminator =
        use scope = torch.NewDisposeScope()
        let last = options.Widths.Length
        let channels = DiscriminatorOptions.channels options

        let halve index (inputs, outputs) =
            convolution seed $"conv{index + 2}" (Filter.halving 4 inputs outputs)
            >=> if index + 1 = last then sigmoid else relu

        let halving = (channels :: options.Widths) |> List.pairwise |> List.mapi halve

        let first =
            let linear = convolution seed "conv1" (Filter.same channels channels)
            if options.FirstRelu then linear >=> relu else linear

        new Discriminator(
            options,
            pad (pown 2 last),
            (if options.FullSize then first :: halving else halving)
        )
