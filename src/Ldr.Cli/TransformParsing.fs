/// From the command line to a `TransformCommand`; an error is a line about wrong usage.
module Ldr.Cli.TransformParsing

open System
open Argu
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Cli.TransformArguments

let private need (name: string) (value: 'v option) =
    match value with
    | Some v -> Ok v
    | None -> Error $"{name} is missing"

/// `FILE`, or `[FILE,inverse]` as ANTs has it: also with 1 for the inverse and 0 for the transform itself.
let private name (text: string) =
    if text.StartsWith '[' && text.EndsWith ']' && text.Contains ',' then
        let comma = text.LastIndexOf ','
        let file = text.Substring(1, comma - 1).Trim()

        match text.Substring(comma + 1).TrimEnd(']').Trim().ToLowerInvariant() with
        | "inverse"
        | "1" -> Ok { File = file; Inverse = true }
        | "0" -> Ok { File = file; Inverse = false }
        | other -> Error $"--transform {text}: '{other}' is unknown; write [FILE,inverse]"
    else
        Ok { File = text; Inverse = false }

let private names (files: string list) =
    match files with
    | [] -> Error "--transform is missing"
    | _ ->
        (files, Ok [])
        ||> List.foldBack (fun text rest ->
            rest
            |> Result.bind (fun rest -> name text |> Result.map (fun one -> one :: rest)))

let apply (r: ParseResults<ApplyArguments>) =
    names (r.GetResults ApplyArguments.Transform)
    |> Result.bind (fun transforms ->
        match
            need "--moving" (r.TryGetResult ApplyArguments.Moving),
            need "--reference" (r.TryGetResult ApplyArguments.Reference),
            need "--output" (r.TryGetResult ApplyArguments.Output)
        with
        | Error e, _, _
        | _, Error e, _
        | _, _, Error e -> Error e
        | Ok moving, Ok reference, Ok output ->
            Ok(
                Apply
                    {
                        Transforms = transforms
                        Moving = moving
                        Reference = reference
                        Output = output
                        Interpolation =
                            match r.TryGetResult ApplyArguments.Interpolation with
                            | Some Cubic -> Interpolation.Cubic
                            | Some Nearest -> Interpolation.Nearest
                            | Some Label -> Interpolation.Label
                            | Some Linear
                            | None -> Interpolation.Linear
                        Outside = r.TryGetResult Outside
                        Volume = r.TryGetResult Volume
                    }
            ))

let applyPoints (r: ParseResults<ApplyPointsArguments>) =
    names (r.GetResults ApplyPointsArguments.Transform)
    |> Result.bind (fun transforms ->
        match
            need "--points" (r.TryGetResult Points),
            need "--output" (r.TryGetResult ApplyPointsArguments.Output)
        with
        | Error e, _
        | _, Error e -> Error e
        | Ok points, Ok output ->
            Ok(
                ApplyPoints
                    {
                        Transforms = transforms
                        Points = points
                        Output = output
                        FromMoving = (r.TryGetResult Direction = Some MovingToFixed)
                        Frame =
                            r.TryGetResult Frame
                            |> Option.map (function
                                | Ras -> PointFrame.Ras
                                | Lps -> PointFrame.Lps
                                | Voxel -> PointFrame.Voxel)
                        Fixed = r.TryGetResult Fixed
                        Moving = r.TryGetResult ApplyPointsArguments.Moving
                    }
            ))

let onTransforms (verb: TransformOptions -> TransformCommand) (r: ParseResults<TransformVerbArguments>) =
    names (r.GetResults TransformVerbArguments.Transform)
    |> Result.bind (fun transforms ->
        need "--output" (r.TryGetResult TransformVerbArguments.Output)
        |> Result.map (fun output ->
            verb
                {
                    Transforms = transforms
                    Output = output
                    Reference = r.TryGetResult TransformVerbArguments.Reference
                    Moving = r.TryGetResult TransformVerbArguments.Moving
                    Voxels = (r.TryGetResult Layout = Some Learn2reg)
                }))
