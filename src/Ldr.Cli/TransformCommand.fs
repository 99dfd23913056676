namespace Ldr.Cli

open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// A transform file as the command line names it: `FILE` or `[FILE,inverse]`.
type TransformName = { File: string; Inverse: bool }

type ApplyOptions =
    {
        Transforms: TransformName list
        Moving: string
        Reference: string
        Output: string
        Interpolation: Interpolation
        Outside: float option
        Volume: int option
    }

type ApplyPointsOptions =
    {
        Transforms: TransformName list
        Points: string
        Output: string
        /// The points were marked on the moving image.
        FromMoving: bool
        Frame: PointFrame option
        Fixed: string option
        Moving: string option
    }

type TransformOptions =
    {
        Transforms: TransformName list
        Output: string
        Reference: string option
        Moving: string option
        /// The layout of Learn2Reg for a field.
        Voxels: bool
    }

/// What the user asked of a transform.
type TransformCommand =
    | Apply of ApplyOptions
    | ApplyPoints of ApplyPointsOptions
    | Invert of TransformOptions
    | Compose of TransformOptions
    | Convert of TransformOptions
    | Jacobian of TransformOptions
