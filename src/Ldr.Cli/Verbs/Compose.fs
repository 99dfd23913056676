/// `compose`: several transforms as one.
module Ldr.Cli.Verbs.Compose

open Argu
open Ldr.Cli

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkTransform TransformOptions.write r
