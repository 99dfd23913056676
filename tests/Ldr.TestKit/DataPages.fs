/// The examples of the pages in docs/reference/data.
module Ldr.TestKit.DataPages

open System.IO
open System.Text.RegularExpressions
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers

/// The blocks of a page: their language, what they are, their text.
let blocks (page: string) : (string * string * string) list =
    let text =
        File.ReadAllText(Repository.root </> "docs" </> "reference" </> "data" </> (page + ".md"))

    [
        for found in Regex.Matches(text, @"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", RegexOptions.Multiline) ->
            found.Groups[1].Value, found.Groups[2].Value, found.Groups[3].Value
    ]

/// The block of a page with a name.
let onlyBlock name all =
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
