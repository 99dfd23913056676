// Called by build/pack: makes archives, checksums and the bill of materials of what was built.
// dotnet fsi pack.fsx ROOT WORK VERSION SECONDS-SINCE-1970
#r "System.Formats.Tar.dll"

open System
open System.Formats.Tar
open System.IO
open System.IO.Compression
open System.Security.Cryptography
open System.Text
open System.Text.Json
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open System.Xml.Linq

let root, work, version, time =
    match List.tail (List.ofArray fsi.CommandLineArgs) with
    | [ root; work; version; seconds ] ->
        // A zip knows no time before 1980.
        root, work, version, DateTimeOffset.FromUnixTimeSeconds(max (int64 seconds) 315532800L)
    | other -> failwith $"pack.fsx ROOT WORK VERSION SECONDS, not {other}"

let (</>) (folder: string) (name: string) = Path.Combine(folder, name)
let dist = root </> "dist"

let packages =
    match Environment.GetEnvironmentVariable "NUGET_PACKAGES" with
    | null
    | "" -> Environment.GetFolderPath Environment.SpecialFolder.UserProfile </> ".nuget" </> "packages"
    | folder -> folder

let filesBelow (folder: string) =
    Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
    |> Array.map (fun file -> Path.GetRelativePath(folder, file).Replace('\\', '/'))
    |> Array.sortWith (fun a b -> String.CompareOrdinal(a, b))
    |> List.ofArray

// ---- What is in it ----

/// A part that others made.
type Part =
    {
        Kind: string
        Name: string
        Version: string
        Licence: string
        Authors: string
        /// Texts of licences and notices.
        Texts: (string * string) list
    }

let isNotice (file: string) =
    Regex.IsMatch(Path.GetFileName file, "^(licen[cs]e|third-?party-?notices|notice|copying)([-.].*)?$", RegexOptions.IgnoreCase)

let textsOf (folder: string) =
    [
        for file in Directory.GetFiles folder |> Array.sort do
            if isNotice file then
                Path.GetFileName file, File.ReadAllText file
    ]

let ofNuget (name: string) (version: string) : Part =
    let folder = packages </> name.ToLowerInvariant() </> version.ToLowerInvariant()
    let nuspec = XDocument.Load(folder </> $"{name.ToLowerInvariant()}.nuspec")

    let value (key: string) =
        nuspec.Descendants()
        |> Seq.tryFind (fun e -> e.Name.LocalName = key)
        |> Option.map _.Value.Trim()
        |> Option.defaultValue ""

    let licence =
        // A file's name, or an address, says less than the text, which is added.
        match value "license", value "licenseUrl" with
        | expression, _ when expression <> "" && not (isNotice expression) && not (expression.Contains '.' && expression.EndsWith "txt") -> expression
        | _, address when address.Contains "github.com/mono/SkiaSharp" || name.StartsWith "SkiaSharp" -> "MIT"
        | _ -> "see its text"

    {
        Kind = "nuget"
        Name = name
        Version = version
        Licence = licence
        Authors = value "authors"
        Texts = textsOf folder
    }

let assets = JsonNode.Parse(File.ReadAllText(work </> "assets.json"))

/// Packages whose files come along, for any of the systems.
let nugets =
    [
        for target in assets["targets"].AsObject() do
            if target.Key.Contains '/' then
                for library in target.Value.AsObject() do
                    let node = library.Value

                    let brings (kind: string) =
                        match node[kind] with
                        | null -> false
                        | files -> files.AsObject() |> Seq.exists (fun file -> not (file.Key.EndsWith "/_._"))

                    // These are left out, see build/Program.
                    let isOut = Regex.IsMatch(library.Key, @"^(libtorch-|SkiaSharp\.NativeAssets)")

                    if string node["type"] = "package" && not isOut && (brings "runtime" || brings "native") then
                        library.Key
    ]
    |> List.distinct
    |> List.sort
    |> List.map (fun key ->
        let parts = key.Split '/'
        ofNuget parts[0] parts[1])

/// The parts of .NET that are inside programs.
let frameworks =
    [
        for framework in assets["project"].["frameworks"].AsObject() do
            match framework.Value["downloadDependencies"] with
            | null -> ()
            | downloads ->
                for download in downloads.AsArray() do
                    let name = string download["name"]

                    if name.Contains ".App.Runtime." then
                        name, Regex.Match(string download["version"], @"[\d.]+").Value
    ]
    |> List.distinct
    |> List.sort
    |> List.filter (fun (name, _) -> Directory.Exists(packages </> name.ToLowerInvariant()))
    |> List.map (fun (name, version) -> ofNuget name version)

