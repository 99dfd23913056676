/// The pages of docs/reference/data: every example is taken out of its page, its scans are made, and its experiment is run for a step.
module Ldr.Core.Tests.DataPageTests

open System
open System.IO
open System.Text.RegularExpressions
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.TestKit
open Ldr.TestKit.Helpers
open Ldr.TestKit.DataPages

/// The experiment of a page on the files in a folder, with one step of a small network.
let private experimentOf (folder: string) (all: (string * string * string) list) : Experiment =
    let file = folder </> "experiment.json"
    File.WriteAllText(file, onlyBlock "experiment" all)

    Experiment.read
        file
        [
            $"data.root={folder}"
            "train.0.steps=1"
            "train.0.architecture={\"kind\": \"ldr-half\", \"encoder\": [4, 4, 4, 4], \"decoder\": [4, 4, 4]}"
        ]
    |> Error.orRaise

let private run (folder: string) (page: string) : Summary list =
    let all = blocks page
    make folder all

    let outcome =
        Run.execute
            { RunOptions.standard with
                Folder = folder </> "run"
                Resume = false
                Only = []
                Page = None
                TensorBoard = false
                Device = torch.CPU
                Sink = ignore
                Stop = CancellationToken.None
            }
            (experimentOf folder all)

    match outcome with
    | Ok(Done result) -> result.Table
    | Ok(Stopped _)
    | Ok Followed -> failtest "stopped"
    | Error error -> failtestf "%s" (String.concat "\n" (Error.lines error))

let private pages =
    [
        // The page, pairs of its test part, whether Dice and TRE are known.
        "msd", 2, true, false
        "nnunet", 2, true, false
        "learn2reg", 1, false, true
        "csv", 2, true, true
        "bids", 2, true, false
        "rcn", 4, true, true
    ]

let tests =
    testList
        "data pages"
        [
            for page, pairs, hasDice, hasTre in pages do
                testInFolder
                    $"docs/reference/data/{page}.md: its example is trained on and scored"
                    (fun folder ->
                        for row in run folder page do
                            Expect.equal row.Pairs pairs "pairs"
                            Expect.equal (Double.IsFinite row.Dice) hasDice "Dice"
                            Expect.equal (Double.IsFinite row.TreMm) hasTre "TRE"
                            Expect.equal (Double.IsFinite row.TreBeforeMm) hasTre "TRE before")

            test "every form has a page, and every page is listed" {
                let kinds =
                    DataSource.codec.Form.Keys.Head.Type.Split('"')
                    |> Seq.indexed
                    |> Seq.choose (fun (i, word) ->
                        if i % 2 = 1 && word <> "synthetic" then Some word else None)
                    |> List.ofSeq

                let listed = pages |> List.map (fun (page, _, _, _) -> page)
                Expect.equal (List.sort kinds) (List.sort listed) "kinds"

                let index =
                    File.ReadAllText(Repository.root </> "docs" </> "reference" </> "data" </> "README.md")

                for page in listed do
                    Expect.stringContains index $"({page}.md)" "the index"
            }
        ]
