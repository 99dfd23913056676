/// `benchmark`: times of network, warp and the whole program.
module Ldr.Cli.Verbs.Benchmark

open System
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli

type Opponent = | Torch

type StudentName =
    | [<CustomCommandLine("ldr")>] Ldr
    | [<CustomCommandLine("ldr-slim")>] LdrSlim
    | [<CustomCommandLine("ldr-half")>] LdrHalf

type Arguments =
    | [<Unique>] Size of voxels: string
    | [<Unique>] Threads of count: int
    | [<Unique>] Against of Opponent
    | [<Unique>] Network of StudentName
    | [<Unique>] Model of name: string
    | [<Unique>] Rounds of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Size _ -> "the images' size: N for N × N × N, or XxYxZ (default: 128)."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Against _ -> "measure libtorch in the same run, in turn."
            | Network _ -> "the network, with random weights (default: ldr-slim)."
            | Model _ -> "a model's file, or its name in models/, instead."
            | Rounds _ -> "how often each is measured; the median counts (default: 15)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

/// What is timed.
type private Options =
    {
        Size: int * int * int
        /// The network, with random weights, or a model's name.
        Network: Choice<Architecture, string>
        AgainstTorch: bool
        Rounds: int
    }

let private size (text: string) : Result<int * int * int, string> =
    let sides =
        text.Split 'x'
        |> Array.map (fun side ->
            match Int32.TryParse side with
            | true, n when n >= 8 && n <= 1024 -> n
            | _ -> 0)

    match sides with
    | [| n |] when n > 0 -> Ok(n, n, n)
    | [| x; y; z |] when x > 0 && y > 0 && z > 0 -> Ok(x, y, z)
    | _ -> Error $"--size {text}: give N or XxYxZ, whole numbers from 8 to 1024"

let private student (name: StudentName option) : Architecture =
    match name with
    | Some LdrHalf -> Stage.LdrHalf StudentWidths.slim
    | Some StudentName.Ldr -> Stage.Ldr StudentWidths.published
    | Some LdrSlim
    | None -> Stage.Ldr StudentWidths.slim
    |> Architecture.Single

let private options (r: ParseResults<Arguments>) : Result<Options, string> =
    result {
        let! size = size (r.GetResult(Size, "128"))
        let rounds = r.GetResult(Rounds, 15)
        do! Usage.refuseIf (rounds < 1) "--rounds: give a whole number above 0"

        return
            {
                Size = size
                Network =
                    match r.TryGetResult Model with
                    | Some name -> Choice2Of2 name
                    | None -> Choice1Of2(student (r.TryGetResult Network))
                AgainstTorch = r.Contains Against
                Rounds = rounds
            }
    }

let private model (folder: string) (network: Choice<Architecture, string>) : Result<string, Error> =
    match network with
    | Choice1Of2 architecture -> Ok(Benchmark.writeModel folder architecture)
    | Choice2Of2 name -> ModelFile.resolve name

let private measure (o: Options) (threads: int option) (folder: string) (model: string) =
    Error.guard (fun () ->
        Benchmark.run
            {
                Model = model
                Size = o.Size
                Threads = threads |> Option.defaultValue Environment.ProcessorCount
                Rounds = o.Rounds
                AgainstTorch = o.AgainstTorch
                Folder = folder
                Program =
                    Environment.ProcessPath |> Option.ofObj,
                    Path.Combine(AppContext.BaseDirectory, "ldr-fs.dll")
            })

let private run (o: Options) (context: Context) =
    let folder = Directory.CreateTempSubdirectory "ldr-benchmark-"

    try
        result {
            let! model = model folder.FullName o.Network
            let! measured = measure o context.Threads folder.FullName model
            return Said.both (Benchmark.toText measured) (Benchmark.toJson measured)
        }
    finally
        folder.Delete true

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! options = options r

        return!
            Call.create
                { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                (run options)
    }
