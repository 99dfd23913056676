namespace Ldr.Cli

open FsToolkit.ErrorHandling
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

/// A transform file as the command line names it: `FILE` or `[FILE,inverse]`.
type TransformName = { File: string; Inverse: bool }

module TransformNames =
    /// The text of --help.
    let usage =
        "a transform: displacement field (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr), affine map (.txt, .tfm, .mat, .lta) or list (.h5); [FILE,inverse] for its inverse. Given several times, the first one named acts on the moving image first (a point of the fixed image goes through the last one first). antsApplyTransforms lists them the other way round: the last one named there is the first one here."

    /// `FILE`, or `[FILE,inverse]` as ANTs has it: also with 1 for the inverse and 0 for the transform itself.
    let private parseOne (text: string) : Result<TransformName, string> =
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

    /// The arguments of --transform, of which there must be one at least.
    let parse (texts: string list) : Result<TransformName list, string> =
        match texts with
        | [] -> Error "--transform is missing"
        | _ -> texts |> List.traverseResultM parseOne

    /// The transforms as one; each file is read once. The grids are those that only FSL's matrices need.
    let read (fixedGrid: Grid option) (movingGrid: Grid option) (names: TransformName list) : Transform =
        names
        |> List.map (fun name ->
            let transform = TransformStore.read fixedGrid movingGrid name.File
            if name.Inverse then transform.Inverse() else transform)
        |> Transform.Compose
