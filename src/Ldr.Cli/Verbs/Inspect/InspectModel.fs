/// What `inspect` says of a model.
module Ldr.Cli.Verbs.InspectModel

open System.Globalization
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats

let private parameters (file: SafetensorsFile) =
    file.Tensors |> Seq.sumBy (fun t -> int64 t.Count)

/// A model's card, the kind and the number of parameters.
let node (card: ModelCard, file: SafetensorsFile) : JsonNode =
    let node = (ModelCard.codec.Encode card).AsObject()
    node.Insert(0, "kind", Json.text "model")
    node.Add("parameters", JsonValue.Create(parameters file))
    node

let private figures (own: ModelFigures) =
    let fixedPoint = Scores.fixedPoint
    let known = fixedPoint 2 (Option.defaultValue nan own.KnownFieldMm)
    let knownBefore = fixedPoint 2 (Option.defaultValue nan own.KnownFieldBeforeMm)

    $"measured    {own.Pairs} test pairs: Dice {fixedPoint 3 own.Dice} ± {fixedPoint 3 own.DiceSd}; {fixedPoint 2 own.ExtremeLabelPercent} %% of the voxels in labels change their volume more than threefold; known field {known} mm off (of {knownBefore})"

let lines (path: string) (card: ModelCard, file: SafetensorsFile) : string list =
    let x, y, z = card.Size
    let sx, sy, sz = card.Spacing
    let count = (parameters file).ToString("N0", CultureInfo.InvariantCulture)
    let alignment = (string card.Alignment).ToLowerInvariant()

    [
        $"{path}: model, {Architecture.describe card.Architecture}"
        $"parameters  {count} in {file.Tensors.Count} tensors"
        $"grid        {x} × {y} × {z} voxels of %g{sx} × %g{sy} × %g{sz} mm, aligned by {alignment}"
        $"intensity   {Codec.toLine RuntimeCodecs.intensity card.Intensity}"
        $"data        {card.Data} (licence: {card.Licence})"
        $"split       {card.Train.Length} training, {card.Validation.Length} validation, {card.Test.Length} test subjects"
        $"training    {card.Steps} steps, experiment {card.Experiment}"
        for own in card.Figures do
            figures own
        for note in card.Notes do
            $"note        {note}"
    ]

let ofFile (path: string) : Result<Said, Error> =
    result {
        let! model = ModelFile.inspect path
        return Said.lines (lines path model) (node model)
    }
