// Stages of their own resolution, which the program does not have: stages of `ldr-velocity` at full size, before which or instead of
// which one sees both images at half the size. See docs/lab/students.md.
//   dotnet fsi coarse-to-fine.fsx [EXPERIMENT TRAINING SEEDS PATH=VALUE...]
// Each row is trained as that training is, without its affine stage, from random weights, without a teacher and an average of the
// weights; by default as `two-velocity` of hippocampus-students.json.
#load "../../../scripts/ldr.fsx"

open System.IO
open TorchSharp
open Ldr
open Ldr.Layer
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration

let halved: Layer =
    { identity with
        Run = fun images -> torch.nn.functional.avg_pool3d (images, [| 2L; 2L; 2L |])
        Cost = fun size -> size |> Array.map (fun n -> n / 2L), 0.0
    }

let fine seed =
    Student.velocity seed StudentWidths.slim

let coarse seed =
    halved >=> padded 16 (fine seed) >=> fieldDouble

let rows =
    [
        "fine-fine", [ fine; fine ]
        "coarse-fine", [ coarse; fine ]
        "coarse-fine-fine", [ coarse; fine; fine ]
        "fine-fine-fine", [ fine; fine; fine ]
    ]

let file, name, seeds, assignments =
    match List.ofArray fsi.CommandLineArgs with
    | _ :: file :: name :: seeds :: assignments -> file, name, int seeds, assignments
    | [ _ ] -> Path.Combine(__SOURCE_DIRECTORY__, "hippocampus-students.json"), "two-velocity", 3, []
    | _ -> failwith "give EXPERIMENT TRAINING SEEDS, and values of keys after them; or nothing"

let experiment = Experiment.read file assignments |> Error.orRaise
let data, evaluation = experiment.Data, experiment.Evaluation
let options = experiment.Train |> List.find (fun training -> training.Name = name)

let split =
    Dataset.load data |> Result.bind (Dataset.split data.Split) |> Error.orRaise

let scans = TrainingSet.load data split.TrainGroup |> Error.orRaise

let test =
    let seed = Seed.ofInt evaluation.Seed

    Evaluator.load seed evaluation.Pairs (Some seed) data.IgnoredLabels split.TestGroups.Head
    |> Error.orRaise

let train (seed: Seed) (network: Network) =
    let job =
        { TrainingJob.create options scans with
            Seed = seed
        }

    let student = Learner.adam options.LearningRate.Initial network
    let step = Aldk.step student options.Loss options.Clip None
    let subjects = Batches.drawn options seed split.TrainGroup

    for index in 0 .. options.Steps - 1 do
        use _ = torch.NewDisposeScope()
        let turn = { Gamma = 1.0; DiscriminatorMoves = 0 }

        for group in student.Optimiser.ParamGroups do
            group.LearningRate <- LearningRate.at options.Steps index options.LearningRate

        let report =
            subjects index
            |> Batches.ofStep job (StepClock()) network index turn
            |> step index

        if index % 100 = 99 then
            printfn $"""  step {index + 1}: similarity {Map.find "similarity" (Map.ofList report):F3}"""

let card =
    { ModelCard.untrained options.Architecture with
        Intensity = data.Intensity
        Spacing = data.Spacing
        Size = data.Size
        Alignment = data.Alignment
    }

let scored (network: Network) =
    let model: Model = { Card = card; Network = network }
    let none = System.Threading.CancellationToken.None
    let pairs = Evaluator.model torch.CPU model test none (fun _ _ -> ())

    let known =
        KnownFieldOptions(AmplitudeMm = Option.defaultValue 2.0 evaluation.KnownField, Seed = evaluation.Seed)

    pairs, Evaluator.registeringBy torch.CPU model none (fun by -> Evaluator.knownFields by known test none)

let row (name: string, stages: (Seed -> Layer) list) =
    let own =
        [
            for seed in 1..seeds do
                let of' index =
                    Seed.ofInt seed |> Seed.split $"stage{index + 1}"

                use network =
                    Network.ofLayers 16 (stages |> List.mapi (fun index stage -> stage (of' index)))

                printfn $"{name}, seed {seed}: {Network.parameterCount network:N0} parameters"
                train (Seed.ofInt seed) network
                scored network, Network.parameterCount network
        ]

    let pairs = own |> List.map (fst >> fst) |> Scores.overSeeds

    { Scores.summarise name (snd own.Head, nan) pairs pairs with
        KnownFields = own |> List.map (fst >> snd) |> Scores.knownOverSeeds
        Seeds = seeds
    }

let table =
    rows
    |> List.map (fun own ->
        let summary = row own
        printfn $"{Scores.toTable [ summary ]}"
        summary)

printfn $"{Scores.toTable table}"
