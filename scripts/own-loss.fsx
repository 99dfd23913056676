// A similarity of one's own, in a training that is scored beside the same training with the usual one.
#load "ldr.fsx"

open TorchSharp
open Ldr

/// How steep an image is at each voxel, [N, 1, Z, Y, X].
let edges (image: torch.Tensor) =
    let along axis =
        image.diff (1L, axis, prepend = image.narrow (axis, 0L, 1L))

    (along(2L).square () + along(3L).square () + along(4L).square () + 1e-6).sqrt ()

/// The correlation of edges and that of intensities, half and half.
let alike (mask: torch.Tensor) fixedImage moved =
    let correlation a b = Similarity.correlation (Some mask) a b
    (correlation fixedImage moved + correlation (edges fixedImage) (edges moved)) * 0.5

let loss = Loss.similarityBy alike |> Loss.plus (Loss.smoothness |> Loss.times 0.6)

let step (options: TrainingOptions) (players: Players) =
    match options.Name with
    | "edges" -> Aldk.stepBy players.Student options.Clip players.Adversary loss
    | _ -> Trainer.step options players

let training name = { Scripts.training with Name = name }
let both = { Scripts.experiment with Train = [ training "usual"; training "edges" ] }
let result = Scripts.run { RunOptions.standard with Folder = Scripts.folder "own-loss"; Step = step } both
printfn $"{Scores.toTable result.Table}"
