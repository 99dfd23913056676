/// The call of the registration itself.
module Ldr.Cli.Verbs.RegisterPair

open System
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Cli.Verbs.RegisterInputs
open Ldr.Runtime

/// The pair, registered and judged.
[<NoEquality; NoComparison>]
type Outcome =
    {
        Result: PairResult
        Quality: RegistrationQuality
    }

    member this.Registered = this.Result.Registered

    /// In a word.
    member this.Verdict =
        match this.Quality.Verdict with
        | Verdict.Ok -> "ok"
        | Verdict.Look -> "look"
        | _ -> "failed"

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
    let hasMask = inputs.FixedMask.IsSome || inputs.MovingMask.IsSome

    let isTrainedAligned =
        inputs.Card |> Option.exists (fun card -> card.Alignment = Alignment.Affine)

    match o.Affine, inputs.Affine with
    | _ when startField.IsSome -> Ok(ByHeader None)
    // What a model that aligns would do by itself, with the masks.
    | Header None, _ when hasMask && isTrainedAligned -> Ok(Optimised AffineFreedom.Full)
    | Header alignment, _ -> Ok(ByHeader alignment)
    | Optimise freedom, _ -> Ok(Optimised freedom)
    | KeepWhereItHelps, _ -> Ok WhereItHelps
    | FromFile _, Some(:? Transform.Linear as linear) -> Ok(Given linear.World)
    | FromFile file, _ ->
        Error(
            BadFile(
                file,
                "is no affine map",
                "give auto, none, centres, rigid, full, or an affine map's file"
            )
        )

let private refinement (speaker: Speaker) (o: RegisterOptions) (inputs: Inputs) =
    let steps =
        match o.Refine, o.BudgetSeconds, o.Model with
        | Some 0, _, _ -> None
        | Some steps, _, _ -> Some steps
        | None, Some _, _
        | None, None, None -> Some(RefinementOptions().Steps)
        | None, None, Some _ -> None

    steps
    |> Option.map (fun steps ->
        RefinementOptions(
            Steps = steps,
            ControlSpacingMm = Option.toNullable o.ControlSpacingMm,
            LogJacobian = Option.defaultValue 0.0 o.LogJacobian,
            Budget = (o.BudgetSeconds |> Option.map TimeSpan.FromSeconds |> Option.toNullable),
            FixedMask = Option.toObj inputs.FixedMask,
            MovingMask = Option.toObj inputs.MovingMask,
            // The similarity of one level says nothing of another's.
            Progress =
                Action<int, int, float>(fun level step _ ->
                    if step = 0 then
                        speaker.Say $"refining, level {level}")
        ))

/// What is done with the pair beside the network.
let options (speaker: Speaker) (o: RegisterOptions) (inputs: Inputs) : Result<PairOptions, Error> =
    result {
        let! start, startField = start o inputs
        let! prealignment = prealignment o inputs startField

        return
            {
                Prealignment = prealignment
                Start = start
                StartField = startField
                Refinement = refinement speaker o inputs
                FixedMask = inputs.FixedMask
                MovingMask = inputs.MovingMask
                Diffeomorphic = o.Diffeomorphic
                Say = speaker.Say
            }
    }

/// Registers the pair and judges the result.
let run
    (speaker: Speaker)
    (network: RegisterByNetwork option)
    (options: PairOptions)
    (inputs: Inputs)
    : Outcome =
    let result = PairRegistration.run network options inputs.Fixed inputs.Moving
    speaker.Say "checking the result"

    {
        Result = result
        Quality =
            Registration.quality inputs.Card inputs.FixedMask inputs.Fixed inputs.Moving result.Registered
    }
