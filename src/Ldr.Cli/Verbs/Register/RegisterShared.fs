/// Options of `register` that verbs of many pairs take as well: one union, one text, one check.
module Ldr.Cli.Verbs.RegisterShared

open Argu
open Ldr.Cli.Verbs.RegisterArguments

/// Argu does not ask for `ExactlyOnce` inside a subcommand, and other verbs name their scans otherwise.
type Root =
    | [<CliPrefix(CliPrefix.None)>] Register of ParseResults<Arguments>

    interface IArgParserTemplate with
        member _.Usage = "options of register."

/// Those that name the files of one pair.
let private ofOnePair =
    [
        "--fixed"
        "--moving"
        "--moved"
        "--transform"
        "--inverse-transform"
        "--labels"
        "--moved-labels"
        "--moving-mask"
        "--output-prefix"
        "--report"
    ]

let private parser =
    lazy ArgumentParser.Create<Arguments>(programName = "ldr-fs register", checkStructure = false)

/// The shared options, as Argu knows them.
let cases: Lazy<ArgumentCaseInfo list> =
    lazy
        (parser.Value.GetArgumentCases()
         |> List.filter (fun case -> not (List.contains case.Name.Value ofOnePair)))

/// Parts a verb's own arguments from those of `register`.
let split (arguments: string list) : string list * string list =
    let arity =
        lazy
            (cases.Value
             |> List.collect (fun case ->
                 let values = case.UnionCaseInfo.GetFields().Length
                 case.CommandLineNames.Value |> List.map (fun name -> name, values))
             |> Map.ofList)

    let rec go own shared (rest: string list) =
        match rest with
        | [] -> List.rev own, List.rev shared
        | option :: values when arity.Value.ContainsKey option ->
            let taken = values |> List.truncate arity.Value[option]
            go own (List.rev (option :: taken) @ shared) (List.skip taken.Length values)
        | other :: values -> go (other :: own) shared values

    go [] [] arguments

/// Parses the part of `register`; raises what Argu finds wrong.
let parse (shared: string list) : ParseResults<Arguments> =
    ArgumentParser
        .Create<Root>(programName = "ldr-fs", checkStructure = false)
        .ParseCommandLine(Array.ofList ("register" :: shared))
        .GetResult
        Register
