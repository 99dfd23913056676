/// Where the files of the repository lie.
module Ldr.Tests.Core.Repository

open System.IO

/// The folder of `Ldr.sln`.
let root =
    let rec find (folder: DirectoryInfo | null) =
        match folder with
        | null -> failwith "no Ldr.sln above the tests"
        | f when File.Exists(Path.Combine(f.FullName, "Ldr.sln")) -> f.FullName
        | f -> find f.Parent

    find (DirectoryInfo System.AppContext.BaseDirectory)
