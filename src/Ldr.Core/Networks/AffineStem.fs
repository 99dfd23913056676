namespace Ldr

open TorchSharp
open Layer

/// An affine network: what it looks at, and its two heads.
[<NoEquality; NoComparison>]
type AffineLayers =
    {
        Features: Layer
        /// → W, [N, 9, 1, 1, 1]
        Matrix: Layer
        /// → b, [N, 3, 1, 1, 1]
        Shift: Layer
    }

/// Networks that predict an affine map x ↦ (W + I) x + b, with x in voxels from the centre of the grid, in the order
/// x, y, z. Any input size: they pool to the side that is left at 128³.
module AffineLayers =
    let private layers seed side width features =
        let head name outputs =
            convolution seed name (Filter.whole side width outputs |> Filter.head)

        {
            Features = features >=> pool side
            Matrix = head "matrix" 9
            Shift = head "shift" 3
        }

    /// The layers of a stem. `affine` is VTN's; `affine-light` is LDRUtilStem of the authors' released code.
    let create (seed: Seed) (stem: AffineStem) : AffineLayers =
        match stem with
        | Affine channels ->
            let body = [ 1..6 ] |> List.map (Vtn.encode seed channels) |> List.reduce (>=>)
            layers seed 2 (channels <<< 5) body
        | AffineLight channels ->
            let level k =
                let inputs = if k = 1 then 2 else channels <<< (k - 2)

                convolution seed $"conv{k}" (Filter.halving 3 inputs (channels <<< (k - 1)))
                >=> leakyRelu

            [ 1..4 ]
            |> List.map level
            |> List.reduce (>=>)
            |> ManagedTrunk.wrap (AffineTrunk channels)
            |> layers seed 3 (channels <<< 3)

    /// All owners of parameters, by name.
    let parts (layers: AffineLayers) =
        layers.Features.Parts @ layers.Matrix.Parts @ layers.Shift.Parts

    /// W [N, 3, 3] and b [N, 3] for a pair (fixed, moving) [N, 2, Z, Y, X].
    let predict (layers: AffineLayers) (pair: torch.Tensor) : torch.Tensor * torch.Tensor =
        use features = layers.Features.Run pair
        use w = layers.Matrix.Run features
        use b = layers.Shift.Run features
        w.view ([| -1L; 3L; 3L |]), b.view ([| -1L; 3L |])

    /// Multiplications with addition for one pair of that size [z; y; x].
    let macs (layers: AffineLayers) (size: int64[]) =
        let left, cost = layers.Features.Cost size
        cost + snd (layers.Matrix.Cost left) + snd (layers.Shift.Cost left)
