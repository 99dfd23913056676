/// `overlap A B`: how well two label maps on one grid agree.
module Ldr.Cli.Verbs.Overlap

open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

type Arguments =
    | [<MainCommand>] Maps of files: string list
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Maps _ -> "two label maps on one grid."
            | Json -> "print one JSON object to stdout: labels, dice, jaccard, hd95_mm, per_label."
            | Verbose -> "show where a fault happened."

let private readLabels (file: string) =
    let labels = ImageFile.Read file
    LabelMap.check file labels |> Error.orRaise
    labels

let private read (first: string) (second: string) =
    Error.guard (fun () ->
        let a, b = readLabels first, readLabels second

        if not (a.Grid.SameAs b.Grid) then
            Outputs.refuse
                second
                $"lies on another grid ({b.Grid}) than {first} ({a.Grid})"
                $"bring it there by ldr-fs apply --reference {first} --interpolation label"

        a, b)

let private measureLabel (a: Volume) (b: Volume) (overlap: OverlapMeasure) =
    let struct (x, y, z) = a.Grid.Spacing

    let millilitres voxels =
        float (voxels: int64) * x * y * z / 1000.0

    [
        "label", float overlap.Label
        "dice", overlap.Dice
        "jaccard", overlap.Jaccard
        "hd95_mm", SurfaceDistance.Hd95(a, b, overlap.Label)
        "volume_a_ml", millilitres overlap.VoxelsA
        "volume_b_ml", millilitres overlap.VoxelsB
    ]

/// The numbers of every label of either map, by their keys.
let private measure (a: Volume) (b: Volume) =
    let labels =
        Seq.append (Overlap.Labels a) (Overlap.Labels b)
        |> Seq.distinct
        |> Seq.sort
        |> Array.ofSeq

    [ for overlap in Overlap.Measure(a, b, labels) -> measureLabel a b overlap ]

/// Means over the labels where they are known.
let private means (rows: (string * float) list list) =
    [
        for key in [ "dice"; "jaccard"; "hd95_mm" ] ->
            key,
            rows
            |> List.map (List.find (fst >> (=) key) >> snd)
            |> List.filter System.Double.IsFinite
            |> function
                | [] -> nan
                | known -> List.average known
    ]

let private line (name: string) (values: (string * float) list) =
    let value key digits =
        values
        |> List.tryFind (fst >> (=) key)
        |> Option.map (snd >> Scores.fixedPoint digits)
        |> Option.defaultValue ""

    [
        name.PadLeft 8
        (value "dice" 3).PadLeft 6
        (value "jaccard" 3).PadLeft 7
        (value "hd95_mm" 2).PadLeft 9
        (value "volume_a_ml" 2).PadLeft 9
        (value "volume_b_ml" 2).PadLeft 9
    ]
    |> String.concat "  "

let private say (rows: (string * float) list list) =
    let numbers = List.map (fun (key, value) -> key, Json.number value)
    let means = means rows

    Said.lines
        [
            "   label    Dice  Jaccard  HD95 (mm)     A (ml)     B (ml)"
            for row in rows do
                line (string (int (snd row.Head))) row
            line "mean" means
        ]
        (Json.object
            [
                "labels", Json.integer rows.Length
                yield! numbers means
                "per_label", Json.list [ for row in rows -> Json.object (numbers row) ]
            ])

let private run (first: string, second: string) =
    result {
        let! a, b = read first second
        return measure a b |> say
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Compare two label maps: Dice, Jaccard, distance of surfaces, volumes."
        More = "Both lie on one grid."
        Groups = []
        Examples = [ "ldr-fs overlap moved-labels.nii.gz fixed-labels.nii.gz" ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! maps =
            match r.GetResult(Maps, []) with
            | [ first; second ] -> Ok(first, second)
            | files -> Error $"two label maps are compared, not {files.Length}"

        return! Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ -> run maps)
    }
