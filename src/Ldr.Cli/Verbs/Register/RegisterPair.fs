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

/// The transforms that a registration starts from, as they were read.
[<NoEquality; NoComparison>]
type Starts =
    {
        /// That of --init.
        Init: Transform option
        /// That of --affine, where that is a file.
        Affine: Transform option
    }

/// Where the alignment starts, or the field that is gone on from.
let private start (t: Treatment) (init: Transform option) (fixedGrid: Grid option) =
    match t.Init, init with
    | _, Some(:? Transform.Linear as linear) -> Ok(Some linear.World, None)
    | Some file, Some transform ->
        match t.Model, t.Affine, fixedGrid with
        | None, (KeepWhereItHelps | Header _), Some grid -> Ok(None, Some(transform.ToField grid))
        | _ ->
            Error(
                BadFile(
                    file,
                    "holds a displacement field",
                    "give an affine map to --init, or add --model none and leave --affine out"
                )
            )
    | _ -> Ok(None, None)

let private prealignment (t: Treatment) (affine: Transform option) (startField: DisplacementField option) =
    match t.Affine, affine with
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
let private refinement (t: Treatment) : RefinementOptions =
    match t.Refine, t.BudgetSeconds, t.Model with
    | None, None, Some _ -> RefinementOptions.None
    | steps, budget, _ ->
        RefinementOptions(
            Steps = Option.defaultValue (RefinementOptions().Steps) steps,
            ControlSpacingMm = Option.toNullable t.ControlSpacingMm,
            LogJacobian = Option.defaultValue 0.0 t.LogJacobian,
            Budget = (budget |> Option.map TimeSpan.FromSeconds |> Option.toNullable)
        )

/// What is done with pairs beside the network; a field to start from needs the fixed scan's grid.
let treatment (t: Treatment) (starts: Starts) (fixedGrid: Grid option) : Result<RegistrationOptions, Error> =
    result {
        let! start, startField = start t starts.Init fixedGrid
        let! prealignment = prealignment t starts.Affine startField

        return
            RegistrationOptions(
                Prealignment = prealignment,
                Start = Option.toObj start,
                StartField = Option.toObj startField,
                Refinement = refinement t,
                Diffeomorphic = Option.toNullable t.Diffeomorphic
            )
    }

/// The same for a pair with its masks.
let options (o: RegisterOptions) (inputs: Inputs) : Result<RegistrationOptions, Error> =
    treatment
        o.Treatment
        {
            Init = inputs.Init
            Affine = inputs.Affine
        }
        (Some inputs.Fixed.Grid)
    |> Result.map (fun options ->
        options.WithMasks(Option.toObj inputs.FixedMask, Option.toObj inputs.MovingMask))

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
