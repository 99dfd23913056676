/// The folders of Ldr.Runtime: their namespaces, and which may know which.
module Ldr.Runtime.Tests.RoomsTests

open System.IO
open System.Text.RegularExpressions
open Expecto

let private root = Path.Combine(Ldr.TestKit.Repository.root, "src", "Ldr.Runtime")

/// From the ground up: a folder knows only those before it.
let private floors =
    [
        "Geometry"
        "Transforms"
        "Formats"
        "Metrics"
        "Inference/Kernels"
        "Inference"
        "Training"
        "Registration/Quality"
        "Registration"
        "Reports"
        "Groups"
    ]

let private files =
    [
        for file in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories) do
            let path = Path.GetRelativePath(root, file).Replace('\\', '/')

            if not (path.StartsWith "obj/" || path.StartsWith "bin/") then
                path, File.ReadAllText file
    ]

let private folderOf (path: string) =
    (nonNull (Path.GetDirectoryName path)).Replace('\\', '/')

let private dotted (folder: string) = folder.Replace('/', '.')

let tests =
    testList
        "rooms"
        [
            test "namespaces mirror folders" {
                for path, text in files do
                    Expect.isTrue
                        (Regex.IsMatch(
                            text,
                            $"(?m)^namespace Ldr\\.Runtime\\.{Regex.Escape(dotted (folderOf path))};"
                        ))
                        path
            }

            test "no folder knows one that stands above it" {
                let floor folder =
                    match List.tryFindIndex ((=) folder) floors with
                    | Some index -> index
                    | None -> failtest $"{folder}: a new folder needs its place in this test"

                for path, text in files do
                    for using in Regex.Matches(text, @"(?m)^using Ldr\.Runtime\.([\w.]+);") do
                        let other = using.Groups[1].Value.Replace('.', '/')
                        Expect.isLessThan (floor other) (floor (folderOf path)) $"{path} knows {other}"

                    // A namespace is known without a using by its own sub-namespaces only.
                    Expect.isFalse
                        (Regex.IsMatch(text, @"(?m)^(?!\s*(//|using |namespace )).*\bLdr\.Runtime\.[A-Z]"))
                        $"{path} names a type of another folder in full"
            }
        ]
