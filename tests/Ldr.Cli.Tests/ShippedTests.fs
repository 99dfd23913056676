/// The models in `models/`: small, described, regular, and as good as their cards and the pages say.
module Ldr.Cli.Tests.ShippedTests

open System.IO
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.TestKit.Repository
open Ldr.TestKit.Process

let private shelf = Path.Combine(root, "models")
let private files = Directory.GetFiles(shelf, "*.safetensors") |> Array.sort

/// The shipped models and their data sets.
let private models =
    [
        "hippocampus", "Task04_Hippocampus"
        "hippocampus-labels", "Task04_Hippocampus"
        "brain", "Brain_IXI"
    ]

/// Voxels inside labels whose volume may change more than threefold, %.
let private bound = 2.0

let private cardOf (model: string) =
    ModelFile.inspect (Path.Combine(shelf, model + ".safetensors"))
    |> Error.orRaise
    |> fst

let private json (outcome: Outcome) =
    Expect.equal outcome.Code 0 outcome.Errors
    nonNull (JsonNode.Parse outcome.Output)

let private number (node: JsonNode) (key: string) = float (string node[key])

/// What a card says of the fewest pairs is measured again; so no card can tell of another file, and no model that tears space can
/// be shipped.
let private isAsItsCardSays (model: string, folder: string) =
    testCase $"{model} reaches what its card says, and keeps the bound on volume changes"
    <| fun () ->
        let data = needData folder
        let card = cardOf model
        Expect.isNonEmpty card.Figures "figures on the card"
        let said = card.Figures |> List.minBy _.Pairs

        let measured =
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
                    string said.Pairs
                    "--seed"
                    string said.DrawSeed
                    "--known-field"
                    "--json"
                ]
            |> json

        let close key tolerance expected =
            Expect.isLessThan (abs (number measured key - expected)) tolerance key

        close "dice" 0.002 said.Dice
        close "carried95_mm" 0.05 said.Carried95Mm
        close "extreme_label_percent" 0.2 said.ExtremeLabelPercent
        close "volume_error_percent" 0.5 said.VolumeErrorPercent
        close "sdlogj" 0.01 said.SdLogJ
        close "known_field_mm" 0.02 said.KnownFieldMm.Value

        Expect.isLessThan (number measured "extreme_label_percent") bound "J outside 1/3 to 3 in labels, %"

        Expect.isLessThan
            (number measured "known_field_mm")
            (number measured "known_field_before_mm")
            "a known field: better than doing nothing"

/// The page of results tells of the file that ships.
let private isOnThePage (model: string, _) =
    test $"{model}'s card says what the page of results says" {
        let file = Path.Combine(root, "docs", "lab", "truth", model, "summary.json")
        let page = nonNull (JsonNode.Parse(File.ReadAllText file))
        let said = (cardOf model).Figures |> List.maxBy _.Pairs
        Expect.equal said.Pairs (int (number page "pairs")) "pairs"
        Expect.equal said.Dice (number page "dice") "Dice"
        Expect.equal said.ExtremeLabelPercent (number page "extreme_label_percent") "J out in labels"
        Expect.equal said.KnownFieldMm (Some(number page "known_field_mm")) "known field"
    }

let private selfPairsAreOk (model: string, folder: string) =
    testCase $"a scan registered to itself by {model} is ok"
    <| fun () ->
        let data = needData folder

        for scan in (cardOf model).Test |> List.truncate 3 do
            let file = Path.Combine(data, "imagesTr", scan + ".nii.gz")
            let moved = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName() + ".nii.gz")

            try
                let said =
                    ldr
                        [
                            "register"
                            "--model"
                            model
                            "--fixed"
                            file
                            "--moving"
                            file
                            "--moved"
                            moved
                            "--json"
                        ]
                    |> json

                Expect.equal (string said["verdict"]) "ok" $"{scan}: {said}"
            finally
                File.Delete moved

/// The packages and versions of paket.dependencies, and of the native parts in Directory.Build.targets.
let private pinned () : Map<string, string> =
    let paket =
        Regex.Matches(
            File.ReadAllText(Path.Combine(root, "paket.dependencies")),
            @"(?m)^nuget (\S+) (\S+)\s*$"
        )

    let native =
        Regex.Matches(
            File.ReadAllText(Path.Combine(root, "Directory.Build.targets")),
            "<PackageReference Include=\"([^\"]+)\" Version=\"([^\"]+)\""
        )

    Map
        [
            for found in Seq.append paket native -> found.Groups[1].Value, found.Groups[2].Value
        ]

/// 4.6.3 as 4.6.3.0.
let private whole (version: string) =
    let parts = version.Split '.' |> List.ofArray
    (parts @ List.replicate (4 - parts.Length) "0") |> String.concat "."

let private text (node: JsonNode | null) (key: string) : string = (nonNull node)[key] |> string

/// Two clones of one commit ship the same packages: what is beside the program is what is pinned.
let private pins =
    test "the assemblies beside ldr-fs are those that paket.dependencies pins" {
        let folder = Path.Combine(root, "src", "Ldr.Cli", "bin", "Release", "net10.0")

        let described =
            nonNull (JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "ldr-fs.deps.json"))))

        let libraries = (nonNull described["libraries"]).AsObject()
        let target = (nonNull described["targets"]).AsObject() |> Seq.head
        let pinned = pinned ()

        let packages =
            [
                for library in libraries do
                    if text library.Value "type" = "package" then
                        let parts = library.Key.Split '/'
                        library.Key, parts[0], parts[1]
            ]

        for wanted in
            [
                "TorchSharp"
                "PureHDF"
                "Google.Protobuf"
                "SharpZipLib"
                "FsToolkit.ErrorHandling"
                "Argu"
            ] do
            Expect.exists packages (fun (_, name, _) -> name = wanted) $"{wanted} is shipped"

        for key, name, version in packages do
            match pinned.TryFind name with
            | Some pin ->
                Expect.equal
                    (whole version)
                    (whole pin)
                    $"{name}: the version that is shipped, and the pinned one"
            | None -> failtest $"{name} {version} is shipped and not pinned in paket.dependencies"

            // What is said of the package is what lies there.
            let described: JsonNode = (nonNull target.Value)[key] |> nonNull

            match described["runtime"] with
            | Null -> ()
            | NonNull runtime ->
                for assembly in runtime.AsObject() do
                    let file = Path.Combine(folder, string (Path.GetFileName assembly.Key))
                    let said = text assembly.Value "fileVersion"

                    Expect.equal
                        (System.Diagnostics.FileVersionInfo.GetVersionInfo file).FileVersion
                        said
                        file
    }

let tests =
    testList
        "shipped models"
        [
            test "are at most 25 MB together, have notes, and are listed" {
                Expect.isNonEmpty files "models"
                Expect.hasLength files models.Length "models that are tested"

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
                    Expect.isSome card.Verdict "thresholds of its own"
                    Expect.stringContains list $"| `{Path.GetFileNameWithoutExtension file}` |" "list"
            }

            pins
            yield! models |> List.map isAsItsCardSays
            yield! models |> List.map isOnThePage
            yield! models |> List.map selfPairsAreOk
        ]
