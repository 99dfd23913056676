/// Checks of a command line; an error is what is wrong with it, in a line.
module Ldr.Cli.Usage

open FsToolkit.ErrorHandling

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
