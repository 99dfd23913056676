// Steps of both players of ALDK, one by one, and the gradients that they move by.
#load "ldr.fsx"

open TorchSharp
open Ldr
open Ldr.Runtime.Geometry

let teacher = ModelFile.resolve "hippocampus" |> Result.bind ModelFile.read |> Error.orRaise
let student = Network.create (Seed.ofInt 1) (Architecture.Single(Stage.Ldr StudentWidths.slim))
let learner = Learner.adam 1e-3 student

// The published formula with a smaller discriminator; γ = 0, so that nothing but l_dis moves the student.
let small = { DiscriminatorOptions.published with Widths = [ 8; 16; 32 ] }
let distillation = { Distillation.published with Discriminator = small }
let adversary = Adversary.create (Seed.ofInt 2) distillation
let judge = adversary.Judge.Value
let turn = { Gamma = 0.0; DiscriminatorMoves = 1 }

let scan index = IntensityRule.Percentiles(0.5, 99.5).Apply(fst (Scripts.subject index))
let fixedScan, moving = scan 0, scan 1

let gradient (network: torch.nn.Module) =
    let squares (p: Modules.Parameter) =
        match p.grad with
        | null -> 0.0
        | grad -> float (grad.square().sum().item<float32> ())

    network.parameters () |> Seq.sumBy squares |> sqrt

for step in 0..2 do
    use _ = torch.NewDisposeScope()
    let batch = Iteration.ofVolumes turn student teacher.Network fixedScan moving
    let first = Aldk.discriminatorStep judge distillation step [ batch ]
    let second = Aldk.lowerBy learner None (Distillation.loss distillation (Some judge.Network)) step [ batch ]
    printfn $"discriminator: gradient {gradient judge.Network:G3}, %A{first}"
    printfn $"student: gradient {gradient student:G3}, %A{second}"
