// Trains a small student on synthetic anatomy, registers two scans that it never saw, and draws a picture.
#load "ldr.fsx"

open System.IO
open Ldr
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration

let experiment =
    { Experiment.standard with
        Name = "quickstart"
        Data =
            { DataOptions.standard with
                Source = Synthetic { Anatomy.standard with Subjects = 20 }
                Split = Cut { Train = 14; Validation = 2; Test = 4; Seed = 1 }
            }
        Train = [ { Scripts.training with Steps = 200 } ]
        Evaluation = { EvaluationOptions.standard with Pairs = 8; ValidationPairs = 2 }
    }

let folder = Scripts.folder "quickstart"
let result = Scripts.run { RunOptions.standard with Folder = folder } experiment
printfn $"{Scores.toTable result.Table}"

// More of the same anatomy than the experiment has.
let fixedScan, moving = fst (Scripts.subject 80), fst (Scripts.subject 81)
let registrar = new Registrar(StudentModel.Load result.Model)
let registered = registrar.Register(fixedScan, moving)
let picture = Path.Combine(folder, "registered.png")
Picture.pairs picture [ registered ]
printfn $"{registered.Verdict}; see {picture}"
