/// Checks of the files that a verb will write, before time is spent. They raise an `InvalidFileException`.
module Ldr.Cli.Outputs

open System
open System.IO
open Ldr
open Ldr.Runtime

let refuse path problem remedy =
    raise (InvalidFileException(path, problem, remedy))

/// Refuses an output that is one of the files that are read, under whatever name, and two outputs of one name.
let checkDistinct (inputs: string list) (outputs: string list) =
    let real (path: string) =
        let full = Path.GetFullPath path

        try
            match File.ResolveLinkTarget(full, true) with
            | null -> full
            | target -> target.FullName
        with :? IOException ->
            full

    let read = inputs |> List.map real

    for path in outputs do
        if List.contains (real path) read then
            refuse path "is read too, and would be overwritten" "give the output its own name"

    match outputs |> List.countBy real |> List.tryFind (fun (_, n) -> n > 1) with
    | Some(path, _) -> refuse path "is named as two outputs" "give each its own name"
    | None -> ()

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