/// What the page is made of.
let npms =
    let page = root </> "src" </> "Ldr.App" </> "page"
    let lock = JsonNode.Parse(File.ReadAllText(page </> "package-lock.json"))

    [
        for entry in lock["packages"].AsObject() do
            let folder = page </> entry.Key

            if entry.Key <> "" && isNull entry.Value["dev"] && Directory.Exists folder then
                {
                    Kind = "npm"
                    Name = entry.Key.Substring(entry.Key.LastIndexOf "node_modules/" + 13)
                    Version = string entry.Value["version"]
                    Licence =
                        match entry.Value["license"] with
                        | null -> "see its text"
                        | licence -> string licence
                    Authors = ""
                    Texts = textsOf folder
                }
    ]

let parts = nugets @ frameworks @ npms

/// A text once, with the parts that it belongs to.
let notices =
    let table =
        [
            "# Licences of the parts of ldr-fs"
            ""
            "ldr-fs itself is MIT, see LICENSE. The models in `models` are CC BY-SA, as their data: hippocampus and hippocampus-labels 4.0"
            "(Medical Segmentation Decathlon, Task04), brain 3.0 (IXI)."
            ""
            "| part | version | licence |"
            "|---|---|---|"
            yield! parts |> List.map (fun part -> $"| {part.Name} | {part.Version} | {part.Licence} |")
        ]

    let texts =
        parts
        |> List.collect (fun part -> part.Texts |> List.map (fun (name, text) -> text.Replace("\r", "").Trim(), $"{part.Name}: {name}"))
        |> List.groupBy fst
        |> List.collect (fun (text, owners) ->
            [ ""; "----"; yield! owners |> List.map snd |> List.distinct; "----"; ""; text ])

    String.concat "\n" (table @ texts) + "\n"

