/// The models in `models/`: small, described, and as good as the results page says.
module Ldr.Tests.Cli.ShippedTests

open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.Tests.Core.DataTests
open Ldr.Tests.Cli.Process

let private root = Path.Combine(__SOURCE_DIRECTORY__, "..", "..", "..")
let private shelf = Path.Combine(root, "models")
let private files = Directory.GetFiles(shelf, "*.safetensors") |> Array.sort

/// The Dice that a row of the results page has.
let private dicePublished (page: string) (row: string) =
    let table =
        JsonNode.Parse(File.ReadAllText(Path.Combine(root, "docs", "results", page, "table.json"))).AsArray()

    table
    |> Seq.pick (fun line ->
        if string line["name"] = row then
            Some(float (string line["dice"]))
        else
            None)

let private scoresAsPublished (model: string) (page: string) (row: string) (folder: string) (pairs: int) =
    testCase $"{model} scores what the results page says of {row}"
    <| fun () ->
        let data = needData folder

        let outcome =
            ldr
                [
                    "evaluate"
                    "--model"
                    model
                    "--data"
                    data
                    "--split"
                    "test"
                    "--pairs"
                    string pairs
                    "--json"
                ]

        Expect.equal outcome.Code 0 outcome.Errors
        let dice = (nonNull (JsonNode.Parse outcome.Output)).["dice"] |> string |> float
        Expect.isLessThan (abs (dice - dicePublished page row)) 0.002 "Dice"

let tests =
    testList
        "shipped models"
        [
            test "are at most 25 MB together, have notes, and are listed" {
                Expect.isNonEmpty files "models"

                Expect.isLessThanOrEqual
                    (files |> Array.sumBy (fun file -> FileInfo(file).Length))
                    25_000_000L
                    "bytes"

                let list = File.ReadAllText(Path.Combine(shelf, "README.md"))

                for file in files do
                    let card, _ = ModelFile.inspect file |> Error.orRaise
                    Expect.isNonEmpty card.Notes file
                    Expect.isTrue (card.Notes |> List.exists _.StartsWith("Not for")) "what it is not for"
                    Expect.isNotEmpty card.Licence "licence"
                    Expect.stringContains list $"| `{Path.GetFileNameWithoutExtension file}` |" "list"
            }

            scoresAsPublished
                "hippocampus"
                "hippocampus"
                "two-velocity-strain-labels-augmented"
                "Task04_Hippocampus"
                200
            scoresAsPublished
                "hippocampus-labels"
                "hippocampus"
                "two-velocity-labels"
                "Task04_Hippocampus"
                200
            scoresAsPublished "brain" "brain" "two-velocity-longer" "Brain_IXI" 100
        ]
