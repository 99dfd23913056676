/// Where the files of the repository and the real scans lie.
module Ldr.TestKit.Repository

open System
open System.IO
open Expecto

/// The folder of `Ldr.sln`.
let root =
    let rec find (folder: DirectoryInfo | null) =
        match folder with
        | null -> failwith "no Ldr.sln above the tests"
        | f when File.Exists(Path.Combine(f.FullName, "Ldr.sln")) -> f.FullName
        | f -> find f.Parent

    find (DirectoryInfo AppContext.BaseDirectory)

/// The folder with the real scans.
let data =
    match Environment.GetEnvironmentVariable "LDR_DATA" with
    | null
    | "" -> "../shared/data"
    | folder -> folder

/// A folder of real scans; the test is skipped where it is missing.
let needData (folder: string) =
    let path = Path.Combine(data, folder)

    if not (Directory.Exists path) then
        skiptest $"{path} is missing; set LDR_DATA"

    path

/// Where NuGet keeps this machine's packages.
let packages =
    match Environment.GetEnvironmentVariable "NUGET_PACKAGES" with
    | null
    | "" ->
        Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".nuget", "packages")
    | folder -> folder
