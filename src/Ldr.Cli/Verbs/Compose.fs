/// `compose`: several transforms as one.
module Ldr.Cli.Verbs.Compose

open Argu
open Ldr.Cli

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write several transforms as one."
        More = "The first one named acts on the moving image first. ANTs lists them the other way round."
        Groups =
            [
                "Inputs", [ "--transform"; "--reference"; "--moving" ]
                "Outputs", [ "--output"; "--layout" ]
            ]
        Examples =
            [
                "ldr-fs compose --transform affine.txt --transform field.nii.gz --reference fixed.nii.gz --output both.nii.gz"
            ]
    }

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkTransform TransformOptions.write r
