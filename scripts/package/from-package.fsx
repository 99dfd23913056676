// Ldr from packages, without the repository: dotnet fsi from-package.fsx, in a folder whose NuGet.config names theirs.
#r "nuget: Ldr.Core, 0.2.0"

open Ldr

NativeParts.load () |> ignore
let network = Network.create (Seed.ofInt 1) (Architecture.Single(Stage.Ldr StudentWidths.published))
printfn $"{Network.parameterCount network} parameters"
let subject = Anatomy.subject Anatomy.standard
let turn = { Gamma = 1.0; DiscriminatorMoves = 0 }
let iteration = Iteration.ofVolumes turn network network (fst (subject 0)) (fst (subject 1))
let loss = Loss.similarity Correlation |> Loss.plus (Loss.smoothness |> Loss.times 0.02)
let report = Aldk.lowerBy (Learner.adam 1e-3 network) None loss 0 [ iteration ]
printfn $"%A{report}"
