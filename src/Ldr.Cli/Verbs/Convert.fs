/// `convert`: a transform in another format.
module Ldr.Cli.Verbs.Convert

open Argu
open Ldr.Cli

/// The text of --help beside the options.
let help: Help =
    {
        What = "Write a transform in another format."
        More = "The output's name chooses it: what ITK, ANTs, elastix, FSL or Learn2Reg read."
        Groups =
            [
                "Inputs", [ "--transform"; "--reference"; "--moving" ]
                "Outputs", [ "--output"; "--layout" ]
            ]
        Examples =
            [
                "ldr-fs convert --transform transform.h5 --reference fixed.nii.gz --output field.nii.gz"
            ]
    }

let parse (r: ParseResults<TransformArguments>) : Result<Call, string> =
    TransformOptions.parse Outputs.checkTransform TransformOptions.write r
