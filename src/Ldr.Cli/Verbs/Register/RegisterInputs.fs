/// What `register` reads, and the checks before time is spent.
module Ldr.Cli.Verbs.RegisterInputs

open System.IO
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Cli.Verbs.RegisterArguments
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats

/// A model's file, what is in it, and its card.
[<NoEquality; NoComparison>]
type RegisterModel =
    {
        Path: string
        File: SafetensorsFile
        Card: ModelCard
    }

[<NoEquality; NoComparison>]
type Inputs =
    {
        Model: RegisterModel option
        Fixed: Volume
        Moving: Volume
        /// Label maps of the moving and of the fixed scan.
        Labels: Volume option
        FixedLabels: Volume option
        FixedMask: Volume option
        MovingMask: Volume option
        /// The transform of --init.
        Init: Transform option
        /// The transform of --affine, where that is a file.
        Affine: Transform option
    }

    member this.Card = this.Model |> Option.map _.Card

let affineFile (t: Treatment) =
    match t.Affine with
    | FromFile file -> Some file
    | _ -> None

/// Refuses names of outputs that cannot be written.
let private checkOutputs (o: RegisterOptions) : Result<unit, Error> =
    let transforms = List.choose id [ o.Transform; o.InverseTransform ]
    let images = List.choose id [ o.Moved; o.MovedLabels; o.PrefixedMoved ]

    let prefixed =
        [
            yield! Option.toList o.PrefixedAffine
            for warp, inverse in Option.toList o.PrefixedWarps do
                warp
                inverse
        ]

    let inputs =
        o.Fixed
        :: o.Moving
        :: List.choose
            id
            [
                o.Labels
                o.FixedLabels
                o.Treatment.Model
                o.Treatment.Init
                affineFile o.Treatment
                o.FixedMask
                o.MovingMask
            ]

    Error.guard (fun () ->
        OutputFiles.CheckApart(inputs, transforms @ images @ prefixed @ Option.toList o.Report)
        prefixed |> List.iter Outputs.checkTransform
        o.Report |> Option.iter Outputs.checkPage
        images |> List.iter Outputs.checkImage

        transforms
        |> List.iter (
            if o.IsAlignmentOnly then
                Outputs.checkTransform
            else
                Outputs.checkDeformation
        ))

let readModel (name: string) : Result<RegisterModel, Error> =
    result {
        let! path = ModelFile.resolve name
        let! card, file = ModelFile.inspect path

        return
            {
                Path = path
                File = file
                Card = card
            }
    }

/// Reads the files of a pair: --volume is for those that hold several volumes, and one of them must.
let private volumeReader (o: RegisterOptions) : Result<string -> Result<Volume, Error>, Error> =
    match o.Treatment.Volume with
    | None -> Ok(fun path -> Error.guard (fun () -> ImageFile.Read path))
    | Some index ->
        result {
            let holdsSeveral path = ImageFile.CountVolumes path > 1L

            let! some =
                Error.guard (fun () ->
                    o.Fixed :: o.Moving :: Option.toList o.Labels |> List.exists holdsSeveral)

            do!
                some
                |> Result.requireTrue (
                    BadInput $"--volume {index}: each file holds one volume; leave the option out"
                )

            return
                fun path ->
                    Error.guard (fun () ->
                        if holdsSeveral path then
                            ImageFile.Read(path, index)
                        else
                            ImageFile.Read path)
        }

/// A line before a refusal is worth it only where reading takes its time.
let private announce (speaker: Speaker) (o: RegisterOptions) =
    if
        [ o.Fixed; o.Moving ]
        |> List.exists (fun file -> File.Exists file && FileInfo(file).Length > 20_000_000L)
    then
        speaker.Say "reading the scans"

let private checkLabels (scan: Volume) (name: string) (file: string) (labels: Volume) =
    result {
        do!
            labels.Grid.SameAs scan.Grid
            |> Result.requireTrue (
                BadFile(
                    file,
                    $"lies on another grid than the {name} scan",
                    "give the label map that belongs to it"
                )
            )

        do! LabelMap.check file labels
        return labels
    }

let private readMask (scan: Volume) (name: string) (file: string) : Result<Volume, Error> =
    result {
        let! mask = Error.guard (fun () -> ImageFile.Read file)

        do!
            mask.Grid.SameAs scan.Grid
            |> Result.requireTrue (
                BadFile(file, $"lies on another grid than the {name} scan", "give its own mask")
            )

        do!
            mask.Values
            |> Array.exists (fun v -> v > 0.0f)
            |> Result.requireTrue (BadFile(file, "is empty", "mark what counts with numbers above 0"))

        return mask
    }

/// Refuses a fixed scan whose field no memory holds, before it is read. What is wrong with its header is said by whoever
/// reads it.
let private checkSize (file: string) : Result<unit, Error> =
    match Error.guard (fun () -> ImageFile.ReadGrid file) with
    | Ok grid -> Error.guard (fun () -> Budget.CheckField(file, grid))
    | Error _ -> Ok()

let private checkVoxels (file: string) (scan: Volume) : Result<unit, Error> =
    Error.guard (fun () -> Budget.CheckVoxels(file, scan.Grid))

/// A label map in the place of a scan is registered all the same: the shapes may be what somebody wants.
let private warnOfLabels (speaker: Speaker) (option: string) (file: string) (scan: Volume) =
    if LabelMap.looksLikeOne scan then
        speaker.Warn
            $"{file} looks like a label map; {option} wants the scan itself (label maps: --labels, --fixed-labels)"

/// Checks and reads everything; cheap checks first.
let read (speaker: Speaker) (o: RegisterOptions) : Result<Inputs, Error> =
    result {
        do! checkOutputs o
        let! model = o.Treatment.Model |> Option.traverseResult readModel
        announce speaker o
        let! readVolume = volumeReader o
        do! checkSize o.Fixed
        let! fixedScan = readVolume o.Fixed
        let! moving = readVolume o.Moving
        do! checkVoxels o.Fixed fixedScan
        do! checkVoxels o.Moving moving
        warnOfLabels speaker "--fixed" o.Fixed fixedScan
        warnOfLabels speaker "--moving" o.Moving moving

        for model in Option.toList model do
            do!
                Error.guard (fun () -> ModelGrids.check model.Card o.Fixed fixedScan.Grid)
                |> Result.ignore

        let readLabels (scan: Volume) name file =
            readVolume file |> Result.bind (checkLabels scan name file)

        let readTransform file =
            Error.guard (fun () -> TransformStore.read (Some fixedScan.Grid) (Some moving.Grid) file)

        let! labels = o.Labels |> Option.traverseResult (readLabels moving "moving")

        let! fixedLabels =
            o.FixedLabels |> Option.traverseResult (readLabels fixedScan "fixed")

        let! fixedMask = o.FixedMask |> Option.traverseResult (readMask fixedScan "fixed")
        let! movingMask = o.MovingMask |> Option.traverseResult (readMask moving "moving")
        let! init = o.Treatment.Init |> Option.traverseResult readTransform
        let! affine = affineFile o.Treatment |> Option.traverseResult readTransform

        return
            {
                Model = model
                Fixed = fixedScan
                Moving = moving
                Labels = labels
                FixedLabels = fixedLabels
                FixedMask = fixedMask
                MovingMask = movingMask
                Init = init
                Affine = affine
            }
    }
