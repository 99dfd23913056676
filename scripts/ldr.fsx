// Ldr in F# Interactive: `#load "ldr.fsx"`, from any folder. Build once before: ./ldr-fs --help.
#r "../src/Ldr.Cli/bin/Release/net10.0/Ldr.Runtime.dll"
#r "../src/Ldr.Cli/bin/Release/net10.0/TorchSharp.dll"
#r "../src/Ldr.Cli/bin/Release/net10.0/SkiaSharp.dll"
#r "../src/Ldr.Cli/bin/Release/net10.0/FsToolkit.ErrorHandling.dll"
#r "../src/Ldr.Cli/bin/Release/net10.0/Ldr.Core.dll"

open System
open System.IO
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Registration
open Ldr.Runtime.Transforms

NativeParts.load () |> ignore

// Small scans are faster on one thread; a long training of your own may take more.
TorchSharp.torch.set_num_threads 1

// Models by their names, whatever the current folder is.
if isNull (Environment.GetEnvironmentVariable "LDR_MODELS") then
    Environment.SetEnvironmentVariable("LDR_MODELS", Path.Combine(__SOURCE_DIRECTORY__, "..", "models"))

fsi.AddPrinter(fun (scan: Volume) ->
    let struct (low, high) = scan.Range
    $"scan: {scan.Grid}, intensities {low:G4} to {high:G4}")

fsi.AddPrinter(fun (field: DisplacementField) ->
    let folding = Ldr.Runtime.Metrics.Folding.Measure field
    $"field: {field.Grid}, {field.MeanLengthMm:F2} mm long on average, {folding.FoldedPercent:F3} %% folded")

fsi.AddPrinter(fun (network: Network) ->
    let what =
        network.Architecture |> Option.map Architecture.describe |> Option.defaultValue "layers of one's own"

    $"network: {what}, {Network.parameterCount network:N0} parameters")

fsi.AddPrinter(fun (rows: Summary list) -> "\n" + Scores.toTable rows)

fsi.AddPrinter(fun (result: RegistrationResult) ->
    $"{result.Verdict}: similarity {result.Quality.SimilarityBefore:F3} before, {result.Quality.SimilarityAfter:F3} after")

/// What scripts share.
module Scripts =
    /// Synthetic anatomy, of which there are more subjects than an experiment takes.
    let subject: int -> Volume * Volume = Anatomy.subject Anatomy.standard

    /// A small student that learns from its images, in half a minute.
    let training =
        let widths = { Encoder = [ 8; 16; 32; 32 ]; Decoder = [ 32; 16; 8 ] }

        { TrainingOptions.standard with
            Architecture = Architecture.Single(Stage.LdrHalf widths)
            Steps = 150
            Batch = 1
            LearningRate = { LearningRate.standard with Initial = 2e-3 }
            Clip = Some 1.0
            Loss = { LossWeights.standard with Smoothness = 0.6; LogJacobian = 0.2 }
        }

    /// Few subjects, and few pairs that are scored.
    let experiment =
        { Experiment.standard with
            Data =
                { DataOptions.standard with
                    Source = Synthetic { Anatomy.standard with Subjects = 20 }
                    Split = Cut { Train = 14; Validation = 2; Test = 4; Seed = 1 }
                }
            Train = [ training ]
            Evaluation = { EvaluationOptions.standard with Pairs = 8; ValidationPairs = 2 }
        }

    /// A folder of this name below `runs`, or with a number where that is there.
    let folder (name: string) =
        Seq.initInfinite (fun i -> Path.Combine("runs", (if i = 0 then name else $"{name}-{i + 1}")))
        |> Seq.find (Directory.Exists >> not)

    /// Trains and scores; a line for every 25th step or so. Bad input is raised.
    let run (options: RunOptions) (experiment: Experiment) : RunResult =
        let say event =
            match event with
            | Training(Progressed(name, step, steps, metrics, _, _)) ->
                let terms = [ for key, value in metrics -> $"{key} {value:G3}" ] |> String.concat ", "
                printfn $"{name}: step {step} of {steps}, {terms}"
            | Training(Warned(name, step, message)) -> printfn $"{name}: step {step}: {message}"
            | _ -> ()

        match Run.execute { options with Sink = say } experiment |> Error.orRaise with
        | Done result -> result
        | Stopped(training, step) -> failwith $"{training} was stopped at step {step}"
        | Followed -> failwith "scripts train in one process; leave Ranks as it is"
