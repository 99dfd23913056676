/// What ./build/pack leaves in dist/: packages, the .NET tool, programs for four systems.
module Ldr.Cli.Tests.PackTests

open System
open System.Diagnostics
open System.Formats.Tar
open System.IO
open System.IO.Compression
open System.Net.Http
open System.Security.Cryptography
open System.Text
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Runtime.Formats
open Ldr.Runtime.Geometry
open Ldr.TestKit.Repository
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process

let private dist = Path.Combine(root, "dist")
let private version = Ldr.Cli.Version.text

/// A file of dist/; the test is skipped where ./build/pack has not been run since the sources changed.
let private need (name: string) : string =
    let path = Path.Combine(dist, name)
    let sums = Path.Combine(dist, "SHA256SUMS")

    if not (File.Exists sums) then
        skiptest "dist/ is missing; ./build/pack makes it"

    let made = File.GetLastWriteTimeUtc sums

    let isNewer (file: string) =
        not (Regex.IsMatch(file, @"[\\/](bin|obj|page)[\\/]"))
        && File.GetLastWriteTimeUtc file > made

    if
        Directory.EnumerateFiles(Path.Combine(root, "src"), "*", SearchOption.AllDirectories)
        |> Seq.exists isNewer
    then
        skiptest "dist/ is older than the sources; run ./build/pack"

    if not (File.Exists path) then
        skiptest $"dist/{name} is missing; ./build/pack makes it"

    path

/// A package, opened.
let private package (name: string) : ZipArchive =
    ZipFile.OpenRead(need $"{name}.{version}.nupkg")

let private names (zip: ZipArchive) =
    [ for entry in zip.Entries -> entry.FullName ]

let private bytesOf (zip: ZipArchive) (name: string) : byte[] =
    use stream = (zip.GetEntry name |> nonNull).Open()
    use memory = new MemoryStream()
    stream.CopyTo memory
    memory.ToArray()

// ---- Programs ----

/// The names and the contents of a program's archive, without its top folder.
let private program (system: string) : Map<string, byte[]> =
    let top = $"ldr-fs-{version}-{system}"

    let files =
        if system.StartsWith "win" then
            use zip = ZipFile.OpenRead(need $"{top}.zip")
            [ for name in names zip -> name, bytesOf zip name ]
        else
            use file = File.OpenRead(need $"{top}.tar.gz")
            use unpacked = new GZipStream(file, CompressionMode.Decompress)
            use tar = new TarReader(unpacked)

            [
                let mutable entry = tar.GetNextEntry()

                while not (isNull entry) do
                    use memory = new MemoryStream()
                    (nonNull entry.DataStream).CopyTo memory
                    entry.Name, memory.ToArray()
                    entry <- tar.GetNextEntry()
            ]

    Map.ofList
        [
            for name, content in files do
                Expect.stringStarts name (top + "/") "everything lies in one folder"
                name.Substring(top.Length + 1), content
        ]

/// What a file of a program is by its first bytes: system and processor.
let private kind (file: byte[]) : string =
    let at (offset: int) =
        int (BitConverter.ToUInt16(file, offset))

    match file[0..3] with
    | [| 0x7Fuy; 0x45uy; 0x4Cuy; 0x46uy |] -> $"linux-{at 18}"
    | [| 0xCFuy; 0xFAuy; 0xEDuy; 0xFEuy |] -> $"osx-{BitConverter.ToUInt32(file, 4)}"
    | [| 0x4Duy; 0x5Auy; _; _ |] -> $"win-{at (int (BitConverter.ToUInt32(file, 0x3C)) + 4)}"
    | _ -> "no program"

/// System, its program, what its first bytes say, its own native parts.
let private systems =
    [
        "linux-x64", "ldr-fs", "linux-62", [ "libLibTorchSharp.so.gz" ]
        "linux-arm64", "ldr-fs", "linux-183", []
        "win-x64", "ldr-fs.exe", "win-34404", [ "LibTorchSharp.dll.gz" ]
        "osx-arm64", "ldr-fs", "osx-16777228", [ "libLibTorchSharp.dylib.gz" ]
    ]

