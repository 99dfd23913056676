// Registers two scans, with a model and without: dotnet fsi register.fsx [FIXED MOVING], else two synthetic ones.
#load "ldr.fsx"

open System.IO
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.Runtime.Reports

let fixedScan, moving =
    match List.ofArray fsi.CommandLineArgs with
    | [ _; fixedFile; movingFile ] -> ImageFile.Read fixedFile, ImageFile.Read movingFile
    | _ -> fst (Scripts.subject 0), fst (Scripts.subject 1)

let folder = (Directory.CreateDirectory(Scripts.folder "register")).FullName

let register (name: string) (registrar: Registrar) =
    let result = registrar.Register(fixedScan, moving)
    let quality = result.Quality
    let file ending = Path.Combine(folder, name + ending)
    ImageFile.Write(file "-moved.nii.gz", result.Moved)
    TransformFile.WriteField(file "-field.nii.gz", result.Field)
    result.WriteReport(file ".html")

    printfn $"{name}: {result.Verdict}, similarity {quality.SimilarityBefore:F3} to {quality.SimilarityAfter:F3}"

    for reason in quality.Reasons do
        printfn $"  {reason}"

register "hippocampus" (new Registrar(StudentModel.Load "hippocampus"))
register "none" (new Registrar())
printfn $"The files are in {folder}"
