namespace Ldr

open System
open System.Text.Json.Nodes

/// Numbers of reports.
module JsonNumber =
    /// As JSON, which has no NaN and no infinity, they become null.
    let finiteOrNull (value: float) : JsonNode | null =
        if Double.IsFinite value then
            JsonValue.Create value
        else
            null

    /// The same with 6 decimals.
    let rounded (value: float) : JsonNode | null = finiteOrNull (Math.Round(value, 6))
