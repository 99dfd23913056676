/// The pages of docs/reference/data: every example is taken out of its page, its scans are made, and its experiment is run for a step.
module Ldr.Tests.Core.DataPageTests

open System
open System.IO
open System.Text.RegularExpressions
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Tests.Runtime.Helpers

/// The blocks of a page: their language, what they are, their text.
let blocks (page: string) : (string * string * string) list =
    let text =
        File.ReadAllText(Repository.root </> "docs" </> "reference" </> "data" </> (page + ".md"))

    [
        for found in Regex.Matches(text, @"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", RegexOptions.Multiline) ->
            found.Groups[1].Value, found.Groups[2].Value, found.Groups[3].Value
    ]

let private onlyBlock name all =
    all
    |> List.filter (fun (_, what, _) -> what = name)
    |> List.exactlyOne
    |> fun (_, _, text) -> text

/// A scan, or its label map or mask: a blob whose place depends on the number.
let private scan (path: string) (number: int) =
    let size = 32
    let word (w: string) = path.Contains w

    let value =
        if word "mask" || word "label" || word "dseg" then
            1.0f
        else
            100.0f

    let values =
        Array.init (size * size * size) (fun i ->
            let x, y, z = i % size, i / size % size, i / size / size
            let d = pown (x - 14 - number) 2 + pown (y - 16 + number) 2 + pown (z - 15) 2

            if word "mask" then 1.0f
            elif d < 64 then value
            elif value > 1.0f then float32 ((x + y) % 5)
            else 0.0f)

    Directory.CreateDirectory(string (Path.GetDirectoryName path)) |> ignore
    Nifti.Write(path, Volume(Grid(size, size, size, Affine.Identity), values))

/// Makes an example's files in a folder.
let make (folder: string) (all: (string * string * string) list) =
    let write (name: string) (text: string) =
        Directory.CreateDirectory(string (Path.GetDirectoryName(folder </> name)))
        |> ignore

        File.WriteAllText(folder </> name, text)

    for _, name, text in all do
        if name.Contains '.' then
            write name text

    let mentioned =
        all
        |> List.filter (fun (_, name, _) -> name = "scans" || name.Contains '.')
        |> List.collect (fun (_, name, text) ->
            [
                for found in Regex.Matches(text, @"[\w./-]+\.(nii\.gz|csv)") ->
                    Path.Combine(
                        (if name = "scans" then
                             ""
                         else
                             string (Path.GetDirectoryName name)),
                        found.Value
                    )
            ])
        |> List.distinct

    for path in mentioned do
        // Point files are listed as .nii.gz in the wild.
        if path.Contains "points" then
            write (Path.ChangeExtension(path.Replace(".gz", ""), ".csv")) (onlyBlock "points" all)
        else
            scan (folder </> path) (Seq.sum (Seq.map int (Path.GetFileName path |> string)) % 4)

    for language, _, text in all do
        if language = "python" then
            python $"import os, sys; os.chdir(sys.argv[1])\n{text}" [ folder ] |> ignore

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
    | Ok(Stopped _) -> failtest "stopped"
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
