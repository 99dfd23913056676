/// Short names for the nodes of what is printed under --json.
module Ldr.Cli.Json

open System.Text.Json.Nodes
open Ldr

let object (pairs: (string * (JsonNode | null)) list) : JsonNode =
    let node = JsonObject()

    for key, value in pairs do
        node.Add(key, value)

    node

let list (nodes: (JsonNode | null) list) : JsonNode = JsonArray(Array.ofList nodes)

let text (value: string) : JsonNode =
    nonNull (JsonValue.Create value) :> JsonNode

/// A text, or null.
let maybeText (value: string option) : JsonNode | null =
    value |> Option.map text |> Option.toObj

let integer (value: int) : JsonNode = JsonValue.Create value

let boolean (value: bool) : JsonNode = JsonValue.Create value

/// With 6 decimals; null for what is not finite.
let number: float -> JsonNode | null = JsonNumber.rounded

let numbers (values: float[]) : JsonNode = JsonArray(values |> Array.map number)

let texts (values: string seq) : JsonNode =
    list [ for value in values -> text value ]
