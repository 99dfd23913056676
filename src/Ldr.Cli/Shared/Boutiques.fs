/// Descriptors of Boutiques (schema 0.5), made of what Argu knows of a verb's options.
module Ldr.Cli.Boutiques

open System
open System.Reflection
open System.Text.Json.Nodes
open Argu
open FSharp.Reflection
open Ldr.Cli

let private idOf (name: string) =
    name.TrimStart('-').Replace('-', '_').ToLowerInvariant()

let private keyOf (name: string) = $"[{(idOf name).ToUpperInvariant()}]"

let private isList (kind: Type) =
    kind.IsGenericType && kind.GetGenericTypeDefinition() = typedefof<_ list>

let private pair (key: string) (value: JsonNode) : string * (JsonNode | null) = key, value

/// What Boutiques says of a value.
let private valueKeys (field: PropertyInfo) : (string * (JsonNode | null)) list =
    let kind =
        if isList field.PropertyType then
            field.PropertyType.GetGenericArguments()[0]
        else
            field.PropertyType

    if kind = typeof<int> then
        [ pair "type" (Json.text "Number"); pair "integer" (Json.boolean true) ]
    elif kind = typeof<float> then
        [ pair "type" (Json.text "Number") ]
    elif FSharpType.IsUnion kind then
        let words =
            [ for case in FSharpType.GetUnionCases kind -> case.Name.ToLowerInvariant() ]

        [ pair "type" (Json.text "String"); pair "value-choices" (Json.texts words) ]
    else
        let isPath = [ "file"; "folder"; "bids_dir" ] |> List.contains field.Name
        [ pair "type" (Json.text (if isPath then "File" else "String")) ]

let private input
    (name: string)
    (description: string)
    (optional: bool)
    (flag: string option)
    keys
    : JsonNode =
    Json.object
        [
            "id", Json.text (idOf name)
            "name", Json.text ((idOf name).Replace('_', ' '))
            "description", Json.text description
            "optional", Json.boolean optional
            "value-key", Json.text (keyOf name)
            for flag in Option.toList flag do
                "command-line-flag", Json.text flag
            yield! keys
        ]

let private listKeys (count: int option) : (string * (JsonNode | null)) list =
    [
        "list", Json.boolean true
        for count in Option.toList count do
            "min-list-entries", Json.integer count
            "max-list-entries", Json.integer count
    ]

/// The inputs of one option, or of the arguments without a name; with the keys of their values.
let private inputs (case: ArgumentCaseInfo) : (string * JsonNode) list =
    let fields = case.UnionCaseInfo.GetFields()
    let description = case.Description.Value

    if case.IsMainCommand then
        [
            for field in fields -> keyOf field.Name, input field.Name description false None (valueKeys field)
        ]
    else
        let name = case.CommandLineNames.Value.Head

        let keys =
            match fields with
            | [||] -> [ pair "type" (Json.text "Flag") ]
            | [| one |] when isList one.PropertyType -> valueKeys one @ listKeys None
            | [| one |] -> valueKeys one
            | several -> valueKeys several[0] @ listKeys (Some several.Length)

        [ keyOf name, input name description true (Some name) keys ]

/// The descriptor of a verb: its options, what it is, and its outputs (id, name, path).
let descriptor
    (verb: string)
    (description: string)
    (cases: ArgumentCaseInfo list)
    (outputs: (string * string * string) list)
    : JsonNode =
    let inputs = cases |> List.collect inputs
    let version = Version.text

    Json.object
        [
            "name", Json.text $"ldr-fs {verb}"
            "description", Json.text description
            "tool-version", Json.text version
            "schema-version", Json.text "0.5"
            "command-line", Json.text (String.Join(' ', $"ldr-fs {verb}" :: List.map fst inputs))
            "inputs", inputs |> List.map snd |> Json.list
            "output-files",
            outputs
            |> List.map (fun (id, name, path) ->
                Json.object
                    [
                        "id", Json.text id
                        "name", Json.text name
                        "path-template", Json.text path
                        "optional", Json.boolean true
                    ])
            |> Json.list
        ]