let private checkProgram (system: string, main: string, expected: string, native: string list) =
    let files = program system
    Expect.equal (kind files[main]) expected "the program's kind"

    for name in native do
        use unpacked =
            new GZipStream(new MemoryStream(files[name]), CompressionMode.Decompress)

        use memory = new MemoryStream()
        unpacked.CopyTo memory
        Expect.equal (kind (memory.ToArray())) expected name

    for model in [ "hippocampus"; "hippocampus-labels"; "brain" ] do
        let own = File.ReadAllBytes(Path.Combine(root, "models", $"{model}.safetensors"))

        Expect.isTrue (files[$"models/{model}.safetensors"] = own) model

    for name in
        [
            "LICENSE"
            "LICENCES.md"
            "README.txt"
            "CHANGELOG.md"
            "page/index.html"
            "experiments/quickstart.json"
        ] do
        Expect.isNonEmpty files[name] name

    for part in [ "Microsoft.NETCore.App.Runtime"; "Argu"; "TorchSharp"; "@niivue/niivue" ] do
        Expect.stringContains (Encoding.UTF8.GetString files["LICENCES.md"]) part "licences of the parts"

/// Unpacks the program for this system; its path.
let private unpack (folder: string) : string =
    let name = $"ldr-fs-{version}-linux-x64"

    if Libtorch.system <> "linux-x64" then
        skiptest "the program for linux-x64 runs there only"

    use file = File.OpenRead(need $"{name}.tar.gz")
    use unpacked = new GZipStream(file, CompressionMode.Decompress)
    TarFile.ExtractToDirectory(unpacked, folder, false)
    folder </> name </> "ldr-fs"

/// Runs a program with nothing of this machine's environment: no .NET on the path, no variables.
let private bare (folder: string) (path: string) (program: string) (arguments: string list) =
    run
        "env"
        ([
            "-i"
            "-C"
            folder
            $"PATH={path}"
            $"HOME={folder}"
            $"TMPDIR={folder}"
            program
         ]
         @ arguments)

let private writePair (folder: string) =
    for name, number in [ "fixed", 0; "moving", 1 ] do
        let scan, labels = Anatomy.subject Anatomy.standard number
        ImageFile.Write(folder </> $"{name}.nii.gz", scan)

        ImageFile.Write(
            folder </> $"{name}-labels.nii.gz",
            Volume(labels.Grid, labels.Values, VoxelType.UInt8)
        )

let private inOrder (outcome: Outcome) =
    // Synthetic anatomy is not what the models know: a verdict of 3 is no failure.
    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) $"{outcome.Code}: {outcome.Output} {outcome.Errors}"
    Expect.isFalse (outcome.Errors.Contains "a fault of ours") outcome.Errors

/// Registers as the program of the repository does, to the bit.
let private registersAlike (folder: string) (mine: string list -> Outcome) =
    let line (model: string) (output: string) =
        [
            "register"
            "--fixed"
            folder </> "fixed.nii.gz"
            "--moving"
            folder </> "moving.nii.gz"
            "--model"
            model
            "--refine"
            "2"
            "--moved"
            folder </> $"{output}.nii.gz"
            "--transform"
            folder </> $"{output}.h5"
            "--report"
            folder </> $"{output}.html"
        ]

    for model in [ "none"; "hippocampus" ] do
        inOrder (mine (line model "mine"))
        inOrder (ldr (line model "reference"))

        for ending in [ ".nii.gz"; ".h5" ] do
            Expect.isTrue
                (File.ReadAllBytes(folder </> $"mine{ending}") =
                    File.ReadAllBytes(folder </> $"reference{ending}"))
                $"{model}: {ending} is the same"

