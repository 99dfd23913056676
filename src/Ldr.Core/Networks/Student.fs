namespace Ldr

open Layer

/// The student of the paper, LDR: four convolutions, three transposed convolutions with skips concatenated before each, and
/// a linear head. (fixed, moving) [N, 2, Z, Y, X] → field [N, 3, Z, Y, X]; sides are multiples of 16.
module Student =
    /// Half the size of the input, with how many channels.
    let private trunk seed (widths: StudentWidths) =
        let encoder = Array.ofList (2 :: widths.Encoder)
        let decoder k = widths.Decoder[3 - k]

        // The channels at level k: what the convolution k gave, and (but at the bottom) what comes up from below.
        let width k =
            if k = 4 then encoder[4] else encoder[k] + decoder k

        let down k =
            convolution seed $"conv{k}" (Filter.halving 4 encoder[k - 1] encoder[k])
            >=> relu

        let up k =
            transposed seed $"deconv{k}" (Filter.doubling (width (k + 1)) (decoder k))
            >=> relu

        let rec level k =
            if k = 4 then
                down 4
            else
                down k >=> skip (level (k + 1) >=> up k)

        level 1, width 1

    /// `ldr`: the head is an up-convolution 4³, stride 2.
    let full (seed: Seed) (widths: StudentWidths) : Layer =
        let trunk, width = trunk seed widths

        trunk >=> transposed seed "flow" (Filter.doubling width 3 |> Filter.head)
        |> ManagedTrunk.wrap (StudentTrunk(widths, false))

    /// What both students with a head at half size share: the head is a 3³ convolution.
    let private atHalfSize seed widths =
        let trunk, width = trunk seed widths

        trunk >=> convolution seed "flow" (Filter.same width 3 |> Filter.head)
        |> ManagedTrunk.wrap (StudentTrunk(widths, true))

    /// `ldr-half`: the field is predicted at half size, then doubled.
    let half (seed: Seed) (widths: StudentWidths) : Layer = atHalfSize seed widths >=> fieldDouble

    /// `ldr-velocity`: a stationary velocity field is predicted at half size; the field that flows from it is then doubled
    /// (VoxelMorph's diffeomorphic form, Dalca et al., 2018).
    let velocity (seed: Seed) (widths: StudentWidths) : Layer =
        atHalfSize seed widths >=> fieldExponential >=> fieldDouble
