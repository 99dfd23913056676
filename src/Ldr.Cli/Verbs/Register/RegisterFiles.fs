/// The files that `register` writes.
module Ldr.Cli.Verbs.RegisterFiles

open System.IO
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration
open Ldr.Runtime.Reports

let private writeTransform (result: RegistrationResult) (file: string) =
    if TransformFile.IsAffineName file then
        Transform.Linear result.Initial :> Transform
    elif TransformStore.isCompositeName file then
        result.Transform
    else
        Transform.Dense result.Field
    |> TransformStore.write None false file

/// How far the transform and its inverse are from undoing each other.
let private writeInverse (result: RegistrationResult) (file: string) : InverseConsistency =
    let mutable residual = InverseConsistency()
    let field = result.Inverse(&residual)

    if TransformFile.IsAffineName file then
        Transform.Linear(result.Initial.Inverse()) :> Transform
    else
        Transform.Dense field
    |> TransformStore.write None false file

    residual

/// The files of ANTs. Its warps leave the alignment out, and both lie on the fixed grid.
let private writePrefixed (o: RegisterOptions) (result: RegistrationResult) =
    for file in Option.toList o.PrefixedAffine do
        TransformFile.WriteAffine(file, result.Initial)

    for warp, inverse in Option.toList o.PrefixedWarps do
        let back = (Transform.Dense result.Deformation).Inverse().ToField result.Fixed.Grid
        TransformFile.WriteField(warp, result.Deformation)
        TransformFile.WriteField(inverse, back)

    for file in Option.toList o.PrefixedMoved do
        ImageFile.Write(file, result.Moved)

let private writeReport
    (o: RegisterOptions)
    (context: Context)
    (inputs: Inputs)
    (result: RegistrationResult)
    (file: string)
    =
    result.WriteReport(
        file,
        ReportOptions(
            FixedName = nonNull (Path.GetFileName o.Fixed),
            MovingName = nonNull (Path.GetFileName o.Moving),
            MovingLabels = Option.toObj inputs.Labels,
            FixedLabels = Option.toObj inputs.FixedLabels,
            Command = Shell.command context.CommandLine,
            Folder = Directory.GetCurrentDirectory()
        )
    )

/// Writes what was asked for; the error of the inverse, if that is among it.
let write
    (o: RegisterOptions)
    (context: Context)
    (inputs: Inputs)
    (result: RegistrationResult)
    : InverseConsistency option =
    o.Moved |> Option.iter (fun file -> ImageFile.Write(file, result.Moved))
    o.Transform |> Option.iter (writeTransform result)
    let inverse = o.InverseTransform |> Option.map (writeInverse result)
    writePrefixed o result

    match inputs.Labels, o.MovedLabels with
    | Some map, Some file -> ImageFile.Write(file, result.MoveLabels map)
    | _ -> ()

    o.Report |> Option.iter (writeReport o context inputs result)
    inverse
