/// What is asked of the registrar, and what it says meanwhile.
module Ldr.Cli.Verbs.RegisterPair

open System
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Registration

/// Where the alignment starts, or the field that is gone on from.
let private start (o: RegisterOptions) (inputs: Inputs) =
    match o.Init, inputs.Init with
    | _, Some(:? Transform.Linear as linear) -> Ok(Some linear.World, None)
    | Some file, Some transform ->
        match o.Model, o.Affine with
        | None, (KeepWhereItHelps | Header _) -> Ok(None, Some(transform.ToField inputs.Fixed.Grid))
        | _ ->
            Error(
                BadFile(
                    file,
                    "holds a displacement field",
                    "give an affine map to --init, or add --model none and leave --affine out"
                )
            )
    | _ -> Ok(None, None)

let private prealignment (o: RegisterOptions) (inputs: Inputs) (startField: DisplacementField option) =
    match o.Affine, inputs.Affine with
    | _ when startField.IsSome -> Ok Prealignment.Default
    | Header alignment, _ -> Ok(Prealignment.ByHeader(Option.toNullable alignment))
    | Optimise freedom, _ -> Ok(Prealignment.Optimised freedom)
    | KeepWhereItHelps, _ -> Ok Prealignment.Auto
    | FromFile _, Some(:? Transform.Linear as linear) -> Ok(Prealignment.Given linear.World)
    | FromFile file, _ ->
        Error(
            BadFile(
                file,
                "is no affine map",
                "give auto, none, centres, rigid, full, or an affine map's file"
            )
        )

/// Without steps and without a budget: the standard without a network, nothing with one.
let private refinement (o: RegisterOptions) : RefinementOptions =
    match o.Refine, o.BudgetSeconds, o.Model with
    | None, None, Some _ -> RefinementOptions.None
    | steps, budget, _ ->
        RefinementOptions(
            Steps = Option.defaultValue (RefinementOptions().Steps) steps,
            ControlSpacingMm = Option.toNullable o.ControlSpacingMm,
            LogJacobian = Option.defaultValue 0.0 o.LogJacobian,
            Budget = (budget |> Option.map TimeSpan.FromSeconds |> Option.toNullable)
        )

/// What is done with the pair beside the network.
let options (o: RegisterOptions) (inputs: Inputs) : Result<RegistrationOptions, Error> =
    result {
        let! start, startField = start o inputs
        let! prealignment = prealignment o inputs startField

        return
            RegistrationOptions(
                Prealignment = prealignment,
                Start = Option.toObj start,
                StartField = Option.toObj startField,
                Refinement = refinement o,
                FixedMask = Option.toObj inputs.FixedMask,
                MovingMask = Option.toObj inputs.MovingMask,
                Diffeomorphic = (o.Diffeomorphic |> Option.map JacobianBounds |> Option.toNullable)
            )
    }

/// Says what begins.
let progress (speaker: Speaker) : IProgress<RegistrationProgress> =
    { new IProgress<RegistrationProgress> with
        member _.Report now =
            match now.Stage, Option.ofNullable now.Level with
            | RegistrationStage.Aligning, _ -> "aligning the scans as a whole"
            | RegistrationStage.Predicting, _ -> "running the network"
            | RegistrationStage.Refining, None -> "refining the deformation"
            // The similarity of one level says nothing of another's.
            | RegistrationStage.Refining, Some level -> $"refining, level {level}"
            | RegistrationStage.Unfolding, _ -> "removing folds"
            | RegistrationStage.Resampling, _ -> "resampling the moving scan"
            | _ -> "checking the result"
            |> speaker.Say
    }
