/// `overlap A B`: how well two label maps on one grid agree.
module Ldr.Cli.Verbs.Overlap

open System.Text.Json.Nodes
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

let private row (a: Volume) (b: Volume) (overlap: OverlapMeasure) =
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

/// What is said: a line for each label and one for their means, and the same as JSON.
let run (first: string) (second: string) : Result<string * JsonObject, Error> =
    Error.guard (fun () ->
        let read (file: string) =
            let labels = ImageFile.Read file
            LabelMap.check file labels |> Error.orRaise
            labels

        let a, b = read first, read second

        if not (a.Grid.SameAs b.Grid) then
            raise (
                InvalidFileException(
                    second,
                    $"lies on another grid ({b.Grid}) than {first} ({a.Grid})",
                    $"bring it there by ldr-fs apply --reference {first} --interpolation label"
                )
            )

        let labels =
            Seq.append (Overlap.Labels a) (Overlap.Labels b)
            |> Seq.distinct
            |> Seq.sort
            |> Array.ofSeq

        let rows = [ for overlap in Overlap.Measure(a, b, labels) -> row a b overlap ]

        let mean key =
            rows
            |> List.map (List.find (fst >> (=) key) >> snd)
            |> List.filter System.Double.IsFinite
            |> function
                | [] -> nan
                | known -> List.average known

        let node (values: (string * float) list) =
            let node = JsonObject()

            for key, value in values do
                node.Add(key, JsonNumber.rounded value)

            node

        let means = [ for key in [ "dice"; "jaccard"; "hd95_mm" ] -> key, mean key ]
        let json = node means
        json.Insert(0, "labels", JsonValue.Create labels.Length)
        json.Add("per_label", JsonArray(rows |> List.map (fun row -> node row :> JsonNode) |> Array.ofList))

        let line (name: string) (values: (string * float) list) =
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

        let head = "   label    Dice  Jaccard  HD95 (mm)     A (ml)     B (ml)"

        let text =
            head
            :: [
                for row in rows do
                    line (string (int (snd row.Head))) row
                line "mean" means
            ]
            |> String.concat "\n"

        text, json)
