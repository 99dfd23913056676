namespace Ldr

open Ldr.Runtime.Geometry
open Ldr.Runtime.Registration

/// Fields found for one pair at a time, by optimisation instead of by a network: what `register --model none` does, on the
/// pair as a network sees it. A teacher that has seen nothing but the pair, and takes its time.
module OptimisedField =
    /// What an experiment calls this teacher.
    let teacher = "optimisation"

    /// Between the control points of the finest level, voxels of the training grid.
    let private controlSpacing = 5.0

    /// The field of a pair, affine alignment and refinement together, [3, Z, Y, X] in voxels of its grid.
    let ofPair (pair: PreparedPair) : float32[] =
        let fixedImage, moving =
            Volume(pair.Grid, pair.Fixed), Volume(pair.Grid, pair.Moving)

        let affine = AffineAlignment.Run(fixedImage, moving, AffineFreedom.Full)
        let struct (x, y, z) = pair.Grid.Spacing

        let options =
            RefinementOptions(ControlSpacingMm = controlSpacing * (x + y + z) / 3.0)

        let refined = Refinement.Run(fixedImage, moving, affine.World, null, options)

        (refined.Field.After affine.World).Vectors
