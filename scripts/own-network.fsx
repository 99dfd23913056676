// A student from combinators: shown, trained on pairs of synthetic anatomy, saved and read again.
#load "ldr.fsx"

open System.IO
open TorchSharp
open Ldr
open Ldr.Layer
open Ldr.Runtime.Geometry

/// A U of two levels; the field is predicted at half size, and doubled.
let student seed =
    let down name inputs outputs = convolution seed name (Filter.halving 4 inputs outputs) >=> relu
    let up name inputs outputs = transposed seed name (Filter.doubling inputs outputs) >=> relu
    let bottom = down "conv2" 8 16 >=> up "deconv" 16 8
    let head = convolution seed "flow" (Filter.same 16 3 |> Filter.head) >=> fieldDouble
    Network.ofLayers 4 [ down "conv1" 2 8 >=> skip bottom >=> head ]

let network = student (Seed.ofInt 1)
printfn $"{Network.parameterCount network} parameters"
let scans = Array.init 12 (fun i -> IntensityRule.Percentiles(0.5, 99.5).Apply(fst (Scripts.subject i)))
let turn = { Gamma = 1.0; DiscriminatorMoves = 0 }
let loss = Loss.similarity Correlation |> Loss.plus (Loss.smoothness |> Loss.times 0.2)
let step = Aldk.lowerBy (Learner.adam 2e-3 network) (Some 1.0) loss

for index in 0..149 do
    use _ = torch.NewDisposeScope()
    let fixedScan, moving = scans[index % 12], scans[(5 * index + 1) % 12]
    let report = step index [ Iteration.ofVolumes turn network network fixedScan moving ]

    if index % 25 = 24 then
        printfn "step %d: %.3f" (index + 1) (Map.find "similarity" (Map.ofList report))

let folder = (Directory.CreateDirectory(Scripts.folder "own-network")).FullName
let file = Path.Combine(folder, "weights.safetensors")
ModelFile.writeWeights file network
ModelFile.readWeights file (student (Seed.ofInt 2)) |> Error.orRaise
printfn $"The weights are in {file}"
