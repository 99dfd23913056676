// A page with the loss curves of a run and a histogram of Jacobians.
#r "nuget: Plotly.NET, 6.0.0"
#load "ldr.fsx"

open System.IO
open System.Text.Json
open Plotly.NET
open Ldr
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.Runtime.Transforms

let folder = Scripts.folder "landscape"
let result = Scripts.run { RunOptions.standard with Folder = folder } Scripts.experiment

let curve (name: string) =
    let lines = File.ReadLines(Path.Combine(folder, "metrics.jsonl"))
    let nodes = [ for line in lines -> JsonDocument.Parse(line).RootElement ]
    let own = nodes |> List.filter (fun node -> fst (node.TryGetProperty name))
    let number (key: string) (node: JsonElement) = node.GetProperty(key).GetDouble()
    Chart.Line([ for node in own -> number "step" node, number name node ], Name = name)

let fixedScan, moving = fst (Scripts.subject 80), fst (Scripts.subject 81)
let registered = (new Registrar(StudentModel.Load result.Model)).Register(fixedScan, moving)
let jacobians = (Jacobian.Determinants registered.Field).Values |> Array.map float
let histogram = Chart.Histogram(X = jacobians, Name = "Jacobian")

[ Chart.combine [ curve "loss"; curve "similarity" ]; histogram ]
|> Chart.Grid(1, 2)
|> Chart.saveHtml (Path.Combine(folder, "landscape.html"))
