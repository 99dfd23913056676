namespace Ldr.Cli

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

type LayoutName =
    | Itk
    | Learn2reg

/// The arguments that `invert`, `compose`, `convert` and `jacobian` have.
type TransformArguments =
    | [<AltCommandLine("-t")>] Transform of file: string
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of file: string
    | [<Unique>] Reference of file: string
    | [<Unique>] Moving of file: string
    | [<Unique>] Layout of LayoutName
    | [<Unique>] Threads of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Transform _ -> TransformNames.usage
            | Output _ ->
                "write the result here; the name chooses the format: affine map .txt, .tfm, .mat; field .nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr; list .h5. (jacobian writes an image.)"
            | Reference _ ->
                "an image whose grid a field is written on (default: the grid of the transform's own field). For invert, the moving scan."
            | Moving _ -> "the moving scan: needed with --reference to read FSL's matrices."
            | Layout _ ->
                "of a field as NIfTI: itk (default; nx,ny,nz,1,3, millimetres, LPS) or learn2reg (nx,ny,nz,3, voxels)."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type TransformOptions =
    {
        Transforms: TransformName list
        Output: string
        Reference: string option
        Moving: string option
        /// The layout of Learn2Reg for a field.
        Voxels: bool
    }

/// What one of these verbs works on.
[<NoEquality; NoComparison>]
type TransformJob =
    {
        Options: TransformOptions
        /// The transforms as one.
        Transform: Transform
        /// That of --reference.
        Grid: Grid option
        /// 0: all cores.
        Threads: int
    }

module TransformOptions =
    let private options (r: ParseResults<TransformArguments>) : Result<TransformOptions, string> =
        result {
            let! transforms = TransformNames.parse (r.GetResults Transform)
            let! output = Usage.need "--output" (r.TryGetResult Output)

            return
                {
                    Transforms = transforms
                    Output = output
                    Reference = r.TryGetResult Reference
                    Moving = r.TryGetResult Moving
                    Voxels = (r.TryGetResult Layout = Some Learn2reg)
                }
        }

    let private job (threads: int option) (options: TransformOptions) : TransformJob =
        let reference = options.Reference |> Option.map ImageFile.ReadGrid
        let moving = options.Moving |> Option.map ImageFile.ReadGrid

        {
            Options = options
            Transform = TransformNames.read reference moving options.Transforms
            Grid = reference
            Threads = defaultArg threads 0
        }

    /// Parses one of these verbs: `check` looks at the output's name before anything is read, `run` does the work.
    let parse
        (check: string -> unit)
        (run: TransformJob -> Said)
        (r: ParseResults<TransformArguments>)
        : Result<Call, string> =
        result {
            let! options = options r

            return!
                Call.create
                    { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                        Threads = r.TryGetResult Threads
                    }
                    (fun context ->
                        Error.guard (fun () ->
                            let inputs =
                                (options.Transforms |> List.map _.File)
                                @ List.choose id [ options.Reference; options.Moving ]

                            OutputFiles.CheckApart(inputs, [ options.Output ])
                            check options.Output
                            job context.Threads options |> run))
        }

    /// Writes the transform as the output's name says.
    let write (job: TransformJob) : Said =
        let options = job.Options
        TransformStore.write job.Grid options.Voxels options.Output job.Transform

        Said.both
            $"{options.Output}: written"
            (Json.object
                [
                    "output", Json.text options.Output
                    "transforms", Json.integer options.Transforms.Length
                ])