let bill =
    let hash (bytes: byte[]) = Convert.ToHexString(SHA256.HashData bytes).ToLowerInvariant()
    let text (value: string) : JsonNode = JsonValue.Create value

    let node (pairs: (string * JsonNode) list) : JsonNode =
        let result = JsonObject()

        for key, value in pairs do
            result.Add(key, value)

        result

    let list (nodes: JsonNode list) : JsonNode = JsonArray(Array.ofList nodes)
    // CycloneDX takes the names of SPDX as an expression, anything else as a name.
    let licences (licence: string) =
        if licence.Contains ' ' && not (licence.Contains " AND " || licence.Contains " OR ") then
            [ node [ ("license", node [ ("name", text licence) ]) ] ]
        else
            [ node [ ("expression", text licence) ] ]

    let component' (part: Part) =
        let name = part.Name.Replace("@", "%40")
        let address = String.concat "" [ "pkg:"; part.Kind; "/"; name; "@"; part.Version ]

        node
            [
                "type", text "library"
                "bom-ref", text address
                if part.Authors <> "" then
                    "author", text part.Authors
                "name", text part.Name
                "version", text part.Version
                "licenses", list (licences part.Licence)
                "purl", text address
            ]

    let models =
        [
            for file in filesBelow (root </> "models") |> List.filter _.EndsWith(".safetensors") do
                let licence = if file.StartsWith "brain" then "CC-BY-SA-3.0" else "CC-BY-SA-4.0"

                node
                    [
                        "type", text "machine-learning-model"
                        "bom-ref", text $"model/{file}"
                        "name", text (Path.GetFileNameWithoutExtension file)
                        "version", text version
                        "hashes",
                        list
                            [
                                node
                                    [
                                        "alg", text "SHA-256"
                                        "content", text (hash (File.ReadAllBytes(root </> "models" </> file)))
                                    ]
                            ]
                        "licenses", list (licences licence)
                    ]
        ]

    node
        [
            "bomFormat", text "CycloneDX"
            "specVersion", text "1.6"
            "version", JsonValue.Create 1
            "metadata",
            node
                [
                    "timestamp", text (time.UtcDateTime.ToString "yyyy-MM-ddTHH:mm:ssZ")
                    "component",
                    node
                        [
                            "type", text "application"
                            "bom-ref", text "ldr-fs"
                            "name", text "ldr-fs"
                            "version", text version
                            "licenses", list (licences "MIT")
                        ]
                ]
            "components", list (List.map component' parts @ models)
        ]

// ---- Archives ----

let isProgram (name: string) =
    List.contains name [ "ldr-fs"; "createdump" ]

/// Files in order, of one owner and time.
let writeTar (folder: string) (top: string) (output: string) =
    use file = File.Create output
    use packed = new GZipStream(file, CompressionLevel.Optimal)
    use tar = new TarWriter(packed, TarEntryFormat.Ustar)

    for name in filesBelow folder do
        use content = File.OpenRead(folder </> name)
        let entry = UstarTarEntry(TarEntryType.RegularFile, $"{top}/{name}")
        entry.ModificationTime <- time
        let mode = if isProgram name then "755" else "644"
        entry.Mode <- enum<UnixFileMode> (Convert.ToInt32(mode, 8))
        entry.DataStream <- content
        tar.WriteEntry entry

let addTo (zip: ZipArchive) (name: string) (bytes: byte[]) =
    let entry = zip.CreateEntry(name, CompressionLevel.Optimal)
    entry.LastWriteTime <- time
    use stream = entry.Open()
    stream.Write bytes

let writeZip (folder: string) (top: string) (output: string) =
    use zip = ZipFile.Open(output, ZipArchiveMode.Create)

    for name in filesBelow folder do
        addTo zip $"{top}/{name}" (File.ReadAllBytes(folder </> name))

/// A package with the same files, whose bytes do not depend on when it was made: dotnet pack invents a name and takes the files' times.
let writePackage (source: string) (output: string) =
    use before = ZipFile.OpenRead source
    use after = ZipFile.Open(output, ZipArchiveMode.Create)
    let made = Regex @"[0-9a-f]{32}\.psmdcp"

    for entry in before.Entries |> Seq.sortWith (fun a b -> String.CompareOrdinal(a.FullName, b.FullName)) do
        use stream = entry.Open()
        use memory = new MemoryStream()
        stream.CopyTo memory
        let name = made.Replace(entry.FullName, "core.psmdcp")

        if name.EndsWith ".rels" then
            let text = made.Replace(Encoding.UTF8.GetString(memory.ToArray()), "core.psmdcp")
            let mutable count = 0

            let text =
                Regex.Replace(
                    text,
                    "Id=\"R[0-9A-F]+\"",
                    fun _ ->
                        count <- count + 1
                        $"Id=\"R{count}\""
                )

            addTo after name (Encoding.UTF8.GetBytes text)
        else
            addTo after name (memory.ToArray())

let readMe (system: string) =
    let program = if system.StartsWith "win" then "ldr-fs.exe" else "./ldr-fs"

    $"""ldr-fs {version} for {system}: deformable registration of 3-D medical images on an ordinary CPU.

    {program} register --model none --fixed FIXED.nii.gz --moving MOVING.nii.gz --moved moved.nii.gz --report report.html
    {program} app
    {program} --help

Nothing has to be installed. Training needs libtorch: {program} setup-training says how to add it.
For research; not a medical device. LICENSE is its licence, LICENCES.md has those of its parts.
"""

for folder in Directory.GetDirectories(work </> "programs") |> Array.sort do
    let system = Path.GetFileName folder
    let name = $"ldr-fs-{version}-{system}"

    for ending in [ ""; ".exe" ] do
        if File.Exists(folder </> $"Ldr.Program{ending}") then
            File.Move(folder </> $"Ldr.Program{ending}", folder </> $"ldr-fs{ending}")

    // TorchSharp's own native part waits, packed, for setup-training.
    for native in Directory.GetFiles(folder, "*LibTorchSharp.*") do
        use content = File.OpenRead native
        use packed = new GZipStream(File.Create(native + ".gz"), CompressionLevel.SmallestSize)
        content.CopyTo packed
        content.Dispose()
        File.Delete native

    File.Copy(root </> "LICENSE", folder </> "LICENSE", true)
    File.Copy(root </> "CHANGELOG.md", folder </> "CHANGELOG.md", true)
    // What ldr-fs without arguments names; it needs no data.
    Directory.CreateDirectory(folder </> "experiments") |> ignore
    File.Copy(root </> "experiments" </> "quickstart.json", folder </> "experiments" </> "quickstart.json", true)
    File.WriteAllText(folder </> "LICENCES.md", notices)
    File.WriteAllText(folder </> "README.txt", readMe system)

    if system.StartsWith "win" then
        writeZip folder name (dist </> $"{name}.zip")
    else
        writeTar folder name (dist </> $"{name}.tar.gz")

for package in Directory.GetFiles(work </> "packages") do
    writePackage package (dist </> Path.GetFileName package)

File.WriteAllText(
    dist </> $"ldr-fs-{version}.cdx.json",
    bill.ToJsonString(JsonSerializerOptions(WriteIndented = true)) + "\n"
)

let sums =
    [
        for name in filesBelow dist do
            use file = File.OpenRead(dist </> name)
            let digest = Convert.ToHexString(SHA256.HashData file).ToLowerInvariant()
            $"{digest}  {name}\n"
    ]

File.WriteAllText(dist </> "SHA256SUMS", String.concat "" sums)
