namespace Ldr

open TorchSharp
open Layer

/// The channels of the discriminator's halving convolutions.
type DiscriminatorOptions = { Widths: int list }

module DiscriminatorOptions =
    /// 16-32-64-128-256, as published.
    let standard = { Widths = [ 16; 32; 64; 128; 256 ] }

    let codec: Codec<DiscriminatorOptions> =
        let widths =
            Codec.list (
                Codec.int
                |> Codec.where "a whole number from 1 to 1024" (fun v -> v >= 1 && v <= 1024)
            )
            |> Codec.where "a list of 1 to 6 widths" (fun l -> l.Length >= 1 && l.Length <= 6)

        Codec.record (fun widths -> { Widths = widths })
        |> Codec.optional "widths" widths standard.Widths (fun o -> o.Widths)
        |> Codec.seal

/// Judges displacement fields: [N, 3, Z, Y, X] of any size → the mean feature M of each sample, [N], strictly between 0
/// and 1. It normalises nothing itself (`Discrimination.normalise` does); sizes are padded with zeros to a multiple of
/// 2^(number of widths). Published: six convolutions, ReLU, the last sigmoid; not stated: the first one's kernel, here 3³.
[<Sealed>]
type Discriminator internal (layer: Layer) as this =
    inherit torch.nn.Module<torch.Tensor, torch.Tensor>("discriminator")

    do
        for part in layer.Parts do
            this.register_module (part.Name, part.Weights.Value)

    override _.forward(field: torch.Tensor) =
        use scope = torch.NewDisposeScope()
        let features = layer.Run field
        scope.MoveToOuter(features.mean [| 1L; 2L; 3L; 4L |])

    /// Multiplications with addition for one field of size (z, y, x).
    member _.Macs(z: int, y: int, x: int) =
        snd (layer.Cost [| int64 z; int64 y; int64 x |])

module Discriminator =
    /// Its parameters depend on the seed and their own names, and on nothing else. About 2.79 M of them with the standard
    /// widths.
    let create (seed: Seed) (options: DiscriminatorOptions) : Discriminator =
        use scope = torch.NewDisposeScope()
        let last = options.Widths.Length

        let halve index (inputs, outputs) =
            convolution seed $"conv{index + 2}" (Filter.halving 4 inputs outputs)
            >=> if index + 1 = last then sigmoid else relu

        let body =
            (3 :: options.Widths) |> List.pairwise |> List.mapi halve |> List.reduce (>=>)

        let first = convolution seed "conv1" (Filter.same 3 3) >=> relu
        new Discriminator(pad (pown 2 last) >=> first >=> body)
