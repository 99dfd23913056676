// A template of many scans, then labels of a scan by those as atlases: dotnet fsi atlas.fsx [ATLASES.csv SCAN], else synthetic ones.
#load "ldr.fsx"

open System.IO
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration

let folder = (Directory.CreateDirectory(Scripts.folder "atlas")).FullName
let file name = Path.Combine(folder, name)

let synthetic () =
    for i in 0..4 do
        let scan, labels = Scripts.subject i
        scan.Write(file $"s{i}.nii.gz")
        labels.Write(file $"l{i}.nii.gz")

    File.WriteAllLines(file "atlases.csv", "scan,labels" :: [ for i in 1..4 -> $"s{i}.nii.gz,l{i}.nii.gz" ])
    file "atlases.csv", file "s0.nii.gz"

let table, target =
    match List.ofArray fsi.CommandLineArgs with
    | [ _; table; target ] -> table, target
    | _ -> synthetic ()

let scans = ScanTable.Read table
let registrar = new Registrar()
let made = TemplateBuilder(registrar).Build(scans, file "template", TemplateOptions(Rounds = 2))

for round in made.Rounds do
    printfn $"round {round.Round}: moved by {round.MeanDeformationMm:F2} mm, sharpness {round.Sharpness:F3}"

let atlases = [| for scan in scans -> Atlas.OfFiles(scan.Name, scan.Image, nonNull scan.Labels) |]
let result = AtlasSegmenter(registrar).Segment(ImageFile.Read target, atlases)
result.Fused.Labels.Write(file "labels.nii.gz")

for volume in result.Fused.Probabilities.Volumes() do
    printfn $"label {volume.Label}: {volume.Mm3:F0} mm³"
