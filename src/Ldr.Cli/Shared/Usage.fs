/// Checks of a command line; an error is what is wrong with it, in a line.
module Ldr.Cli.Usage

open FsToolkit.ErrorHandling
open Ldr.Runtime.Transforms
open Ldr.Runtime.Registration

/// Argu does not enforce `ExactlyOnce` inside a subcommand.
let need (name: string) (value: 'v option) : Result<'v, string> =
    value |> Result.requireSome $"{name} is missing"

/// Refuses when something is so.
let refuseIf (isSo: bool) (problem: string) : Result<unit, string> = isSo |> Result.requireFalse problem

/// A length in mm.
let millimetres (name: string) (value: float option) : Result<float option, string> =
    match value with
    | Some mm when not (mm > 0.0 && mm <= 1000.0) -> Error $"{name}: give mm, a number above 0, up to 1000"
    | _ -> Ok value

/// Gradient steps at each level.
let steps (value: int option) : Result<int option, string> =
    match value with
    | Some n when n < 0 || n > 10_000 -> Error "--refine: give a whole number from 0 to 10000"
    | _ -> Ok value

/// The help of --jacobian-bounds.
let jacobianBoundsHelp =
    "with --diffeomorphic: the least and the largest factor by which a voxel's volume may change, such as 0.33 3."

/// What --diffeomorphic, given or not, keeps changes of volume to: the values of --jacobian-bounds, or no folds.
let diffeomorphic (isGiven: bool) (bounds: (float * float) option) : Result<JacobianBounds option, string> =
    match isGiven, bounds with
    | false, None -> Ok None
    | false, Some _ -> Error "--jacobian-bounds is of --diffeomorphic; add it"
    | true, None -> Ok(Some JacobianBounds.NoFolds)
    | true, Some(least, most) when DiffeomorphicFit.AllowsBounds(least, most) ->
        Ok(Some(JacobianBounds(least, most)))
    | true, Some _ ->
        Error
            $"--jacobian-bounds: give a factor from {DiffeomorphicFit.LeastDeterminant} to below 1, and one above 1"
