namespace Ldr

open Layer

/// U-Nets of 3³ convolutions with LeakyReLU 0.1 and nearest-neighbour doubling. (Balakrishnan, Zhao, Sabuncu, Guttag,
/// Dalca: VoxelMorph, 2019; and the class LDR of the authors' released code, which has the same scheme.)
/// (fixed, moving) [N, 2, Z, Y, X] → field [N, 3, Z, Y, X]; sides are multiples of 16.
module VoxelMorph =
    let private unet seed (encoder: int list) (decoder: int list) : Layer =
        let encoded = Array.ofList (2 :: encoder)
        let decoded = Array.ofList decoder

        let activated name filter =
            convolution seed name filter >=> leakyRelu

        let down k =
            activated $"conv{k}" (Filter.halving 3 encoded[k - 1] encoded[k])

        // decode4 … decode1, decode1_1, decode0, decode0_1; before each but the first, what comes up meets what was kept.
        let decode name inputs index =
            activated name (Filter.same inputs decoded[index])

        let rec level k =
            if k = 4 then
                down 4 >=> decode "decode4" encoded[4] 0
            else
                down k
                >=> fork [ level (k + 1) >=> nearestDouble; identity ]
                >=> decode $"decode{k}" (decoded[3 - k] + encoded[k]) (4 - k)

        let inside = level 1 >=> decode "decode1_1" decoded[3] 4 >=> nearestDouble

        fork [ inside; identity ]
        >=> decode "decode0" (decoded[4] + 2) 5
        >=> decode "decode0_1" decoded[5] 6
        >=> convolution seed "flow" (Filter.same decoded[6] 3 |> Filter.head)

    /// `voxelmorph`, 300,547 parameters.
    let create (seed: Seed) : Layer =
        unet seed [ 16; 32; 32; 32 ] [ 32; 32; 32; 32; 32; 16; 16 ]

    /// `ldr-reference`, 280,659 parameters.
    let reference (seed: Seed) : Layer =
        unet seed [ 32; 32; 32; 16 ] [ 32; 32; 32; 32; 16; 16; 16 ]
