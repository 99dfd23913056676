/// The files that `register` writes.
module Ldr.Cli.Verbs.RegisterFiles

open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Cli.Verbs.RegisterPair
open Ldr.Runtime

/// The alignment, then the deformation.
let private whole (registered: Registered) : Transform =
    Transform.Compose(Transform.Linear registered.Initial, Transform.Dense registered.Deformation)

let private writeTransform (registered: Registered) (file: string) =
    if TransformFile.IsAffineName file then
        Transform.Linear registered.Initial :> Transform
    elif TransformStore.isCompositeName file then
        whole registered
    else
        Transform.Dense registered.Field
    |> TransformStore.write None false file

/// How far the transform and its inverse are from undoing each other.
let private writeInverse (moving: Volume) (registered: Registered) (file: string) : InverseConsistency =
    let whole = whole registered
    let field = Transform.Dense(whole.Inverse().ToField moving.Grid)

    if TransformFile.IsAffineName file then
        Transform.Linear(registered.Initial.Inverse()) :> Transform
    else
        field
    |> TransformStore.write None false file

    InverseConsistency.Measure(whole, field, moving.Grid)

/// Writes what was asked for; the error of the inverse, if that is among it.
let write
    (o: RegisterOptions)
    (context: Context)
    (inputs: Inputs)
    (outcome: Outcome)
    : InverseConsistency option =
    let registered = outcome.Registered
    o.Moved |> Option.iter (fun file -> ImageFile.Write(file, registered.Moved))
    o.Transform |> Option.iter (writeTransform registered)

    let inverse =
        o.InverseTransform |> Option.map (writeInverse inputs.Moving registered)

    match inputs.Labels, o.MovedLabels with
    | Some map, Some file -> ImageFile.Write(file, Warp.Nearest(map, registered.Field))
    | _ -> ()

    o.Report
    |> Option.iter (fun file -> RegisterPage.write file context.CommandLine o inputs outcome)

    inverse
