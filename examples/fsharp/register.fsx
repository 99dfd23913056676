// Registers three scans onto one: dotnet fsi examples/fsharp/register.fsx FOLDER-OF-TASK04. Build first: ./ldr-fs --version.
#r "../../src/Ldr.Cli/bin/Release/net10.0/Ldr.Runtime.dll"

open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration

let folder = fsi.CommandLineArgs[1]
let scan number = ImageFile.Read $"{folder}/imagesTr/hippocampus_{number}.nii.gz"
let registrar = new Registrar(StudentModel.Load "hippocampus")

for moving in [ "004"; "006"; "008" ] do
    let result = registrar.Register(scan "003", scan moving)
    printfn $"{moving}: {result.Verdict}, similarity {result.Quality.SimilarityAfter:F2}"
    ImageFile.Write($"moved_{moving}.nii.gz", result.Moved)
