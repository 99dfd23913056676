// Losses that the program does not have, each in the training `start` or `local` of hippocampus-students.json, beside these two:
// similarity at three resolutions, and group consistency. One seed, a quarter of an hour on one core. See docs/lab/students.md.
#load "../../../scripts/ldr.fsx"

open System.IO
open TorchSharp
open Ldr

/// A mask and two images [N, 1, Z, Y, X] at half the size: the means of the voxels that count.
let half (mask: torch.Tensor, fixedImage: torch.Tensor, moved: torch.Tensor) =
    let pool (values: torch.Tensor) =
        torch.nn.functional.avg_pool3d (values, [| 2L; 2L; 2L |])

    let weight = pool mask

    let within image =
        pool (image * mask) / weight.clamp_min 1e-6

    weight, within fixedImage, within moved

/// The mean of a measure at full, half and quarter size.
let resolutions measure (mask: torch.Tensor) fixedImage moved : torch.Tensor =
    let full = mask, fixedImage, moved
    let middle = half full
    let parts = [ full; middle; half middle ]
    let alike (mask, fixedImage, moved) : torch.Tensor = measure (Some mask) fixedImage moved
    (parts |> List.map alike |> List.reduce (+)) * (1.0 / 3.0).ToScalar()

/// How far apart, in voxels, squared, points end that go from a fixed scan to a third one, by way of the moving one and directly.
/// The third one is the moving scan of the batch's other pair.
let group (student: Network) : Loss =
    Loss.term "group" (fun iteration ->
        let third = iteration.Moving.flip 0L
        let there = iteration.Student.Value.Field
        let on = student.Predict(iteration.Moving, third).Field
        let directly = student.Predict(iteration.Fixed, third).Field
        (Field.compose on there - directly).square().sum(1L).mean())

let step (options: TrainingOptions) (players: Players) =
    let regularity = LossWeights.regularity options.Loss

    let by loss =
        Aldk.stepBy players.Student options.Clip players.Adversary (loss |> Loss.plus regularity)

    match options.Name with
    | "resolutions" -> by (Loss.similarityBy (resolutions Similarity.correlation))
    | "local-resolutions" -> by (Loss.similarityBy (resolutions (Similarity.localCorrelation 7)))
    | "group" ->
        let own = LossWeights.reconstruction options.Loss
        by (own |> Loss.plus (group players.Student.Network |> Loss.times 0.1))
    | _ -> Trainer.step options players

let file = Path.Combine(__SOURCE_DIRECTORY__, "hippocampus-students.json")
let usual = Experiment.read file [] |> Error.orRaise

/// A training of the file under another name.
let training name (like: string) =
    let own = usual.Train |> List.find (fun training -> training.Name = like)
    { own with Name = name }

let experiment =
    { usual with
        Name = "hippocampus-own-losses"
        Train =
            [
                training "start" "start"
                training "resolutions" "start"
                training "local" "local"
                training "local-resolutions" "local"
                training "group" "start"
            ]
        Evaluation =
            { usual.Evaluation with
                KnownField = Some 2.0
                Compare = [ "resolutions", "start"; "local-resolutions", "local"; "group", "start" ]
            }
    }

// What was begun goes on.
let folder = Path.Combine("runs", experiment.Name)

let options =
    { RunOptions.standard with
        Folder = folder
        Resume = Directory.Exists folder
        Step = step
    }

let result = Scripts.run options experiment
printfn $"{Scores.toTable result.Table}"
