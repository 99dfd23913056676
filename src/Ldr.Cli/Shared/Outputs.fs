/// Checks of the files that a verb will write, before time is spent. They raise an `InvalidFileException`.
module Ldr.Cli.Outputs

open System
open System.IO
open Ldr
open Ldr.Runtime.Formats

let refuse path problem remedy =
    raise (InvalidFileException(path, problem, remedy))

/// Whether an image can be written under a name.
let checkImage (path: string) =
    if not (ImageFile.CanWrite path) then
        refuse path "is no name of an image file" $"let it end in {ImageFile.Extensions}"

    AtomicFile.CheckWritable path

/// Whether a transform can be written under a name.
let checkTransform (path: string) =
    if not (TransformStore.canWrite path) then
        refuse
            path
            "is no name of a transform"
            $"let it end in {TransformFile.AffineExtensions} (affine), {TransformFile.FieldExtensions} (field) or .h5 (list)"

    AtomicFile.CheckWritable path

/// Whether a deformation can be written under a name: an affine file cannot hold one.
let checkDeformation (path: string) =
    checkTransform path

    if TransformFile.IsAffineName path then
        refuse
            path
            "can hold an affine map only, and a registration ends with a displacement field"
            $"let it end in {TransformFile.FieldExtensions} or .h5"

/// Whether a report can be written under a name.
let checkPage (path: string) =
    if
        [ ".html"; ".htm" ]
        |> List.forall (fun ending -> not (path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)))
    then
        refuse path "is no name of a page" "let it end in .html"

    AtomicFile.CheckWritable path
