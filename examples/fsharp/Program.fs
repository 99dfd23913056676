/// register FIXED MOVING OUTPUT [MODEL]: two scans, with or without a model, to files in a folder.
module Ldr.Example.Program

open System.IO
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality
open Ldr.Runtime.Reports

let private register (fixedFile: string) (movingFile: string) (folder: string) (model: string option) =
    use registrar =
        match model with
        | Some name -> new Registrar(StudentModel.Load name)
        | None -> new Registrar()

    let options = RegistrationOptions(Prealignment = Prealignment.Auto)

    let result =
        registrar.Register(ImageFile.Read fixedFile, ImageFile.Read movingFile, options)

    let file (name: string) =
        Path.Combine((Directory.CreateDirectory folder).FullName, name)

    ImageFile.Write(file "moved.nii.gz", result.Moved)
    TransformFile.WriteField(file "field.nii.gz", result.Field)
    TransformFile.WriteField(file "inverse.nii.gz", result.Inverse())
    result.WriteReport(file "report.html")
    let reasons = String.concat "; " result.Quality.Reasons
    printfn $"{result.Verdict}: {reasons}"
    if result.Verdict = Verdict.Failed then 3 else 0

[<EntryPoint>]
let main arguments =
    match List.ofArray arguments with
    | [ fixedFile; movingFile; folder ] -> register fixedFile movingFile folder None
    | [ fixedFile; movingFile; folder; model ] -> register fixedFile movingFile folder (Some model)
    | _ ->
        eprintfn "register FIXED MOVING OUTPUT [MODEL]"
        2
