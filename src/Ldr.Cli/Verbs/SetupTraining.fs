/// `setup-training`: adds libtorch to a program that came without it.
module Ldr.Cli.Verbs.SetupTraining

open System
open System.IO
open System.IO.Compression
open System.Runtime.CompilerServices
open Argu
open FsToolkit.ErrorHandling
open TorchSharp
open Ldr
open Ldr.Cli
open Ldr.Runtime.Formats

type Arguments =
    | [<MainCommand; Unique>] Package of file: string
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Package _ ->
                "the package with libtorch, a .nupkg file; without it the command says which one, and whether it is needed."
            | Json -> "print one JSON object to stdout: ready, folder, package, version."
            | Verbose -> "show where a fault happened."

let private say (ready: bool) (folder: string option) (text: string) : Said =
    Said.both
        text
        (Json.object
            [
                "ready", Json.boolean ready
                "folder", Json.maybeText folder
                "package", Json.maybeText Libtorch.package
                "version", Json.text Libtorch.Version
            ])

/// What there is, and what to do.
let private tell () : Said =
    match Libtorch.folder (), Libtorch.package, Libtorch.place () with
    | Some folder, _, _ -> say true (Some folder) $"This program can train: libtorch is in {folder}."
    | None, Some package, Some place ->
        [
            "This program registers. For trainings it lacks libtorch."
            $"1. Download version {Libtorch.Version} of the package {package} from a NuGet gallery (Download package): {package}.{Libtorch.Version}.nupkg."
            $"2. Run: ldr-fs setup-training {package}.{Libtorch.Version}.nupkg"
            $"It is unpacked into {place}, which takes half a gigabyte."
        ]
        |> String.concat "\n"
        |> say false None
    | _ ->
        say
            false
            None
            $"This program registers. libtorch, which trainings compute with, is not to be had for {Libtorch.system}."

let private bad (file: string) (problem: string) (package: string) =
    Error(BadFile(file, problem, $"give the package {package}, version {Libtorch.Version}"))

/// Name and version of a package.
let private identity (zip: ZipArchive) : (string * string) option =
    zip.Entries
    |> Seq.tryFind (fun entry ->
        entry.FullName.EndsWith(".nuspec", StringComparison.OrdinalIgnoreCase)
        && not (entry.FullName.Contains '/'))
    |> Option.bind (fun entry ->
        use reader = new StreamReader(entry.Open())
        let text = Array.zeroCreate<char> 65536
        let text = String(text, 0, reader.ReadBlock(text, 0, text.Length))

        let value (key: string) =
            match text.Split($"<{key}>", 2) with
            | [| _; rest |] -> Some((rest.Split('<')[0]).Trim())
            | _ -> None

        Option.map2 (fun id version -> id, version) (value "id") (value "version"))

/// Parts for Python and for tests of torch are left out.
let private isNeeded (entry: ZipArchiveEntry) =
    entry.FullName.StartsWith($"runtimes/{Libtorch.system}/native/", StringComparison.Ordinal)
    && entry.Name <> ""
    && not (
        [ "torch_python"; "jitbackend_test"; "torchbind_test"; "backend_with_compiler" ]
        |> List.exists entry.Name.Contains
    )

let private unpack (zip: ZipArchive) (place: string) : string list =
    [
        if not (File.Exists(Path.Combine(place, Libtorch.bridge))) then
            use packed = File.OpenRead(Path.Combine(place, Libtorch.packedBridge))
            use content = new GZipStream(packed, CompressionMode.Decompress)
            AtomicFile.Write(Path.Combine(place, Libtorch.bridge), fun stream -> content.CopyTo stream)

        for entry in zip.Entries |> Seq.filter isNeeded do
            use content = entry.Open()
            AtomicFile.Write(Path.Combine(place, entry.Name), fun stream -> content.CopyTo stream)
            entry.Name
    ]

/// A method of its own: libtorch is loaded when it is entered.
[<MethodImpl(MethodImplOptions.NoInlining)>]
let private tryIt () =
    use ones = torch.ones (3L)
    use sum = ones.sum ()
    sum.ToDouble() = 3.0

let private checkIt (file: string) : Result<unit, Error> =
    try
        tryIt ()
        |> Result.requireTrue (BadInput $"{file}: libtorch computes wrongly here")
    with e ->
        Error(BadInput $"{file}: its libtorch cannot be loaded here: {e.GetBaseException().Message}")

let private add (file: string) : Result<Said, Error> =
    result {
        let! package =
            Libtorch.package
            |> Result.requireSome (BadInput $"there is no libtorch for {Libtorch.system}")

        let! place =
            Libtorch.place ()
            |> Result.requireSome (
                BadInput "this program has no place for libtorch; use a clone of the repository"
            )

        let! unpacked =
            Error.guardResult (fun () ->
                try
                    InputFile.Check file
                    use zip = ZipFile.OpenRead file

                    match identity zip with
                    | Some(id, version) when
                        id.Equals(package, StringComparison.OrdinalIgnoreCase)
                        && version = Libtorch.Version
                        ->
                        Ok(unpack zip place)
                    | Some(id, version) -> bad file $"is the package {id}, version {version}" package
                    | None -> bad file "is no package" package
                with :? InvalidDataException ->
                    bad file "is no package" package)

        do! checkIt file

        return
            say
                true
                (Some place)
                $"This program can train now: {unpacked.Length} files of libtorch {Libtorch.Version} are in {place}."
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Add libtorch, which trainings need, to a program that came without it."
        More = "Without a file it says whether that is needed, and which package to download."
        Groups = []
        Examples =
            [
                "ldr-fs setup-training"
                "ldr-fs setup-training libtorch-cpu-linux-x64.2.10.0.nupkg"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    Call.create (CommonOptions.plain (r.Contains Json) (r.Contains Verbose)) (fun _ ->
        match r.TryGetResult Package with
        | Some file when (Libtorch.folder ()).IsNone -> add file
        | _ -> Ok(tell ()))
