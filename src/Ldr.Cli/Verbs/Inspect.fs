/// `inspect FILE`: what a scan, a transform, a model or a run is.
module Ldr.Cli.Verbs.Inspect

open System
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats

type Arguments =
    | [<MainCommand; ExactlyOnce>] File of file: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | File _ ->
                "a scan, a displacement field, an affine map, a list of transforms, a model (.safetensors), a NAME of models/, or a run's folder."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

let private endsIn (ending: string) (path: string) =
    path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)

let private ofFile (path: string) : Result<Said, Error> =
    result {
        let! isForeign =
            Error.guard (fun () -> IO.File.Exists path && not (ImageFile.IsNifti path))

        return!
            if not isForeign then
                InspectScan.ofNifti path
            elif ImageFile.CanWrite path then
                InspectScan.ofImage path
            elif TransformStore.canWrite path || endsIn ".lta" path then
                InspectScan.ofTransform path
            else
                InspectScan.ofNifti path
    }

let private run (path: string) : Result<Said, Error> =
    if RunState.isRun path then
        InspectRun.ofFolder path
    elif Directory.Exists path || endsIn ".safetensors" path || ModelFile.isShipped path then
        ModelFile.resolve path |> Result.bind InspectModel.ofFile
    else
        ofFile path

/// The text of --help beside the options.
let help: Help =
    {
        What = "Say what a scan, a transform, a model or a run is."
        More = "A damaged or unusual file is told in one line."
        Groups = []
        Examples = [ "ldr-fs inspect scan.nii.gz"; "ldr-fs inspect hippocampus" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! file = Usage.need "the file" (r.TryGetResult File)
        return! Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ -> run file)
    }
