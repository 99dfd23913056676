module Ldr.Cli.Program

open System
open Ldr.Runtime.Formats
open Ldr.Cli.Execution

let private carryOut (arguments: string[]) =
    match Parsing.parse arguments with
    | Error(Parsing.Help text) ->
        printfn "%s" (text.TrimEnd())
        ExitCode.ok
    | Error(Parsing.Usage text) ->
        eprintfn "ldr-fs: %s" text
        ExitCode.badUsage
    | Ok request ->
        execute
            { request with
                CommandLine = List.ofArray arguments
            }

[<EntryPoint>]
let main arguments =
    StandardStreams.guard ()

    try
        carryOut arguments
    with
    | :? InvalidFileException as e ->
        eprintfn "ldr-fs: %s" e.Message
        ExitCode.badInput
    | e ->
        if Array.contains "--verbose" arguments then
            eprintfn "ldr-fs: a fault of ours: %O" e
        else
            eprintfn
                "ldr-fs: a fault of ours: %s (--verbose shows where); please report it"
                (e.Message.Split('\n')[0])

        ExitCode.fault
