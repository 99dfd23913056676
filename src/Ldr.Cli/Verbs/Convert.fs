/// `convert`: a transform in another format.
module Ldr.Cli.Verbs.Convert

open Argu
open Ldr.Cli

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkTransform TransformOptions.write r