let private servesItsPage (folder: string) (program: string) =
    let info =
        ProcessStartInfo(
            "env",
            [ "-i"; $"HOME={folder}"; $"TMPDIR={folder}"; program; "app"; "--no-browser" ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use running = Process.Start info |> nonNull

    try
        let link =
            Regex.Match(string (running.StandardOutput.ReadLine()), @"http://\S+").Value

        use client = new HttpClient()
        Expect.stringContains (client.GetStringAsync(link).Result) "<script" "the page"
    finally
        run "kill" [ "-TERM"; string running.Id ] |> ignore

        if not (running.WaitForExit 10000) then
            running.Kill true

let private worksAlone (folder: string) =
    let program = unpack folder

    let files =
        Directory.GetFiles(string (Path.GetDirectoryName program), "*", SearchOption.AllDirectories)

    let megabytes =
        float (files |> Array.sumBy (fun file -> FileInfo(file).Length)) / 1e6

    Expect.isLessThanOrEqual megabytes 60.0 "megabytes of the program, unpacked, with its models"
    let mine = bare folder "/usr/bin:/bin" program
    Expect.equal ((mine [ "--version" ]).Output.Trim()) version "its version"
    writePair folder
    registersAlike folder mine

    inOrder (
        mine
            [
                "apply"
                "--transform"
                "mine.h5"
                "--moving"
                "moving-labels.nii.gz"
                "--reference"
                "fixed.nii.gz"
                "--interpolation"
                "label"
                "--output"
                "labels.nii.gz"
            ]
    )

    inOrder (mine [ "overlap"; "labels.nii.gz"; "fixed-labels.nii.gz"; "--json" ])
    inOrder (mine [ "inspect"; "hippocampus" ])

    File.WriteAllText(
        folder </> "pairs.csv",
        "id,fixed,moving,moving_labels,fixed_labels\na,fixed.nii.gz,moving.nii.gz,moving-labels.nii.gz,fixed-labels.nii.gz\n"
    )

    inOrder (mine [ "cohort"; "pairs.csv"; "--output"; "study"; "--model"; "hippocampus" ])
    Expect.isTrue (File.Exists(folder </> "study" </> "group.html")) "the group page"

    File.WriteAllText(
        folder </> "labelled.csv",
        "fixed,moving,moving_labels,fixed_labels\nfixed.nii.gz,moving.nii.gz,moving-labels.nii.gz,fixed-labels.nii.gz\n"
    )

    inOrder (
        mine
            [
                "evaluate"
                "--model"
                "hippocampus"
                "--data"
                "labelled.csv"
                "--split"
                "all"
                "--json"
            ]
    )

    servesItsPage folder program

/// Training tells in one line what is missing, and setup-training what to do.
let private tellsOfTraining (folder: string) =
    let mine = bare folder "/usr/bin:/bin" (unpack folder)
    let experiment = Path.Combine(root, "experiments", "quickstart.json")

    for line in
        [
            [ "train"; experiment ]
            [ "benchmark" ]
            [ "teach"; experiment; "--output"; "store" ]
        ] do
        let outcome = mine line
        Expect.equal outcome.Code 1 $"{line}: {outcome.Errors}"
        Expect.hasLength (outcome.Errors.Trim().Split '\n') 1 outcome.Errors
        Expect.stringContains outcome.Errors "ldr-fs setup-training" "the way out"

    let told = mine [ "setup-training" ]
    Expect.equal told.Code 0 told.Errors
    Expect.stringContains told.Output $"libtorch-cpu-linux-x64.{Libtorch.Version}.nupkg" "the package"
    File.WriteAllText(folder </> "other.nupkg", "no package")
    let refused = mine [ "setup-training"; "other.nupkg" ]
    Expect.equal refused.Code 1 "a file that is no package"

    Expect.stringContains
        refused.Errors
        "other.nupkg: is no package; give the package libtorch-cpu-linux-x64"
        "the error"

// ---- Packages ----

/// A folder in which a program is made from packages alone: those of dist/, and those that this machine has.
let private feed (folder: string) : string =
    let config = folder </> "nuget.config"

    File.WriteAllText(
        config,
        $"""<configuration>
  <packageSources><clear /><add key="ldr" value="{dist}" /></packageSources>
  <fallbackPackageFolders><clear /><add key="here" value="{packages}" /></fallbackPackageFolders>
  <config><add key="globalPackagesFolder" value="{folder </> "packages"}" /></config>
</configuration>
"""
    )

    config

let private dotnet (folder: string) (arguments: string list) =
    let packages = folder </> "packages"

    let outcome =
        run
            "env"
            ([
                "-C"
                folder
                "DOTNET_CLI_TELEMETRY_OPTOUT=1"
                "DOTNET_NOLOGO=1"
                "MSBUILDDISABLENODEREUSE=1"
                "UseSharedCompilation=false"
                $"NUGET_PACKAGES={packages}"
                "dotnet"
             ]
             @ arguments)

    Expect.equal outcome.Code 0 $"dotnet {arguments}: {outcome.Output} {outcome.Errors}"
    outcome.Output

let private references (packages: string list) =
    [
        for name in packages -> $"""<PackageReference Include="{name}" Version="{version}" />"""
    ]
    |> String.concat "\n    "

let private project (file: string) (packages: string list) (more: string) =
    File.WriteAllText(
        file,
        $"""<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <Nullable>enable</Nullable>
    <UseAppHost>false</UseAppHost>
    <RestoreEnablePackagePruning>false</RestoreEnablePackagePruning>
    <SatelliteResourceLanguages>en</SatelliteResourceLanguages>
  </PropertyGroup>
  <ItemGroup>
    {references packages}
  </ItemGroup>
  {more}
</Project>
"""
    )

/// The example of the guide, and the page, from Ldr.Runtime, Ldr.Models and Ldr.App.
let private csharpFromPackages (folder: string) =
    need $"Ldr.App.{version}.nupkg" |> ignore
    feed folder |> ignore
    project (folder </> "own.csproj") [ "Ldr.Runtime"; "Ldr.Models"; "Ldr.App" ] ""

    File.WriteAllText(
        folder </> "Program.cs",
        """using Ldr.App;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Reports;

using Registrar registrar = new(StudentModel.Load("hippocampus"));
RegistrationResult result = registrar.Register(Volume.Read("fixed.nii.gz"), Volume.Read("moving.nii.gz"));
result.Moved.Write("moved.nii.gz");
result.WriteReport("report.html");
await using AppServer page = await AppServer.StartAsync(new AppOptions());
Console.WriteLine($"page: {page.IsPageBuilt}");
"""
    )

    writePair folder
    dotnet folder [ "build"; "--output"; "out"; "--nologo"; "-v"; "q" ] |> ignore
    Expect.stringContains (dotnet folder [ "out/own.dll" ]) "page: True" "the page comes along"
    Expect.isTrue (File.Exists(folder </> "report.html")) "the report"

/// A step of a training from Ldr.Core.
let private fsharpFromPackages (folder: string) =
    need $"Ldr.Core.{version}.nupkg" |> ignore

    if Libtorch.system <> "linux-x64" then
        skiptest "NativeParts finds the native parts of packages on linux-x64"

    feed folder |> ignore

    project
        (folder </> "own.fsproj")
        [ "Ldr.Core" ]
        """<ItemGroup>
    <Compile Include="Program.fs" />
    <PackageReference Update="FSharp.Core" Version="10.1.404" />
  </ItemGroup>"""

    let script =
        File.ReadAllText(Path.Combine(root, "scripts", "package", "from-package.fsx"))

    // The script that the guide gives, without its reference to the package.
    File.WriteAllText(folder </> "Program.fs", Regex.Replace(script, "(?m)^#r .*$", ""))
    dotnet folder [ "build"; "--output"; "out"; "--nologo"; "-v"; "q" ] |> ignore

    // libtorch of this machine's packages; a program of one's own refers to its package.
    let native = string (Path.GetDirectoryName Ldr.TestKit.Process.program)

    for file in Directory.GetFiles(Path.Combine(native, "runtimes", "linux-x64", "native"), "lib*") do
        let link =
            folder
            </> "out"
            </> "runtimes"
            </> "linux-x64"
            </> "native"
            </> string (Path.GetFileName file)

        // TorchSharp's own part is there: the package brings one that this system can load.
        if not (File.Exists link) then
            File.CreateSymbolicLink(link, file) |> ignore

    let output = dotnet folder [ "out/own.dll" ]
    Expect.stringContains output "parameters" "the network"

let private installsTheTool (folder: string) =
    need $"ldr-fs.{version}.nupkg" |> ignore
    let config = feed folder
    let tools = folder </> "tools"

    dotnet
        folder
        [
            "tool"
            "install"
            "ldr-fs"
            "--version"
            version
            "--tool-path"
            tools
            "--configfile"
            config
        ]
    |> ignore

    writePair folder

    registersAlike folder (fun arguments -> run "env" ([ "-C"; folder; tools </> "ldr-fs" ] @ arguments))

let private checkPackage (name: string) =
    use zip = package name
    let nuspec = Encoding.UTF8.GetString(bytesOf zip $"{name}.nuspec")

    for word in
        [
            "<license type=\"expression\">"
            "<readme>README.md</readme>"
            "<icon>icon.png</icon>"
        ] do
        Expect.stringContains nuspec word "the description"

    for file in [ "README.md"; "icon.png" ] do
        Expect.contains (names zip) file "in the package"

    match name with
    | "Ldr.Models" ->
        for model in [ "hippocampus"; "hippocampus-labels"; "brain" ] do
            Expect.contains (names zip) $"models/{model}.safetensors" "a model"
    | "ldr-fs" -> ()
    | _ ->
        Expect.contains (names zip) $"lib/net10.0/{name}.dll" "the library"
        Expect.contains (names zip) $"lib/net10.0/{name}.xml" "what its members are"
        let symbols = bytesOf zip $"lib/net10.0/{name}.pdb"

        Expect.isFalse
            (Encoding.Latin1.GetString(symbols).Contains root)
            "no path of this machine in the symbols"

        Expect.isFalse
            (Encoding.Latin1.GetString(bytesOf zip $"lib/net10.0/{name}.dll").Contains root)
            "no path of this machine in the library"

let tests =
    testList
        "packages"
        [
            for system in systems do
                let name, _, _, _ = system

                testCase $"the program for {name} has what it needs" (fun () -> checkProgram system)

            testInFolder
                "the program for linux-x64 registers, scores and serves its page without .NET, as the repository's does"
                worksAlone

            testInFolder "the program says in one line how to add libtorch for trainings" tellsOfTraining

            for name in [ "Ldr.Runtime"; "Ldr.Models"; "Ldr.Core"; "Ldr.App"; "ldr-fs" ] do
                testCase $"the package {name} says what it is, and has its documents" (fun () ->
                    checkPackage name)

            testInFolder "a C# program registers and serves the page from packages alone" csharpFromPackages
            testInFolder "an F# program takes a step of a training from packages alone" fsharpFromPackages
            testInFolder "the .NET tool registers as the repository's program does" installsTheTool

            test "every file of dist has its checksum" {
                let lines = File.ReadAllLines(need "SHA256SUMS")

                for line in lines do
                    let name = line.Substring 66
                    use file = File.OpenRead(Path.Combine(dist, name))

                    Expect.equal
                        (Convert.ToHexString(SHA256.HashData file).ToLowerInvariant())
                        line[..63]
                        name

                let files =
                    [ for file in Directory.GetFiles dist -> string (Path.GetFileName file) ]

                Expect.equal
                    (set files)
                    (set ("SHA256SUMS" :: [ for line in lines -> line.Substring 66 ]))
                    "and nothing else is there"
            }

            test "the bill of materials names every package that a program brings" {
                let bill = JsonNode.Parse(File.ReadAllText(need $"ldr-fs-{version}.cdx.json"))
                let node = nonNull bill
                Expect.equal (string node["bomFormat"]) "CycloneDX" "its format"

                let listed =
                    set
                        [
                            for part in (nonNull node["components"]).AsArray() do
                                (nonNull part)["name"] |> string
                        ]

                for library in
                    Directory.GetFiles(string (Path.GetDirectoryName Ldr.TestKit.Process.program), "*.dll") do
                    match Path.GetFileNameWithoutExtension library |> string with
                    | own when own.StartsWith "Ldr." || own = "ldr-fs" -> ()
                    | "ICSharpCode.SharpZipLib" -> Expect.contains listed "SharpZipLib" "a library"
                    | name -> Expect.contains listed name "a library"
            }

            test "libtorch's version is the one that is built in" {
                let targets = File.ReadAllText(Path.Combine(root, "Directory.Build.targets"))

                for found in Regex.Matches(targets, "Include=\"libtorch-cpu-[^\"]*\" Version=\"([^\"]*)\"") do
                    Expect.equal found.Groups[1].Value Libtorch.Version "Libtorch.Version"
            }
        ]
