module Ldr.Cli.Program

open System
open Ldr.Cli.Execution

[<EntryPoint>]
let main arguments =
    match Parsing.parse arguments with
    | Error(Parsing.Help text) ->
        printfn "%s" (text.TrimEnd())
        ExitCode.ok
    | Error(Parsing.Usage text) ->
        eprintfn "ldr-fs: %s" text
        ExitCode.badUsage
    | Ok request ->
        try
            execute
                { request with
                    CommandLine = List.ofArray arguments
                }
        with e ->
            if request.Verbose then
                eprintfn "ldr-fs: a fault of ours: %O" e
            else
                eprintfn
                    "ldr-fs: a fault of ours: %s (--verbose shows where); please report it"
                    (e.Message.Split('\n')[0])

            ExitCode.fault
