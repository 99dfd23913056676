// An experiment over γ and λ: one training for each pair of values, and a table at the end.
#load "ldr.fsx"

open Ldr

let teacher =
    { Scripts.training with
        Name = "teacher"
        Steps = 100
        Architecture = Architecture.Single(Stage.Vtn { Levels = 3; Channels = 8 })
    }

/// ALDK as published, with γ and λ of its own, and a discriminator that is quick at this size.
let aldk gamma lambda =
    { Distillation.published with
        Penalty = lambda
        Schedule = [ { Steps = None; Cycle = [ 1.0; gamma ]; DiscriminatorMoves = None } ]
        Discriminator = { DiscriminatorOptions.published with Widths = [ 8; 16; 32 ] }
    }

let student gamma lambda =
    { Scripts.training with
        Name = $"gamma-{100.0 * gamma:F0}-lambda-{100.0 * lambda:F0}"
        Steps = 30
        Distillation = Some(aldk gamma lambda)
    }

let students =
    [
        for gamma in [ 0.3; 0.8 ] do
            for lambda in [ 0.1; 1.0 ] -> student gamma lambda
    ]

let experiment = { Scripts.experiment with Train = teacher :: students }
let result = Scripts.run { RunOptions.standard with Folder = Scripts.folder "sweep" } experiment
printfn $"{Scores.toTable result.Table}"
